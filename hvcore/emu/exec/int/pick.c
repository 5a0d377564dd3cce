/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing fast handlers, effective addresses for them, and what they do when a page is missed. */
#include "hvcore/emu/exec/int/fast_priv.h"
#include "hvcore/emu/system.h"

/* ---- Effective addresses ---- */

static bool is_int32(int64_t value)
{
    return value == (int32_t)value;
}

static uint8_t base_of(const struct emu_insn *insn)
{
    if (insn->is_rip_relative)
        return EMU_REG_RIP_BASE;
    return insn->base == EMU_NO_REG ? (uint8_t)EMU_REG_ZERO : insn->base;
}

/* The register that a segment override adds, or EMU_REG_ZERO. */
static uint8_t segment_base_of(const struct emu_insn *insn)
{
    return insn->seg == HV_FS   ? EMU_REG_FS_BASE
           : insn->seg == HV_GS ? EMU_REG_GS_BASE
                                : EMU_REG_ZERO;
}

enum emu_ea_form emu_pick_ea(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_insn *insn = pick->insn;
    uint8_t base = base_of(insn), segment = segment_base_of(insn);
    uint8_t index = insn->index == EMU_NO_REG ? (uint8_t)EMU_REG_ZERO : insn->index;
    int64_t disp = insn->disp;

    if (insn->is_rip_relative)
        disp += pick->offset + insn->length;
    if (insn->addr_size != 8 || !is_int32(disp))
        return EMU_EA_GENERAL;
    op->scale = insn->scale;
    if (segment != EMU_REG_ZERO) {
        if (index != EMU_REG_ZERO && base != EMU_REG_ZERO)
            return EMU_EA_GENERAL;
        if (index == EMU_REG_ZERO) {
            index = base;
            op->scale = 0;
        }
        base = segment;
    }
    op->base = EMU_REG_OFFSET(base);
    op->index = EMU_REG_OFFSET(index);
    op->disp = (int32_t)disp;
    if (index != EMU_REG_ZERO)
        return EMU_EA_INDEX;
    return base == HV_RSP ? EMU_EA_STACK : EMU_EA_BASE;
}

/* ---- Misses ---- */

const struct emu_op *emu_miss_slowly(struct emu_cpu *cpu, const struct emu_op *op, uint64_t size)
{
    if (size <= 8 && emu_fill_faulted(cpu))
        return emu_op_fault(cpu, op);
    return emu_op_slow(cpu, op);
}

const struct emu_op *emu_miss_read(struct emu_cpu *cpu, const struct emu_op *op, uint64_t linear,
                                   uint64_t size, uint64_t sp)
{
    if (!emu_fill_read(cpu, linear, size))
        return emu_miss_slowly(cpu, op, size);
    if (!emu_hits(linear, emu_tlb_slot(cpu, linear)->read_tag, size))
        return emu_op_slow(cpu, op);
    EMU_GO_WITH(cpu, op, sp);
}

static const struct emu_op *stop_here(EMU_PARAMS)
{
    return op;
}

/*
 * The page has code, but none where op writes: the cache doesn't let it pass, and may not. It does
 * for a copy of op, which ends there. A way out of the chain (NULL) is passed on.
 */
static __attribute__((noinline)) const struct emu_op *write_beside_code(struct emu_cpu *cpu,
                                                                        const struct emu_op *op,
                                                                        struct emu_tlb_entry *slot,
                                                                        uint64_t sp)
{
    struct emu_op once[2] = { *op, { .fn = stop_here } };
    uint64_t closed = slot->write_tag;
    const struct emu_op *end;

    slot->write_tag = slot->read_tag;
    end = once[0].fn(cpu, once, 0, 0, sp);
    slot->write_tag = closed;
    return end ? op + 1 : NULL;
}

const struct emu_op *emu_miss_write(struct emu_cpu *cpu, const struct emu_op *op, uint64_t linear,
                                    uint64_t size, uint64_t sp)
{
    struct emu_tlb_entry *slot = &cpu->tlb[linear >> HV_PAGE_SHIFT & (EMU_TLB_ENTRIES - 1)];

    if (!emu_fill_write(cpu, linear, size))
        return emu_miss_slowly(cpu, op, size);
    if (!emu_hits(linear, slot->write_tag, size)) {
        op = write_beside_code(cpu, op, slot, sp);
        if (!op)
            return NULL;
    }
    EMU_GO_WITH(cpu, op, sp);
}

const struct emu_op *emu_miss_stack(struct emu_cpu *cpu, const struct emu_op *op, uint64_t linear,
                                    uint64_t size, uint64_t sp)
{
    if (!emu_stack_fill(cpu, linear, size) || !emu_hits(linear, cpu->stack_page, size))
        return emu_op_slow(cpu, op);
    EMU_GO_WITH(cpu, op, sp);
}

/* ---- Families by mnemonic ---- */

/* clang-format off */
static emu_pick_fn *const pickers[EMU_N_MNEMONICS] = {
    [EMU_MN_ADC] = emu_pick_alu,
    [EMU_MN_ADD] = emu_pick_alu,
    [EMU_MN_AND] = emu_pick_alu,
    [EMU_MN_BSF] = emu_pick_scan,
    [EMU_MN_BSR] = emu_pick_scan,
    [EMU_MN_BSWAP] = emu_pick_bswap,
    [EMU_MN_BT] = emu_pick_bit,
    [EMU_MN_BTC] = emu_pick_bit,
    [EMU_MN_BTR] = emu_pick_bit,
    [EMU_MN_BTS] = emu_pick_bit,
    [EMU_MN_CALL] = emu_pick_call,
    [EMU_MN_CBW] = emu_pick_small,
    [EMU_MN_CDQ] = emu_pick_small,
    [EMU_MN_CDQE] = emu_pick_small,
    [EMU_MN_CLC] = emu_pick_small,
    [EMU_MN_CLD] = emu_pick_small,
    [EMU_MN_CMC] = emu_pick_small,
    [EMU_MN_CMOVB] = emu_pick_cmov,
    [EMU_MN_CMOVBE] = emu_pick_cmov,
    [EMU_MN_CMOVL] = emu_pick_cmov,
    [EMU_MN_CMOVLE] = emu_pick_cmov,
    [EMU_MN_CMOVNB] = emu_pick_cmov,
    [EMU_MN_CMOVNBE] = emu_pick_cmov,
    [EMU_MN_CMOVNL] = emu_pick_cmov,
    [EMU_MN_CMOVNLE] = emu_pick_cmov,
    [EMU_MN_CMOVNO] = emu_pick_cmov,
    [EMU_MN_CMOVNP] = emu_pick_cmov,
    [EMU_MN_CMOVNS] = emu_pick_cmov,
    [EMU_MN_CMOVNZ] = emu_pick_cmov,
    [EMU_MN_CMOVO] = emu_pick_cmov,
    [EMU_MN_CMOVP] = emu_pick_cmov,
    [EMU_MN_CMOVS] = emu_pick_cmov,
    [EMU_MN_CMOVZ] = emu_pick_cmov,
    [EMU_MN_CMP] = emu_pick_alu,
    [EMU_MN_CMPXCHG] = emu_pick_cmpxchg,
    [EMU_MN_CMPXCHG16B] = emu_pick_cmpxchg16b,
    [EMU_MN_CQO] = emu_pick_small,
    [EMU_MN_CWDE] = emu_pick_small,
    [EMU_MN_DEC] = emu_pick_unary,
    [EMU_MN_DIV] = emu_pick_div,
    [EMU_MN_IDIV] = emu_pick_div,
    [EMU_MN_IMUL] = emu_pick_imul,
    [EMU_MN_INC] = emu_pick_unary,
    [EMU_MN_JB] = emu_pick_jcc,
    [EMU_MN_JBE] = emu_pick_jcc,
    [EMU_MN_JL] = emu_pick_jcc,
    [EMU_MN_JLE] = emu_pick_jcc,
    [EMU_MN_JMP] = emu_pick_jmp,
    [EMU_MN_JNB] = emu_pick_jcc,
    [EMU_MN_JNBE] = emu_pick_jcc,
    [EMU_MN_JNL] = emu_pick_jcc,
    [EMU_MN_JNLE] = emu_pick_jcc,
    [EMU_MN_JNO] = emu_pick_jcc,
    [EMU_MN_JNP] = emu_pick_jcc,
    [EMU_MN_JNS] = emu_pick_jcc,
    [EMU_MN_JNZ] = emu_pick_jcc,
    [EMU_MN_JO] = emu_pick_jcc,
    [EMU_MN_JP] = emu_pick_jcc,
    [EMU_MN_JS] = emu_pick_jcc,
    [EMU_MN_JZ] = emu_pick_jcc,
    [EMU_MN_LEA] = emu_pick_lea,
    [EMU_MN_LEAVE] = emu_pick_leave,
    [EMU_MN_LFENCE] = emu_pick_small,
    [EMU_MN_LZCNT] = emu_pick_scan,
    [EMU_MN_MFENCE] = emu_pick_small,
    [EMU_MN_MOV] = emu_pick_mov,
    [EMU_MN_MOVNTI] = emu_pick_mov,
    [EMU_MN_MOVSX] = emu_pick_extend,
    [EMU_MN_MOVSXD] = emu_pick_extend,
    [EMU_MN_MOVZX] = emu_pick_extend,
    [EMU_MN_MUL] = emu_pick_mul,
    [EMU_MN_NEG] = emu_pick_unary,
    [EMU_MN_NOP] = emu_pick_small,
    [EMU_MN_NOT] = emu_pick_unary,
    [EMU_MN_OR] = emu_pick_alu,
    [EMU_MN_PAUSE] = emu_pick_small,
    [EMU_MN_POP] = emu_pick_pop,
    [EMU_MN_POPCNT] = emu_pick_scan,
    [EMU_MN_PREFETCH] = emu_pick_small,
    [EMU_MN_PREFETCHNTA] = emu_pick_small,
    [EMU_MN_PREFETCHT0] = emu_pick_small,
    [EMU_MN_PREFETCHT1] = emu_pick_small,
    [EMU_MN_PREFETCHT2] = emu_pick_small,
    [EMU_MN_PREFETCHW] = emu_pick_small,
    [EMU_MN_PUSH] = emu_pick_push,
    [EMU_MN_RET] = emu_pick_ret,
    [EMU_MN_ROL] = emu_pick_shift,
    [EMU_MN_ROR] = emu_pick_shift,
    [EMU_MN_SAR] = emu_pick_shift,
    [EMU_MN_SBB] = emu_pick_alu,
    [EMU_MN_SETB] = emu_pick_set,
    [EMU_MN_SETBE] = emu_pick_set,
    [EMU_MN_SETL] = emu_pick_set,
    [EMU_MN_SETLE] = emu_pick_set,
    [EMU_MN_SETNB] = emu_pick_set,
    [EMU_MN_SETNBE] = emu_pick_set,
    [EMU_MN_SETNL] = emu_pick_set,
    [EMU_MN_SETNLE] = emu_pick_set,
    [EMU_MN_SETNO] = emu_pick_set,
    [EMU_MN_SETNP] = emu_pick_set,
    [EMU_MN_SETNS] = emu_pick_set,
    [EMU_MN_SETNZ] = emu_pick_set,
    [EMU_MN_SETO] = emu_pick_set,
    [EMU_MN_SETP] = emu_pick_set,
    [EMU_MN_SETS] = emu_pick_set,
    [EMU_MN_SETZ] = emu_pick_set,
    [EMU_MN_SFENCE] = emu_pick_small,
    [EMU_MN_SHL] = emu_pick_shift,
    [EMU_MN_SHLD] = emu_pick_double_shift,
    [EMU_MN_SHR] = emu_pick_shift,
    [EMU_MN_SHRD] = emu_pick_double_shift,
    [EMU_MN_STC] = emu_pick_small,
    [EMU_MN_STD] = emu_pick_small,
    [EMU_MN_SUB] = emu_pick_alu,
    [EMU_MN_TEST] = emu_pick_alu,
    [EMU_MN_TZCNT] = emu_pick_scan,
    [EMU_MN_XADD] = emu_pick_xadd,
    [EMU_MN_XCHG] = emu_pick_xchg,
    [EMU_MN_XOR] = emu_pick_alu,
};
/* clang-format on */

/* With a lock prefix: the few that atomics are made of. */
static bool pick_locked(const struct emu_pick *pick, struct emu_op *op)
{
    switch (pick->insn->mnemonic) {
    case EMU_MN_XADD: return emu_pick_xadd(pick, op);
    case EMU_MN_XCHG: return emu_pick_xchg(pick, op);
    case EMU_MN_CMPXCHG: return emu_pick_cmpxchg(pick, op);
    case EMU_MN_CMPXCHG16B: return emu_pick_cmpxchg16b(pick, op);
    case EMU_MN_BTS:
    case EMU_MN_BTR:
    case EMU_MN_BTC: return emu_pick_bit(pick, op);
    default: return emu_pick_locked(pick, op);
    }
}

bool emu_pick_int(const struct emu_pick *pick, struct emu_op *op)
{
    emu_pick_fn *family = pickers[pick->insn->mnemonic];

    if (!pick->is_64bit)
        return false;
    if (pick->insn->prefixes & EMU_PFX_LOCK)
        return pick_locked(pick, op);
    if (emu_pick_fused(pick, op)) {
        op->aux = emu_duo_branch_kind(pick);
        return true;
    }
    if (!emu_pick_stack_pointer(pick, op) && !(family && family(pick, op)))
        return false;
    op->aux = emu_duo_kind(pick, op);
    if (emu_pair_up(pick, op))
        op->aux = EMU_PAIRED;
    return true;
}
