/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fast system calls, and the FS and GS bases.
 *
 * spec: AMD64 vol. 3 SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS, RDFSBASE; vol. 2, 6.1
 */
#include "hvcore/emu/exec/system/system_priv.h"

/* Flat segments, as these instructions load them without reading descriptors. */
enum {
    FLAT_CODE64 = 0xa9b,
    FLAT_CODE32 = 0xc9b,
    FLAT_DATA = 0xc93,
};

static void set_flat(struct emu_cpu *cpu, enum hv_segment seg, uint16_t selector,
                     uint16_t attributes, uint8_t cpl)
{
    cpu->segment[seg] = (struct hv_segment_register){
        .limit = UINT32_MAX,
        .selector = selector,
        .attributes = (uint16_t)(attributes | cpl << HV_SEG_DPL_SHIFT),
    };
}

static void go(struct emu_cpu *cpu, uint8_t cpl, uint64_t rip)
{
    cpu->rip = rip;
    if (cpu->code_size == EMU_CODE64 && cpu->segment[HV_CS].attributes & HV_SEG_L && !cpu->debug &&
        !(cpu->sys_flags & X86_AC_FLAG)) {
        emu_ring_changed(cpu, cpl);
    } else {
        cpu->cpl = cpl;
        emu_mode_changed(cpu);
    }
}

static bool has_syscall(const struct emu_cpu *cpu)
{
    return cpu->efer & X86_EFER_SCE && emu_is_protected(cpu);
}

enum emu_result emu_exec_syscall(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint16_t selector = (uint16_t)(cpu->star >> 32 & SEL_INDEX_TI);
    uint64_t next = emu_next_rip(cpu, insn), rip;

    if (!has_syscall(cpu))
        return emu_ud(cpu);
    cpu->regs[HV_RCX] = next;
    if (emu_is_long(cpu)) {
        uint64_t flags = emu_rflags(cpu) & ~(uint64_t)X86_RF;

        cpu->regs[HV_R11] = flags;
        rip = cpu->code_size == EMU_CODE64 ? cpu->lstar : cpu->cstar;
        emu_set_rflags(cpu, flags & ~cpu->sfmask);
        set_flat(cpu, HV_CS, selector, FLAT_CODE64, 0);
    } else {
        rip = (uint32_t)cpu->star;
        cpu->sys_flags &= ~(uint64_t)(X86_IF | X86_VM | X86_RF);
        set_flat(cpu, HV_CS, selector, FLAT_CODE32, 0);
    }
    set_flat(cpu, HV_SS, (uint16_t)(selector + 8), FLAT_DATA, 0);
    go(cpu, 0, rip);
    /* A TF that SFMASK clears doesn't trap here; sysret's does, as if behind the syscall. */
    cpu->no_step = !(cpu->sys_flags & X86_TF);
    return EMU_BRANCH;
}

/*
 * SS gets all its attributes, as on Intel: on AMD's processors only the selector and the DPL are
 * loaded, which kernels work around by never leaving a null SS here; nobody depends on it. As on
 * AMD's, a non-canonical rcx faults in user mode, at the target.
 */
enum emu_result emu_exec_sysret(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint16_t selector = (uint16_t)(cpu->star >> 48);

    if (!has_syscall(cpu))
        return emu_ud(cpu);
    if (cpu->cpl != 0)
        return emu_gp0(cpu);
    if (emu_is_long(cpu)) {
        uint64_t flags = cpu->regs[HV_R11] & ~(uint64_t)(X86_RF | X86_VM);

        emu_set_rflags(cpu, flags);
    } else {
        cpu->sys_flags |= X86_IF;
    }
    if (insn->op_size == 8)
        set_flat(cpu, HV_CS, (uint16_t)((selector + 16) | 3), FLAT_CODE64, 3);
    else
        set_flat(cpu, HV_CS, selector | 3, FLAT_CODE32, 3);
    set_flat(cpu, HV_SS, (uint16_t)((selector + 8) | 3), FLAT_DATA, 3);
    go(cpu, 3, insn->op_size == 8 ? cpu->regs[HV_RCX] : (uint32_t)cpu->regs[HV_RCX]);
    if (HV_UNLIKELY(cpu->sys_flags & X86_TF)) {
        cpu->no_step = 1;
        return emu_deliver_debug(cpu, true);
    }
    emu_look_at_interrupts(cpu);
    return EMU_BRANCH;
}

/* SYSENTER doesn't exist in long mode on AMD's processors; the vendor string decides. */
static bool has_sysenter(struct emu_cpu *cpu)
{
    const struct emu_bus *bus = emu_bus_of(cpu);
    uint32_t regs[4];

    if (!emu_is_long(cpu))
        return true;
    bus->cpuid(bus->opaque, cpu->index, 0, 0, regs);
    return regs[1] == 0x756e6547; /* "Genu" */
}

enum emu_result emu_exec_sysenter(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint16_t selector = (uint16_t)(cpu->sysenter_cs & SEL_INDEX_TI);
    bool is_long = emu_is_long(cpu);

    (void)insn;
    if (!has_sysenter(cpu))
        return emu_ud(cpu);
    if (!(cpu->cr0 & X86_CR0_PE) || selector == 0)
        return emu_gp0(cpu);
    cpu->sys_flags &= ~(uint64_t)(X86_VM | X86_IF | X86_RF);
    set_flat(cpu, HV_CS, selector, is_long ? FLAT_CODE64 : FLAT_CODE32, 0);
    set_flat(cpu, HV_SS, (uint16_t)(selector + 8), FLAT_DATA, 0);
    cpu->regs[HV_RSP] = is_long ? cpu->sysenter_esp : (uint32_t)cpu->sysenter_esp;
    go(cpu, 0, is_long ? cpu->sysenter_eip : (uint32_t)cpu->sysenter_eip);
    return EMU_BRANCH;
}

enum emu_result emu_exec_sysexit(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint16_t selector = (uint16_t)(cpu->sysenter_cs & SEL_INDEX_TI);
    uint64_t rip = cpu->regs[HV_RDX], rsp = cpu->regs[HV_RCX];
    bool is_64bit = insn->op_size == 8;

    if (!has_sysenter(cpu))
        return emu_ud(cpu);
    if (!(cpu->cr0 & X86_CR0_PE) || selector == 0 || cpu->cpl != 0)
        return emu_gp0(cpu);
    if (is_64bit && (!emu_is_canonical(rip) || !emu_is_canonical(rsp)))
        return emu_gp0(cpu);
    selector = (uint16_t)(selector + (is_64bit ? 32 : 16));
    set_flat(cpu, HV_CS, selector | 3, is_64bit ? FLAT_CODE64 : FLAT_CODE32, 3);
    set_flat(cpu, HV_SS, (uint16_t)((selector + 8) | 3), FLAT_DATA, 3);
    cpu->regs[HV_RSP] = is_64bit ? rsp : (uint32_t)rsp;
    go(cpu, 3, is_64bit ? rip : (uint32_t)rip);
    return EMU_BRANCH;
}

enum emu_result emu_exec_swapgs(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t base = cpu->segment[HV_GS].base;

    (void)insn;
    if (cpu->code_size != EMU_CODE64)
        return emu_ud(cpu);
    if (cpu->cpl != 0)
        return emu_gp0(cpu);
    emu_set_segment_base(cpu, HV_GS, cpu->kernel_gs_base);
    cpu->kernel_gs_base = base;
    return EMU_NEXT;
}

static bool has_fsgsbase(const struct emu_cpu *cpu)
{
    return cpu->code_size == EMU_CODE64 && cpu->cr4 & X86_CR4_FSGSBASE;
}

enum emu_result emu_exec_rdfsgsbase(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    enum hv_segment seg = insn->mnemonic == EMU_MN_RDFSBASE ? HV_FS : HV_GS;

    if (!has_fsgsbase(cpu))
        return emu_ud(cpu);
    emu_gpr_set(cpu, insn->op[0].reg, insn->op_size, cpu->segment[seg].base);
    return EMU_NEXT;
}

enum emu_result emu_exec_wrfsgsbase(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    enum hv_segment seg = insn->mnemonic == EMU_MN_WRFSBASE ? HV_FS : HV_GS;
    uint64_t base;

    if (!has_fsgsbase(cpu))
        return emu_ud(cpu);
    base = emu_gpr_get(cpu, insn->op[0].reg, insn->op_size);
    if (!emu_is_canonical(base))
        return emu_gp0(cpu);
    emu_set_segment_base(cpu, seg, base);
    return EMU_NEXT;
}
