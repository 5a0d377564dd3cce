/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operands of generic instructions: effective addresses, segment rules, loads and stores.
 *
 * Every function that can fault returns false with cpu->fault set and nothing changed.
 */
#pragma once

#include "hvcore/emu/mem.h"

/* The offset of insn's memory operand in its segment, cut to the address size. Never faults. */
uint64_t emu_offset(const struct emu_cpu *cpu, const struct emu_insn *insn);

/*
 * Linear address of `offset` in a segment, with the checks of the mode: limit, type, present
 * (#GP(0), #SS(0)) outside 64-bit mode; in 64-bit mode canonical form is checked at the access.
 */
bool emu_linear(struct emu_cpu *cpu, uint8_t seg, uint64_t offset, unsigned size, bool is_write,
                uint64_t *ret);

/* Linear address of insn's memory operand, checked for `size` bytes. */
bool emu_operand_linear(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned size,
                        bool is_write, uint64_t *ret);

/* Integer operands of 1, 2, 4, 8 bytes: GPR, GPR_HIGH, MEM, IMM, SEG; n counts from 0. Loads are
 * zero-extended (immediates come as the instruction uses them). A 4-byte GPR store clears the upper
 * half; 1 and 2 byte stores keep the rest. */
bool emu_load(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned n, uint64_t *ret);
bool emu_store(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned n, uint64_t value);

/* Read-modify-write of operand n, register or memory, honouring the lock prefix. */
bool emu_operand_rmw_begin(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned n,
                           struct emu_rmw *rmw);
void emu_operand_rmw_end(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned n,
                         struct emu_rmw *rmw);

/* Registers by size. */
uint64_t emu_gpr_get(const struct emu_cpu *cpu, unsigned reg, unsigned size);
void emu_gpr_set(struct emu_cpu *cpu, unsigned reg, unsigned size, uint64_t value);

/* Push and pop by insn->stack_size or an explicit size, in the stack's own address size; rsp moves
 * after the access. */
bool emu_push(struct emu_cpu *cpu, unsigned size, uint64_t value);
bool emu_pop(struct emu_cpu *cpu, unsigned size, uint64_t *ret);

/* Memory operand of vector and x87 instructions into or out of a private buffer. align: 0, or
 * 16/32: a misaligned address is #GP(0). */
bool emu_load_bytes(struct emu_cpu *cpu, const struct emu_insn *insn, void *ret, unsigned size,
                    unsigned align);
bool emu_store_bytes(struct emu_cpu *cpu, const struct emu_insn *insn, const void *from,
                     unsigned size, unsigned align);
