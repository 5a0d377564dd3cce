/* SPDX-License-Identifier: Apache-2.0 */
/* String instructions: one description, one engine for generic and fast forms. */
#pragma once

#include "hvcore/emu/mem.h"

enum emu_string_kind {
    EMU_STRING_MOVS,
    EMU_STRING_STOS,
    EMU_STRING_LODS,
    EMU_STRING_SCAS,
    EMU_STRING_CMPS,
};

/* REP is also repe. */
enum emu_string_repeat { EMU_STRING_ONCE, EMU_STRING_REP, EMU_STRING_REPNE };

struct emu_string {
    enum emu_string_kind kind;
    unsigned size;      /* of an element: 1, 2, 4, 8 */
    unsigned addr_size; /* 2, 4, 8 */
    uint8_t seg;        /* of the source */
    enum emu_string_repeat repeat;
};

void emu_string_of(const struct emu_insn *insn, enum emu_string_kind kind, unsigned size,
                   struct emu_string *ret);

/* EMU_NEXT, EMU_REPEAT or EMU_FAULT; whole elements are committed. */
enum emu_result emu_string_run(struct emu_cpu *cpu, const struct emu_string *string);
