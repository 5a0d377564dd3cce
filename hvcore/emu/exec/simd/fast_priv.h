/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fast handlers of this room share. In their records:
 *   dst, aux, src  numbers of vector registers (general registers as EMU_REG_OFFSET says):
 *                  destination, first source, last source
 *   base, index, scale, disp  as emu_pick_ea left them
 *   imm            bits 0-15 offset of the trap byte in struct emu_cpu, 16-23 alignment - 1 of a
 *                  memory operand, 24-29 its size, 30 VEX: the upper half of ymm is cleared
 *   imm64          the thunk or a count
 */
#pragma once

#include "hvcore/emu/exec/simd/simd_priv.h"

/* Memory of the guest, as vectors at any address. */
typedef long long simd_u128 __attribute__((vector_size(16), aligned(1), may_alias));
typedef long long simd_u256 __attribute__((vector_size(32), aligned(1), may_alias));
/* Registers in struct emu_cpu, which are aligned. */
typedef long long simd_a128 __attribute__((vector_size(16), may_alias));
typedef long long simd_a256 __attribute__((vector_size(32), may_alias));
typedef uint64_t simd_u64 __attribute__((aligned(1), may_alias));
typedef uint32_t simd_u32 __attribute__((aligned(1), may_alias));
typedef uint16_t simd_u16 __attribute__((aligned(1), may_alias));

#define FAST_VEX INT32_C(0x40000000)

static inline int32_t fast_pack(const struct emu_insn *insn, unsigned size, unsigned align)
{
    bool is_vex = simd_is_vex(insn);
    size_t trap = is_vex ? offsetof(struct emu_cpu, avx_trap) : offsetof(struct emu_cpu, simd_trap);

    return (int32_t)(trap | (align ? align - 1 : 0) << 16 | size << 24) | (is_vex ? FAST_VEX : 0);
}

static inline bool fast_trapped(const struct emu_cpu *cpu, const struct emu_op *op)
{
    return HV_UNLIKELY(*((const uint8_t *)cpu + (uint16_t)op->imm));
}

static inline bool fast_unmasked(const struct emu_cpu *cpu)
{
    return HV_UNLIKELY(fpu_simd_unmasked(cpu));
}

static inline bool fast_misaligned(const struct emu_op *op, const void *host)
{
    return HV_UNLIKELY((uintptr_t)host & (op->imm >> 16 & 0xff));
}

static inline unsigned fast_size(const struct emu_op *op)
{
    return op->imm >> 24 & 0x3f;
}

/* Half n (0 low, 1 high) of a register, as a vector. */
static inline simd_a128 *fast_half(const struct emu_cpu *cpu, unsigned reg, unsigned n)
{
    return (simd_a128 *)(uintptr_t)&cpu->vec[reg].q[2 * n];
}

static inline simd_v128 fast_get(const struct emu_cpu *cpu, unsigned reg)
{
    return *fast_half(cpu, reg, 0);
}

static inline void fast_put(struct emu_cpu *cpu, const struct emu_op *op, simd_v128 value)
{
    simd_a128 *low = fast_half(cpu, op->dst, 0);
    int32_t flags = op->imm;

    low[0] = value;
    if (flags & FAST_VEX)
        low[1] = (simd_v128){ 0, 0 };
}

SIMD_YMM __attribute__((always_inline)) static inline simd_v256 fast_get256(
    const struct emu_cpu *cpu, unsigned reg)
{
    return *(const simd_a256 *)(uintptr_t)cpu->vec[reg].q;
}

SIMD_YMM __attribute__((always_inline)) static inline void fast_put256(struct emu_cpu *cpu,
                                                                       const struct emu_op *op,
                                                                       simd_v256 value)
{
    *(simd_a256 *)(uintptr_t)cpu->vec[op->dst].q = value;
}

/*
 * Find the memory operand: p becomes a host pointer (page offsets are those of the guest, so
 * alignment can be seen from it). On a miss the handler ends with a tail call that fills the entry
 * and starts the handler again, so that handlers themselves call nothing and keep no frame.
 */
const struct emu_op *fast_read_miss(struct emu_cpu *cpu, const struct emu_op *op, uint64_t linear,
                                    unsigned size);
const struct emu_op *fast_write_miss(struct emu_cpu *cpu, const struct emu_op *op, uint64_t linear,
                                     unsigned size);
const struct emu_op *fast_stack_miss(struct emu_cpu *cpu, const struct emu_op *op, uint64_t linear,
                                     unsigned size);

#define FAST_FIND_SLOT(cpu, op, size, p, address, tag, miss)                                       \
    uint64_t linear_ = address(cpu, op);                                                           \
    const struct emu_tlb_entry *slot_ =                                                            \
        &(cpu)->tlb[linear_ >> HV_PAGE_SHIFT & (EMU_TLB_ENTRIES - 1)];                             \
    if (HV_UNLIKELY(linear_ - slot_->tag > HV_PAGE_BYTES - (size)))                                \
        return miss(cpu, op, linear_, size);                                                       \
    p = (void *)(uintptr_t)(linear_ + slot_->addend)
#define FAST_FIND_STACK(cpu, op, size, p)                                                          \
    uint64_t linear_ = emu_ea_base(cpu, op);                                                       \
    if (HV_UNLIKELY(linear_ - (cpu)->stack_page > HV_PAGE_BYTES - (size)))                         \
        return fast_stack_miss(cpu, op, linear_, size);                                            \
    p = (void *)(uintptr_t)(linear_ + (cpu)->stack_addend)

#define FAST_READ_base(cpu, op, size, p)                                                           \
    FAST_FIND_SLOT(cpu, op, size, p, emu_ea_base, read_tag, fast_read_miss)
#define FAST_READ_index(cpu, op, size, p)                                                          \
    FAST_FIND_SLOT(cpu, op, size, p, emu_ea_index, read_tag, fast_read_miss)
#define FAST_READ_stack FAST_FIND_STACK
#define FAST_WRITE_base(cpu, op, size, p)                                                          \
    FAST_FIND_SLOT(cpu, op, size, p, emu_ea_base, write_tag, fast_write_miss)
#define FAST_WRITE_index(cpu, op, size, p)                                                         \
    FAST_FIND_SLOT(cpu, op, size, p, emu_ea_index, write_tag, fast_write_miss)
#define FAST_WRITE_stack FAST_FIND_STACK

/* Handlers by enum emu_ea_form. */
#define FAST_EACH_EA(MAKE, ...)                                                                    \
    MAKE(base, __VA_ARGS__) MAKE(index, __VA_ARGS__) MAKE(stack, __VA_ARGS__)
#define FAST_EA_TABLE(prefix)                                                                      \
    {                                                                                              \
        prefix##base, prefix##index, prefix##stack                                                 \
    }
/* The many handlers of fast_lanes.c take stack operands like others. */
#define FAST_EACH_PLAIN_EA(MAKE, ...) MAKE(base, __VA_ARGS__) MAKE(index, __VA_ARGS__)

/* Handlers of one row: with the last source in a register, in memory, as an immediate count. */
struct fast_lanes {
    emu_handler *reg, *mem[3], *count;
    emu_handler *reg256, *mem256[3], *count256;
};

extern const struct fast_lanes *const fast_lanes[EMU_N_MNEMONICS]; /* fast_lanes.c */

bool fast_pick_lanes(const struct emu_pick *pick, struct emu_op *op);   /* fast_thunk.c */
bool fast_pick_move(const struct emu_pick *pick, struct emu_op *op);    /* fast_move.c */
bool fast_pick_convert(const struct emu_pick *pick, struct emu_op *op); /* fast_convert.c */
bool fast_pick_special(const struct emu_pick *pick, struct emu_op *op); /* fast_special.c */

/* Fill in a handler for operand n of the instruction by its kind; false when there is none. */
bool fast_bind(const struct emu_pick *pick, struct emu_op *op, unsigned n, emu_handler *reg,
               emu_handler *const mem[3]);
/* May handlers use what a row needs? */
bool fast_host_runs(uint32_t features);
