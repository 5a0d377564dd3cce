/* SPDX-License-Identifier: Apache-2.0 */
/* Model specific registers: those the processor holds itself, the LAPIC's, and the bus's. */
#include "hvcore/emu/exec/system/system_priv.h"

enum {
    MSR_TSC = 0x10,
    MSR_TSC_ADJUST = 0x3b,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176,
    MSR_PAT = 0x277,
};
#define MSR_EFER           UINT32_C(0xc0000080)
#define MSR_STAR           UINT32_C(0xc0000081)
#define MSR_LSTAR          UINT32_C(0xc0000082)
#define MSR_CSTAR          UINT32_C(0xc0000083)
#define MSR_SFMASK         UINT32_C(0xc0000084)
#define MSR_FS_BASE        UINT32_C(0xc0000100)
#define MSR_GS_BASE        UINT32_C(0xc0000101)
#define MSR_KERNEL_GS_BASE UINT32_C(0xc0000102)
#define MSR_TSC_AUX        UINT32_C(0xc0000103)

/* Registers that are nothing but a value with a rule. */
enum rule { RULE_ANY, RULE_CANONICAL, RULE_32BIT };

static const struct plain {
    uint32_t msr;
    uint32_t offset; /* in struct emu_cpu */
    enum rule rule;
} plain_msrs[] = {
    { MSR_KERNEL_GS_BASE, offsetof(struct emu_cpu, kernel_gs_base), RULE_CANONICAL },
    { MSR_STAR, offsetof(struct emu_cpu, star), RULE_ANY },
    { MSR_LSTAR, offsetof(struct emu_cpu, lstar), RULE_CANONICAL },
    { MSR_CSTAR, offsetof(struct emu_cpu, cstar), RULE_CANONICAL },
    { MSR_SFMASK, offsetof(struct emu_cpu, sfmask), RULE_32BIT },
    { MSR_TSC_AUX, offsetof(struct emu_cpu, tsc_aux), RULE_32BIT },
    { MSR_SYSENTER_CS, offsetof(struct emu_cpu, sysenter_cs), RULE_ANY },
    { MSR_SYSENTER_ESP, offsetof(struct emu_cpu, sysenter_esp), RULE_CANONICAL },
    { MSR_SYSENTER_EIP, offsetof(struct emu_cpu, sysenter_eip), RULE_CANONICAL },
};

static const struct plain *find_plain(uint32_t msr)
{
    for (unsigned i = 0; i < HV_ARRAY_SIZE(plain_msrs); i++)
        if (plain_msrs[i].msr == msr)
            return &plain_msrs[i];
    return NULL;
}

static uint64_t *plain_value(struct emu_cpu *cpu, const struct plain *plain)
{
    return (uint64_t *)(void *)((char *)cpu + plain->offset);
}

/* Each byte of the page attribute table holds a memory type: UC WC WT WP WB UC-. */
static bool is_pat_valid(uint64_t value)
{
    for (unsigned i = 0; i < 8; i++, value >>= 8) {
        unsigned type = value & 0xff;

        if (type > 7 || type == 2 || type == 3)
            return false;
    }
    return true;
}

static void write_tsc(struct emu_cpu *cpu, uint64_t value)
{
    cpu->tsc_offset += value - emu_tsc(cpu);
    if (cpu->lapic)
        x86_lapic_set_tsc_offset(cpu->lapic, cpu->tsc_offset);
}

static bool read_msr(struct emu_cpu *cpu, uint32_t msr, uint64_t *ret)
{
    const struct emu_bus *bus = emu_bus_of(cpu);
    const struct plain *plain;

    if (x86_lapic_owns_msr(msr) && cpu->lapic)
        return x86_lapic_msr_read(cpu->lapic, msr, ret);
    switch (msr) {
    case MSR_TSC: *ret = emu_tsc(cpu); return true;
    case MSR_PAT: *ret = cpu->pat; return true;
    case MSR_EFER: *ret = cpu->efer; return true;
    case MSR_FS_BASE: *ret = cpu->segment[HV_FS].base; return true;
    case MSR_GS_BASE: *ret = cpu->segment[HV_GS].base; return true;
    default: break;
    }
    plain = find_plain(msr);
    if (plain) {
        *ret = *plain_value(cpu, plain);
        return true;
    }
    return bus->msr_read && bus->msr_read(bus->opaque, cpu->index, msr, ret);
}

enum emu_result emu_exec_rdmsr(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t value = 0;

    (void)insn;
    if (cpu->cpl != 0 || !read_msr(cpu, (uint32_t)cpu->regs[HV_RCX], &value))
        return emu_gp0(cpu);
    cpu->regs[HV_RAX] = (uint32_t)value;
    cpu->regs[HV_RDX] = value >> 32;
    return cpu->is_idle ? EMU_HALT : EMU_NEXT;
}

static bool write_plain(struct emu_cpu *cpu, const struct plain *plain, uint64_t value)
{
    if ((plain->rule == RULE_CANONICAL && !emu_is_canonical(value)) ||
        (plain->rule == RULE_32BIT && value >> 32))
        return false;
    *plain_value(cpu, plain) = value;
    return true;
}

static bool write_base(struct emu_cpu *cpu, enum hv_segment seg, uint64_t value)
{
    if (!emu_is_canonical(value))
        return false;
    emu_set_segment_base(cpu, seg, value);
    return true;
}

static bool write_msr(struct emu_cpu *cpu, uint32_t msr, uint64_t value)
{
    const struct emu_bus *bus = emu_bus_of(cpu);
    const struct plain *plain;

    switch (msr) {
    case MSR_TSC: write_tsc(cpu, value); return true;
    case MSR_PAT:
        if (!is_pat_valid(value))
            return false;
        cpu->pat = value;
        return true;
    case MSR_FS_BASE: return write_base(cpu, HV_FS, value);
    case MSR_GS_BASE: return write_base(cpu, HV_GS, value);
    default: break;
    }
    plain = find_plain(msr);
    if (plain)
        return write_plain(cpu, plain, value);
    return bus->msr_write && bus->msr_write(bus->opaque, cpu->index, msr, value);
}

enum emu_result emu_exec_wrmsr(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t value = (uint32_t)cpu->regs[HV_RAX] | cpu->regs[HV_RDX] << 32;
    uint32_t msr = (uint32_t)cpu->regs[HV_RCX];

    (void)insn;
    if (cpu->cpl != 0)
        return emu_gp0(cpu);
    if (x86_lapic_owns_msr(msr) && cpu->lapic) {
        if (!x86_lapic_msr_write(cpu->lapic, msr, value))
            return emu_gp0(cpu);
        emu_look_at_interrupts(cpu); /* an EOI or a lower TPR lets the next one through */
        return EMU_NEXT;
    }
    if (msr == MSR_EFER)
        return emu_write_efer(cpu, value) ? EMU_LEAVE : EMU_FAULT;
    return write_msr(cpu, msr, value) ? EMU_NEXT : emu_gp0(cpu);
}

/* The performance counters of AMD's first design, should the bus have them. */
enum emu_result emu_exec_rdpmc(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint32_t counter = (uint32_t)cpu->regs[HV_RCX];
    uint64_t value = 0;

    (void)insn;
    if ((cpu->cpl != 0 && !(cpu->cr4 & X86_CR4_PCE)) || counter > 3 ||
        !read_msr(cpu, UINT32_C(0xc0010004) + counter, &value))
        return emu_gp0(cpu);
    cpu->regs[HV_RAX] = (uint32_t)value;
    cpu->regs[HV_RDX] = value >> 32 & 0xffff;
    return EMU_NEXT;
}
