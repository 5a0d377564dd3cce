/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From input value to handler: form, block and privilege are checked here, once for all calls.
 *
 * spec: TLFS hypercall-interface "Hypercall Inputs", "Hypercall Status"
 */
#include "hvcore/hypercall/hypercall.h"

#include "hvcore/hypercall/hcall_priv.h"

enum { REP = 1, FAST = 2, VARIABLE = 4, FAST_BYTES = 16, BLOCK_BYTES = 576 };

struct call_row {
    uint16_t code;
    uint8_t form;       /* REP: it is one; FAST, VARIABLE: it may be */
    uint16_t in_bytes;  /* of the header, without what is variable */
    uint16_t rep_bytes; /* of each entry of the list */
    uint32_t offer;     /* enum hv_backend_offer: unknown where it isn't made */
    uint64_t privilege; /* leaf 0x40000003 EBX:EAX; all of it is needed */
    hcall_fn *handler;  /* NULL: nobody has the privilege */
};

#define HIGH(privilege) ((uint64_t)(privilege) << 32)

/* clang-format off */
static const struct call_row rows[] = {
    { TLFS_CALL_FLUSH_SPACE, 0, 24, 0, HV_OFFER_FLUSH, 0, hcall_flush },
    { TLFS_CALL_FLUSH_LIST, REP, 24, 8, HV_OFFER_FLUSH, 0, hcall_flush },
    { TLFS_CALL_LONG_SPIN_WAIT, FAST, 8, 0, 0, 0, hcall_long_spin_wait },
    { TLFS_CALL_SEND_IPI, FAST, 16, 0, HV_OFFER_IPI, 0, hcall_send_ipi },
    { TLFS_CALL_FLUSH_SPACE_EX, VARIABLE, 32, 0, HV_OFFER_FLUSH, 0, hcall_flush_ex },
    { TLFS_CALL_FLUSH_LIST_EX, REP | VARIABLE, 32, 8, HV_OFFER_FLUSH, 0, hcall_flush_ex },
    { TLFS_CALL_SEND_IPI_EX, VARIABLE, 24, 0, HV_OFFER_IPI, 0, hcall_send_ipi_ex },
    { TLFS_CALL_GET_VP_REGISTERS, REP, 16, 4, 0, HIGH(TLFS_PRIV_HIGH_VP_REGISTERS), NULL },
    { TLFS_CALL_SET_VP_REGISTERS, REP, 16, 32, 0, HIGH(TLFS_PRIV_HIGH_VP_REGISTERS), NULL },
    { TLFS_CALL_POST_MESSAGE, 0, 256, 0, 0, HIGH(TLFS_PRIV_HIGH_POST_MESSAGES), hcall_post_message },
    { TLFS_CALL_SIGNAL_EVENT, FAST, 8, 0, 0, HIGH(TLFS_PRIV_HIGH_SIGNAL_EVENTS), hcall_signal_event },
    { TLFS_CALL_EXT_QUERY_CAPABILITIES, 0, 0, 0, 0, HIGH(TLFS_PRIV_HIGH_EXTENDED_CALLS), NULL },
};
/* clang-format on */

/* The input value, taken apart. */
struct input {
    uint16_t code;
    bool is_fast;
    unsigned var_qwords;
    unsigned rep_count;
    unsigned rep_start;
};

static struct input take_apart(uint64_t value)
{
    return (struct input){ .code = (uint16_t)value,
                           .is_fast = value & TLFS_CALL_FAST,
                           .var_qwords = value >> 17 & 0x3ff,
                           .rep_count = value >> 32 & 0xfff,
                           .rep_start = value >> 48 & 0xfff };
}

static const struct call_row *row_of(uint16_t code)
{
    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++)
        if (rows[i].code == code)
            return &rows[i];
    return NULL;
}

static bool has_form(const struct call_row *row, const struct input *input)
{
    if (input->is_fast && !(row->form & FAST))
        return false;
    if (input->var_qwords > 0 && !(row->form & VARIABLE))
        return false;
    if (!(row->form & REP))
        return input->rep_count == 0 && input->rep_start == 0;
    return input->rep_start < input->rep_count;
}

static unsigned header_bytes(const struct call_row *row, const struct input *input)
{
    return row->in_bytes + input->var_qwords * (unsigned)sizeof(uint64_t);
}

/* The block is aligned, and it and its list end in the page in which they begin. */
static bool is_block_placed(const struct call_row *row, const struct input *input, uint64_t gpa)
{
    unsigned bytes = header_bytes(row, input) + input->rep_count * row->rep_bytes;

    return gpa % 8 == 0 && (gpa & (HV_PAGE_BYTES - 1)) + bytes <= HV_PAGE_BYTES;
}

/* The list of a rep call is not copied: no handler looks at it. */
static enum tlfs_status copy_in(struct hv_partition *partition, const struct call_row *row,
                                const struct input *input, const struct hv_hypercall *call,
                                uint8_t block[static BLOCK_BYTES])
{
    unsigned bytes = header_bytes(row, input);

    if (input->is_fast) {
        const uint64_t fast[2] = { call->parameters, call->output };

        if (bytes > FAST_BYTES)
            return TLFS_STATUS_INVALID_HYPERCALL_INPUT;
        memcpy(block, fast, sizeof(fast));
        return TLFS_STATUS_SUCCESS;
    }
    if (bytes > BLOCK_BYTES)
        return TLFS_STATUS_INVALID_HYPERCALL_INPUT;
    if (!is_block_placed(row, input, call->parameters) ||
        hv_gpa_read(&partition->gpa, call->parameters, block, bytes) < 0)
        return TLFS_STATUS_INVALID_ALIGNMENT;
    return TLFS_STATUS_SUCCESS;
}

static enum tlfs_status carry_out(struct hv_partition *partition, unsigned vp,
                                  const struct hv_hypercall *value, const struct input *input)
{
    const struct call_row *row = row_of(input->code);
    uint8_t block[BLOCK_BYTES];
    struct hcall call = { .partition = partition, .vp = vp, .var_qwords = input->var_qwords };
    enum tlfs_status status;

    if (!row || row->offer & ~partition->facts.offers)
        return TLFS_STATUS_INVALID_HYPERCALL_CODE;
    if ((partition->privileges & row->privilege) != row->privilege || !row->handler)
        return TLFS_STATUS_ACCESS_DENIED;
    if (value->input & TLFS_CALL_RESERVED || !has_form(row, input))
        return TLFS_STATUS_INVALID_HYPERCALL_INPUT;
    status = copy_in(partition, row, input, value, block);
    if (status != TLFS_STATUS_SUCCESS)
        return status;
    call.in = hv_cursor(block, header_bytes(row, input));
    return row->handler(&call);
}

bool hv_hypercall_dispatch(struct hv_partition *partition, unsigned vp,
                           const struct hv_hypercall *call, uint64_t *ret)
{
    struct input input = take_apart(call->input);
    enum tlfs_status status;

    if (!(atomic_load(&partition->synthetic.hypercall) & TLFS_PAGE_MSR_ENABLE))
        return false;
    status = carry_out(partition, vp, call, &input);
    /* A rep call is done as a whole or not at all. */
    *ret = status | (uint64_t)(status == TLFS_STATUS_SUCCESS ? input.rep_count : input.rep_start)
                        << 32;
    return true;
}
