/* SPDX-License-Identifier: Apache-2.0 */
/* Fast handlers: multiplication and division. */
#include "hvcore/emu/exec/int/fast_priv.h"

/* ---- imul with a register destination: by a register, a load, an immediate ---- */

enum { IMUL_RR, IMUL_RM, IMUL_RRI = IMUL_RM + 3, IMUL_RMI, N_IMUL_FORMS = IMUL_RMI + 3 };

#define IMUL(type, size)                                                                           \
    EMU_INLINE const struct emu_op *imul_to_##size(EMU_PARAMS, unsigned form, bool live)           \
    {                                                                                              \
        bool has_imm = form >= IMUL_RRI;                                                           \
        type a, b = has_imm ? (type)op->imm : EMU_REG_GET(type, cpu, op->dst);                     \
        uint32_t ax = emu_flags_get(cpu);                                                          \
                                                                                                   \
        if (form == IMUL_RR || form == IMUL_RRI) {                                                 \
            a = EMU_REG_GET(type, cpu, op->src);                                                   \
        } else {                                                                                   \
            EMU_READ_POINTER(p, (enum emu_ea_form)(form - (has_imm ? IMUL_RMI : IMUL_RM)), size);  \
            a = EMU_GUEST(type, p);                                                                \
        }                                                                                          \
        if (live) {                                                                                \
            __asm__(EMU_ASM_FLAGS_IN "imul %[b], %[a]" EMU_ASM_FLAGS_OUT                           \
                    : [a] "+r"(a), "+&a"(ax)                                                       \
                    : [b] "r"(b)                                                                   \
                    : "cc");                                                                       \
            emu_flags_put(cpu, (uint16_t)ax);                                                      \
        } else {                                                                                   \
            a *= b;                                                                                \
        }                                                                                          \
        emu_reg_set_##size(cpu, op->dst, a);                                                       \
        EMU_DONE(cpu, op);                                                                         \
    }

IMUL(uint32_t, 4)
IMUL(uint64_t, 8)

#define IMUL_ROW(size, form, live)                                                                 \
    EMU_HANDLER h_imul_##size##_##form##_##live(EMU_PARAMS)                                        \
    {                                                                                              \
        return imul_to_##size(EMU_PASS, form, live);                                               \
    }
#define IMUL_ENTRY(size, form, live) [size == 8][form][live] = h_imul_##size##_##form##_##live,
#define IMUL_FORMS(X, size, live)                                                                  \
    X(size, 0, live)                                                                               \
    X(size, 1, live)                                                                               \
    X(size, 2, live)                                                                               \
    X(size, 3, live)                                                                               \
    X(size, 4, live)                                                                               \
    X(size, 5, live)                                                                               \
    X(size, 6, live)                                                                               \
    X(size, 7, live)
#define IMUL_ALL(X) IMUL_FORMS(X, 4, 0) IMUL_FORMS(X, 4, 1) IMUL_FORMS(X, 8, 0) IMUL_FORMS(X, 8, 1)

IMUL_ALL(IMUL_ROW)
static emu_handler *const imul_handlers[2][N_IMUL_FORMS][2] = { IMUL_ALL(IMUL_ENTRY) };

bool emu_pick_imul(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_insn *insn = pick->insn;
    const struct emu_operand *dst = &insn->op[0], *src = &insn->op[1];
    bool has_imm = insn->n_operands == 3;
    unsigned form = has_imm ? IMUL_RRI : IMUL_RR;

    if (insn->n_operands == 1)
        return emu_pick_mul(pick, op);
    if (dst->size < 4)
        return false;
    if (src->kind == EMU_OPD_MEM) {
        enum emu_ea_form ea = emu_pick_ea(pick, op);

        if (ea == EMU_EA_GENERAL)
            return false;
        form = (has_imm ? IMUL_RMI : IMUL_RM) + ea;
    } else {
        op->src = emu_operand_offset(src);
    }
    op->dst = emu_operand_offset(dst);
    op->imm = (int32_t)insn->imm;
    op->fn = imul_handlers[dst->size == 8][form][pick->flags_live];
    return true;
}

/* ---- mul, imul, div, idiv of rdx:rax by a register or a load ---- */

/* Flags live, or left as they are by some host: both go through the host's. */
#define WIDE_EXACT(code, type)                                                                     \
    __asm__(EMU_ASM_ACC_IN code EMU_ASM_ACC_OUT                                                    \
            : "+&a"(ax), "+&d"(rdx), [acc] "+m"(cpu->regs[HV_RAX])                                 \
            : [src] "r"(src)                                                                       \
            : "cc")

#define MUL(name, bits, type, wide, size, modifier)                                                \
    EMU_INLINE const struct emu_op *name##_##size(EMU_PARAMS, type src, bool live)                 \
    {                                                                                              \
        uint64_t rdx = cpu->regs[HV_RDX];                                                          \
        uint32_t ax = emu_flags_get(cpu);                                                          \
        wide product;                                                                              \
                                                                                                   \
        if (live) {                                                                                \
            WIDE_EXACT(#name " %" modifier "[src]", type);                                         \
            cpu->regs[HV_RDX] = rdx;                                                               \
            emu_flags_put(cpu, (uint16_t)ax);                                                      \
        } else {                                                                                   \
            product = (wide)src * (wide)(type)cpu->regs[HV_RAX];                                   \
            emu_reg_set_##size(cpu, EMU_REG_OFFSET(HV_RAX), (uint##bits)product);                  \
            emu_reg_set_##size(cpu, EMU_REG_OFFSET(HV_RDX), (uint##bits)(product >> size * 8));    \
        }                                                                                          \
        EMU_DONE(cpu, op);                                                                         \
    }

MUL(mul, 32_t, uint32_t, uint64_t, 4, "k")
MUL(mul, 64_t, uint64_t, unsigned __int128, 8, "q")
MUL(imul, 32_t, int32_t, int64_t, 4, "k")
MUL(imul, 64_t, int64_t, __int128, 8, "q")

EMU_INLINE const struct emu_op *div_4(EMU_PARAMS, uint32_t src, bool live)
{
    uint64_t rdx = cpu->regs[HV_RDX];
    uint32_t ax = emu_flags_get(cpu);

    if (HV_UNLIKELY(!src || (uint32_t)rdx >= src))
        return emu_op_slow(cpu, op);
    WIDE_EXACT("div %k[src]", uint32_t);
    cpu->regs[HV_RDX] = rdx;
    emu_flags_put(cpu, (uint16_t)ax);
    EMU_DONE(cpu, op);
}

EMU_INLINE const struct emu_op *div_8(EMU_PARAMS, uint64_t src, bool live)
{
    uint64_t rdx = cpu->regs[HV_RDX];
    uint32_t ax = emu_flags_get(cpu);

    if (HV_UNLIKELY(!src || rdx >= src))
        return emu_op_slow(cpu, op);
    WIDE_EXACT("div %q[src]", uint64_t);
    cpu->regs[HV_RDX] = rdx;
    emu_flags_put(cpu, (uint16_t)ax);
    EMU_DONE(cpu, op);
}

/* Signed division whose dividend is one sign-extended register can overflow in one case only; all
 * others are looked at closely. */
EMU_INLINE const struct emu_op *idiv_4(EMU_PARAMS, int32_t src, bool live)
{
    uint64_t rdx = cpu->regs[HV_RDX];
    uint32_t ax = emu_flags_get(cpu);

    if (HV_UNLIKELY((uint32_t)src + 1 < 2 || (int32_t)rdx != (int32_t)cpu->regs[HV_RAX] >> 31))
        return emu_op_slow(cpu, op);
    WIDE_EXACT("idiv %k[src]", uint32_t);
    cpu->regs[HV_RDX] = rdx;
    emu_flags_put(cpu, (uint16_t)ax);
    EMU_DONE(cpu, op);
}

EMU_INLINE const struct emu_op *idiv_8(EMU_PARAMS, int64_t src, bool live)
{
    uint64_t rdx = cpu->regs[HV_RDX];
    uint32_t ax = emu_flags_get(cpu);

    if (HV_UNLIKELY((uint64_t)src + 1 < 2 || (int64_t)rdx != (int64_t)cpu->regs[HV_RAX] >> 63))
        return emu_op_slow(cpu, op);
    WIDE_EXACT("idiv %q[src]", uint64_t);
    cpu->regs[HV_RDX] = rdx;
    emu_flags_put(cpu, (uint16_t)ax);
    EMU_DONE(cpu, op);
}

enum { WIDE_REG, WIDE_BASE, WIDE_INDEX, N_WIDE_FORMS };

#define WIDE_ROW(name, type, size, live)                                                           \
    EMU_HANDLER h_##name##_##size##_reg_##live(EMU_PARAMS)                                         \
    {                                                                                              \
        return name##_##size(EMU_PASS, EMU_REG_GET(type, cpu, op->src), live);                     \
    }                                                                                              \
    EMU_HANDLER h_##name##_##size##_base_##live(EMU_PARAMS)                                        \
    {                                                                                              \
        EMU_READ_POINTER(p, EMU_EA_BASE, size);                                                    \
        return name##_##size(EMU_PASS, EMU_GUEST(type, p), live);                                  \
    }                                                                                              \
    EMU_HANDLER h_##name##_##size##_index_##live(EMU_PARAMS)                                       \
    {                                                                                              \
        EMU_READ_POINTER(p, EMU_EA_INDEX, size);                                                   \
        return name##_##size(EMU_PASS, EMU_GUEST(type, p), live);                                  \
    }
#define WIDE_ENTRY(name, type, size, live)                                                         \
    [WIDE_##name][size == 8][live] = { h_##name##_##size##_reg_##live,                             \
                                       h_##name##_##size##_base_##live,                            \
                                       h_##name##_##size##_index_##live },
#define WIDE_ALL(X)                                                                                \
    X(mul, uint32_t, 4, 0)                                                                         \
    X(mul, uint32_t, 4, 1)                                                                         \
    X(mul, uint64_t, 8, 0)                                                                         \
    X(mul, uint64_t, 8, 1)                                                                         \
    X(imul, int32_t, 4, 0)                                                                         \
    X(imul, int32_t, 4, 1)                                                                         \
    X(imul, int64_t, 8, 0)                                                                         \
    X(imul, int64_t, 8, 1)                                                                         \
    X(div, uint32_t, 4, 1)                                                                         \
    X(div, uint64_t, 8, 1)                                                                         \
    X(idiv, int32_t, 4, 1)                                                                         \
    X(idiv, int64_t, 8, 1)

WIDE_ALL(WIDE_ROW)

enum wide { WIDE_mul, WIDE_imul, WIDE_div, WIDE_idiv, N_WIDES };
static emu_handler *const wide_handlers[N_WIDES][2][2][N_WIDE_FORMS] = { WIDE_ALL(WIDE_ENTRY) };

static bool pick_wide(const struct emu_pick *pick, struct emu_op *op, enum wide wide, bool live)
{
    const struct emu_operand *src = &pick->insn->op[0];
    unsigned form = WIDE_REG;

    if (src->size < 4)
        return false;
    if (emu_is_reg(src)) {
        op->src = emu_operand_offset(src);
    } else {
        enum emu_ea_form ea = emu_pick_ea(pick, op);

        if (ea == EMU_EA_GENERAL)
            return false;
        form = ea == EMU_EA_INDEX ? WIDE_INDEX : WIDE_BASE;
    }
    op->fn = wide_handlers[wide][src->size == 8][live][form];
    return true;
}

bool emu_pick_mul(const struct emu_pick *pick, struct emu_op *op)
{
    return pick_wide(pick, op, pick->insn->mnemonic == EMU_MN_MUL ? WIDE_mul : WIDE_imul,
                     pick->flags_live);
}

bool emu_pick_div(const struct emu_pick *pick, struct emu_op *op)
{
    return pick_wide(pick, op, pick->insn->mnemonic == EMU_MN_DIV ? WIDE_div : WIDE_idiv, true);
}
