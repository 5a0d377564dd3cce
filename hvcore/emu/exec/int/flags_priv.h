/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arithmetic flags of the guest in the host's: in, out, conditions.
 *
 * In inline assembly eax carries cpu->aflags: EMU_ASM_FLAGS_IN makes the host's six flags equal to
 * them, EMU_ASM_FLAGS_OUT stores the host's back, undefined ones included.
 */
#pragma once

#include "hvcore/emu/cpu.h"

/* al is 0 or 1: adding 0x7f overflows with 1 alone; sahf sets the other five from ah. */
#define EMU_ASM_FLAGS_IN  "add $0x7f, %%al\n\tsahf\n\t"
#define EMU_ASM_FLAGS_OUT "\n\tlahf\n\tseto %%al"

/* The same where the instruction itself needs rax: its value passes through memory (operand acc),
 * mov changes no flag. */
#define EMU_ASM_ACC_IN  EMU_ASM_FLAGS_IN "mov %[acc], %%rax\n\t"
#define EMU_ASM_ACC_OUT "\n\tmov %%rax, %[acc]\n\tlahf\n\tseto %%al\n\tmovzwl %%ax, %%eax"

enum {
    AFLAGS_CF = 0x100,
    AFLAGS_PF = 0x400,
    AFLAGS_ZF = 0x4000,
    AFLAGS_SF = 0x8000,
    AFLAGS_OF = 1
};

/* Does condition code cc (0-15, as in Jcc, SETcc, CMOVcc opcodes) hold? */
static inline bool emu_condition(uint32_t aflags, unsigned cc)
{
    bool is_less = !(aflags & AFLAGS_SF) != !(aflags & AFLAGS_OF);
    bool holds = false;

    switch (cc >> 1) {
    case 0: holds = aflags & AFLAGS_OF; break;
    case 1: holds = aflags & AFLAGS_CF; break;
    case 2: holds = aflags & AFLAGS_ZF; break;
    case 3: holds = aflags & (AFLAGS_CF | AFLAGS_ZF); break;
    case 4: holds = aflags & AFLAGS_SF; break;
    case 5: holds = aflags & AFLAGS_PF; break;
    case 6: holds = is_less; break;
    case 7: holds = is_less || (aflags & AFLAGS_ZF); break;
    }
    return holds != (cc & 1);
}
