/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's own processor as an oracle: start user code in a given state, stop at the first trap
 * or fault, give the state back.
 *
 * The way in and out is the kernel's signal frame: the handler of one signal puts the state into
 * the frame it returns through, the handler of the next takes it out. So nothing of the code under
 * test is trusted to come back, and all registers are reached. One thread, whole process.
 */
#pragma once

#include "hvcore/state.h"

#include <stdbool.h>

/* What both sides start from and end with. */
struct cpu_state {
    uint64_t gpr[HV_N_GPRS];
    uint64_t rip;
    uint64_t rflags;
    uint64_t fs_base, gs_base;
    uint16_t selector[HV_N_SEGMENTS]; /* out only; cs and ss are 0 */
    /* x87 and MMX as FXSAVE has them, mxcsr, xmm, then the high halves of ymm */
    _Alignas(64) uint8_t fx[512];
    uint8_t ymm_high[16][16];
};

/* How it ended. */
struct cpu_end {
    unsigned vector; /* of the exception: 1 trap, 3 int3, 6 #UD, 14 #PF ... */
    uint32_t error_code;
    uint64_t address; /* #PF: CR2 */
};

enum { CPU_CS32 = 0x23, CPU_CS64 = 0x33 };

/* Take over SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGTRAP. Returns 0 or a negative errno. */
int host_cpu_init(void);

/* Run from *state until something stops it; *state is then where it stopped. cs: CPU_CS64 or
 * CPU_CS32. */
void host_cpu_run(struct cpu_state *state, uint16_t cs, struct cpu_end *ret);
