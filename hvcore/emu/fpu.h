/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Floating point and vector state.
 *
 * xmm and ymm registers live in cpu->vec always. x87/MMX registers, control, status and tag word
 * live in the host's registers while the VP is between emu_fpu_load and emu_fpu_unload (its thread
 * runs no other x87 code then: hvcore and handlers never use x87 or long double), with all x87
 * exceptions masked in the host's control word; the guest's own control word is kept apart. The
 * host's MXCSR holds the guest's rounding, FTZ and DAZ with all exceptions masked.
 */
#pragma once

#include "hvcore/emu/cpu.h"

/* Allocate cpu->fpu. Returns 0 or -ENOMEM. */
int emu_fpu_new(struct emu_cpu *cpu);
void emu_fpu_free(struct emu_cpu *cpu);

/* Around emu_cpu_run, and around anything in it that may use x87 or change MXCSR. */
void emu_fpu_load(struct emu_cpu *cpu);
void emu_fpu_unload(struct emu_cpu *cpu);

/* State after reset or INIT (which keeps vectors and x87 registers); not loaded. */
void emu_fpu_reset(struct emu_cpu *cpu, bool is_power_on);

/* Recompute cpu->fp_trap after CR0 has changed. */
static inline void emu_fpu_mode_changed(struct emu_cpu *cpu)
{
    cpu->fp_trap = (uint8_t)((cpu->fp_trap & 2) | ((cpu->cr0 & (X86_CR0_EM | X86_CR0_TS)) != 0));
}

/* The standard XSAVE image (x87, SSE, AVX) of HV_XSAVE_BYTES; not loaded. set returns 0 or -EINVAL.
 */
void emu_fpu_get_xsave(struct emu_cpu *cpu, uint8_t *ret);
int emu_fpu_set_xsave(struct emu_cpu *cpu, const uint8_t *from);
