/* SPDX-License-Identifier: Apache-2.0 */
/* RFLAGS: pushf and popf, the interrupt flag, AC; and hlt. */
#include "hvcore/emu/exec/system/system_priv.h"

bool emu_has_interrupt(struct emu_cpu *cpu)
{
    if (cpu->nmi_pending && !cpu->nmi_blocked)
        return true;
    return cpu->sys_flags & X86_IF && cpu->lapic && x86_lapic_is_deliverable(cpu->lapic);
}

void emu_look_at_interrupts(struct emu_cpu *cpu)
{
    if (cpu->sys_flags & X86_TF || emu_has_interrupt(cpu))
        atomic_fetch_or(&cpu->request, EMU_REQ_INTERRUPT);
}

bool emu_change_rflags(struct emu_cpu *cpu, uint64_t value, uint64_t mask)
{
    uint64_t old = emu_rflags(cpu), new = (old & ~mask) | (value & mask), changed = old ^ new;

    emu_set_rflags(cpu, new & ~(uint64_t)X86_RF);
    if (changed & X86_AC_FLAG)
        emu_mode_changed(cpu);
    if (changed & (X86_AC_FLAG | X86_TF))
        return true;
    return changed & new &X86_IF &&emu_has_interrupt(cpu);
}

/* IOPL-sensitive instructions in virtual-8086 mode go to its monitor. */
static bool is_barred_v86(const struct emu_cpu *cpu)
{
    return emu_is_v86(cpu) && emu_iopl(cpu) < 3;
}

static unsigned flags_size(const struct emu_insn *insn)
{
    switch (insn->mnemonic) {
    case EMU_MN_PUSHFQ:
    case EMU_MN_POPFQ: return 8;
    case EMU_MN_PUSHFD:
    case EMU_MN_POPFD: return 4;
    default: return 2;
    }
}

enum emu_result emu_exec_pushf(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (is_barred_v86(cpu))
        return emu_gp0(cpu);
    if (!emu_push(cpu, flags_size(insn), emu_rflags(cpu) & ~(uint64_t)(X86_VM | X86_RF)))
        return EMU_FAULT;
    return EMU_NEXT;
}

uint64_t emu_popf_mask(const struct emu_cpu *cpu, unsigned size)
{
    uint64_t mask = EMU_ARITH_FLAGS | EMU_DF | X86_TF | X86_NT;

    if (size > 2)
        mask |= X86_AC_FLAG | X86_ID;
    if (emu_is_v86(cpu))
        return mask | X86_IF;
    if (cpu->cpl == 0)
        return mask | X86_IF | X86_IOPL;
    return cpu->cpl <= emu_iopl(cpu) ? mask | X86_IF : mask;
}

enum emu_result emu_exec_popf(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned size = flags_size(insn);
    uint64_t value;

    if (is_barred_v86(cpu))
        return emu_gp0(cpu);
    if (!emu_pop(cpu, size, &value))
        return EMU_FAULT;
    return emu_change_rflags(cpu, value, emu_popf_mask(cpu, size)) ? EMU_LEAVE : EMU_NEXT;
}

bool emu_may_change_if(const struct emu_cpu *cpu)
{
    return cpu->cpl <= emu_iopl(cpu);
}

enum emu_result emu_exec_cli(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    (void)insn;
    if (!emu_may_change_if(cpu))
        return emu_gp0(cpu);
    cpu->sys_flags &= ~(uint64_t)X86_IF;
    return EMU_NEXT;
}

/* The shadow matters only when there is something to hold off: what arrives later finds the next
 * instruction begun. */
enum emu_result emu_exec_sti(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    (void)insn;
    if (!emu_may_change_if(cpu))
        return emu_gp0(cpu);
    if (cpu->sys_flags & X86_IF)
        return EMU_NEXT;
    cpu->sys_flags |= X86_IF;
    cpu->shadow = 1;
    return EMU_LEAVE;
}

static enum emu_result set_ac(struct emu_cpu *cpu, bool value)
{
    if (cpu->cpl != 0 || !(cpu->cr0 & X86_CR0_PE) || !emu_has_feature(cpu, 7, 1, 20))
        return emu_ud(cpu);
    if (value)
        cpu->sys_flags |= X86_AC_FLAG;
    else
        cpu->sys_flags &= ~(uint64_t)X86_AC_FLAG;
    emu_mode_changed(cpu);
    return EMU_NEXT;
}

enum emu_result emu_exec_clac(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    (void)insn;
    return set_ac(cpu, false);
}

enum emu_result emu_exec_stac(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    (void)insn;
    return set_ac(cpu, true);
}

enum emu_result emu_exec_hlt(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    (void)insn;
    return cpu->cpl == 0 ? EMU_HALT : emu_gp0(cpu);
}
