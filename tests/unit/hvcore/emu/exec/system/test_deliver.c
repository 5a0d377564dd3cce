/* SPDX-License-Identifier: Apache-2.0 */
/* Claims about delivery: the exact frame in each mode, and what happens when delivering faults. */
#include "bench.h"

static enum emu_result fault(struct bench *b, uint8_t vector, bool has_code, uint32_t code)
{
    b->cpu->fault =
        (struct emu_fault){ .vector = vector, .has_error_code = has_code, .error_code = code };
    return emu_deliver_fault(b->cpu);
}

/* ---- Frames ---- */

static void real_mode_pushes_three_words(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, REAL16, 0);
    b->cpu->segment[HV_CS].selector = 0x123;
    bench_poke(b, 13 * 4, 0x20003000, 4);
    emu_set_rflags(b->cpu, 0x247);
    assert_int_equal(fault(b, X86_GP, true, 0x10), EMU_BRANCH);
    assert_int_equal(b->cpu->rip, 0x3000);
    assert_int_equal(b->cpu->segment[HV_CS].selector, 0x2000);
    assert_int_equal(b->cpu->segment[HV_CS].base, 0x20000);
    assert_int_equal(b->cpu->regs[HV_RSP], 0x8000 - 6);
    bench_expect_frame(b, (uint64_t[]){ 0x4000, 0x123, 0x247 }, 3, 2);
    assert_false(b->cpu->sys_flags & X86_IF);
}

static void same_ring_32bit_pushes_three_dwords(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 0);
    bench_gates(b, 14, 0, 0);
    emu_set_rflags(b->cpu, 0x202);
    assert_int_equal(emu_deliver_interrupt(b->cpu, 0x40), EMU_BRANCH);
    assert_int_equal(b->cpu->rip, HANDLER + 0x400);
    bench_expect_frame(b, (uint64_t[]){ CODE, SEL_CODE32, 0x202 }, 3, 4);
    assert_int_equal(b->cpu->regs[HV_RSP], STACK0 - 12);
    assert_false(b->cpu->sys_flags & X86_IF);
}

static void a_trap_gate_leaves_interrupts_open(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 0);
    bench_gates(b, 15, 0, 0);
    emu_set_rflags(b->cpu, 0x4302); /* NT TF IF */
    assert_int_equal(emu_deliver_interrupt(b->cpu, 0x40), EMU_BRANCH);
    assert_true(b->cpu->sys_flags & X86_IF);
    assert_false(b->cpu->sys_flags & (X86_TF | X86_NT));
    bench_expect_frame(b, (uint64_t[]){ CODE, SEL_CODE32, 0x4302 }, 3, 4);
}

static void inner_ring_32bit_switches_stacks(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 3);
    bench_gates(b, 14, 0, 0);
    assert_int_equal(fault(b, X86_GP, true, 0x28), EMU_BRANCH);
    assert_int_equal(b->cpu->cpl, 0);
    assert_int_equal(b->cpu->segment[HV_SS].selector, SEL_DATA0);
    assert_int_equal(b->cpu->regs[HV_RSP], TSS_STACK0 - 24);
    bench_expect_frame(
        b, (uint64_t[]){ 0x28, CODE, SEL_CODE32_USER | 3, 0x10002, STACK3, SEL_DATA_USER | 3 }, 6,
        4);
}

static void sixteen_bit_gates_push_words(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT16, 0);
    bench_gates(b, 6, 0, 0);
    assert_int_equal(fault(b, X86_NP, true, 0x18), EMU_BRANCH);
    assert_int_equal(b->cpu->rip, 0x5000 + 11 * 16);
    assert_int_equal(b->cpu->regs[HV_RSP], 0x8000 - 8);
    bench_expect_frame(b, (uint64_t[]){ 0x18, 0x4000, SEL_CODE16, 2 }, 4, 2);
}

static void v86_pushes_its_segments(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, V86, 3);
    bench_gates(b, 14, 0, 0);
    b->cpu->segment[HV_ES].selector = 0x11;
    b->cpu->segment[HV_DS].selector = 0x22;
    b->cpu->segment[HV_FS].selector = 0x33;
    b->cpu->segment[HV_GS].selector = 0x44;
    b->cpu->segment[HV_SS].selector = 0x55;
    assert_int_equal(fault(b, X86_UD, false, 0), EMU_BRANCH);
    bench_expect_frame(
        b, (uint64_t[]){ 0x4000, 0, X86_VM | X86_RF | 2, 0x8000, 0x55, 0x11, 0x22, 0x33, 0x44 }, 9,
        4);
    assert_int_equal(b->cpu->regs[HV_RSP], TSS_STACK0 - 36);
    assert_int_equal(b->cpu->segment[HV_DS].selector, 0);
    assert_false(b->cpu->sys_flags & X86_VM);
}

static void long_mode_same_ring_aligns_and_pushes_five(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 0);
    bench_gates(b, 14, 0, 0);
    b->cpu->regs[HV_RSP] = STACK0 - 5;
    assert_int_equal(emu_deliver_interrupt(b->cpu, 0x41), EMU_BRANCH);
    assert_int_equal(b->cpu->regs[HV_RSP], ((STACK0 - 5) & ~15) - 40);
    bench_expect_frame(b, (uint64_t[]){ CODE, SEL_CODE64, 2, STACK0 - 5, SEL_DATA0 }, 5, 8);
    assert_int_equal(b->cpu->segment[HV_SS].selector, SEL_DATA0);
}

static void long_mode_inner_ring_loads_a_null_ss(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 3);
    bench_gates(b, 14, 0, 0);
    assert_int_equal(fault(b, X86_SS, true, 0x30), EMU_BRANCH);
    assert_int_equal(b->cpu->segment[HV_SS].selector, 0);
    assert_int_equal(b->cpu->cpl, 0);
    bench_expect_frame(
        b, (uint64_t[]){ 0x30, CODE, SEL_CODE64_USER | 3, 0x10002, STACK3, SEL_DATA_USER | 3 }, 6,
        8);
    assert_int_equal(b->cpu->regs[HV_RSP], TSS_STACK0 - 48);
}

static void compatibility_mode_enters_64bit_code(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, COMPAT32, 3);
    bench_gates(b, 14, 3, 0);
    assert_int_equal(RUN(b, "\xcd\x80"), EMU_BRANCH); /* int 0x80 */
    assert_int_equal(b->cpu->code_size, EMU_CODE64);
    bench_expect_frame(
        b, (uint64_t[]){ CODE + 2, SEL_CODE32_USER | 3, 2, STACK3, SEL_DATA_USER | 3 }, 5, 8);
}

static void ist_switches_even_in_the_same_ring(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 0);
    bench_gates(b, 14, 0, 1);
    assert_int_equal(emu_deliver_interrupt(b->cpu, X86_NMI), EMU_BRANCH);
    assert_int_equal(b->cpu->regs[HV_RSP], IST_STACK - 40);
    assert_int_equal(b->cpu->nmi_blocked, 1);
    bench_expect_frame(b, (uint64_t[]){ CODE, SEL_CODE64, 2, STACK0, SEL_DATA0 }, 5, 8);
}

/* ---- Software interrupts ---- */

static void int_n_needs_the_gates_dpl(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 3);
    bench_gates(b, 14, 0, 0);
    EXPECT_FAULT(b, "\xcd\x41", X86_GP, 0x41 * 8 + 2);
    EXPECT_FAULT(b, "\xcc", X86_GP, 3 * 8 + 2);
    /* .. but a hardware breakpoint's and icebp's #DB don't */
    assert_int_equal(RUN(b, "\xf1"), EMU_BRANCH);
    bench_expect_frame(b, (uint64_t[]){ CODE + 1, SEL_CODE64_USER | 3, 2 }, 3, 8);
    bench_mode(b, LONG64, 3);
    bench_gates(b, 14, 3, 0);
    assert_int_equal(RUN(b, "\xcc"), EMU_BRANCH);
    bench_expect_frame(b, (uint64_t[]){ CODE + 1, SEL_CODE64_USER | 3, 2 }, 3, 8);
}

static void into_wants_overflow(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 0);
    bench_gates(b, 14, 0, 0);
    assert_int_equal(RUN(b, "\xce"), EMU_NEXT);
    emu_set_rflags(b->cpu, 0x802);
    assert_int_equal(RUN(b, "\xce"), EMU_BRANCH);
    assert_int_equal(b->cpu->rip, HANDLER + 4 * 16);
}

static void int_n_in_v86_needs_iopl_3(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, V86, 3);
    bench_gates(b, 14, 3, 0);
    EXPECT_FAULT(b, "\xcd\x21", X86_GP, 0);
    emu_set_rflags(b->cpu, 2 | X86_VM | X86_IOPL);
    assert_int_equal(RUN(b, "\xcd\x21"), EMU_BRANCH);
}

/* ---- Bad gates ---- */

static void gates_are_judged(void **state)
{
    static const struct {
        uint64_t gate;
        uint8_t vector;
        uint32_t code;
    } rows[] = {
        { GATE(SEL_CODE64, HANDLER, 0x0e), X86_NP, 0x40 * 8 + 2 },
        { GATE(SEL_CODE64, HANDLER, 0x8c), X86_GP, 0x40 * 8 + 2 }, /* a call gate */
        { GATE(SEL_CODE64, HANDLER, 0x86), X86_GP, 0x40 * 8 + 2 }, /* 16 bits */
        { GATE(SEL_CODE64, HANDLER, 0x85), X86_GP, 0x40 * 8 + 2 }, /* a task gate */
        { GATE(0, HANDLER, 0x8e), X86_GP, 0 },
        { GATE(GDT_BYTES, HANDLER, 0x8e), X86_GP, GDT_BYTES },
        { GATE(SEL_DATA0, HANDLER, 0x8e), X86_GP, SEL_DATA0 },
        { GATE(SEL_CODE32, HANDLER, 0x8e), X86_GP, SEL_CODE32 },           /* not 64-bit */
        { GATE(SEL_CODE64_USER, HANDLER, 0x8e), X86_GP, SEL_CODE64_USER }, /* outward */
        { GATE(SEL_FREE, HANDLER, 0x8e), X86_NP, SEL_FREE },
    };
    struct bench *b = bench_of(state);

    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        bench_mode(b, LONG64, 0);
        bench_gates(b, 14, 0, 0);
        bench_descriptor(b, SEL_FREE, DESC(0, 0xfffff, 0xa1b), 0);
        bench_poke(b, IDT + 0x40 * 16, rows[i].gate, 8);
        EXPECT_FAULT(b, "\xcd\x40", rows[i].vector, (int)rows[i].code);
        /* From outside, EXT is set, and what comes instead arrives. */
        assert_int_equal(emu_deliver_interrupt(b->cpu, 0x40), EMU_BRANCH);
        assert_int_equal(b->cpu->rip, HANDLER + rows[i].vector * 16);
        bench_expect_frame(b, (uint64_t[]){ rows[i].code | 1, CODE, SEL_CODE64, 0x10002 }, 4, 8);
    }
}

static void the_idt_limit_counts(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 0);
    bench_gates(b, 14, 0, 0);
    b->cpu->idtr.limit = 0x40 * 16 + 14;
    EXPECT_FAULT(b, "\xcd\x40", X86_GP, 0x40 * 8 + 2);
    b->cpu->idtr.limit++;
    assert_int_equal(RUN(b, "\xcd\x40"), EMU_BRANCH);
}

static void a_frame_that_cannot_be_pushed_changes_nothing(void **state)
{
    struct bench *b = bench_of(state);

    /* The frame would begin in a mapped page and end in one that isn't. */
    bench_mode(b, LONG64, 0);
    bench_gates(b, 14, 0, 0);
    bench_poke(b, PML4 + 0x3000 + (STACK0 / 4096 - 1) * 8, 0, 8);
    emu_tlb_flush_all(b->cpu);
    b->cpu->regs[HV_RSP] = STACK0 + 16;
    bench_poke(b, STACK0 + 8, 0x5555, 8);
    EXPECT_FAULT(b, "\xcd\x40", X86_PF, X86_PF_W);
    assert_int_equal(b->cpu->fault.address, STACK0 - 24);
    assert_int_equal(bench_peek(b, STACK0 + 8, 8), 0x5555);
}

static void a_non_canonical_stack_is_ss(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 0);
    bench_gates(b, 14, 0, 0);
    b->cpu->regs[HV_RSP] = UINT64_C(0x8000000000000000);
    EXPECT_FAULT(b, "\xcd\x40", X86_SS, 0);
}

/* ---- Faults while delivering ---- */

static const struct double_row {
    uint8_t first, second;
    bool is_double;
} doubles[] = {
    { X86_DE, X86_GP, true },  { X86_GP, X86_GP, true },  { X86_SS, X86_NP, true },
    { X86_TS, X86_GP, true },  { X86_UD, X86_GP, false }, { X86_BP, X86_NP, false },
    { X86_DB, X86_GP, false }, { X86_NM, X86_GP, false }, { X86_PF, X86_GP, true },
    { X86_PF, X86_NP, true },  { X86_AC, X86_GP, false }, { X86_XM, X86_NP, false },
};

static void contributory_pairs_make_a_double_fault(void **state)
{
    struct bench *b = bench_of(state);

    for (unsigned i = 0; i < HV_ARRAY_SIZE(doubles); i++) {
        const struct double_row *row = &doubles[i];

        bench_mode(b, LONG64, 0);
        bench_gates(b, 14, 0, 0);
        /* A gate that isn't present, or of a wrong type, makes the second. */
        bench_poke(b, IDT + row->first * 16,
                   GATE(SEL_CODE64, HANDLER, row->second == X86_NP ? 0x0e : 0x8c), 8);
        if (row->first == row->second) /* the double fault alone has a good gate */
            assert_true(row->is_double);
        assert_int_equal(fault(b, row->first, row->first != X86_DE, 0), EMU_BRANCH);
        assert_int_equal(b->cpu->rip, HANDLER + (row->is_double ? X86_DF : row->second) * 16);
        if (row->is_double)
            bench_expect_frame(b, (uint64_t[]){ 0, CODE, SEL_CODE64 }, 3, 8);
    }
}

static void a_page_fault_on_the_way_of_a_page_fault_is_double(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 0);
    bench_gates(b, 14, 0, 0);
    bench_poke(b, IDT + X86_DF * 16, GATE(SEL_CODE64, HANDLER + X86_DF * 16, 0x8e) | 1ull << 32, 8);
    b->cpu->regs[HV_RSP] = 0x500000; /* not mapped */
    b->cpu->fault = (struct emu_fault){
        .vector = X86_PF, .has_error_code = true, .error_code = 2, .address = 0x123456
    };
    assert_int_equal(emu_deliver_fault(b->cpu), EMU_BRANCH);
    assert_int_equal(b->cpu->rip, HANDLER + X86_DF * 16);
    assert_int_equal(b->cpu->cr2, 0x500000 - 48);
    bench_expect_frame(b, (uint64_t[]){ 0, CODE, SEL_CODE64, 0x10002, 0x500000, SEL_DATA0 }, 6, 8);
}

static void a_third_fault_shuts_down(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 0);
    bench_gates(b, 14, 0, 0);
    b->cpu->idtr.limit = 0;
    assert_int_equal(fault(b, X86_UD, false, 0), EMU_SHUTDOWN);
    bench_mode(b, REAL16, 0);
    b->cpu->idtr.limit = 0;
    assert_int_equal(fault(b, X86_DE, false, 0), EMU_SHUTDOWN);
}

static void page_faults_set_cr2(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 3);
    bench_gates(b, 14, 0, 0);
    b->cpu->fault = (struct emu_fault){
        .vector = X86_PF, .has_error_code = true, .error_code = 6, .address = 0x7fff12345678
    };
    assert_int_equal(emu_deliver_fault(b->cpu), EMU_BRANCH);
    assert_int_equal(b->cpu->cr2, 0x7fff12345678);
    bench_expect_frame(b, (uint64_t[]){ 6, CODE }, 2, 8);
}

static void single_steps_tell_so(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 3);
    bench_gates(b, 14, 0, 0);
    emu_set_rflags(b->cpu, 0x302);
    b->cpu->dr7 |= 0x2000;
    assert_int_equal(emu_deliver_debug(b->cpu, true), EMU_BRANCH);
    assert_int_equal(b->cpu->dr6, 0xffff4ff0);
    assert_int_equal(b->cpu->dr7, 0x400);
    assert_false(b->cpu->sys_flags & X86_TF);
    bench_expect_frame(b, (uint64_t[]){ CODE, SEL_CODE64_USER | 3, 0x302 }, 3, 8);
}

/* ---- Bad inner stacks ---- */

static void inner_stacks_are_judged(void **state)
{
    struct bench *b = bench_of(state);
    static const struct {
        uint16_t ss;
        uint8_t vector;
        uint32_t code;
    } rows[] = {
        { 0, X86_TS, 0 },
        { GDT_BYTES, X86_TS, GDT_BYTES },
        { SEL_CODE32, X86_TS, SEL_CODE32 },
        { SEL_DATA_USER, X86_TS, SEL_DATA_USER },
        { SEL_DATA0 | 1, X86_TS, SEL_DATA0 },
        { SEL_FREE, X86_SS, SEL_FREE },
    };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        bench_mode(b, PROT32, 3);
        bench_gates(b, 14, 3, 0);
        bench_descriptor(b, SEL_FREE, DESC(0, 0xfffff, 0xc13), 0);
        bench_poke(b, TSS + 8, rows[i].ss, 2);
        EXPECT_FAULT(b, "\xcd\x40", rows[i].vector, (int)rows[i].code);
    }
    bench_mode(b, PROT32, 3);
    bench_gates(b, 14, 3, 0);
    b->cpu->tr.limit = 8;
    EXPECT_FAULT(b, "\xcd\x40", X86_TS, SEL_TSS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_mode_pushes_three_words),
        cmocka_unit_test(same_ring_32bit_pushes_three_dwords),
        cmocka_unit_test(a_trap_gate_leaves_interrupts_open),
        cmocka_unit_test(inner_ring_32bit_switches_stacks),
        cmocka_unit_test(sixteen_bit_gates_push_words),
        cmocka_unit_test(v86_pushes_its_segments),
        cmocka_unit_test(long_mode_same_ring_aligns_and_pushes_five),
        cmocka_unit_test(long_mode_inner_ring_loads_a_null_ss),
        cmocka_unit_test(compatibility_mode_enters_64bit_code),
        cmocka_unit_test(ist_switches_even_in_the_same_ring),
        cmocka_unit_test(int_n_needs_the_gates_dpl),
        cmocka_unit_test(into_wants_overflow),
        cmocka_unit_test(int_n_in_v86_needs_iopl_3),
        cmocka_unit_test(gates_are_judged),
        cmocka_unit_test(the_idt_limit_counts),
        cmocka_unit_test(a_frame_that_cannot_be_pushed_changes_nothing),
        cmocka_unit_test(a_non_canonical_stack_is_ss),
        cmocka_unit_test(contributory_pairs_make_a_double_fault),
        cmocka_unit_test(a_page_fault_on_the_way_of_a_page_fault_is_double),
        cmocka_unit_test(a_third_fault_shuts_down),
        cmocka_unit_test(page_faults_set_cr2),
        cmocka_unit_test(single_steps_tell_so),
        cmocka_unit_test(inner_stacks_are_judged),
    };

    return cmocka_run_group_tests(tests, bench_setup, bench_teardown);
}
