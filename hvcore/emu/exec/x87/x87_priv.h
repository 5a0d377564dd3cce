/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of this room. */
#pragma once

#include "hvcore/emu/fpu/fpu_priv.h"
#include "hvcore/emu/op.h"
#include "hvcore/emu/operand.h"

enum x87_kind {
    X87_KIND_NONE,
    X87_KIND_LOAD,
    X87_KIND_STORE,
    X87_KIND_FIXED,
    X87_KIND_FLAGS_OUT,
    X87_KIND_FLAGS_IN
};

enum { X87_STRIDE = 4, X87_NO_FORM = 0 };

struct x87_row {
    uint8_t kind;
    uint8_t reg;                     /* 0xff: no memory form */
    uint8_t escape, modrm, reversed; /* 0: no such form */
};

extern const struct x87_row x87_rows[EMU_N_MNEMONICS];

/* What to run, and the opcode that FXSAVE and its kin show (bits 0-10). */
struct x87_form {
    const void *thunk;
    uint16_t fop;
    bool is_memory;
};

struct x87_form x87_form_of(const struct emu_insn *insn);

uint32_t x87_call(void *memory, const void *thunk, uint32_t flags);

/* Has the guest unmasked an x87 exception? Then instructions take the careful way. */
static inline bool x87_unmasked(const struct emu_cpu *cpu)
{
    return (cpu->fpu->cw & X87_EXCEPTIONS) != X87_EXCEPTIONS;
}

/* May an x87 instruction run? A waiting one meets pending exceptions. False: cpu->fault is set. */
bool x87_ready(struct emu_cpu *cpu, bool is_waiting);

/* environment.c */
emu_exec_fn x87_exec_stenv, x87_exec_ldenv, x87_exec_save, x87_exec_restore;

/* fast.c: a fast handler for 64-bit code, or false */
bool x87_pick(const struct emu_pick *pick, struct emu_op *op);
