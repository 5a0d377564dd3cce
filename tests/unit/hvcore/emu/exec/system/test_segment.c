/* SPDX-License-Identifier: Apache-2.0 */
/* Claims about descriptors: who may load what, and what remains of it. */
#include "bench.h"

enum { NONE = 0xff };

/* A descriptor put into slot SEL_FREE and loaded into a segment register in 32-bit mode. */
static const struct load_row {
    const char *name;
    unsigned cpl, rpl;
    enum hv_segment seg;
    uint16_t attributes;
    uint8_t vector; /* NONE: it loads */
} loads[] = {
    { "a data segment of the own ring", 0, 0, HV_DS, 0xc93, NONE },
    { "a read-only data segment", 0, 0, HV_ES, 0xc91, NONE },
    { "a data segment of an outer ring", 0, 0, HV_FS, 0xcf3, NONE },
    { "a data segment of an inner ring", 3, 3, HV_DS, 0xc93, X86_GP },
    { "an inner RPL doesn't help", 3, 0, HV_DS, 0xc93, X86_GP },
    { "an outer RPL weakens", 0, 3, HV_DS, 0xc93, X86_GP },
    { "a data segment that isn't present", 0, 0, HV_DS, 0xc13, X86_NP },
    { "readable code", 0, 0, HV_DS, 0xc9b, NONE },
    { "code that can only be executed", 0, 0, HV_DS, 0xc99, X86_GP },
    { "conforming code from an outer ring", 3, 3, HV_GS, 0xc9f, NONE },
    { "conforming unreadable code", 3, 3, HV_GS, 0xc9d, X86_GP },
    { "a TSS", 0, 0, HV_DS, 0x89, X86_GP },
    { "an LDT", 0, 0, HV_DS, 0x82, X86_GP },
    { "SS: writable data of the own ring", 0, 0, HV_SS, 0xc93, NONE },
    { "SS: of ring 3 in ring 3", 3, 3, HV_SS, 0xcf3, NONE },
    { "SS: read-only data", 0, 0, HV_SS, 0xc91, X86_GP },
    { "SS: code", 0, 0, HV_SS, 0xc9b, X86_GP },
    { "SS: DPL is another", 0, 0, HV_SS, 0xcf3, X86_GP },
    { "SS: RPL is another", 0, 3, HV_SS, 0xc93, X86_GP },
    { "SS: not present", 0, 0, HV_SS, 0xc13, X86_SS },
    { "SS: expand-down data", 0, 0, HV_SS, 0xc97, NONE },
};

/* mov SREG, ax */
static enum emu_result mov_to(struct bench *b, enum hv_segment seg, uint16_t selector)
{
    char code[] = { (char)0x8e, (char)(0xc0 | seg << 3) };

    b->cpu->regs[HV_RAX] = selector;
    return bench_run(b, code, 2);
}

static void descriptors_are_judged(void **state)
{
    struct bench *b = bench_of(state);

    for (unsigned i = 0; i < HV_ARRAY_SIZE(loads); i++) {
        const struct load_row *row = &loads[i];
        uint16_t selector = (uint16_t)(SEL_FREE | row->rpl);
        enum emu_result result;

        bench_mode(b, PROT32, row->cpl);
        bench_descriptor(b, SEL_FREE, DESC(0x12345678, 0xfffff, row->attributes & ~1u), 0);
        if (!(row->attributes & 0x10)) /* system types have no accessed bit */
            bench_descriptor(b, SEL_FREE, DESC(0x12345678, 0xfffff, row->attributes), 0);
        result = mov_to(b, row->seg, selector);
        if (row->vector == NONE) {
            if (result == EMU_FAULT)
                print_message("%s\n", row->name);
            assert_int_not_equal(result, EMU_FAULT);
            assert_int_equal(b->cpu->segment[row->seg].base, 0x12345678);
            assert_int_equal(b->cpu->segment[row->seg].limit, UINT32_MAX);
            assert_int_equal(b->cpu->segment[row->seg].attributes, row->attributes | 1);
            assert_int_equal(bench_peek(b, GDT + SEL_FREE + 5, 1), (row->attributes & 0xff) | 1);
        } else {
            if (result != EMU_FAULT || b->cpu->fault.vector != row->vector)
                print_message("%s\n", row->name);
            assert_int_equal(result, EMU_FAULT);
            assert_int_equal(b->cpu->fault.vector, row->vector);
            assert_int_equal(b->cpu->fault.error_code, SEL_FREE);
            assert_int_not_equal(b->cpu->segment[row->seg].selector, selector);
        }
    }
}

static void a_selector_beyond_the_table_is_gp(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 0);
    b->cpu->regs[HV_RAX] = GDT_BYTES;
    EXPECT_FAULT(b, "\x8e\xd8", X86_GP, GDT_BYTES); /* mov ds, ax */
    b->cpu->regs[HV_RAX] = 0xc | 3;                 /* no LDT is loaded */
    EXPECT_FAULT(b, "\x8e\xd8", X86_GP, 0xc);
}

static void ldt_descriptors_load(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 0);
    b->cpu->regs[HV_RAX] = SEL_LDT;
    assert_int_equal(RUN(b, "\x0f\x00\xd0"), EMU_NEXT); /* lldt ax */
    bench_poke(b, LDT + 8, DESC(0x777, 0xff, 0x93), 8);
    assert_int_equal(mov_to(b, HV_ES, 0xc), EMU_NEXT);
    assert_int_equal(b->cpu->segment[HV_ES].base, 0x777);
    assert_int_equal(b->cpu->segment[HV_ES].limit, 0xff);
}

static void null_selectors(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 0);
    assert_int_equal(mov_to(b, HV_DS, 3), EMU_NEXT);
    assert_int_equal(b->cpu->segment[HV_DS].attributes, 0);
    b->cpu->regs[HV_RAX] = 0;
    EXPECT_FAULT(b, "\x8e\xd0", X86_GP, 0); /* mov ss, ax */

    bench_mode(b, LONG64, 0);
    emu_set_segment_base(b->cpu, HV_FS, 0x5000);
    assert_int_equal(mov_to(b, HV_FS, 0), EMU_NEXT);
    assert_int_equal(b->cpu->regs[EMU_REG_FS_BASE], 0);
    assert_int_equal(mov_to(b, HV_SS, 0), EMU_LEAVE); /* ring 0, RPL 0 */
    assert_int_equal(b->cpu->segment[HV_SS].selector, 0);
    b->cpu->regs[HV_RAX] = 1;
    EXPECT_FAULT(b, "\x8e\xd0", X86_GP, 0);
    bench_mode(b, LONG64, 3);
    b->cpu->regs[HV_RAX] = 3;
    EXPECT_FAULT(b, "\x8e\xd0", X86_GP, 0);
}

static void mov_ss_holds_off_interrupts(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 0);
    assert_int_equal(mov_to(b, HV_SS, SEL_DATA0), EMU_LEAVE);
    assert_int_equal(b->cpu->shadow, 1);
    bench_mode(b, PROT32, 0);
    assert_int_equal(mov_to(b, HV_DS, SEL_DATA0), EMU_NEXT);
    assert_int_equal(b->cpu->shadow, 0);
}

static void real_mode_keeps_limits(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, REAL16, 0);
    b->cpu->segment[HV_DS].limit = UINT32_MAX; /* "unreal" */
    assert_int_equal(mov_to(b, HV_DS, 0x1234), EMU_NEXT);
    assert_int_equal(b->cpu->segment[HV_DS].base, 0x12340);
    assert_int_equal(b->cpu->segment[HV_DS].limit, UINT32_MAX);
    bench_mode(b, V86, 3);
    b->cpu->segment[HV_DS].limit = UINT32_MAX;
    assert_int_equal(mov_to(b, HV_DS, 0x1234), EMU_NEXT);
    assert_int_equal(b->cpu->segment[HV_DS].limit, 0xffff);
}

static void mov_cs_is_undefined(void **state)
{
    struct bench *b = bench_of(state);
    struct emu_insn insn = { .mnemonic = EMU_MN_MOV,
                             .length = 2,
                             .op_size = 4,
                             .n_operands = 2,
                             .op = { { EMU_OPD_SEG, HV_CS, 2 }, { EMU_OPD_GPR, HV_RAX, 2 } } };

    bench_mode(b, PROT32, 0);
    assert_int_equal(emu_exec_of(EMU_MN_MOV)(b->cpu, &insn), EMU_FAULT);
    assert_int_equal(b->cpu->fault.vector, X86_UD);
}

static void a_failing_pop_leaves_the_stack(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 0);
    bench_poke(b, STACK0, GDT_BYTES, 4);
    EXPECT_FAULT(b, "\x1f", X86_GP, GDT_BYTES); /* pop ds */
    bench_poke(b, STACK0, SEL_DATA0, 4);
    assert_int_equal(RUN(b, "\x1f"), EMU_NEXT);
    assert_int_equal(b->cpu->regs[HV_RSP], STACK0 + 4);
    assert_int_equal(RUN(b, "\x16"), EMU_NEXT); /* push ss */
    assert_int_equal(bench_peek(b, STACK0, 4), SEL_DATA0);
}

static void far_pointers_load_both_or_nothing(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 0);
    b->cpu->regs[HV_RBX] = 0x2000;
    bench_poke(b, 0x2000, 0xcafe, 4);
    bench_poke(b, 0x2004, GDT_BYTES, 2);
    EXPECT_FAULT(b, "\xc4\x03", X86_GP, GDT_BYTES); /* les eax, [ebx] */
    bench_poke(b, 0x2004, SEL_DATA0, 2);
    assert_int_equal(RUN(b, "\xc4\x03"), EMU_NEXT);
    assert_int_equal(b->cpu->regs[HV_RAX], 0xcafe);
    assert_int_equal(RUN(b, "\x0f\xb2\x03"), EMU_LEAVE); /* lss eax, [ebx] */
    assert_int_equal(b->cpu->shadow, 0);
}

/* lar, lsl, verr and verw on a descriptor in SEL_FREE. */
static const struct look_row {
    unsigned cpl, rpl;
    uint16_t attributes;
    bool lar, lsl, verr, verw;
} looks[] = {
    { 0, 0, 0xc93, true, true, true, true },     { 0, 0, 0xc91, true, true, true, false },
    { 0, 0, 0xc9b, true, true, true, false },    { 0, 0, 0xc99, true, true, false, false },
    { 3, 3, 0xc93, false, false, false, false }, { 0, 3, 0xc93, false, false, false, false },
    { 3, 3, 0xc9f, true, true, true, false },    { 0, 0, 0x89, true, true, false, false },
    { 0, 0, 0x82, true, true, false, false },    { 0, 0, 0x8c, true, false, false, false },
    { 0, 0, 0x8e, false, false, false, false },  { 0, 0, 0x85, true, false, false, false },
    { 0, 0, 0x80, false, false, false, false },  { 0, 0, 0xc13, true, true, true, true },
};

static bool zf(struct bench *b)
{
    return emu_arith_flags(b->cpu) & EMU_ZF;
}

static void looking_tells_what_loading_would(void **state)
{
    struct bench *b = bench_of(state);

    for (unsigned i = 0; i < HV_ARRAY_SIZE(looks); i++) {
        const struct look_row *row = &looks[i];

        bench_mode(b, PROT32, row->cpl);
        bench_descriptor(b, SEL_FREE, DESC(0, 0x12345, row->attributes), 0);
        b->cpu->regs[HV_RAX] = SEL_FREE | row->rpl;
        b->cpu->regs[HV_RCX] = 0xdeadbeef;
        assert_int_equal(RUN(b, "\x0f\x02\xc8"), EMU_NEXT); /* lar ecx, eax */
        assert_int_equal(zf(b), row->lar);
        assert_int_equal(b->cpu->regs[HV_RCX], row->lar
                                                   ? (uint64_t)(row->attributes & 0xff) << 8 |
                                                         (uint64_t)(row->attributes & 0xf00) << 12
                                                   : 0xdeadbeef);
        b->cpu->regs[HV_RCX] = 0xdeadbeef;
        assert_int_equal(RUN(b, "\x0f\x03\xc8"), EMU_NEXT); /* lsl ecx, eax */
        assert_int_equal(zf(b), row->lsl);
        assert_int_equal(b->cpu->regs[HV_RCX], !row->lsl                    ? 0xdeadbeef
                                               : row->attributes & HV_SEG_G ? 0x12345fff
                                                                            : 0x12345);
        assert_int_equal(RUN(b, "\x0f\x00\xe0"), EMU_NEXT); /* verr ax */
        assert_int_equal(zf(b), row->verr);
        assert_int_equal(RUN(b, "\x0f\x00\xe8"), EMU_NEXT); /* verw ax */
        assert_int_equal(zf(b), row->verw);
    }
}

static void arpl_raises_rpl(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 0);
    b->cpu->regs[HV_RAX] = 0x11;
    b->cpu->regs[HV_RCX] = 3;
    assert_int_equal(RUN(b, "\x63\xc8"), EMU_NEXT); /* arpl ax, cx */
    assert_int_equal(b->cpu->regs[HV_RAX], 0x13);
    assert_true(zf(b));
    assert_int_equal(RUN(b, "\x63\xc8"), EMU_NEXT);
    assert_false(zf(b));
    bench_mode(b, REAL16, 0);
    EXPECT_FAULT(b, "\x63\xc8", X86_UD, NO_CODE);
}

static void ltr_marks_busy(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 0);
    b->cpu->regs[HV_RAX] = SEL_TSS2;
    assert_int_equal(RUN(b, "\x0f\x00\xd8"), EMU_NEXT); /* ltr ax */
    assert_int_equal(bench_peek(b, GDT + SEL_TSS2 + 5, 1), 0x8b);
    assert_int_equal(b->cpu->tr.base, TSS2);
    EXPECT_FAULT(b, "\x0f\x00\xd8", X86_GP, SEL_TSS2); /* busy now */
    b->cpu->regs[HV_RAX] = 0;
    EXPECT_FAULT(b, "\x0f\x00\xd8", X86_GP, 0);
    b->cpu->regs[HV_RAX] = SEL_DATA0;
    EXPECT_FAULT(b, "\x0f\x00\xd8", X86_GP, SEL_DATA0);
    bench_mode(b, PROT32, 3);
    EXPECT_FAULT(b, "\x0f\x00\xd8", X86_GP, 0);
    bench_mode(b, REAL16, 0);
    EXPECT_FAULT(b, "\x0f\x00\xd8", X86_UD, NO_CODE);
}

static void long_mode_tss_has_a_wide_base(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 0);
    bench_descriptor(b, SEL_FREE, DESC(0x1000, 0x67, 0x89), 0xffff8000);
    b->cpu->regs[HV_RAX] = SEL_FREE;
    assert_int_equal(RUN(b, "\x0f\x00\xd8"), EMU_NEXT);
    assert_true(b->cpu->tr.base == UINT64_C(0xffff800000001000));
    bench_descriptor(b, SEL_FREE, DESC(0x1000, 0x67, 0x89), 0x8000);
    EXPECT_FAULT(b, "\x0f\x00\xd8", X86_GP, SEL_FREE); /* not canonical */
}

static void table_registers(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 0);
    b->cpu->regs[HV_RBX] = 0x2000;
    bench_poke(b, 0x2000, 0x1ff, 2);
    bench_poke(b, 0x2002, 0xffff800000001000, 8);
    assert_int_equal(RUN(b, "\x0f\x01\x13"), EMU_NEXT); /* lgdt [rbx] */
    assert_true(b->cpu->gdtr.base == 0xffff800000001000 && b->cpu->gdtr.limit == 0x1ff);
    bench_poke(b, 0x2002, 0x8000000000000000, 8);
    EXPECT_FAULT(b, "\x0f\x01\x1b", X86_GP, 0); /* lidt [rbx] */

    bench_mode(b, PROT32, 0);
    b->cpu->regs[HV_RBX] = 0x2000;
    bench_poke(b, 0x2000, 0x12345678abcd, 8);
    assert_int_equal(RUN(b, "\x0f\x01\x13"), EMU_NEXT);
    assert_int_equal(b->cpu->gdtr.base, 0x12345678 >> 0 & 0xffffffff);
    assert_int_equal(RUN(b, "\x66\x0f\x01\x13"), EMU_NEXT);
    assert_int_equal(b->cpu->gdtr.base, 0x345678); /* 24 bits with a 16-bit operand */

    bench_mode(b, PROT32, 3);
    b->cpu->regs[HV_RBX] = 0x2000;
    EXPECT_FAULT(b, "\x0f\x01\x13", X86_GP, 0);
    assert_int_equal(RUN(b, "\x0f\x01\x03"), EMU_NEXT); /* sgdt */
    assert_int_equal(bench_peek(b, 0x2002, 4), GDT);
    b->cpu->cr4 |= X86_CR4_UMIP;
    EXPECT_FAULT(b, "\x0f\x01\x03", X86_GP, 0);
    EXPECT_FAULT(b, "\x0f\x00\xc0", X86_GP, 0); /* sldt eax */
    EXPECT_FAULT(b, "\x0f\x01\xe0", X86_GP, 0); /* smsw eax */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptors_are_judged),
        cmocka_unit_test(a_selector_beyond_the_table_is_gp),
        cmocka_unit_test(ldt_descriptors_load),
        cmocka_unit_test(null_selectors),
        cmocka_unit_test(mov_ss_holds_off_interrupts),
        cmocka_unit_test(real_mode_keeps_limits),
        cmocka_unit_test(mov_cs_is_undefined),
        cmocka_unit_test(a_failing_pop_leaves_the_stack),
        cmocka_unit_test(far_pointers_load_both_or_nothing),
        cmocka_unit_test(looking_tells_what_loading_would),
        cmocka_unit_test(arpl_raises_rpl),
        cmocka_unit_test(ltr_marks_busy),
        cmocka_unit_test(long_mode_tss_has_a_wide_base),
        cmocka_unit_test(table_registers),
    };

    return cmocka_run_group_tests(tests, bench_setup, bench_teardown);
}
