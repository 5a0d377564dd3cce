/* SPDX-License-Identifier: Apache-2.0 */
/* Stacks: whole frames pushed or read at once, and inner stacks from the TSS. */
#include "hvcore/emu/exec/system/system_priv.h"

enum { MAX_FRAME = 16 };

void emu_stack_of(const struct hv_segment_register *ss, uint64_t sp, uint8_t cpl, bool is_long,
                  struct emu_stack *ret)
{
    *ret = (struct emu_stack){
        .ss = *ss,
        .sp = sp,
        .mask = is_long                      ? UINT64_MAX
                : ss->attributes & HV_SEG_DB ? UINT32_MAX
                                             : UINT16_MAX,
        .is_flat = is_long,
        .is_user = cpl == 3,
        .vector = X86_SS,
    };
}

void emu_stack_current(const struct emu_cpu *cpu, struct emu_stack *ret)
{
    emu_stack_of(&cpu->segment[HV_SS], cpu->regs[HV_RSP], cpu->cpl, cpu->code_size == EMU_CODE64,
                 ret);
}

/* Do the bytes first to last lie in the segment? */
static bool is_within(const struct hv_segment_register *s, uint32_t first, uint32_t last)
{
    bool is_expand_down = (s->attributes & (HV_SEG_S | TYPE_CODE | TYPE_EXPAND_DOWN)) ==
                          (HV_SEG_S | TYPE_EXPAND_DOWN);

    if (last < first)
        return false;
    if (is_expand_down)
        return first > s->limit && last <= (s->attributes & HV_SEG_DB ? UINT32_MAX : UINT16_MAX);
    return last <= s->limit;
}

/* Linear address of the bytes at offset sp of the stack. */
static bool stack_linear(struct emu_cpu *cpu, const struct emu_stack *stack, uint64_t sp,
                         unsigned bytes, uint64_t *ret)
{
    uint64_t offset = sp & stack->mask;

    if (stack->is_flat) {
        if (!emu_is_canonical(offset) || !emu_is_canonical(offset + bytes - 1))
            return emu_fail(cpu, stack->vector, stack->code);
        *ret = offset;
        return true;
    }
    if (!is_within(&stack->ss, (uint32_t)offset, (uint32_t)offset + bytes - 1))
        return emu_fail(cpu, stack->vector, stack->code);
    *ret = (uint32_t)(stack->ss.base + offset);
    return true;
}

static bool access_write(struct emu_cpu *cpu, const struct emu_stack *stack, uint64_t linear,
                         const void *from, unsigned bytes)
{
    return stack->is_user ? emu_mem_write(cpu, linear, from, bytes, true)
                          : emu_sys_write(cpu, linear, from, bytes);
}

static bool access_read(struct emu_cpu *cpu, const struct emu_stack *stack, uint64_t linear,
                        void *ret, unsigned bytes)
{
    return stack->is_user ? emu_mem_read(cpu, linear, ret, bytes, true)
                          : emu_sys_read(cpu, linear, ret, bytes);
}

/* Does the range go on at the bottom of the stack's address space? */
static bool is_wrapping(const struct emu_stack *stack, uint64_t sp, unsigned bytes)
{
    uint64_t first = sp & stack->mask;

    return !stack->is_flat && first + bytes - 1 > stack->mask;
}

/* The rare frame around the end of the segment: value by value, all checked before the first. */
static bool push_wrapping(struct emu_cpu *cpu, struct emu_stack *stack, const uint64_t *values,
                          unsigned n, unsigned size)
{
    uint64_t linear[MAX_FRAME];

    for (unsigned i = 0; i < n; i++) {
        if (!stack_linear(cpu, stack, stack->sp - (i + 1) * size, size, &linear[i]))
            return false;
        /* What was there is read and put back: the check that a write is allowed. */
        uint64_t old = 0;
        if (!access_read(cpu, stack, linear[i], &old, size) ||
            !access_write(cpu, stack, linear[i], &old, size))
            return false;
    }
    for (unsigned i = 0; i < n; i++)
        if (!access_write(cpu, stack, linear[i], &values[i], size))
            return false;
    return true;
}

bool emu_stack_push(struct emu_cpu *cpu, struct emu_stack *stack, const uint64_t *values,
                    unsigned n, unsigned size)
{
    unsigned bytes = n * size;
    uint64_t sp = stack->sp - bytes;

    hv_assert(n <= MAX_FRAME);
    if (is_wrapping(stack, sp, bytes)) {
        if (!push_wrapping(cpu, stack, values, n, size))
            return false;
    } else {
        uint8_t frame[MAX_FRAME * 8];
        uint64_t linear;

        for (unsigned i = 0; i < n; i++)
            memcpy(frame + (n - 1 - i) * size, &values[i], size);
        if (!stack_linear(cpu, stack, sp, bytes, &linear) ||
            !access_write(cpu, stack, linear, frame, bytes))
            return false;
    }
    stack->sp = (stack->sp & ~stack->mask) | (sp & stack->mask);
    return true;
}

bool emu_stack_peek(struct emu_cpu *cpu, const struct emu_stack *stack, unsigned skip,
                    uint64_t *ret, unsigned n, unsigned size)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t linear, value = 0;

        if (!stack_linear(cpu, stack, stack->sp + skip + i * size, size, &linear) ||
            !access_read(cpu, stack, linear, &value, size))
            return false;
        ret[i] = value;
    }
    return true;
}

void emu_set_sp(struct emu_cpu *cpu, uint64_t sp, uint64_t mask)
{
    if (mask == UINT16_MAX)
        cpu->regs[HV_RSP] = (cpu->regs[HV_RSP] & ~(uint64_t)UINT16_MAX) | (sp & UINT16_MAX);
    else
        cpu->regs[HV_RSP] = sp & mask;
}

void emu_stack_commit(struct emu_cpu *cpu, const struct emu_stack *stack, bool with_ss)
{
    if (with_ss)
        cpu->segment[HV_SS] = stack->ss;
    emu_set_sp(cpu, stack->sp, stack->mask);
}

/* Read a field of the current TSS; beyond its limit: #TS(TR). */
static bool tss_read(struct emu_cpu *cpu, unsigned offset, void *ret, unsigned bytes)
{
    uint64_t linear = cpu->tr.base + offset;

    if (offset + bytes - 1 > cpu->tr.limit)
        return emu_fail(cpu, X86_TS, cpu->tr.selector & SEL_INDEX_TI);
    if (!emu_is_long(cpu))
        linear &= UINT32_MAX;
    return emu_sys_read(cpu, linear, ret, bytes);
}

bool emu_tss_ist(struct emu_cpu *cpu, unsigned ist, uint64_t *ret_sp)
{
    return tss_read(cpu, 0x1c + ist * 8, ret_sp, 8);
}

bool emu_tss_stack(struct emu_cpu *cpu, uint8_t cpl, uint16_t *ret_ss, uint64_t *ret_sp)
{
    unsigned type = cpu->tr.attributes & HV_SEG_TYPE;
    struct {
        uint32_t sp;
        uint16_t ss;
    } __attribute__((packed)) entry32;
    struct {
        uint16_t sp, ss;
    } entry16;

    *ret_ss = cpl;
    if (emu_is_long(cpu))
        return tss_read(cpu, 4 + cpl * 8, ret_sp, 8);
    if (type == SYS_TSS_BUSY || type == SYS_TSS) {
        if (!tss_read(cpu, 4 + cpl * 8, &entry32, 6))
            return false;
        *ret_sp = entry32.sp;
        *ret_ss = entry32.ss;
        return true;
    }
    if (!tss_read(cpu, 2 + cpl * 4, &entry16, 4))
        return false;
    *ret_sp = entry16.sp;
    *ret_ss = entry16.ss;
    return true;
}

/* The stack segment for ring cpl as named by a TSS (AMD64 vol. 2, 4.5.2 and table 8-6). */
static bool inner_ss(struct emu_cpu *cpu, uint16_t selector, uint8_t cpl,
                     struct hv_segment_register *ret)
{
    uint16_t code = selector & SEL_INDEX_TI;
    struct emu_descriptor d;

    if (emu_is_null(selector))
        return emu_fail(cpu, X86_TS, 0);
    if (!emu_descriptor_read(cpu, selector, X86_TS, &d))
        return false;
    if ((selector & 3) != cpl || desc_dpl(&d) != cpl || !desc_is_writable_data(&d))
        return emu_fail(cpu, X86_TS, code);
    if (!desc_is_present(&d))
        return emu_fail(cpu, X86_SS, code);
    if (!emu_descriptor_mark(cpu, &d, TYPE_ACCESSED))
        return false;
    *ret = emu_segment_of(&d, selector);
    return true;
}

bool emu_inner_stack(struct emu_cpu *cpu, uint8_t cpl, struct emu_stack *ret)
{
    struct hv_segment_register ss = emu_null_ss(cpl);
    uint16_t selector;
    uint64_t sp;

    if (!emu_tss_stack(cpu, cpl, &selector, &sp))
        return false;
    if (!emu_is_long(cpu) && !inner_ss(cpu, selector, cpl, &ss))
        return false;
    emu_stack_of(&ss, sp, cpl, emu_is_long(cpu), ret);
    ret->code = emu_is_long(cpu) ? 0 : selector & SEL_INDEX_TI;
    return true;
}
