/* SPDX-License-Identifier: Apache-2.0 */
/* From bytes to a block: decoding ahead, liveness of flags, choice of handlers. */
#include "hvcore/emu/emu_priv.h"

#include <string.h>

/* A branch behind so many instructions ends its block: its record is one of the first 64. */
enum { MAX_FORK_AT = 28 };
_Static_assert(2 * MAX_FORK_AT < 64, "bits of struct emu_block's forks");

/* A block while it is made. */
struct draft {
    struct emu_cpu *cpu;
    hv_gpa_t gpa;
    const uint8_t *host;         /* of the page */
    uint8_t code[HV_PAGE_BYTES]; /* copies of the pieces, each at its place */
    struct emu_piece pieces[EMU_BLOCK_MAX_PIECES];
    unsigned n_pieces;
    unsigned at, end; /* in the page: of the next instruction, and of what is copied behind it */
    bool is_cut;      /* the page ends within the next instruction */
    unsigned n_insns; /* those with records */
    struct emu_insn insns[EMU_BLOCK_MAX_INSNS];
    uint16_t offsets[EMU_BLOCK_MAX_INSNS]; /* in the page */
    uint16_t live[EMU_BLOCK_MAX_INSNS];    /* flags alive behind the instruction */
    unsigned n_ops, n_links, n_generic;
    uint64_t forks;
    struct emu_op ops[2 * EMU_BLOCK_MAX_INSNS + 1];
    const struct emu_insn *generic[2 * EMU_BLOCK_MAX_INSNS + 1]; /* of the record, or NULL */
    uint8_t kinds[2 * EMU_BLOCK_MAX_INSNS + 1];                  /* for emu_join */
};

static emu_exec_fn exec_undefined;

static enum emu_result exec_undefined(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    (void)insn;
    return emu_raise(cpu, X86_UD);
}

emu_exec_fn *emu_exec_of(unsigned mnemonic)
{
    emu_exec_fn *const *const families[] = { emu_exec_int, emu_exec_string, emu_exec_system,
                                             emu_exec_simd, emu_exec_x87 };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(families); i++)
        if (families[i][mnemonic])
            return families[i][mnemonic];
    return exec_undefined;
}

/* How control goes on behind an instruction. FLOW_FORK: here or elsewhere, by nothing but flags. */
enum flow { FLOW_ON, FLOW_FORK, FLOW_MAYBE, FLOW_AWAY };

static enum flow flow_of(const struct emu_insn *insn)
{
    switch (insn->mnemonic) {
    case EMU_MN_JB:
    case EMU_MN_JBE:
    case EMU_MN_JL:
    case EMU_MN_JLE:
    case EMU_MN_JNB:
    case EMU_MN_JNBE:
    case EMU_MN_JNL:
    case EMU_MN_JNLE:
    case EMU_MN_JNO:
    case EMU_MN_JNP:
    case EMU_MN_JNS:
    case EMU_MN_JNZ:
    case EMU_MN_JO:
    case EMU_MN_JP:
    case EMU_MN_JS:
    case EMU_MN_JZ: return FLOW_FORK;
    case EMU_MN_JCXZ:
    case EMU_MN_JECXZ:
    case EMU_MN_JRCXZ:
    case EMU_MN_LOOP:
    case EMU_MN_LOOPE:
    case EMU_MN_LOOPNE:
    /* These go on in the next instruction, but through the run loop or with other rules. */
    case EMU_MN_POPF:
    case EMU_MN_POPFD:
    case EMU_MN_INVLPG:
    case EMU_MN_INVPCID:
    case EMU_MN_WRMSR:
    case EMU_MN_CPUID:
    case EMU_MN_IN:
    case EMU_MN_OUT:
    case EMU_MN_XSETBV:
    case EMU_MN_INTO:
    case EMU_MN_LMSW:
    case EMU_MN_CLTS:
    case EMU_MN_STAC:
    case EMU_MN_CLAC:
    case EMU_MN_VMCALL:
    case EMU_MN_VMMCALL:
    case EMU_MN_SERIALIZE: return FLOW_MAYBE;
    case EMU_MN_MOV:
        return insn->op[0].kind == EMU_OPD_CR || insn->op[0].kind == EMU_OPD_DR ||
                       insn->op[0].kind == EMU_OPD_SEG
                   ? FLOW_MAYBE
                   : FLOW_ON;
    case EMU_MN_POP: return insn->op[0].kind == EMU_OPD_SEG ? FLOW_MAYBE : FLOW_ON;
    case EMU_MN_JMP:
    case EMU_MN_JMP_FAR:
    case EMU_MN_CALL:
    case EMU_MN_CALL_FAR:
    case EMU_MN_RET:
    case EMU_MN_RET_FAR:
    case EMU_MN_IRET:
    case EMU_MN_IRETD:
    case EMU_MN_IRETQ:
    case EMU_MN_INT:
    case EMU_MN_INT1:
    case EMU_MN_INT3:
    case EMU_MN_SYSCALL:
    case EMU_MN_SYSRET:
    case EMU_MN_SYSENTER:
    case EMU_MN_SYSEXIT:
    case EMU_MN_HLT:
    case EMU_MN_UD0:
    case EMU_MN_UD1:
    case EMU_MN_UD2:
    case EMU_MN_RSM: return FLOW_AWAY;
    default: return FLOW_ON;
    }
}

/* Go on at this offset. Copy the code out of guest memory once, as far as the pieces that there
 * are; all that follows looks at the copy. */
static void begin_piece(struct draft *d, unsigned at)
{
    unsigned bytes =
        HV_PAGE_BYTES - at < EMU_BLOCK_MAX_CODE ? HV_PAGE_BYTES - at : (unsigned)EMU_BLOCK_MAX_CODE;

    for (unsigned i = 0; i < d->n_pieces; i++)
        if (d->pieces[i].at > at && d->pieces[i].at - at < bytes)
            bytes = d->pieces[i].at - at;
    memcpy(d->code + at, d->host + at, bytes);
    d->pieces[d->n_pieces++] = (struct emu_piece){ .at = (uint16_t)at };
    d->at = at;
    d->end = at + bytes;
}

static bool is_plain(const struct draft *d)
{
    return !d->cpu->machine->no_fast && d->cpu->code_size == EMU_CODE64;
}

static bool is_known(const struct draft *d, unsigned at)
{
    for (unsigned i = 0; i < d->n_pieces; i++)
        if (at >= d->pieces[i].at && at < d->pieces[i].at + (unsigned)d->pieces[i].bytes)
            return true;
    return false;
}

/* A jump to code of the same page that isn't in the block yet needs no record: the block goes on
 * there. d->at is behind the jump already. */
static bool is_followed(const struct draft *d, const struct emu_insn *insn)
{
    uint64_t target = d->at + insn->imm;

    return insn->mnemonic == EMU_MN_JMP && insn->op[0].kind == EMU_OPD_REL && is_plain(d) &&
           insn->op_size == 8 && d->n_pieces < EMU_BLOCK_MAX_PIECES && target < HV_PAGE_BYTES &&
           !is_known(d, (unsigned)target);
}

/* Nothing to do at all. */
static bool is_idle(const struct draft *d, const struct emu_insn *insn)
{
    switch (insn->mnemonic) {
    case EMU_MN_NOP:
    case EMU_MN_PREFETCH:
    case EMU_MN_PREFETCHW:
    case EMU_MN_PREFETCHT0:
    case EMU_MN_PREFETCHT1:
    case EMU_MN_PREFETCHT2:
    case EMU_MN_PREFETCHNTA: return is_plain(d);
    default: return false;
    }
}

/* Does the block go on behind what came last? Behind a branch that isn't taken it does for a
 * while. */
static bool goes_on(const struct draft *d, enum flow flow)
{
    if (d->n_insns >= EMU_BLOCK_MAX_INSNS)
        return false;
    return flow == FLOW_ON || (flow == FLOW_FORK && is_plain(d) && d->n_insns <= MAX_FORK_AT);
}

/* Decode until control goes elsewhere, or the page, the room or the understanding ends. */
static enum flow decode_all(struct draft *d)
{
    enum flow flow = FLOW_ON;

    while (goes_on(d, flow)) {
        struct emu_insn *insn = &d->insns[d->n_insns];
        enum emu_decode_result result =
            emu_decode(d->code + d->at, d->end - d->at, d->cpu->code_size, insn);

        d->is_cut = result == EMU_DECODE_SHORT && d->end == HV_PAGE_BYTES;
        if (result != EMU_DECODE_OK)
            break;
        d->offsets[d->n_insns] = (uint16_t)d->at;
        d->at += insn->length;
        d->pieces[d->n_pieces - 1].bytes =
            (uint16_t)(d->pieces[d->n_pieces - 1].bytes + insn->length);
        if (is_followed(d, insn)) {
            begin_piece(d, d->at + (unsigned)insn->imm);
        } else if (!is_idle(d, insn)) {
            d->n_insns++;
            flow = flow_of(insn);
        }
    }
    return flow;
}

/* All flags are alive behind the block and where a branch may leave it; an instruction kills what
 * it writes and wants what it reads. */
static void find_live_flags(struct draft *d)
{
    uint16_t live = EMU_ARITH_FLAGS;

    for (unsigned i = d->n_insns; i-- > 0;) {
        if (flow_of(&d->insns[i]) == FLOW_FORK)
            live = EMU_ARITH_FLAGS;
        d->live[i] = d->cpu->machine->exact_flags ? EMU_ARITH_FLAGS : live;
        live = (uint16_t)((live & ~d->insns[i].flags_written) | d->insns[i].flags_read);
    }
}

static bool pick_fast(const struct emu_pick *pick, struct emu_op *op)
{
    return emu_pick_int(pick, op) || emu_pick_string(pick, op) || emu_pick_system(pick, op) ||
           emu_pick_simd(pick, op);
}

static bool pick(struct draft *d, unsigned i, struct emu_op *op)
{
    const struct emu_insn *insn = &d->insns[i];
    struct emu_pick pick = { .insn = insn,
                             .next = i + 1 < d->n_insns ? insn + 1 : NULL,
                             .flags_live = (d->live[i] & insn->flags_written) != 0,
                             .live = d->live[i],
                             .next_live = d->live[i + 1 < d->n_insns ? i + 1 : i],
                             .offset = d->offsets[i],
                             .is_64bit = true };

    if (!is_plain(d))
        return false;
    if (emu_pick_int(&pick, op)) {
        d->kinds[op - d->ops] = op->aux;
        return true;
    }
    return emu_pick_string(&pick, op) || emu_pick_system(&pick, op) || emu_pick_simd(&pick, op);
}

static bool is_rsp(const struct emu_operand *o)
{
    return o->kind == EMU_OPD_GPR && o->reg == HV_RSP;
}

/* Does a fast handler change the stack pointer as it would any register? Those that know it for
 * what it is don't name it in their records. */
static bool must_sync(const struct emu_insn *insn, const struct emu_op *op)
{
    if (op->dst != EMU_REG_OFFSET(HV_RSP) && op->src != EMU_REG_OFFSET(HV_RSP))
        return false;
    switch (insn->mnemonic) {
    case EMU_MN_CALL:
    case EMU_MN_JMP:
    case EMU_MN_CMP:
    case EMU_MN_TEST:
    case EMU_MN_PUSH: return false;
    case EMU_MN_XADD:
    case EMU_MN_XCHG: return true;
    default: return is_rsp(&insn->op[0]);
    }
}

static void make_op(struct draft *d, unsigned i)
{
    const struct emu_insn *insn = &d->insns[i];
    struct emu_op *op = &d->ops[d->n_ops];

    *op = (struct emu_op){ .pos = (uint16_t)(d->offsets[i] | insn->length << 12) };
    d->kinds[d->n_ops] = 0;
    d->generic[d->n_ops++] = NULL;
    if (!pick(d, i, op)) {
        *op = (struct emu_op){ .fn = emu_op_generic, .pos = op->pos };
        d->generic[d->n_ops - 1] = insn;
        d->n_generic++;
    } else if (must_sync(insn, op)) {
        d->kinds[d->n_ops] = 0;
        d->generic[d->n_ops] = NULL;
        d->ops[d->n_ops++] = (struct emu_op){ .fn = emu_op_sync };
    }
}

static void make_ops(struct draft *d)
{
    for (unsigned i = 0; i < d->n_insns; i++) {
        make_op(d, i);
        if (i < MAX_FORK_AT && flow_of(&d->insns[i]) == FLOW_FORK && !d->generic[d->n_ops - 1])
            d->forks |= UINT64_C(1) << (d->n_ops - 1);
    }
    emu_join(d->ops, d->kinds, d->n_ops);
    if (d->n_insns > 0 && d->insns[d->n_insns - 1].op[0].kind == EMU_OPD_REL &&
        !d->generic[d->n_ops - 1])
        d->n_links++;
}

static void add_fallthrough(struct draft *d)
{
    struct emu_op *op = &d->ops[d->n_ops];

    *op = (struct emu_op){ .fn = emu_op_fallthrough, .pos = d->at & 0xfff, .disp = (int32_t)d->at };
    d->generic[d->n_ops++] = NULL;
    d->n_links++;
}

/* The first instruction lies in two pages: a block by itself, which looks at the second page each
 * time. Its own record and the way on are made by emu_learn_cut. */
static void make_cut(struct draft *d)
{
    d->pieces[0].bytes = (uint16_t)(HV_PAGE_BYTES - d->at);
    for (d->n_ops = 0; d->n_ops < 3; d->n_ops++) {
        d->generic[d->n_ops] = NULL;
        d->ops[d->n_ops] = (struct emu_op){ .fn = emu_op_cut, .pos = (uint16_t)d->at };
    }
    d->n_links = 1;
    d->ops[0].aux = is_plain(d) ? EMU_CUT_NEW : EMU_CUT_UNKNOWN;
}

/* The bytes go where no reader looks before the kind of the record says so. */
static void learn(struct emu_block *block, const struct emu_insn *insn, const uint8_t *bytes)
{
    struct emu_op *cut = &block->ops[0], own = { 0 };
    unsigned at = emu_op_offset(cut), here = HV_PAGE_BYTES - at;
    struct emu_pick pick = { .insn = insn,
                             .flags_live = insn->flags_written != 0,
                             .live = EMU_ARITH_FLAGS,
                             .next_live = EMU_ARITH_FLAGS,
                             .offset = at,
                             .is_64bit = true };
    uint8_t behind[16] = { 0 };

    own.pos = (uint16_t)(at | insn->length << 12);
    cut->aux = EMU_CUT_UNKNOWN;
    if (!pick_fast(&pick, &own) || must_sync(insn, &own))
        return;
    block->ops[1] = own;
    block->ops[2] = (struct emu_op){ .fn = emu_op_fallthrough,
                                     .pos = (at + insn->length) & 0xfff,
                                     .disp = (int32_t)(at + insn->length) };
    block->n_links = insn->op[0].kind == EMU_OPD_REL ? 2 : 1;
    memcpy(behind, bytes + here, insn->length - here);
    memcpy(&cut->imm64, behind, 8);
    memcpy(&cut->disp, behind + 8, 4);
    memcpy(&cut->imm, behind + 12, 4);
    __atomic_store_n(&cut->aux, (uint8_t)(insn->length - here), __ATOMIC_RELEASE);
}

void emu_learn_cut(struct emu_machine *machine, struct emu_block *block,
                   const struct emu_insn *insn, const uint8_t *bytes)
{
    pthread_mutex_lock(&machine->block_lock);
    if (block->ops[0].aux == EMU_CUT_NEW && !block->is_stale)
        learn(block, insn, bytes);
    pthread_mutex_unlock(&machine->block_lock);
}

/* Behind a call, the way on is the way back of its return. */
static bool is_call(const struct draft *d)
{
    return d->n_insns > 0 && d->insns[d->n_insns - 1].mnemonic == EMU_MN_CALL;
}

static uint64_t lines_of(const struct draft *d)
{
    uint64_t lines = 0;

    for (unsigned i = 0; i < d->n_pieces; i++) {
        const struct emu_piece *piece = &d->pieces[i];
        unsigned first = piece->at >> 6, last = (piece->at + piece->bytes - 1u) >> 6;

        if (piece->bytes > 0)
            lines |= ((UINT64_C(2) << (last - first)) - 1) << first;
    }
    return lines;
}

/* Put the draft into the arena. */
static struct emu_block *settle(const struct draft *d)
{
    size_t ops_bytes = sizeof(struct emu_block) + d->n_ops * sizeof(struct emu_op);
    struct emu_generic *generic;
    struct emu_block *block;

    block = emu_arena_take(d->cpu->machine, ops_bytes + d->n_generic * sizeof(*generic));
    if (!block)
        return NULL;
    *block = (struct emu_block){ .gpa = d->gpa,
                                 .lines = lines_of(d),
                                 .bytes = d->pieces[0].bytes,
                                 .n_ops = (uint16_t)d->n_ops,
                                 .code_size = d->cpu->code_size,
                                 .n_links = (uint8_t)d->n_links,
                                 .forks = d->forks };
    memcpy(block->ops, d->ops, d->n_ops * sizeof(struct emu_op));
    generic = (struct emu_generic *)(void *)((uint8_t *)block + ops_bytes);
    for (unsigned i = 0; i < d->n_ops; i++)
        if (d->generic[i]) {
            *generic = (struct emu_generic){ .fn = emu_exec_of(d->generic[i]->mnemonic),
                                             .insn = *d->generic[i] };
            block->ops[i].insn = &generic->insn;
            generic++;
        }
    return block;
}

static struct emu_block *build_once(struct emu_cpu *cpu, hv_gpa_t gpa, const uint8_t *host,
                                    bool *ret_again)
{
    struct emu_block *block;
    struct draft d;
    enum flow flow;

    *ret_again = false;
    d.cpu = cpu;
    d.gpa = gpa;
    d.host = host;
    d.n_insns = d.n_pieces = d.n_ops = d.n_links = d.n_generic = 0;
    d.forks = 0;
    begin_piece(&d, gpa & 0xfff);
    flow = decode_all(&d);
    if (d.pieces[0].bytes == 0 && !d.is_cut)
        return NULL;
    if (d.pieces[0].bytes == 0) {
        make_cut(&d);
    } else {
        find_live_flags(&d);
        make_ops(&d);
        if (flow != FLOW_AWAY || is_call(&d))
            add_fallthrough(&d);
    }
    block = settle(&d);
    if (!block) {
        cpu->must_flush_blocks = true;
        return NULL;
    }
    *ret_again = !emu_block_publish(cpu->machine, block, d.pieces, d.n_pieces, d.code, host);
    return block;
}

struct emu_block *emu_build(struct emu_cpu *cpu, hv_gpa_t gpa, const uint8_t *page_host)
{
    struct emu_block *block;
    bool again;

    /* Bytes that change all the time are never published; then they are stepped through. */
    for (unsigned attempt = 0; attempt < 3; attempt++) {
        if (!emu_page_claim(cpu, gpa & ~UINT64_C(0xfff)))
            return NULL;
        block = build_once(cpu, gpa, page_host, &again);
        if (!again)
            return block;
    }
    return NULL;
}
