/* SPDX-License-Identifier: Apache-2.0 */
/* Random instructions, with random state that makes them do something. */
#pragma once

#include "hvcore/emu/insn.h"
#include "tests/cpu/host.h"
#include "tests/cpu/random.h"

enum { CPU_CASE_MAX_BYTES = 1024, CPU_CASE_MAX_INSNS = 128 };

struct cpu_case {
    struct cpu_state state; /* rip is where the bytes go */
    uint16_t cs;
    enum emu_code_size code_size;
    unsigned n_bytes, n_insns;
    uint8_t bytes[CPU_CASE_MAX_BYTES];
    uint16_t starts[CPU_CASE_MAX_INSNS]; /* of each instruction in bytes */
};

/* What to make. mnemonic: only this one, or EMU_MN_INVALID for any. */
struct cpu_wish {
    enum emu_code_size code_size; /* EMU_CODE32 or EMU_CODE64 */
    unsigned n_insns;
    uint16_t mnemonic;
    bool has_patches; /* instructions that stores right before them replace */
    bool has_traps;   /* unmasked floating point exceptions too */
    /* private: prefixes and opcode of the last instruction of this mnemonic, by code size */
    uint8_t n_found[3], found[3][16];
};

void cpu_generate(struct random *random, struct cpu_wish *wish, struct cpu_case *ret);
