/* SPDX-License-Identifier: Apache-2.0 */
/* Fast handlers: shifts and rotates, inc, dec, neg, not. */
#include "hvcore/emu/exec/int/fast_priv.h"

/* ---- Shifts: a register or memory by an immediate that isn't 0, a register by cl ---- */

enum shift { SHIFT_SHL, SHIFT_SHR, SHIFT_SAR, SHIFT_ROL, SHIFT_ROR, N_SHIFTS };
enum { BY_CL, BY_IMM, MEM_BY_IMM, N_SHIFT_FORMS = MEM_BY_IMM + 3 };

/* Flags that a shift leaves alone (all of them with a count of 0) must be the guest's before. */
#define SHIFT_LIVE(code)                                                                           \
    __asm__(EMU_ASM_FLAGS_IN code " %%cl, %[a]" EMU_ASM_FLAGS_OUT                                  \
            : [a] "+r"(a), "+&a"(ax)                                                               \
            : "c"(count)                                                                           \
            : "cc")
#define SHIFT_DEAD(code) __asm__(code " %%cl, %[a]" : [a] "+r"(a) : "c"(count) : "cc")

#define SHIFT(type, size)                                                                          \
    EMU_INLINE type shift_##size(struct emu_cpu *cpu, enum shift shift, type a, uint8_t count,     \
                                 bool live)                                                        \
    {                                                                                              \
        uint32_t ax = emu_flags_get(cpu);                                                          \
                                                                                                   \
        if (!live) {                                                                               \
            switch (shift) {                                                                       \
            case SHIFT_SHL: SHIFT_DEAD("shl"); break;                                              \
            case SHIFT_SHR: SHIFT_DEAD("shr"); break;                                              \
            case SHIFT_SAR: SHIFT_DEAD("sar"); break;                                              \
            case SHIFT_ROL: SHIFT_DEAD("rol"); break;                                              \
            default: SHIFT_DEAD("ror"); break;                                                     \
            }                                                                                      \
            return a;                                                                              \
        }                                                                                          \
        switch (shift) {                                                                           \
        case SHIFT_SHL: SHIFT_LIVE("shl"); break;                                                  \
        case SHIFT_SHR: SHIFT_LIVE("shr"); break;                                                  \
        case SHIFT_SAR: SHIFT_LIVE("sar"); break;                                                  \
        case SHIFT_ROL: SHIFT_LIVE("rol"); break;                                                  \
        default: SHIFT_LIVE("ror"); break;                                                         \
        }                                                                                          \
        emu_flags_put(cpu, (uint16_t)ax);                                                          \
        return a;                                                                                  \
    }                                                                                              \
                                                                                                   \
    EMU_INLINE const struct emu_op *shift_body_##size(EMU_PARAMS, enum shift shift, unsigned form, \
                                                      bool live, emu_handler *likely)              \
    {                                                                                              \
        uint8_t count = form == BY_CL ? (uint8_t)cpu->regs[HV_RCX] : (uint8_t)op->imm;             \
                                                                                                   \
        if (form < MEM_BY_IMM) {                                                                   \
            type a = EMU_REG_GET(type, cpu, op->dst);                                              \
                                                                                                   \
            emu_reg_set_##size(cpu, op->dst, shift_##size(cpu, shift, a, count, live));            \
        } else {                                                                                   \
            EMU_WRITE_POINTER(p, (enum emu_ea_form)(form - MEM_BY_IMM), size);                     \
            EMU_GUEST(type, p) = shift_##size(cpu, shift, EMU_GUEST(type, p), count, live);        \
        }                                                                                          \
        EMU_GO_LIKELY(cpu, op + 1, likely);                                                        \
    }

SHIFT(uint8_t, 1)
SHIFT(uint16_t, 2)
SHIFT(uint32_t, 4)
SHIFT(uint64_t, 8)

#define SHIFT_ROW(name, size, form, live)                                                          \
    EMU_HANDLER h_##name##_##size##_##form##_##live(EMU_PARAMS)                                    \
    {                                                                                              \
        return shift_body_##size(EMU_PASS, SHIFT_##name, form, live,                               \
                                 EMU_NEXT(h_##name##_##size##_##form##_##live));                   \
    }
#define SHIFT_ENTRY(name, size, form, live)                                                        \
    [SHIFT_##name][size / 2 - size / 8][form][live] = h_##name##_##size##_##form##_##live,
#define SHIFT_FORMS(X, name, size, live)                                                           \
    X(name, size, 0, live)                                                                         \
    X(name, size, 1, live)                                                                         \
    X(name, size, 2, live)                                                                         \
    X(name, size, 3, live)                                                                         \
    X(name, size, 4, live)
#define SHIFT_SIZES(X, name, live)                                                                 \
    SHIFT_FORMS(X, name, 1, live)                                                                  \
    SHIFT_FORMS(X, name, 2, live)                                                                  \
    SHIFT_FORMS(X, name, 4, live)                                                                  \
    SHIFT_FORMS(X, name, 8, live)
#define SHIFT_LIVENESS(X, name) SHIFT_SIZES(X, name, 0) SHIFT_SIZES(X, name, 1)
#define SHIFT_ALL(X)                                                                               \
    SHIFT_LIVENESS(X, SHL)                                                                         \
    SHIFT_LIVENESS(X, SHR)                                                                         \
    SHIFT_LIVENESS(X, SAR)                                                                         \
    SHIFT_LIVENESS(X, ROL)                                                                         \
    SHIFT_LIVENESS(X, ROR)

SHIFT_ALL(SHIFT_ROW)
static emu_handler *const shift_handlers[N_SHIFTS][4][N_SHIFT_FORMS][2] = { SHIFT_ALL(
    SHIFT_ENTRY) };

static enum shift shift_of(unsigned mnemonic)
{
    switch (mnemonic) {
    case EMU_MN_SHL: return SHIFT_SHL;
    case EMU_MN_SHR: return SHIFT_SHR;
    case EMU_MN_SAR: return SHIFT_SAR;
    case EMU_MN_ROL: return SHIFT_ROL;
    default: return SHIFT_ROR;
    }
}

bool emu_pick_shift(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_operand *dst = &pick->insn->op[0];
    unsigned form = BY_IMM, opcode = pick->insn->opcode & 0xfe;
    enum emu_ea_form ea;

    op->imm = opcode == 0xd0 ? 1 : (int32_t)(pick->insn->imm & (dst->size == 8 ? 63 : 31));
    if (opcode == 0xd2)
        form = BY_CL;
    else if (op->imm == 0)
        return false;
    if (emu_is_reg(dst)) {
        op->dst = emu_operand_offset(dst);
    } else {
        ea = emu_pick_ea(pick, op);
        if (form == BY_CL || ea == EMU_EA_GENERAL)
            return false;
        form = MEM_BY_IMM + ea;
    }
    op->fn =
        shift_handlers[shift_of(pick->insn->mnemonic)][emu_log2(dst->size)][form][pick->flags_live];
    return true;
}

/* ---- shld, shrd of registers by an immediate or cl ---- */

#define DOUBLE_SHIFT(name, code, type, size)                                                       \
    EMU_INLINE const struct emu_op *name##_##size(EMU_PARAMS, uint8_t count)                       \
    {                                                                                              \
        type a = EMU_REG_GET(type, cpu, op->dst), b = EMU_REG_GET(type, cpu, op->src);             \
        uint32_t ax = emu_flags_get(cpu);                                                          \
                                                                                                   \
        __asm__(EMU_ASM_FLAGS_IN code " %%cl, %[b], %[a]" EMU_ASM_FLAGS_OUT                        \
                : [a] "+r"(a), "+&a"(ax)                                                           \
                : [b] "r"(b), "c"(count)                                                           \
                : "cc");                                                                           \
        emu_flags_put(cpu, (uint16_t)ax);                                                          \
        emu_reg_set_##size(cpu, op->dst, a);                                                       \
        EMU_DONE(cpu, op);                                                                         \
    }                                                                                              \
    EMU_HANDLER h_##name##_##size##_imm(EMU_PARAMS)                                                \
    {                                                                                              \
        return name##_##size(EMU_PASS, (uint8_t)op->imm);                                          \
    }                                                                                              \
    EMU_HANDLER h_##name##_##size##_cl(EMU_PARAMS)                                                 \
    {                                                                                              \
        return name##_##size(EMU_PASS, (uint8_t)cpu->regs[HV_RCX]);                                \
    }

DOUBLE_SHIFT(shld, "shld", uint32_t, 4)
DOUBLE_SHIFT(shld, "shld", uint64_t, 8)
DOUBLE_SHIFT(shrd, "shrd", uint32_t, 4)
DOUBLE_SHIFT(shrd, "shrd", uint64_t, 8)

bool emu_pick_double_shift(const struct emu_pick *pick, struct emu_op *op)
{
    static emu_handler *const handlers[2][2][2] = {
        { { h_shld_4_imm, h_shld_4_cl }, { h_shld_8_imm, h_shld_8_cl } },
        { { h_shrd_4_imm, h_shrd_4_cl }, { h_shrd_8_imm, h_shrd_8_cl } },
    };
    const struct emu_operand *dst = &pick->insn->op[0];

    if (!emu_is_reg(dst) || dst->size < 4)
        return false;
    op->dst = emu_operand_offset(dst);
    op->src = emu_operand_offset(&pick->insn->op[1]);
    op->imm = (int32_t)(pick->insn->imm & 63);
    op->fn = handlers[pick->insn->mnemonic == EMU_MN_SHRD][dst->size == 8][pick->insn->opcode & 1];
    return true;
}

/* ---- inc, dec, neg, not ---- */

enum unary { UNARY_INC, UNARY_DEC, UNARY_NEG, UNARY_NOT, N_UNARIES };
enum { UNARY_REG, UNARY_MEM, N_UNARY_FORMS = UNARY_MEM + 3 };

#define UNARY_LIVE(before, code)                                                                   \
    __asm__(before code " %[a]" EMU_ASM_CAPTURE                                                    \
            : [a] "+r"(a), "=&a"(ax)                                                               \
            : [flags] "m"(cpu->aflags)                                                             \
            : "cc")

#define UNARY(type, size)                                                                          \
    EMU_INLINE type unary_##size(struct emu_cpu *cpu, enum unary unary, type a, bool live)         \
    {                                                                                              \
        uint16_t ax;                                                                               \
                                                                                                   \
        if (unary == UNARY_NOT)                                                                    \
            return (type)~a;                                                                       \
        if (!live)                                                                                 \
            return (type)(unary == UNARY_INC ? a + 1 : unary == UNARY_DEC ? a - 1 : -a);           \
        if (unary == UNARY_INC)                                                                    \
            UNARY_LIVE(EMU_ASM_CARRY, "inc");                                                      \
        else if (unary == UNARY_DEC)                                                               \
            UNARY_LIVE(EMU_ASM_CARRY, "dec");                                                      \
        else                                                                                       \
            UNARY_LIVE("", "neg");                                                                 \
        emu_flags_put(cpu, ax);                                                                    \
        return a;                                                                                  \
    }                                                                                              \
                                                                                                   \
    EMU_INLINE const struct emu_op *unary_body_##size(EMU_PARAMS, enum unary unary, unsigned form, \
                                                      bool live, emu_handler *likely)              \
    {                                                                                              \
        if (form == UNARY_REG) {                                                                   \
            type a = EMU_REG_GET(type, cpu, op->dst);                                              \
                                                                                                   \
            emu_reg_set_##size(cpu, op->dst, unary_##size(cpu, unary, a, live));                   \
        } else {                                                                                   \
            EMU_WRITE_POINTER(p, (enum emu_ea_form)(form - UNARY_MEM), size);                      \
            EMU_GUEST(type, p) = unary_##size(cpu, unary, EMU_GUEST(type, p), live);               \
        }                                                                                          \
        EMU_GO_LIKELY(cpu, op + 1, likely);                                                        \
    }

UNARY(uint8_t, 1)
UNARY(uint16_t, 2)
UNARY(uint32_t, 4)
UNARY(uint64_t, 8)

#define UNARY_ROW(name, size, form, live)                                                          \
    EMU_HANDLER h_##name##_##size##_##form##_##live(EMU_PARAMS)                                    \
    {                                                                                              \
        return unary_body_##size(EMU_PASS, UNARY_##name, form, live,                               \
                                 EMU_NEXT(h_##name##_##size##_##form##_##live));                   \
    }
#define UNARY_ENTRY(name, size, form, live)                                                        \
    [UNARY_##name][size / 2 - size / 8][form][live] = h_##name##_##size##_##form##_##live,
#define UNARY_FORMS(X, name, size, live)                                                           \
    X(name, size, 0, live) X(name, size, 1, live) X(name, size, 2, live) X(name, size, 3, live)
#define UNARY_SIZES(X, name, live)                                                                 \
    UNARY_FORMS(X, name, 1, live)                                                                  \
    UNARY_FORMS(X, name, 2, live)                                                                  \
    UNARY_FORMS(X, name, 4, live)                                                                  \
    UNARY_FORMS(X, name, 8, live)
#define UNARY_LIVENESS(X, name) UNARY_SIZES(X, name, 0) UNARY_SIZES(X, name, 1)
#define UNARY_ALL(X)                                                                               \
    UNARY_LIVENESS(X, INC)                                                                         \
    UNARY_LIVENESS(X, DEC)                                                                         \
    UNARY_LIVENESS(X, NEG)                                                                         \
    UNARY_LIVENESS(X, NOT)

UNARY_ALL(UNARY_ROW)
static emu_handler *const unary_handlers[N_UNARIES][4][N_UNARY_FORMS][2] = { UNARY_ALL(
    UNARY_ENTRY) };

bool emu_pick_unary(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_operand *dst = &pick->insn->op[0];
    unsigned mnemonic = pick->insn->mnemonic, form = UNARY_REG;
    enum unary unary = mnemonic == EMU_MN_INC   ? UNARY_INC
                       : mnemonic == EMU_MN_DEC ? UNARY_DEC
                       : mnemonic == EMU_MN_NEG ? UNARY_NEG
                                                : UNARY_NOT;

    if (emu_is_reg(dst)) {
        op->dst = emu_operand_offset(dst);
    } else {
        enum emu_ea_form ea = emu_pick_ea(pick, op);

        if (ea == EMU_EA_GENERAL)
            return false;
        form = UNARY_MEM + ea;
    }
    op->fn = unary_handlers[unary][emu_log2(dst->size)][form][pick->flags_live];
    return true;
}
