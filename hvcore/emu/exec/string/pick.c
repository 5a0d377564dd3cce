/* SPDX-License-Identifier: Apache-2.0 */
/* Entries to the string engine for 64-bit blocks: no decoding anew, and on in the block. */
#include "hvcore/emu/exec/string/string_priv.h"
#include "hvcore/emu/op.h"

#define ROW(kind_, size_, repeat_)                                                                 \
    {                                                                                              \
        .kind = kind_, .size = size_, .addr_size = 8, .seg = HV_DS, .repeat = repeat_              \
    }
#define ROWS(kind, size)                                                                           \
    ROW(kind, size, EMU_STRING_ONCE), ROW(kind, size, EMU_STRING_REP),                             \
        ROW(kind, size, EMU_STRING_REPNE)
#define KIND(kind) ROWS(kind, 1), ROWS(kind, 2), ROWS(kind, 4), ROWS(kind, 8)

/* By kind, log2 of the size, repeat: what op->aux counts. */
static const struct emu_string strings[] = {
    KIND(EMU_STRING_MOVS), KIND(EMU_STRING_STOS), KIND(EMU_STRING_LODS),
    KIND(EMU_STRING_SCAS), KIND(EMU_STRING_CMPS),
};

enum { N_SIZES = 4, N_REPEATS = 3 };

static const struct emu_op *h_string(EMU_PARAMS)
{
    switch (emu_string_run(cpu, &strings[op->aux])) {
    case EMU_NEXT:
        if (HV_UNLIKELY(atomic_load_explicit(&cpu->request, memory_order_relaxed)))
            return emu_op_leave(cpu, emu_op_rip(cpu, op) + emu_op_length(op));
        EMU_DONE_ANEW(cpu, op);
    case EMU_REPEAT: return emu_op_leave(cpu, emu_op_rip(cpu, op));
    default: return emu_op_slow(cpu, op); /* goes on where the fault is, and raises it */
    }
}

static int kind_of(unsigned mnemonic, unsigned *ret_log2)
{
    static const uint16_t mnemonics[][N_SIZES] = {
        { EMU_MN_MOVSB, EMU_MN_MOVSW, EMU_MN_MOVSD, EMU_MN_MOVSQ },
        { EMU_MN_STOSB, EMU_MN_STOSW, EMU_MN_STOSD, EMU_MN_STOSQ },
        { EMU_MN_LODSB, EMU_MN_LODSW, EMU_MN_LODSD, EMU_MN_LODSQ },
        { EMU_MN_SCASB, EMU_MN_SCASW, EMU_MN_SCASD, EMU_MN_SCASQ },
        { EMU_MN_CMPSB, EMU_MN_CMPSW, EMU_MN_CMPSD, EMU_MN_CMPSQ },
    };

    for (unsigned kind = 0; kind < HV_ARRAY_SIZE(mnemonics); kind++)
        for (unsigned i = 0; i < N_SIZES; i++)
            if (mnemonics[kind][i] == mnemonic) {
                *ret_log2 = i;
                return (int)kind;
            }
    return -1;
}

bool emu_pick_string(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_insn *insn = pick->insn;
    struct emu_string s;
    unsigned log2 = 0;
    int kind = kind_of(insn->mnemonic, &log2);

    if (kind < 0 || !pick->is_64bit || insn->addr_size != 8 || insn->seg == HV_FS ||
        insn->seg == HV_GS)
        return false;
    emu_string_of(insn, (enum emu_string_kind)kind, 1u << log2, &s);
    op->aux = (uint8_t)(((unsigned)kind * N_SIZES + log2) * N_REPEATS + s.repeat);
    op->fn = h_string;
    return true;
}
