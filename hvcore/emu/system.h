/* SPDX-License-Identifier: Apache-2.0 */
/* Segmentation, delivery of exceptions and interrupts, control registers: what the run loop and
 * other families need of the system family. */
#pragma once

#include "hvcore/emu/mem.h"

/* Load a segment register by selector with all checks of the mode (not CS). */
bool emu_load_segment(struct emu_cpu *cpu, enum hv_segment seg, uint16_t selector);

/* Keep segment[].base and the pseudo register together. */
static inline void emu_set_segment_base(struct emu_cpu *cpu, enum hv_segment seg, uint64_t base)
{
    cpu->segment[seg].base = base;
    if (seg == HV_FS)
        cpu->regs[EMU_REG_FS_BASE] = base;
    else if (seg == HV_GS)
        cpu->regs[EMU_REG_GS_BASE] = base;
}

/*
 * Deliver cpu->fault as an exception of the instruction at cpu->rip: sets CR2, handles #DF and
 * shutdown. On return rip, cs, ss, rsp, flags are the handler's. Returns EMU_BRANCH or
 * EMU_SHUTDOWN.
 */
enum emu_result emu_deliver_fault(struct emu_cpu *cpu);

/* Deliver an external interrupt or NMI at an instruction boundary (cpu->rip is the return address);
 * a fault on the way is delivered in its place. */
enum emu_result emu_deliver_interrupt(struct emu_cpu *cpu, uint8_t vector);

/* #DB behind an instruction, for what stands in cpu->debug_hits and, with is_step, for TF; sets the
 * bits of DR6. */
enum emu_result emu_deliver_debug(struct emu_cpu *cpu, bool is_step);

/* The kinds of breakpoints that DR7 enables, and alignment checks that CR0 and RFLAGS ask for. */
uint8_t emu_debug_kinds(const struct emu_cpu *cpu);
/* Data of the guest is to be accessed, while EMU_DEBUG_ALIGNMENT is set: false with #AC. */
bool emu_debug_is_aligned(struct emu_cpu *cpu, uint64_t linear, unsigned size);
/* It has been accessed, while EMU_DEBUG_DATA is set. */
void emu_debug_access(struct emu_cpu *cpu, uint64_t linear, unsigned size, bool is_write);
void emu_debug_port(struct emu_cpu *cpu, uint16_t port, unsigned size);
/* Is there an instruction breakpoint? Then #DB stands in cpu->fault. */
bool emu_debug_fetch(struct emu_cpu *cpu, uint64_t linear);

/* Put the processor into its state after INIT (is_power_on: after reset); AMD64 vol. 2, 14.1. */
void emu_reset(struct emu_cpu *cpu, bool is_power_on);
/* Start-up IPI: real mode at vector << 12. */
void emu_sipi(struct emu_cpu *cpu, uint8_t vector);

/* Control registers with their checks; true, or false with cpu->fault set. Flush as needed. */
bool emu_write_cr0(struct emu_cpu *cpu, uint64_t value);
bool emu_write_cr3(struct emu_cpu *cpu, uint64_t value);
bool emu_write_cr4(struct emu_cpu *cpu, uint64_t value);
bool emu_write_efer(struct emu_cpu *cpu, uint64_t value);

/* Has emu_fill_read or emu_fill_write, which just gave NULL, met a page fault, and is that all that
 * the access does? Then it stands in cpu->fault. */
bool emu_fill_faulted(struct emu_cpu *cpu);
/* The chain's end at op, a record of a 64-bit block, with cpu->fault. */
const struct emu_op *emu_op_fault(struct emu_cpu *cpu, const struct emu_op *op);

/* The guest's TSC now. */
uint64_t emu_tsc(const struct emu_cpu *cpu);
