/* SPDX-License-Identifier: Apache-2.0 */
/* Claims about far transfers, returns, tasks and system calls. */
#include "bench.h"

static void push_frame(struct bench *b, const uint64_t *values, unsigned n, unsigned size)
{
    struct emu_cpu *cpu = b->cpu;

    for (unsigned i = n; i-- > 0;) {
        cpu->regs[HV_RSP] -= size;
        bench_poke(b, cpu->regs[HV_RSP], values[i], size);
    }
}
#define FRAME(b, size, ...)                                                                        \
    push_frame((b), (uint64_t[]){ __VA_ARGS__ },                                                   \
               sizeof((uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t), (size))

#define IRETQ  "\x48\xcf"
#define RETFQ  "\x48\xcb"
#define SYSRET "\x48\x0f\x07"

/* ---- iret ---- */

static void iretq_goes_to_user_mode(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 0);
    b->cpu->nmi_blocked = 1;
    emu_set_segment_base(b->cpu, HV_FS, 0x1234);
    b->cpu->segment[HV_FS].attributes = 0; /* null, but with a base */
    b->cpu->segment[HV_FS].selector = 3;
    FRAME(b, 8, 0x7000, SEL_CODE64_USER | 3, 0x3202, STACK3, SEL_DATA_USER | 3);
    assert_int_equal(RUN(b, IRETQ), EMU_BRANCH);
    assert_int_equal(b->cpu->rip, 0x7000);
    assert_int_equal(b->cpu->cpl, 3);
    assert_int_equal(b->cpu->class, EMU_USER);
    assert_int_equal(b->cpu->regs[HV_RSP], STACK3);
    assert_int_equal(emu_rflags(b->cpu), 0x3202);
    assert_int_equal(b->cpu->nmi_blocked, 0);
    assert_int_equal(b->cpu->segment[HV_DS].attributes, 0); /* DPL 0: gone */
    assert_int_equal(b->cpu->regs[EMU_REG_FS_BASE], 0x1234);
    assert_int_equal(b->cpu->segment[HV_FS].selector, 0); /* not 3 any more */
}

static void iretq_restores_the_stack_in_the_same_ring(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 0);
    FRAME(b, 8, 0x7000, SEL_CODE64, 0x10202, 0x12345, SEL_DATA0);
    assert_int_equal(RUN(b, IRETQ), EMU_BRANCH);
    assert_int_equal(b->cpu->regs[HV_RSP], 0x12345);
    assert_int_equal(emu_rflags(b->cpu), 0x202);
    FRAME(b, 8, 0x7000, SEL_CODE64, 2, 0x12345, 0);
    assert_int_equal(RUN(b, IRETQ), EMU_BRANCH); /* a null SS is fine in 64-bit ring 0 */
    assert_int_equal(b->cpu->segment[HV_SS].selector, 0);
}

static void iretq_to_compatibility_mode(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 0);
    FRAME(b, 8, 0x7000, SEL_CODE32_USER | 3, 0x202, 0xfffff000, SEL_DATA_USER | 3);
    assert_int_equal(RUN(b, IRETQ), EMU_BRANCH);
    assert_int_equal(b->cpu->code_size, EMU_CODE32);
    assert_int_equal(b->cpu->regs[HV_RSP], 0xfffff000);
}

static void bad_iretq_frames(void **state)
{
    static const struct {
        uint64_t rip, cs, rflags, rsp, ss;
        uint8_t vector;
        int code;
    } rows[] = {
        { 0x8000000000000000, SEL_CODE64_USER | 3, 2, 0, SEL_DATA_USER | 3, X86_GP, 0 },
        { 0, 0, 2, 0, SEL_DATA0, X86_GP, 0 },
        { 0, SEL_DATA0, 2, 0, SEL_DATA0, X86_GP, SEL_DATA0 },
        { 0, SEL_CODE64 | 3, 2, 0, SEL_DATA_USER | 3, X86_GP, SEL_CODE64 }, /* DPL != RPL */
        { 0, SEL_CODE64_USER | 3, 2, 0, 3, X86_GP, 0 },                     /* null SS, ring 3 */
        { 0, SEL_CODE64_USER | 3, 2, 0, SEL_DATA0, X86_GP, SEL_DATA0 },
        { 0, SEL_CODE64, 2, 0, SEL_DATA_USER | 3, X86_GP, SEL_DATA_USER },
        { 0, SEL_CODE32, 2, 0, 0, X86_GP, 0 }, /* null SS for compatibility mode */
        { 0, SEL_FREE, 2, 0, SEL_DATA0, X86_NP, SEL_FREE },
        { 0, SEL_CODE64, 2, 0, SEL_FREE2, X86_SS, SEL_FREE2 },
        { 0, GDT_BYTES, 2, 0, SEL_DATA0, X86_GP, GDT_BYTES },
    };
    struct bench *b = bench_of(state);

    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        bench_mode(b, LONG64, 0);
        bench_descriptor(b, SEL_FREE, DESC(0, 0xfffff, 0xa1b), 0);
        bench_descriptor(b, SEL_FREE2, DESC(0, 0xfffff, 0xc13), 0);
        FRAME(b, 8, rows[i].rip, rows[i].cs, rows[i].rflags, rows[i].rsp, rows[i].ss);
        EXPECT_FAULT(b, IRETQ, rows[i].vector, rows[i].code);
    }
    bench_mode(b, LONG64, 3);
    FRAME(b, 8, 0, SEL_CODE64, 2, 0, SEL_DATA0);
    EXPECT_FAULT(b, IRETQ, X86_GP, SEL_CODE64); /* inward */
    bench_mode(b, LONG64, 0);
    emu_set_rflags(b->cpu, 2 | X86_NT);
    FRAME(b, 8, 0, SEL_CODE64, 2, 0, SEL_DATA0);
    EXPECT_FAULT(b, IRETQ, X86_GP, 0); /* no tasks in long mode */
}

static void an_iret_frame_that_faults_halfway_changes_nothing(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 0);
    bench_poke(b, PML4 + 0x3000 + (STACK0 / 4096) * 8, 0, 8);
    emu_tlb_flush_all(b->cpu);
    FRAME(b, 8, 0x7000, SEL_CODE64_USER | 3, 0x202);
    EXPECT_FAULT(b, IRETQ, X86_PF, 0);
    assert_int_equal(b->cpu->fault.address, STACK0);
}

static void user_iret_keeps_iopl_and_if(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 3);
    emu_set_rflags(b->cpu, 0x202);
    FRAME(b, 8, 0x7000, SEL_CODE64_USER | 3, 0x3002, STACK3, SEL_DATA_USER | 3);
    assert_int_equal(RUN(b, IRETQ), EMU_BRANCH);
    assert_int_equal(emu_rflags(b->cpu), 0x202);
}

static void iret_opens_the_door_to_what_waits(void **state)
{
    struct bench *b = bench_of(state);
    struct hv_interrupt interrupt = { .vector = 0x55 };

    bench_mode(b, LONG64, 0);
    assert_true(x86_lapic_msr_write(&b->lapic, 0x1b, 0xfee00d00));
    assert_true(x86_lapic_msr_write(&b->lapic, 0x80f, 0x1ff));
    x86_lapic_post(&b->lapic, &interrupt);
    atomic_store(&b->cpu->request, 0);
    FRAME(b, 8, 0x7000, SEL_CODE64, 0x202, STACK0, SEL_DATA0);
    assert_int_equal(RUN(b, IRETQ), EMU_BRANCH);
    assert_int_equal(atomic_load(&b->cpu->request), EMU_REQ_INTERRUPT);
    assert_int_equal(x86_lapic_acknowledge(&b->lapic), 0x55);
    x86_lapic_eoi(&b->lapic);
}

static void real_mode_iret(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, REAL16, 0);
    FRAME(b, 2, 0x1111, 0x2222, 0x7fd7);
    assert_int_equal(RUN(b, "\xcf"), EMU_BRANCH);
    assert_int_equal(b->cpu->rip, 0x1111);
    assert_int_equal(b->cpu->segment[HV_CS].base, 0x22220);
    assert_int_equal(emu_rflags(b->cpu), 0x7fd7);
    assert_int_equal(b->cpu->regs[HV_RSP], 0x8000);
}

static void into_v86_and_back(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 0);
    bench_gates(b, 14, 3, 0);
    FRAME(b, 4, 0x100, 0x1000, 2 | X86_VM | X86_IOPL, 0xfff0, 0x2000, 0x11, 0x22, 0x33, 0x44);
    assert_int_equal(RUN(b, "\xcf"), EMU_BRANCH);
    assert_int_equal(b->cpu->cpl, 3);
    assert_int_equal(b->cpu->segment[HV_CS].base, 0x10000);
    assert_int_equal(b->cpu->segment[HV_GS].base, 0x440);
    assert_int_equal(b->cpu->segment[HV_SS].limit, 0xffff);
    assert_int_equal(b->cpu->code_size, EMU_CODE16);
    assert_int_equal(RUN(b, "\xcd\x21"), EMU_BRANCH);
    bench_expect_frame(
        b, (uint64_t[]){ 0x102, 0x1000, 2 | X86_VM | X86_IOPL, 0xfff0, 0x2000, 0x11, 0x22 }, 7, 4);
    /* From a ring that isn't 0, VM can't be set. */
    bench_mode(b, PROT32, 3);
    FRAME(b, 4, 0x100, SEL_CODE32_USER | 3, 2 | X86_VM);
    assert_int_equal(RUN(b, "\xcf"), EMU_BRANCH);
    assert_int_equal(emu_rflags(b->cpu), 2);
}

static void legacy_iret_outward(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 0);
    FRAME(b, 4, 0x7000, SEL_CODE32_USER | 3, 0x202, STACK3, SEL_DATA_USER | 3);
    assert_int_equal(RUN(b, "\xcf"), EMU_BRANCH);
    assert_int_equal(b->cpu->cpl, 3);
    assert_int_equal(b->cpu->segment[HV_SS].selector, SEL_DATA_USER | 3);
    FRAME(b, 4, 0x7000, SEL_CODE32_USER | 3, 0x3002);
    assert_int_equal(RUN(b, "\xcf"), EMU_BRANCH);
    assert_int_equal(emu_rflags(b->cpu), 0x202);
}

/* ---- ret far ---- */

static void far_returns(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 0);
    FRAME(b, 8, 0x7000, SEL_CODE64);
    assert_int_equal(RUN(b, RETFQ), EMU_BRANCH);
    assert_int_equal(b->cpu->regs[HV_RSP], STACK0);
    FRAME(b, 8, 0x7000, SEL_CODE32); /* how a kernel goes to 32-bit code */
    assert_int_equal(RUN(b, RETFQ), EMU_BRANCH);
    assert_int_equal(b->cpu->code_size, EMU_CODE32);

    bench_mode(b, PROT32, 0);
    FRAME(b, 4, 0x7000, SEL_CODE32_USER | 3, 0xaaaa, STACK3, SEL_DATA_USER | 3);
    assert_int_equal(RUN(b, "\xca\x04\x00"), EMU_BRANCH); /* retf 4: on both stacks */
    assert_int_equal(b->cpu->cpl, 3);
    assert_int_equal(b->cpu->regs[HV_RSP], STACK3 + 4);
    bench_mode(b, PROT32, 3);
    FRAME(b, 4, 0x7000, SEL_CODE32);
    EXPECT_FAULT(b, "\xcb", X86_GP, SEL_CODE32);
    bench_mode(b, REAL16, 0);
    FRAME(b, 2, 0x10, 0x20);
    assert_int_equal(RUN(b, "\xcb"), EMU_BRANCH);
    assert_int_equal(b->cpu->segment[HV_CS].base + b->cpu->rip, 0x210);
}

/* ---- Far calls and jumps ---- */

static void far_jumps(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 0);
    assert_int_equal(RUN(b, "\xea\x00\x70\x00\x00\x48\x00"), EMU_BRANCH); /* SEL_CODE16 */
    assert_int_equal(b->cpu->code_size, EMU_CODE16);
    assert_int_equal(b->cpu->rip, 0x7000);
    bench_mode(b, COMPAT32, 0);
    assert_int_equal(RUN(b, "\xea\x00\x70\x00\x00\x08\x00"), EMU_BRANCH);
    assert_int_equal(b->cpu->code_size, EMU_CODE64);
    bench_mode(b, PROT32, 3);
    EXPECT_FAULT(b, "\xea\x00\x70\x00\x00\x18\x00", X86_GP, SEL_CODE32);
    assert_int_equal(RUN(b, "\xea\x00\x70\x00\x00\x58\x00"), EMU_BRANCH); /* conforming */
    assert_int_equal(b->cpu->cpl, 3);
    assert_int_equal(b->cpu->segment[HV_CS].selector, SEL_CONFORMING | 3);
    bench_mode(b, PROT16, 0);
    EXPECT_FAULT(b, "\x66\xea\x00\x00\x01\x00\x48\x00", X86_GP, 0); /* beyond the limit */
    bench_mode(b, REAL16, 0);
    b->cpu->cr0 |= 1; /* the jump after setting PE */
    assert_int_equal(RUN(b, "\x66\xea\x00\x70\x00\x00\x18\x00"), EMU_BRANCH);
    assert_int_equal(b->cpu->code_size, EMU_CODE32);
}

static void call_gates_switch_stacks_and_copy_parameters(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 3);
    bench_descriptor(b, SEL_FREE, GATE(SEL_CODE32, 0x7000, 0xec) | 2ull << 32, 0);
    FRAME(b, 4, 0xaaaa, 0xbbbb);
    assert_int_equal(RUN(b, "\x9a\x00\x00\x00\x00\x73\x00"), EMU_BRANCH);
    assert_int_equal(b->cpu->cpl, 0);
    assert_int_equal(b->cpu->rip, 0x7000);
    bench_expect_frame(b,
                       (uint64_t[]){ CODE + 7, SEL_CODE32_USER | 3, 0xaaaa, 0xbbbb, STACK3 - 8,
                                     SEL_DATA_USER | 3 },
                       6, 4);
    /* .. and back, releasing them on both sides */
    assert_int_equal(RUN(b, "\xca\x08\x00"), EMU_BRANCH);
    assert_int_equal(b->cpu->cpl, 3);
    assert_int_equal(b->cpu->regs[HV_RSP], STACK3);

    bench_descriptor(b, SEL_FREE, GATE(SEL_CODE32, 0x7000, 0x8c), 0);
    EXPECT_FAULT(b, "\x9a\x00\x00\x00\x00\x73\x00", X86_GP, SEL_FREE);
    bench_descriptor(b, SEL_FREE, GATE(SEL_CODE32, 0x7000, 0x6c), 0);
    EXPECT_FAULT(b, "\x9a\x00\x00\x00\x00\x73\x00", X86_NP, SEL_FREE);
}

static void long_mode_call_gates(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 3);
    bench_descriptor(b, SEL_FREE, GATE(SEL_CODE64, 0x7000, 0xec), 0);
    bench_poke(b, GDT + SEL_FREE + 8, 0, 8);
    b->cpu->regs[HV_RBX] = 0x2000;
    bench_poke(b, 0x2000, (uint64_t)SEL_FREE << 32, 8);
    assert_int_equal(RUN(b, "\xff\x1b"), EMU_BRANCH); /* call far [rbx] */
    assert_int_equal(b->cpu->cpl, 0);
    assert_int_equal(b->cpu->segment[HV_SS].selector, 0);
    bench_expect_frame(b, (uint64_t[]){ CODE + 2, SEL_CODE64_USER | 3, STACK3, SEL_DATA_USER | 3 },
                       4, 8);
    bench_mode(b, LONG64, 3);
    bench_descriptor(b, SEL_FREE, GATE(SEL_CODE32, 0x7000, 0xec), 0);
    bench_poke(b, GDT + SEL_FREE + 8, 0, 8);
    b->cpu->regs[HV_RBX] = 0x2000;
    EXPECT_FAULT(b, "\xff\x1b", X86_GP, SEL_CODE32); /* must be 64-bit code */
    b->cpu->regs[HV_RBX] = 0x2008;
    bench_poke(b, 0x2008, (uint64_t)SEL_TSS2 << 32, 8);
    EXPECT_FAULT(b, "\xff\x1b", X86_GP, SEL_TSS2); /* no tasks in long mode */
}

/* ---- Tasks ---- */

static void prepare_task(struct bench *b)
{
    for (unsigned i = 0; i < 0x68; i += 4)
        bench_poke(b, TSS2 + i, 0, 4);
    bench_poke(b, TSS2 + 0x20, 0x7000, 4);          /* eip */
    bench_poke(b, TSS2 + 0x24, 0x202, 4);           /* eflags */
    bench_poke(b, TSS2 + 0x28, 0x1111, 4);          /* eax */
    bench_poke(b, TSS2 + 0x38, STACK0 - 0x1000, 4); /* esp */
    bench_poke(b, TSS2 + 0x4c, SEL_CODE32, 4);      /* cs */
    bench_poke(b, TSS2 + 0x50, SEL_DATA0, 4);       /* ss */
    bench_poke(b, TSS2 + 0x54, SEL_DATA0, 4);       /* ds */
}

static void task_calls_nest_and_return(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 0);
    prepare_task(b);
    b->cpu->regs[HV_RCX] = 0x2222;
    assert_int_equal(RUN(b, "\x9a\x00\x00\x00\x00\x90\x00"), EMU_BRANCH); /* call SEL_TSS2 */
    assert_int_equal(b->cpu->rip, 0x7000);
    assert_int_equal(b->cpu->regs[HV_RAX], 0x1111);
    assert_int_equal(emu_rflags(b->cpu), 0x202 | X86_NT);
    assert_true(b->cpu->cr0 & X86_CR0_TS);
    assert_int_equal(b->cpu->tr.selector, SEL_TSS2);
    assert_int_equal(bench_peek(b, TSS2, 2), SEL_TSS); /* the link */
    assert_int_equal(bench_peek(b, TSS + 0x20, 4), CODE + 7);
    assert_int_equal(bench_peek(b, TSS + 0x2c, 4), 0x2222);
    assert_int_equal(bench_peek(b, GDT + SEL_TSS2 + 5, 1), 0x8b);
    assert_int_equal(RUN(b, "\xcf"), EMU_BRANCH); /* iret with NT */
    assert_int_equal(b->cpu->rip, CODE + 7);
    assert_int_equal(b->cpu->regs[HV_RCX], 0x2222);
    assert_int_equal(b->cpu->tr.selector, SEL_TSS);
    assert_int_equal(bench_peek(b, GDT + SEL_TSS2 + 5, 1), 0x89);
    assert_int_equal(bench_peek(b, TSS2 + 0x24, 4), 0x202); /* NT not saved */
}

static void task_gates_take_error_codes(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 3);
    bench_gates(b, 14, 0, 0);
    prepare_task(b);
    bench_poke(b, IDT + 8 * 8, GATE(SEL_TSS2, 0, 0x85), 8);
    b->cpu->fault = (struct emu_fault){ .vector = X86_DF, .has_error_code = true };
    assert_int_equal(emu_deliver_fault(b->cpu), EMU_BRANCH);
    assert_int_equal(b->cpu->cpl, 0);
    assert_int_equal(b->cpu->regs[HV_RSP], STACK0 - 0x1000 - 4);
    assert_int_equal(bench_peek(b, TSS + 0x20, 4), CODE);
}

static void bad_segments_are_the_new_tasks_fault(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 0);
    prepare_task(b);
    bench_poke(b, TSS2 + 0x50, SEL_CODE32, 4);
    assert_int_equal(RUN(b, "\xea\x00\x00\x00\x00\x90\x00"), EMU_FAULT);
    assert_int_equal(b->cpu->fault.vector, X86_TS);
    assert_int_equal(b->cpu->fault.error_code, SEL_CODE32);
    assert_int_equal(b->cpu->rip, 0x7000);
    bench_mode(b, PROT32, 0);
    prepare_task(b);
    bench_descriptor(b, SEL_TSS2, DESC(TSS2, 0x66, 0x89), 0);
    EXPECT_FAULT(b, "\xea\x00\x00\x00\x00\x90\x00", X86_TS, SEL_TSS2); /* too short */
}

/* ---- System calls ---- */

static void set_star(struct bench *b)
{
    b->cpu->star = (uint64_t)SEL_CODE64 << 32 | (uint64_t)(SEL_CODE32_USER | 3) << 48;
    b->cpu->lstar = 0x7000;
    b->cpu->cstar = 0x7800;
    b->cpu->sfmask = 0x40700;
}

static void syscall_and_back(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 3);
    set_star(b);
    emu_set_rflags(b->cpu, 0x40ad7 | 0x200);
    assert_int_equal(RUN(b, "\x0f\x05"), EMU_BRANCH);
    assert_int_equal(b->cpu->rip, 0x7000);
    assert_int_equal(b->cpu->cpl, 0);
    assert_int_equal(b->cpu->regs[HV_RCX], CODE + 2);
    assert_int_equal(b->cpu->regs[HV_R11], 0x40ad7 | 0x200);
    assert_int_equal(emu_rflags(b->cpu), 0x8d7);
    assert_int_equal(b->cpu->segment[HV_CS].selector, SEL_CODE64);
    assert_int_equal(b->cpu->segment[HV_SS].selector, SEL_DATA0);
    assert_int_equal(b->cpu->regs[HV_RSP], STACK3);

    assert_int_equal(RUN(b, SYSRET), EMU_BRANCH);
    assert_int_equal(b->cpu->cpl, 3);
    assert_int_equal(b->cpu->rip, CODE + 2);
    assert_int_equal(emu_rflags(b->cpu), 0x40ad7 | 0x200);
    assert_int_equal(b->cpu->segment[HV_CS].selector, SEL_CODE64_USER | 3);
    assert_int_equal(b->cpu->segment[HV_SS].selector, SEL_DATA_USER | 3);
    assert_int_equal(b->cpu->code_size, EMU_CODE64);
    EXPECT_FAULT(b, SYSRET, X86_GP, 0); /* in user mode */
    b->cpu->efer &= ~(uint64_t)X86_EFER_SCE;
    EXPECT_FAULT(b, "\x0f\x05", X86_UD, NO_CODE);
}

static void compatibility_syscall_uses_cstar(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, COMPAT32, 3);
    set_star(b);
    assert_int_equal(RUN(b, "\x0f\x05"), EMU_BRANCH);
    assert_int_equal(b->cpu->rip, 0x7800);
    assert_int_equal(b->cpu->code_size, EMU_CODE64);
    b->cpu->regs[HV_RCX] |= 0xff00000000;
    assert_int_equal(RUN(b, "\x0f\x07"), EMU_BRANCH); /* sysretd */
    assert_int_equal(b->cpu->rip, CODE + 2);
    assert_int_equal(b->cpu->code_size, EMU_CODE32);
    assert_int_equal(b->cpu->segment[HV_CS].selector, SEL_CODE32_USER | 3);
}

static void non_canonical_sysret_faults_in_user_mode(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 0);
    set_star(b);
    b->cpu->regs[HV_RCX] = UINT64_C(0x800000000000);
    assert_int_equal(RUN(b, SYSRET), EMU_BRANCH);
    assert_int_equal(b->cpu->cpl, 3);
    assert_true(b->cpu->rip == UINT64_C(0x800000000000));
}

static void sysenter_is_for_legacy_modes(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 3);
    b->cpu->sysenter_cs = SEL_CODE32;
    EXPECT_FAULT(b, "\x0f\x34", X86_UD, NO_CODE); /* on AMD's processors */
    bench_mode(b, PROT32, 3);
    b->cpu->sysenter_cs = 0;
    EXPECT_FAULT(b, "\x0f\x34", X86_GP, 0);
    b->cpu->sysenter_cs = 0x10;
    b->cpu->sysenter_eip = 0x7000;
    b->cpu->sysenter_esp = STACK0;
    assert_int_equal(RUN(b, "\x0f\x34"), EMU_BRANCH);
    assert_int_equal(b->cpu->cpl, 0);
    assert_int_equal(b->cpu->segment[HV_SS].selector, 0x18);
    b->cpu->regs[HV_RDX] = 0x4567;
    b->cpu->regs[HV_RCX] = STACK3;
    assert_int_equal(RUN(b, "\x0f\x35"), EMU_BRANCH);
    assert_int_equal(b->cpu->cpl, 3);
    assert_int_equal(b->cpu->segment[HV_CS].selector, 0x23);
    assert_int_equal(b->cpu->rip, 0x4567);
}

static void gs_bases(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 0);
    emu_set_segment_base(b->cpu, HV_GS, 1);
    b->cpu->kernel_gs_base = 2;
    assert_int_equal(RUN(b, "\x0f\x01\xf8"), EMU_NEXT); /* swapgs */
    assert_int_equal(b->cpu->regs[EMU_REG_GS_BASE], 2);
    assert_int_equal(b->cpu->kernel_gs_base, 1);
    EXPECT_FAULT(b, "\xf3\x48\x0f\xae\xd8", X86_UD, NO_CODE); /* wrgsbase rax */
    b->cpu->cr4 |= X86_CR4_FSGSBASE;
    b->cpu->regs[HV_RAX] = UINT64_C(0x800000000000);
    EXPECT_FAULT(b, "\xf3\x48\x0f\xae\xd8", X86_GP, 0);
    b->cpu->regs[HV_RAX] = UINT64_C(0xffff800000000000);
    assert_int_equal(RUN(b, "\xf3\x48\x0f\xae\xd8"), EMU_NEXT);
    assert_int_equal(RUN(b, "\xf3\x0f\xae\xc9"), EMU_NEXT); /* rdgsbase ecx */
    assert_int_equal(b->cpu->regs[HV_RCX], 0);
    bench_mode(b, LONG64, 3);
    EXPECT_FAULT(b, "\x0f\x01\xf8", X86_GP, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(iretq_goes_to_user_mode),
        cmocka_unit_test(iretq_restores_the_stack_in_the_same_ring),
        cmocka_unit_test(iretq_to_compatibility_mode),
        cmocka_unit_test(bad_iretq_frames),
        cmocka_unit_test(an_iret_frame_that_faults_halfway_changes_nothing),
        cmocka_unit_test(user_iret_keeps_iopl_and_if),
        cmocka_unit_test(iret_opens_the_door_to_what_waits),
        cmocka_unit_test(real_mode_iret),
        cmocka_unit_test(into_v86_and_back),
        cmocka_unit_test(legacy_iret_outward),
        cmocka_unit_test(far_returns),
        cmocka_unit_test(far_jumps),
        cmocka_unit_test(call_gates_switch_stacks_and_copy_parameters),
        cmocka_unit_test(long_mode_call_gates),
        cmocka_unit_test(task_calls_nest_and_return),
        cmocka_unit_test(task_gates_take_error_codes),
        cmocka_unit_test(bad_segments_are_the_new_tasks_fault),
        cmocka_unit_test(syscall_and_back),
        cmocka_unit_test(compatibility_syscall_uses_cstar),
        cmocka_unit_test(non_canonical_sysret_faults_in_user_mode),
        cmocka_unit_test(sysenter_is_for_legacy_modes),
        cmocka_unit_test(gs_bases),
    };

    return cmocka_run_group_tests(tests, bench_setup, bench_teardown);
}
