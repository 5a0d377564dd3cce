/* SPDX-License-Identifier: Apache-2.0 */
/* Fast handlers: binary arithmetic and logic, in all sizes and forms, with flags live or dead. */
#include "hvcore/emu/exec/int/fast_priv.h"

enum alu { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP, ALU_TEST, N_ALU };

enum form {
    FORM_RR,
    FORM_RI,
    FORM_RM, /* and two more, in the order of enum emu_ea_form */
    FORM_MR = FORM_RM + 3,
    FORM_MI = FORM_MR + 3,
    N_FORMS = FORM_MI + 3
};

EMU_INLINE bool writes(enum alu alu)
{
    return alu != ALU_CMP && alu != ALU_TEST;
}

#define WITH_FLAGS(code)                                                                           \
    __asm__(code " %[b], %[a]" EMU_ASM_CAPTURE : [a] "+r"(a), "=&a"(ax) : [b] "r"(b) : "cc")
#define WITH_CARRY(code)                                                                           \
    __asm__(EMU_ASM_CARRY code " %[b], %[a]" EMU_ASM_CAPTURE                                       \
            : [a] "+r"(a), "=&a"(ax)                                                               \
            : [b] "r"(b), [flags] "m"(cpu->aflags)                                                 \
            : "cc")

/* a op b, flags into cpu->aflags when they are live. */
#define COMPUTE(type, size)                                                                        \
    EMU_INLINE type compute_##size(struct emu_cpu *cpu, enum alu alu, type a, type b, bool live)   \
    {                                                                                              \
        bool carry = emu_flags_get(cpu) & AFLAGS_CF;                                               \
        uint16_t ax = 0;                                                                           \
                                                                                                   \
        if (!live) {                                                                               \
            switch (alu) {                                                                         \
            case ALU_ADD: return (type)(a + b);                                                    \
            case ALU_OR: return a | b;                                                             \
            case ALU_ADC: return (type)(a + b + carry);                                            \
            case ALU_SBB: return (type)(a - b - carry);                                            \
            case ALU_AND: return a & b;                                                            \
            case ALU_SUB: return (type)(a - b);                                                    \
            case ALU_XOR: return a ^ b;                                                            \
            default: return a;                                                                     \
            }                                                                                      \
        }                                                                                          \
        switch (alu) {                                                                             \
        case ALU_ADD: WITH_FLAGS("add"); break;                                                    \
        case ALU_OR: WITH_FLAGS("or"); break;                                                      \
        case ALU_ADC: WITH_CARRY("adc"); break;                                                    \
        case ALU_SBB: WITH_CARRY("sbb"); break;                                                    \
        case ALU_AND: WITH_FLAGS("and"); break;                                                    \
        case ALU_SUB: WITH_FLAGS("sub"); break;                                                    \
        case ALU_XOR: WITH_FLAGS("xor"); break;                                                    \
        case ALU_CMP: WITH_FLAGS("cmp"); break;                                                    \
        default: WITH_FLAGS("test"); break;                                                        \
        }                                                                                          \
        emu_flags_put(cpu, ax);                                                                    \
        return a;                                                                                  \
    }                                                                                              \
                                                                                                   \
    EMU_INLINE const struct emu_op *body_##size(EMU_PARAMS, enum alu alu, enum form form,          \
                                                bool live, emu_handler *likely)                    \
    {                                                                                              \
        type a, b;                                                                                 \
                                                                                                   \
        if (form < FORM_MR) {                                                                      \
            if (form == FORM_RR) {                                                                 \
                b = EMU_REG_GET(type, cpu, op->src);                                               \
            } else if (form == FORM_RI) {                                                          \
                b = (type)op->imm;                                                                 \
            } else {                                                                               \
                EMU_READ_POINTER(p, (enum emu_ea_form)(form - FORM_RM), size);                     \
                b = EMU_GUEST(type, p);                                                            \
            }                                                                                      \
            a = compute_##size(cpu, alu, EMU_REG_GET(type, cpu, op->dst), b, live);                \
            if (writes(alu))                                                                       \
                emu_reg_set_##size(cpu, op->dst, a);                                               \
        } else if (!writes(alu)) {                                                                 \
            EMU_READ_POINTER(p, (enum emu_ea_form)((form - FORM_MR) % 3), size);                   \
            b = form < FORM_MI ? EMU_REG_GET(type, cpu, op->src) : (type)op->imm;                  \
            compute_##size(cpu, alu, EMU_GUEST(type, p), b, live);                                 \
        } else {                                                                                   \
            EMU_WRITE_POINTER(p, (enum emu_ea_form)((form - FORM_MR) % 3), size);                  \
            b = form < FORM_MI ? EMU_REG_GET(type, cpu, op->src) : (type)op->imm;                  \
            EMU_GUEST(type, p) = compute_##size(cpu, alu, EMU_GUEST(type, p), b, live);            \
        }                                                                                          \
        EMU_GO_LIKELY(cpu, op + 1, likely);                                                        \
    }

COMPUTE(uint8_t, 1)
COMPUTE(uint16_t, 2)
COMPUTE(uint32_t, 4)
COMPUTE(uint64_t, 8)

/* ---- Rows: one handler for each of alu x size x form x liveness ---- */

#define ROW(op_, size, form_, live)                                                                \
    EMU_HANDLER h_##op_##_##size##_##form_##_##live(EMU_PARAMS)                                    \
    {                                                                                              \
        return body_##size(EMU_PASS, ALU_##op_, (enum form)(form_), live,                          \
                           EMU_NEXT(h_##op_##_##size##_##form_##_##live));                         \
    }

#define FORMS(X, alu, size, live)                                                                  \
    X(alu, size, 0, live)                                                                          \
    X(alu, size, 1, live)                                                                          \
    X(alu, size, 2, live)                                                                          \
    X(alu, size, 3, live)                                                                          \
    X(alu, size, 4, live)                                                                          \
    X(alu, size, 5, live)                                                                          \
    X(alu, size, 6, live)                                                                          \
    X(alu, size, 7, live)                                                                          \
    X(alu, size, 8, live)                                                                          \
    X(alu, size, 9, live)                                                                          \
    X(alu, size, 10, live)
#define LIVENESS(X, alu, size) FORMS(X, alu, size, 0) FORMS(X, alu, size, 1)
#define SIZES(X, alu)                                                                              \
    LIVENESS(X, alu, 1) LIVENESS(X, alu, 2) LIVENESS(X, alu, 4) LIVENESS(X, alu, 8)
#define ALUS(X)                                                                                    \
    SIZES(X, ADD)                                                                                  \
    SIZES(X, OR)                                                                                   \
    SIZES(X, ADC)                                                                                  \
    SIZES(X, SBB)                                                                                  \
    SIZES(X, AND)                                                                                  \
    SIZES(X, SUB)                                                                                  \
    SIZES(X, XOR)                                                                                  \
    SIZES(X, CMP)                                                                                  \
    SIZES(X, TEST)

ALUS(ROW)

#define ENTRY(op_, size, form_, live)                                                              \
    [ALU_##op_][size / 2 - size / 8][form_][live] = h_##op_##_##size##_##form_##_##live,
_Static_assert(8 / 2 - 8 / 8 == 3 && 4 / 2 - 4 / 8 == 2, "log2 of the size");

static emu_handler *const handlers[N_ALU][4][N_FORMS][2] = { ALUS(ENTRY) };

/* ---- Choice ---- */

static enum alu alu_of(unsigned mnemonic)
{
    switch (mnemonic) {
    case EMU_MN_ADD: return ALU_ADD;
    case EMU_MN_OR: return ALU_OR;
    case EMU_MN_ADC: return ALU_ADC;
    case EMU_MN_SBB: return ALU_SBB;
    case EMU_MN_AND: return ALU_AND;
    case EMU_MN_SUB: return ALU_SUB;
    case EMU_MN_XOR: return ALU_XOR;
    case EMU_MN_CMP: return ALU_CMP;
    default: return ALU_TEST;
    }
}

/* ---- Per-CPU counters in tables: a segment's base (dst) besides base and index ---- */

#define COUNT(type, size)                                                                          \
    EMU_HANDLER h_count_##size(EMU_PARAMS)                                                         \
    {                                                                                              \
        uint64_t linear = emu_reg64(cpu, op->dst) + emu_ea_index(cpu, op);                         \
        const struct emu_tlb_entry *slot = emu_tlb_slot(cpu, linear);                              \
        uint16_t ax;                                                                               \
                                                                                                   \
        if (!emu_hits(linear, slot->write_tag, size))                                              \
            return emu_miss_write(cpu, op, linear, size, sp);                                      \
        __asm__ volatile("add %[b], %[a]" EMU_ASM_CAPTURE                                          \
                         : "=&a"(ax), [a] "+m"(EMU_GUEST(type, linear + slot->addend))             \
                         : [b] "r"(EMU_REG_GET(type, cpu, op->src))                                \
                         : "cc");                                                                  \
        emu_flags_put(cpu, ax);                                                                    \
        EMU_DONE(cpu, op);                                                                         \
    }

COUNT(uint32_t, 4)
COUNT(uint64_t, 8)

static bool pick_count(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_insn *insn = pick->insn;
    bool has_segment = insn->seg == HV_FS || insn->seg == HV_GS;

    if (insn->mnemonic != EMU_MN_ADD || insn->op[0].size < 4 || !emu_is_reg(&insn->op[1]) ||
        !has_segment || insn->addr_size != 8 || insn->is_rip_relative || insn->base == EMU_NO_REG ||
        insn->index == EMU_NO_REG)
        return false;
    op->dst = EMU_REG_OFFSET(insn->seg == HV_FS ? EMU_REG_FS_BASE : EMU_REG_GS_BASE);
    op->src = emu_operand_offset(&insn->op[1]);
    op->base = EMU_REG_OFFSET(insn->base);
    op->index = EMU_REG_OFFSET(insn->index);
    op->disp = (int32_t)insn->disp;
    op->fn = insn->op[0].size == 8 ? h_count_8 : h_count_4;
    return true;
}

bool emu_pick_alu(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_operand *dst = &pick->insn->op[0], *src = &pick->insn->op[1];
    enum emu_ea_form ea = EMU_EA_BASE;
    unsigned form;

    if (dst->kind == EMU_OPD_MEM || src->kind == EMU_OPD_MEM) {
        ea = emu_pick_ea(pick, op);
        if (ea == EMU_EA_GENERAL)
            return dst->kind == EMU_OPD_MEM && pick_count(pick, op);
    }
    if (emu_is_reg(dst))
        op->dst = emu_operand_offset(dst);
    if (emu_is_reg(src))
        op->src = emu_operand_offset(src);
    op->imm = (int32_t)pick->insn->imm;
    if (dst->kind == EMU_OPD_MEM)
        form = (src->kind == EMU_OPD_IMM ? FORM_MI : FORM_MR) + ea;
    else if (src->kind == EMU_OPD_MEM)
        form = FORM_RM + ea;
    else
        form = src->kind == EMU_OPD_IMM ? FORM_RI : FORM_RR;
    op->fn = handlers[alu_of(pick->insn->mnemonic)][emu_log2(dst->size)][form][pick->flags_live];
    return true;
}
