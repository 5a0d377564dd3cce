/* SPDX-License-Identifier: Apache-2.0 */
/* Fast handlers for what kernels do all the time, in 64-bit code. */
#include "hvcore/emu/exec/system/system_priv.h"

#include "hvcore/emu/op.h"

static uint64_t next_rip(const struct emu_cpu *cpu, const struct emu_op *op)
{
    return emu_op_rip(cpu, op) + emu_op_length(op);
}

static const struct emu_op *fast_cli(EMU_PARAMS)
{
    if (HV_UNLIKELY(!emu_may_change_if(cpu)))
        return emu_op_slow(cpu, op);
    cpu->sys_flags &= ~(uint64_t)X86_IF;
    EMU_DONE_ANEW(cpu, op);
}

/* What is pending is held off by way of the run loop. What comes between here and the beginning of
 * the next instruction, which may be hlt, finds the shadow too. */
static const struct emu_op *fast_sti(EMU_PARAMS)
{
    if (HV_UNLIKELY(!emu_may_change_if(cpu)))
        return emu_op_slow(cpu, op);
    if (cpu->sys_flags & X86_IF)
        EMU_DONE_ANEW(cpu, op);
    cpu->sys_flags |= X86_IF;
    if (HV_UNLIKELY(emu_has_interrupt(cpu))) {
        cpu->shadow = EMU_SHADOW_NEXT;
        return emu_op_leave(cpu, next_rip(cpu, op));
    }
    cpu->shadow = EMU_SHADOW_AT_RIP;
    cpu->shadow_rip = next_rip(cpu, op);
    EMU_DONE_ANEW(cpu, op);
}

static const struct emu_op *fast_pushfq(EMU_PARAMS)
{
    uint64_t rsp = cpu->regs[HV_RSP] - 8;
    uint64_t *to = emu_stack_access(cpu, rsp, 8);

    if (HV_UNLIKELY(!to))
        return emu_op_slow(cpu, op);
    *to = emu_rflags(cpu) & ~(uint64_t)(X86_VM | X86_RF);
    cpu->regs[HV_RSP] = rsp;
    EMU_DONE_ANEW(cpu, op);
}

static const struct emu_op *fast_popfq(EMU_PARAMS)
{
    const uint64_t *from = emu_stack_access(cpu, cpu->regs[HV_RSP], 8);

    if (HV_UNLIKELY(!from))
        return emu_op_slow(cpu, op);
    cpu->regs[HV_RSP] += 8;
    if (HV_UNLIKELY(emu_change_rflags(cpu, *from, emu_popf_mask(cpu, 8))))
        return emu_op_leave(cpu, next_rip(cpu, op));
    EMU_DONE_ANEW(cpu, op);
}

static const struct emu_op *fast_rdtsc(EMU_PARAMS)
{
    uint64_t now;

    if (HV_UNLIKELY(cpu->cr4 & X86_CR4_TSD && cpu->cpl > 0))
        return emu_op_slow(cpu, op);
    now = emu_tsc(cpu);
    cpu->regs[HV_RAX] = (uint32_t)now;
    cpu->regs[HV_RDX] = now >> 32;
    EMU_DONE_ANEW(cpu, op);
}

static const struct emu_op *fast_rdtscp(EMU_PARAMS)
{
    if (HV_UNLIKELY(cpu->cr4 & X86_CR4_TSD && cpu->cpl > 0))
        return emu_op_slow(cpu, op);
    cpu->regs[HV_RCX] = (uint32_t)cpu->tsc_aux;
    return fast_rdtsc(EMU_PASS);
}

static uint64_t *destination(struct emu_cpu *cpu, const struct emu_op *op)
{
    return (uint64_t *)(void *)((char *)cpu + op->dst);
}

/* The page fault's address, the current address space. */
static const struct emu_op *fast_read_cr2(EMU_PARAMS)
{
    if (HV_UNLIKELY(cpu->cpl != 0))
        return emu_op_slow(cpu, op);
    *destination(cpu, op) = cpu->cr2;
    EMU_DONE_ANEW(cpu, op);
}

static const struct emu_op *fast_read_cr3(EMU_PARAMS)
{
    if (HV_UNLIKELY(cpu->cpl != 0))
        return emu_op_slow(cpu, op);
    *destination(cpu, op) = cpu->cr3;
    EMU_DONE_ANEW(cpu, op);
}

/* mov from a segment register: aux is that, imm the bits of the register that stay. */
static const struct emu_op *fast_read_segment(EMU_PARAMS)
{
    uint64_t *to = destination(cpu, op);

    *to = (*to & (uint64_t)(int64_t)op->imm) | cpu->segment[op->aux].selector;
    EMU_DONE_ANEW(cpu, op);
}

static const struct emu_op *fast_read_base(EMU_PARAMS)
{
    if (HV_UNLIKELY(!(cpu->cr4 & X86_CR4_FSGSBASE)))
        return emu_op_slow(cpu, op);
    *destination(cpu, op) = cpu->segment[op->aux].base;
    EMU_DONE_ANEW(cpu, op);
}

static const struct emu_op *fast_write_base(EMU_PARAMS)
{
    uint64_t base = emu_reg64(cpu, op->src);

    if (HV_UNLIKELY(!(cpu->cr4 & X86_CR4_FSGSBASE) || !emu_is_canonical(base)))
        return emu_op_slow(cpu, op);
    emu_set_segment_base(cpu, (enum hv_segment)op->aux, base);
    EMU_DONE_ANEW(cpu, op);
}

static const struct emu_op *fast_swapgs(EMU_PARAMS)
{
    uint64_t base = cpu->segment[HV_GS].base;

    if (HV_UNLIKELY(cpu->cpl != 0))
        return emu_op_slow(cpu, op);
    emu_set_segment_base(cpu, HV_GS, cpu->kernel_gs_base);
    cpu->kernel_gs_base = base;
    EMU_DONE_ANEW(cpu, op);
}

/* From system registers to general ones. */
static bool pick_mov(const struct emu_insn *insn, struct emu_op *op)
{
    if (insn->op[0].kind != EMU_OPD_GPR)
        return false;
    op->dst = EMU_REG_OFFSET(insn->op[0].reg);
    if (insn->op[1].kind == EMU_OPD_CR && (insn->op[1].reg == 2 || insn->op[1].reg == 3)) {
        op->fn = insn->op[1].reg == 2 ? fast_read_cr2 : fast_read_cr3;
        return true;
    }
    if (insn->op[1].kind != EMU_OPD_SEG || insn->op[1].reg >= HV_N_SEGMENTS)
        return false;
    op->aux = insn->op[1].reg;
    op->imm = insn->op_size == 2 ? ~0xffff : 0;
    op->fn = fast_read_segment;
    return true;
}

static bool pick_base(const struct emu_insn *insn, struct emu_op *op, enum hv_segment seg,
                      bool is_write)
{
    if (insn->op_size != 8)
        return false;
    op->aux = (uint8_t)seg;
    if (is_write)
        op->src = EMU_REG_OFFSET(insn->op[0].reg);
    else
        op->dst = EMU_REG_OFFSET(insn->op[0].reg);
    op->fn = is_write ? fast_write_base : fast_read_base;
    return true;
}

bool emu_pick_system(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_insn *insn = pick->insn;

    switch (insn->mnemonic) {
    case EMU_MN_CLI: op->fn = fast_cli; return true;
    case EMU_MN_STI: op->fn = fast_sti; return true;
    case EMU_MN_PUSHFQ: op->fn = fast_pushfq; return true;
    case EMU_MN_POPFQ: op->fn = fast_popfq; return true;
    case EMU_MN_RDTSC: op->fn = fast_rdtsc; return true;
    case EMU_MN_RDTSCP: op->fn = fast_rdtscp; return true;
    case EMU_MN_MOV: return pick_mov(insn, op);
    case EMU_MN_RDFSBASE: return pick_base(insn, op, HV_FS, false);
    case EMU_MN_RDGSBASE: return pick_base(insn, op, HV_GS, false);
    case EMU_MN_WRFSBASE: return pick_base(insn, op, HV_FS, true);
    case EMU_MN_WRGSBASE: return pick_base(insn, op, HV_GS, true);
    case EMU_MN_SWAPGS: op->fn = fast_swapgs; return true;
    default: return false;
    }
}
