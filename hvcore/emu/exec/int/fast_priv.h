/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What fast handlers are made of.
 *
 * Every body is an always-inlined function of constants (operation, form, are flags live), and each
 * combination of them becomes a handler of its own by a row macro. Rules for bodies: no address of
 * a local, no call that returns, at most one guest access that is tried again after a miss (a
 * second one goes to emu_op_slow), nothing committed before the last miss.
 */
#pragma once

#include "hvcore/emu/exec/int/flags_priv.h"
#include "hvcore/emu/exec/int/next_priv.h"
#include "hvcore/emu/op.h"

#define EMU_INLINE static inline __attribute__((always_inline))
/* Handlers go on with each other by name (next_priv.h), wherever they are defined. */
#define EMU_HANDLER const struct emu_op *
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

/*
 * Go on with a record whose handler mostly is `likely`; NULL: nobody knows. A processor foresees
 * one or two thousand branches through pointers, fewer than a way through a kernel takes, but many
 * more of those that are taken or not: along such ways a compare is nearly free, and a branch that
 * it saves is not.
 */
#ifdef EMU_THREADED
#define EMU_GO_LIKELY(cpu, next, likely)                                                           \
    do {                                                                                           \
        const struct emu_op *likely_next = (next);                                                 \
        emu_handler *const likely_fn = (likely);                                                   \
                                                                                                   \
        if (likely_fn && likely_next->fn == likely_fn)                                             \
            return likely_fn((cpu), likely_next, emu_any_x(), emu_any_y(), sp);                    \
        EMU_GO(cpu, likely_next);                                                                  \
    } while (0)
#else
#define EMU_GO_LIKELY(cpu, next, likely) return (void)(likely), (next)
#endif

/* The handler that mostly comes behind this one in a block, as next_priv.h has it, or NULL. */
#define EMU_NEXT(name)                EMU_NEXT_SECOND(EMU_NEXT_OF_##name, NULL, )
#define EMU_NEXT_SECOND(...)          EMU_NEXT_PICK(__VA_ARGS__)
#define EMU_NEXT_PICK(a, second, ...) second

/* ---- Registers ---- */

EMU_INLINE void *emu_reg_at(struct emu_cpu *cpu, uint8_t offset)
{
    return (char *)cpu + offset;
}

/* Types that a 32-bit register write goes through: the upper half becomes zero. */
#define EMU_REG_GET(type, cpu, offset) (*(const type *)emu_reg_at(cpu, offset))
EMU_INLINE void emu_reg_set_1(struct emu_cpu *cpu, uint8_t offset, uint8_t value)
{
    *(uint8_t *)emu_reg_at(cpu, offset) = value;
}

EMU_INLINE void emu_reg_set_2(struct emu_cpu *cpu, uint8_t offset, uint16_t value)
{
    *(uint16_t *)emu_reg_at(cpu, offset) = value;
}

EMU_INLINE void emu_reg_set_4(struct emu_cpu *cpu, uint8_t offset, uint32_t value)
{
    *(uint64_t *)emu_reg_at(cpu, offset) = value;
}

EMU_INLINE void emu_reg_set_8(struct emu_cpu *cpu, uint8_t offset, uint64_t value)
{
    *(uint64_t *)emu_reg_at(cpu, offset) = value;
}

/* ---- Flags: fast handlers write and read the low 16 bits only ---- */

EMU_INLINE void emu_flags_put(struct emu_cpu *cpu, uint16_t ax)
{
    *(uint16_t *)&cpu->aflags = ax;
}

EMU_INLINE uint16_t emu_flags_get(const struct emu_cpu *cpu)
{
    return *(const uint16_t *)&cpu->aflags;
}

/* Capture the host's flags behind an instruction. */
#define EMU_ASM_CAPTURE "\n\tlahf\n\tseto %%al"

/* Carry in, as adc, sbb, inc, dec need it: of 16 bits, since a load wider than the store before it
 * would have to wait for the cache. */
#define EMU_ASM_CARRY "btw $8, %[flags]\n\t"

/* ---- Memory ---- */

EMU_INLINE uint64_t emu_ea(const struct emu_cpu *cpu, const struct emu_op *op,
                           enum emu_ea_form form)
{
    return form == EMU_EA_INDEX ? emu_ea_index(cpu, op) : emu_ea_base(cpu, op);
}

/* Fill what missed and do op again; or raise the fault, or do it slowly. */
const struct emu_op *emu_miss_read(struct emu_cpu *cpu, const struct emu_op *op, uint64_t linear,
                                   uint64_t size, uint64_t sp);
const struct emu_op *emu_miss_write(struct emu_cpu *cpu, const struct emu_op *op, uint64_t linear,
                                    uint64_t size, uint64_t sp);
/* An operand couldn't be had. A page fault is raised at once; 16 bytes may ask for alignment before
 * that. */
const struct emu_op *emu_miss_slowly(struct emu_cpu *cpu, const struct emu_op *op, uint64_t size);
const struct emu_op *emu_miss_stack(struct emu_cpu *cpu, const struct emu_op *op, uint64_t linear,
                                    uint64_t size, uint64_t sp);

EMU_INLINE const struct emu_tlb_entry *emu_tlb_slot(const struct emu_cpu *cpu, uint64_t linear)
{
    return &cpu->tlb[linear >> HV_PAGE_SHIFT & (EMU_TLB_ENTRIES - 1)];
}

EMU_INLINE bool emu_hits(uint64_t linear, uint64_t tag, unsigned size)
{
    return HV_LIKELY(linear - tag <= HV_PAGE_BYTES - size);
}

/* Declare `p`, a host pointer to the operand of `size` bytes, or leave for the miss. */
#define EMU_STACK_POINTER(p, linear, size)                                                         \
    if (!emu_hits(linear, cpu->stack_page, size))                                                  \
        return emu_miss_stack(cpu, op, linear, size, sp);                                          \
    p = (void *)(uintptr_t)((linear) + cpu->stack_addend)

#define EMU_POINTER(p, form, size, tag, miss)                                                      \
    uint64_t p##_linear =                                                                          \
        (form) == EMU_EA_STACK ? sp + (uint64_t)(int64_t)op->disp : emu_ea(cpu, op, form);         \
    void *p;                                                                                       \
    if ((form) == EMU_EA_STACK) {                                                                  \
        EMU_STACK_POINTER(p, p##_linear, size);                                                    \
    } else {                                                                                       \
        const struct emu_tlb_entry *p##_slot = emu_tlb_slot(cpu, p##_linear);                      \
        if (!emu_hits(p##_linear, p##_slot->tag, size))                                            \
            return miss(cpu, op, p##_linear, size, sp);                                            \
        p = (void *)(uintptr_t)(p##_linear + p##_slot->addend);                                    \
    }

#define EMU_READ_POINTER(p, form, size)  EMU_POINTER(p, form, size, read_tag, emu_miss_read)
#define EMU_WRITE_POINTER(p, form, size) EMU_POINTER(p, form, size, write_tag, emu_miss_write)

#define EMU_GUEST(type, p) EMU_AT(type, p)

/* ---- Families: each says whether it has a handler for the instruction, and fills op ---- */

typedef bool emu_pick_fn(const struct emu_pick *pick, struct emu_op *op);
emu_pick_fn emu_pick_alu, emu_pick_bit, emu_pick_bswap, emu_pick_call, emu_pick_cmov,
    emu_pick_cmpxchg, emu_pick_cmpxchg16b, emu_pick_div, emu_pick_double_shift, emu_pick_extend,
    emu_pick_imul, emu_pick_jcc, emu_pick_jmp, emu_pick_lea, emu_pick_leave, emu_pick_mov,
    emu_pick_mul, emu_pick_pop, emu_pick_push, emu_pick_ret, emu_pick_scan, emu_pick_set,
    emu_pick_shift, emu_pick_small, emu_pick_stack_pointer, emu_pick_unary, emu_pick_xadd,
    emu_pick_xchg;
/* With the branch behind it; with a lock prefix. */
emu_pick_fn emu_pick_fused, emu_pick_locked;
/* Let a picked op do the following instruction as well, where that pays; false: it doesn't. */
bool emu_pair_up(const struct emu_pick *pick, struct emu_op *op);
enum { EMU_PAIRED = 0xff }; /* the kind of such an op */
/* What a picked op is to emu_join, and what one that was fused with its branch is. */
uint8_t emu_duo_kind(const struct emu_pick *pick, const struct emu_op *op);
uint8_t emu_duo_branch_kind(const struct emu_pick *pick);

/* Byte offset of a register operand. */
EMU_INLINE uint8_t emu_operand_offset(const struct emu_operand *o)
{
    return (uint8_t)(EMU_REG_OFFSET(o->reg) + (o->kind == EMU_OPD_GPR_HIGH));
}

EMU_INLINE bool emu_is_reg(const struct emu_operand *o)
{
    return o->kind == EMU_OPD_GPR || o->kind == EMU_OPD_GPR_HIGH;
}

EMU_INLINE unsigned emu_log2(unsigned size)
{
    return (unsigned)__builtin_ctz(size);
}
