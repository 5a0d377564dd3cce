/* SPDX-License-Identifier: Apache-2.0 */
/* The state after reset and INIT, and the start of an application processor. */
#include "hvcore/emu/exec/system/system_priv.h"

#define RESET_CR0 UINT64_C(0x60000010)
#define RESET_PAT UINT64_C(0x0007040600070406)

static void reset_segments(struct emu_cpu *cpu)
{
    for (unsigned seg = 0; seg < HV_N_SEGMENTS; seg++) {
        cpu->segment[seg] = (struct hv_segment_register){ .limit = UINT16_MAX, .attributes = 0x93 };
        emu_set_segment_base(cpu, seg, 0);
    }
    cpu->segment[HV_CS] = (struct hv_segment_register){
        .base = 0xffff0000, .limit = UINT16_MAX, .selector = 0xf000, .attributes = 0x9b
    };
    cpu->ldtr = (struct hv_segment_register){ .limit = UINT16_MAX, .attributes = 0x82 };
    cpu->tr = (struct hv_segment_register){ .limit = UINT16_MAX, .attributes = 0x8b };
    cpu->gdtr = (struct hv_table_register){ .limit = UINT16_MAX };
    cpu->idtr = (struct hv_table_register){ .limit = UINT16_MAX };
}

/* What INIT leaves alone. */
static void reset_msrs(struct emu_cpu *cpu)
{
    cpu->star = cpu->lstar = cpu->cstar = cpu->sfmask = cpu->kernel_gs_base = 0;
    cpu->sysenter_cs = cpu->sysenter_esp = cpu->sysenter_eip = 0;
    cpu->tsc_aux = 0;
    cpu->pat = RESET_PAT;
    cpu->xcr0 = 1;
}

void emu_reset(struct emu_cpu *cpu, bool is_power_on)
{
    const struct emu_bus *bus = emu_bus_of(cpu);
    uint32_t regs[4] = { 0 };

    if (bus->cpuid)
        bus->cpuid(bus->opaque, cpu->index, 1, 0, regs);
    memset(cpu->regs, 0, HV_N_GPRS * sizeof(cpu->regs[0]));
    cpu->regs[EMU_REG_ZERO] = 0;
    cpu->regs[HV_RDX] = regs[0];
    cpu->rip = 0xfff0;
    emu_set_rflags(cpu, 2);
    reset_segments(cpu);
    /* INIT keeps the cache controls. */
    cpu->cr0 = is_power_on
                   ? RESET_CR0
                   : X86_CR0_ET | (cpu->cr0 & ((uint64_t)X86_CR0_CD | (uint64_t)X86_CR0_NW));
    cpu->cr2 = cpu->cr3 = cpu->cr4 = cpu->efer = 0;
    memset(cpu->dr, 0, sizeof(cpu->dr));
    cpu->dr6 = 0xffff0ff0;
    cpu->dr7 = 0x400;
    cpu->debug_hits = 0;
    cpu->cpl = 0;
    cpu->shadow = 0;
    cpu->nmi_blocked = 0;
    if (is_power_on)
        reset_msrs(cpu);
    emu_tlb_flush_all(cpu);
    emu_mode_changed(cpu);
}

void emu_sipi(struct emu_cpu *cpu, uint8_t vector)
{
    cpu->segment[HV_CS].selector = (uint16_t)(vector << 8);
    cpu->segment[HV_CS].base = (uint64_t)vector << 12;
    cpu->rip = 0;
    emu_mode_changed(cpu);
}
