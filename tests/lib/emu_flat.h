/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A processor over flat fake memory, for tests of instruction families without the memory, block
 * and run parts of the emulator: linear addresses FLAT_BASE.. are bytes of an array, everything
 * else faults. Defines what mem.h and op.h declare of those parts.
 */
#pragma once

#include "hvcore/emu/op.h"

#define FLAT_BASE UINT64_C(0x7f0000400000)
enum {
    FLAT_PAGES = 4,     /* mapped; the pages around them fault */
    FLAT_READ_ONLY = 3, /* this one cannot be written */
    FLAT_BYTES = FLAT_PAGES * HV_PAGE_BYTES
};

/* Where the handlers went. */
enum flat_end { FLAT_FELL_THROUGH, FLAT_SLOW, FLAT_LEFT, FLAT_JUMPED, FLAT_INDIRECT };

struct flat {
    struct emu_cpu cpu; /* first */
    _Alignas(64) uint8_t memory[FLAT_BYTES];
    enum flat_end end;
    const struct emu_op *at; /* the record that ended it */
    uint64_t target;         /* of a branch or of leaving */
    bool no_spans;           /* emu_mem_span gives nothing */
};

struct flat *flat_new(void);
/* Registers as after reset into 64-bit mode, CPL 0; memory is kept. */
void flat_reset(struct flat *flat);
/* Decode and run in generic form; the rip of the instruction is cpu.rip. */
enum emu_result flat_exec(struct flat *flat, const struct emu_insn *insn);
/* Run handlers from op on; op[n] with fn == flat_stop ends it. */
void flat_run(struct flat *flat, const struct emu_op *op);
emu_handler flat_stop;
