/* SPDX-License-Identifier: Apache-2.0 */
/* Claims about control registers, EFER, debug registers, MSRs, flags, ports and identification. */
#include "bench.h"

/* ---- CR0, CR3, CR4, EFER ---- */

static void cr0_combinations(void **state)
{
    static const struct {
        uint64_t value;
        bool is_good;
    } rows[] = {
        { 0x11, true },       { 0x80000010, false }, { 0x80000011, true }, { 0x20000011, false },
        { 0x60000011, true }, { 0x40000011, true },  { 0x10, true },       { 0x100000011, false },
    };
    struct bench *b = bench_of(state);

    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        bench_mode(b, PROT32, 0);
        assert_int_equal(emu_write_cr0(b->cpu, rows[i].value), rows[i].is_good);
        if (rows[i].is_good)
            assert_int_equal(b->cpu->cr0, rows[i].value);
        else
            assert_int_equal(b->cpu->fault.vector, X86_GP);
    }
    bench_mode(b, PROT32, 0);
    assert_true(emu_write_cr0(b->cpu, 1)); /* ET can't be cleared */
    assert_int_equal(b->cpu->cr0, 0x11);
}

static void long_mode_begins_with_paging(void **state)
{
    struct bench *b = bench_of(state);
    struct emu_cpu *cpu = b->cpu;

    bench_mode(b, PROT32, 0);
    assert_true(emu_write_efer(cpu, X86_EFER_LME | X86_EFER_NXE));
    assert_int_equal(cpu->efer, X86_EFER_LME | X86_EFER_NXE);
    assert_false(emu_write_cr0(cpu, 0x80000011)); /* no PAE */
    assert_true(emu_write_cr4(cpu, X86_CR4_PAE));
    cpu->segment[HV_CS].attributes |= HV_SEG_L;
    assert_false(emu_write_cr0(cpu, 0x80000011)); /* CS.L beforehand */
    cpu->segment[HV_CS].attributes &= (uint16_t)~HV_SEG_L;
    assert_true(emu_write_cr0(cpu, 0x80000011));
    assert_true(cpu->efer & X86_EFER_LMA);
    assert_int_equal(cpu->code_size, EMU_CODE32);    /* compatibility mode until the far jump */
    assert_false(emu_write_efer(cpu, X86_EFER_NXE)); /* LME is fixed under paging */
    assert_true(emu_write_efer(cpu, X86_EFER_LME));  /* LMA isn't software's */
    assert_true(cpu->efer & X86_EFER_LMA);
    assert_false(emu_write_cr4(cpu, 0)); /* neither is PAE */
    assert_true(emu_write_cr0(cpu, 0x11));
    assert_false(cpu->efer & X86_EFER_LMA);
    bench_mode(b, LONG64, 0);
    assert_false(emu_write_cr0(cpu, 0x11)); /* not from 64-bit code */
}

static void efer_bits_must_be_offered(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 0);
    assert_false(emu_write_efer(b->cpu, 1 << 12)); /* SVME */
    assert_false(emu_write_efer(b->cpu, X86_EFER_FFXSR));
    assert_true(emu_write_efer(b->cpu, X86_EFER_SCE | X86_EFER_NXE));
    assert_true(emu_write_efer(b->cpu, X86_EFER_AIBRSE));
    assert_int_equal(b->cpu->efer, X86_EFER_AIBRSE);
}

static void cr3_reserved_bits(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 0);
    assert_true(emu_write_cr3(b->cpu, PML4 | 0x18));
    assert_false(emu_write_cr3(b->cpu, UINT64_C(1) << 40 | PML4));
    assert_false(emu_write_cr3(b->cpu, UINT64_C(1) << 63 | PML4));
    b->cpu->cr3 = PML4;
    assert_true(emu_write_cr4(b->cpu, X86_CR4_PAE | X86_CR4_PCIDE));
    assert_true(emu_write_cr3(b->cpu, UINT64_C(1) << 63 | PML4 | 5));
    assert_int_equal(b->cpu->cr3, PML4 | 5);
}

static void cr4_bits_must_be_offered(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 0);
    assert_false(emu_write_cr4(b->cpu, X86_CR4_PAE | X86_CR4_VME));
    assert_false(emu_write_cr4(b->cpu, X86_CR4_PAE | 1 << 12)); /* LA57 */
    assert_true(emu_write_cr4(b->cpu, X86_CR4_PAE | X86_CR4_SMAP | X86_CR4_FSGSBASE));
    b->cpu->cr3 |= 1;
    assert_false(emu_write_cr4(b->cpu, X86_CR4_PAE | X86_CR4_PCIDE));
    bench_mode(b, PROT32, 0);
    b->features_off[1] = 1u << 20;
    assert_false(emu_write_cr4(b->cpu, X86_CR4_SMAP));
    EXPECT_FAULT(b, "\x0f\x01\xcb", X86_UD, NO_CODE); /* stac */
    b->features_off[1] = 0;
    assert_false(emu_write_cr4(b->cpu, X86_CR4_PCIDE)); /* outside long mode */
}

static void pae_paging_looks_at_its_pointers(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 0);
    for (unsigned i = 0; i < 4; i++)
        bench_poke(b, 0x20000 + i * 8, 0x21001, 8);
    b->cpu->cr3 = 0x20000;
    assert_true(emu_write_cr4(b->cpu, X86_CR4_PAE));
    bench_poke(b, 0x20010, 0x21003, 8); /* bit 1 is reserved */
    assert_false(emu_write_cr0(b->cpu, 0x80000011));
    assert_int_equal(b->cpu->cr0, 0x11);
    bench_poke(b, 0x20010, 0x21002, 8); /* not present: doesn't matter */
    assert_true(emu_write_cr0(b->cpu, 0x80000011));
    bench_poke(b, 0x20010, UINT64_C(1) << 63 | 1, 8);
    assert_false(emu_write_cr3(b->cpu, 0x20000));
}

static void control_registers_are_the_kernels(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 3);
    EXPECT_FAULT(b, "\x0f\x20\xc0", X86_GP, 0); /* mov rax, cr0 */
    EXPECT_FAULT(b, "\x0f\x22\xd8", X86_GP, 0);
    EXPECT_FAULT(b, "\x0f\x23\xf8", X86_GP, 0);       /* mov dr7, rax */
    EXPECT_FAULT(b, "\x0f\x06", X86_GP, 0);           /* clts */
    EXPECT_FAULT(b, "\x0f\x01\xf0", X86_GP, 0);       /* lmsw ax */
    EXPECT_FAULT(b, "\x0f\x01\x38", X86_GP, 0);       /* invlpg [rax] */
    EXPECT_FAULT(b, "\x0f\x09", X86_GP, 0);           /* wbinvd */
    EXPECT_FAULT(b, "\x0f\x08", X86_GP, 0);           /* invd */
    EXPECT_FAULT(b, "\xf4", X86_GP, 0);               /* hlt */
    EXPECT_FAULT(b, "\x0f\x30", X86_GP, 0);           /* wrmsr */
    EXPECT_FAULT(b, "\x0f\x32", X86_GP, 0);           /* rdmsr */
    EXPECT_FAULT(b, "\xfa", X86_GP, 0);               /* cli */
    EXPECT_FAULT(b, "\xfb", X86_GP, 0);               /* sti */
    EXPECT_FAULT(b, "\x0f\x01\xd9", X86_UD, NO_CODE); /* vmmcall */
    EXPECT_FAULT(b, "\x0f\xaa", X86_UD, NO_CODE);     /* rsm */
    EXPECT_FAULT(b, "\x0f\x01\xc8", X86_UD, NO_CODE); /* monitor */
    bench_mode(b, LONG64, 0);
    b->cpu->regs[HV_RAX] = 16;
    EXPECT_FAULT(b, "\x44\x0f\x22\xc0", X86_GP, 0); /* mov cr8, rax */
    b->cpu->regs[HV_RAX] = 5;
    assert_int_equal(RUN(b, "\x44\x0f\x22\xc0"), EMU_LEAVE);
    assert_int_equal(x86_lapic_cr8(&b->lapic), 5);
    assert_int_equal(RUN(b, "\x44\x0f\x20\xc1"), EMU_NEXT); /* mov rcx, cr8 */
    assert_int_equal(b->cpu->regs[HV_RCX], 5);
    x86_lapic_set_tpr(&b->lapic, 0);
}

static void lmsw_sets_pe_and_never_clears_it(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, REAL16, 0);
    b->cpu->regs[HV_RAX] = 0xffff;
    assert_int_equal(RUN(b, "\x0f\x01\xf0"), EMU_LEAVE);
    assert_int_equal(b->cpu->cr0, 0x1f);
    b->cpu->regs[HV_RAX] = 0;
    assert_int_equal(RUN(b, "\x0f\x01\xf0"), EMU_LEAVE);
    assert_int_equal(b->cpu->cr0, 0x11);
}

/* ---- Debug registers ---- */

static void debug_registers(void **state)
{
    struct bench *b = bench_of(state);
    struct emu_cpu *cpu = b->cpu;

    bench_mode(b, LONG64, 0);
    cpu->regs[HV_RAX] = 0xffffffff;
    assert_int_equal(RUN(b, "\x0f\x23\xf0"), EMU_LEAVE); /* mov dr6, rax */
    assert_int_equal(cpu->dr6, 0xffffefff & 0xffffffff);
    cpu->regs[HV_RAX] = 0xffffdfff;
    assert_int_equal(RUN(b, "\x0f\x23\xf8"), EMU_LEAVE);
    assert_int_equal(cpu->dr7, 0xffff07ff);
    cpu->regs[HV_RAX] = 0x100000000;
    EXPECT_FAULT(b, "\x0f\x23\xf8", X86_GP, 0);
    assert_int_equal(RUN(b, "\x0f\x21\xe1"), EMU_NEXT); /* mov rcx, dr4: an alias */
    assert_int_equal(cpu->regs[HV_RCX], cpu->dr6);
    cpu->cr4 |= X86_CR4_DE;
    EXPECT_FAULT(b, "\x0f\x21\xe1", X86_UD, NO_CODE);
    cpu->dr7 |= 0x2000;
    cpu->dr6 = 0xffff0ff0;
    EXPECT_FAULT(b, "\x0f\x21\xc1", X86_DB, NO_CODE); /* general detect */
    assert_int_equal(cpu->dr6, 0xffff2ff0);
}

/* A breakpoint in DR0 with these condition and length bits, and what an access leaves. */
static unsigned watched(struct bench *b, uint64_t dr0, unsigned bits, uint64_t at, bool is_write)
{
    struct emu_cpu *cpu = b->cpu;

    bench_mode(b, LONG64, 0);
    cpu->dr[0] = dr0;
    cpu->regs[HV_RAX] = 0x400 | 1 | bits << 16;
    assert_int_equal(RUN(b, "\x0f\x23\xf8"), EMU_LEAVE);
    cpu->regs[HV_RBX] = at;
    assert_int_equal(is_write ? RUN(b, "\x66\x89\x0b") : RUN(b, "\x66\x8b\x0b"), EMU_NEXT);
    return cpu->debug_hits;
}

static void data_breakpoints_match_by_condition_and_range(void **state)
{
    enum { WRITE_1 = 1, WRITE_4 = 13, ACCESS_2 = 7, ACCESS_8 = 11 };
    struct bench *b = bench_of(state);

    assert_int_equal(watched(b, 0x2000, WRITE_4, 0x2002, true), 1);
    assert_int_equal(watched(b, 0x2002, WRITE_4, 0x2000, true), 1); /* aligned down */
    assert_int_equal(watched(b, 0x2000, WRITE_4, 0x2004, true), 0);
    assert_int_equal(watched(b, 0x2000, WRITE_4, 0x1fff, true), 1); /* the word's second byte */
    assert_int_equal(watched(b, 0x2000, WRITE_4, 0x2002, false), 0);
    assert_int_equal(watched(b, 0x2001, WRITE_1, 0x2000, true), 1);
    assert_int_equal(watched(b, 0x2002, WRITE_1, 0x2000, true), 0);
    assert_int_equal(watched(b, 0x2000, ACCESS_2, 0x2001, false), 1);
    assert_int_equal(watched(b, 0x2000, ACCESS_8, 0x2006, false), 1);
    assert_int_equal(watched(b, 0x2000, ACCESS_8, 0x2008, false), 0);
    bench_gates(b, 14, 0, 0);
    b->cpu->debug_hits = 5;
    assert_int_equal(emu_deliver_debug(b->cpu, false), EMU_BRANCH);
    assert_int_equal(b->cpu->dr6, 0xffff0ff5);
    assert_int_equal(b->cpu->debug_hits, 0);
}

static void alignment_is_checked_for_users_who_ask(void **state)
{
    struct bench *b = bench_of(state);
    struct emu_cpu *cpu = b->cpu;

    for (unsigned which = 0; which < 8; which++) {
        bool am = which & 1, ac = which & 2, is_user = which & 4;

        bench_mode(b, LONG64, is_user ? 3 : 0);
        cpu->cr0 |= am ? X86_CR0_AM : 0;
        emu_set_rflags(cpu, ac ? 2 | X86_AC_FLAG : 2);
        emu_mode_changed(cpu);
        cpu->regs[HV_RBX] = 0x2002;
        if (am && ac && is_user)
            EXPECT_FAULT(b, "\x8b\x03", X86_AC, 0); /* mov eax, [rbx] */
        else
            assert_int_equal(RUN(b, "\x8b\x03"), EMU_NEXT);
        assert_int_equal(RUN(b, "\x66\x8b\x03"), EMU_NEXT); /* a word is aligned */
    }
}

/* Every page of the bench is a user page: with SMAP the kernel sees none of them but by AC. */
static void smap_hides_user_pages_unless_ac(void **state)
{
    struct bench *b = bench_of(state);
    struct emu_cpu *cpu = b->cpu;

    bench_mode(b, LONG64, 0);
    cpu->regs[HV_RBX] = 0x2000;
    assert_int_equal(RUN(b, "\x8b\x03"), EMU_NEXT); /* cached as a kernel's */
    assert_true(emu_write_cr4(cpu, X86_CR4_PAE | X86_CR4_SMAP));
    EXPECT_FAULT(b, "\x8b\x03", X86_PF, X86_PF_P);
    EXPECT_FAULT(b, "\x89\x03", X86_PF, X86_PF_P | X86_PF_W);
    assert_int_equal(RUN(b, "\x0f\x01\xcb"), EMU_NEXT); /* stac */
    assert_int_equal(RUN(b, "\x8b\x03"), EMU_NEXT);
    assert_int_equal(RUN(b, "\x89\x03"), EMU_NEXT);
    assert_int_equal(RUN(b, "\x0f\x01\xca"), EMU_NEXT); /* clac */
    EXPECT_FAULT(b, "\x8b\x03", X86_PF, X86_PF_P);
    cpu->cpl = 3;
    emu_mode_changed(cpu);
    assert_int_equal(RUN(b, "\x8b\x03"), EMU_NEXT);
    EXPECT_FAULT(b, "\x0f\x01\xcb", X86_UD, NO_CODE);
}

/* ---- Flags ---- */

static const struct popf_row {
    unsigned cpl, iopl;
    uint64_t mask; /* of the bits set from all zero but IOPL, by popfq of all ones */
} popfs[] = {
    { 0, 0, 0x247fd5 },
    { 3, 0, 0x244dd5 },
    { 3, 3, 0x244fd5 },
    { 0, 3, 0x247fd5 },
};

static void popf_keeps_what_the_ring_may_not_change(void **state)
{
    struct bench *b = bench_of(state);

    for (unsigned i = 0; i < HV_ARRAY_SIZE(popfs); i++) {
        bench_mode(b, LONG64, popfs[i].cpl);
        emu_set_rflags(b->cpu, 2 | popfs[i].iopl << 12);
        bench_poke(b, b->cpu->regs[HV_RSP], UINT64_MAX & ~(uint64_t)X86_TF, 8);
        assert_int_not_equal(RUN(b, "\x9d"), EMU_FAULT);
        assert_int_equal(emu_rflags(b->cpu) | X86_TF,
                         2 | popfs[i].mask | popfs[i].iopl << 12 | X86_TF);
    }
    bench_mode(b, LONG64, 0);
    emu_set_rflags(b->cpu, 2 | X86_ID);
    bench_poke(b, STACK0, 0x8d5, 2);
    assert_int_equal(RUN(b, "\x66\x9d"), EMU_NEXT); /* 16 bits */
    assert_int_equal(emu_rflags(b->cpu), 0x8d7 | X86_ID);
    assert_int_equal(b->cpu->regs[HV_RSP], STACK0 + 2);
}

static void popf_leaves_for_steps_and_interrupts(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 0);
    bench_poke(b, STACK0, 0x102, 8);
    assert_int_equal(RUN(b, "\x9d"), EMU_LEAVE);
    bench_mode(b, LONG64, 0);
    bench_poke(b, STACK0, 0x202, 8);
    assert_int_equal(RUN(b, "\x9d"), EMU_NEXT);
    bench_mode(b, LONG64, 0);
    bench_poke(b, STACK0, 0x202, 8);
    b->cpu->nmi_pending = true; /* anything that can be taken */
    assert_int_equal(RUN(b, "\x9d"), EMU_LEAVE);
    b->cpu->nmi_pending = false;
}

static void v86_flags_need_iopl_3(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, V86, 3);
    EXPECT_FAULT(b, "\x9c", X86_GP, 0);
    EXPECT_FAULT(b, "\x9d", X86_GP, 0);
    EXPECT_FAULT(b, "\xfa", X86_GP, 0);
    EXPECT_FAULT(b, "\xfb", X86_GP, 0);
    EXPECT_FAULT(b, "\xcf", X86_GP, 0);
    emu_set_rflags(b->cpu, 2 | X86_VM | X86_IOPL | X86_IF);
    assert_int_equal(RUN(b, "\x66\x9c"), EMU_NEXT); /* pushfd shows no VM */
    bench_expect_frame(b, (uint64_t[]){ 0x3202 }, 1, 4);
}

static void sti_casts_a_shadow_once(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 0);
    assert_int_equal(RUN(b, "\xfb"), EMU_LEAVE);
    assert_int_equal(b->cpu->shadow, 1);
    b->cpu->shadow = 0;
    assert_int_equal(RUN(b, "\xfb"), EMU_NEXT);
    assert_int_equal(b->cpu->shadow, 0);
    assert_int_equal(RUN(b, "\xfa"), EMU_NEXT);
    assert_false(b->cpu->sys_flags & X86_IF);
    assert_int_equal(RUN(b, "\xf4"), EMU_HALT);
}

/* ---- MSRs ---- */

static enum emu_result write_msr(struct bench *b, uint32_t msr, uint64_t value)
{
    b->cpu->regs[HV_RCX] = msr;
    b->cpu->regs[HV_RAX] = (uint32_t)value;
    b->cpu->regs[HV_RDX] = value >> 32;
    return RUN(b, "\x0f\x30");
}

static uint64_t read_msr(struct bench *b, uint32_t msr)
{
    b->cpu->regs[HV_RCX] = msr;
    assert_int_equal(RUN(b, "\x0f\x32"), EMU_NEXT);
    return b->cpu->regs[HV_RDX] << 32 | b->cpu->regs[HV_RAX];
}

static void msrs_have_rules(void **state)
{
    static const struct {
        uint32_t msr;
        uint64_t value;
        bool is_good;
    } rows[] = {
        { 0xc0000082, 0xffff800000000000, true },
        { 0xc0000082, 0x800000000000, false },
        { 0xc0000100, 0x7fffffffffff, true },
        { 0xc0000101, 0x800000000000, false },
        { 0xc0000102, 0x800000000000, false },
        { 0xc0000081, UINT64_MAX, true },
        { 0xc0000103, 0xffffffff, true },
        { 0xc0000103, 0x100000000, false },
        { 0x277, 0x0007040600070406, true },
        { 0x277, 2, false },
        { 0x277, 8, false },
        { 0xc0000080, 1ull << 32, false },
        { 0x174, 0x10, true },
        { 0x176, 0x800000000000, false },
        { 0x1b, 0xfee00900, true },
        { 0x12345, 0, false },
    };
    struct bench *b = bench_of(state);

    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        enum emu_result result;

        bench_mode(b, LONG64, 0);
        result = write_msr(b, rows[i].msr, rows[i].value);
        assert_int_equal(result == EMU_FAULT, !rows[i].is_good);
        if (rows[i].is_good)
            assert_true(read_msr(b, rows[i].msr) == rows[i].value);
        else
            assert_int_equal(b->cpu->fault.vector, X86_GP);
    }
    assert_int_equal(read_msr(b, 0x8b), 0x1234); /* the bus's */
    assert_int_equal(write_msr(b, 0xc0000100, 0x1000), EMU_NEXT);
    assert_int_equal(b->cpu->regs[EMU_REG_FS_BASE], 0x1000);
}

static void the_tsc_goes_on_from_what_was_written(void **state)
{
    struct bench *b = bench_of(state);
    uint64_t first, second;

    bench_mode(b, LONG64, 0);
    assert_int_equal(write_msr(b, 0x10, 1000), EMU_NEXT);
    first = read_msr(b, 0x10);
    assert_int_equal(RUN(b, "\x0f\x31"), EMU_NEXT);
    second = b->cpu->regs[HV_RDX] << 32 | b->cpu->regs[HV_RAX];
    assert_true(first >= 1000 && second > first && second < first + 10000000000);
    b->cpu->tsc_aux = 0x42;
    assert_int_equal(RUN(b, "\x0f\x01\xf9"), EMU_NEXT); /* rdtscp */
    assert_int_equal(b->cpu->regs[HV_RCX], 0x42);
    bench_mode(b, LONG64, 3);
    b->cpu->cr4 |= X86_CR4_TSD;
    EXPECT_FAULT(b, "\x0f\x31", X86_GP, 0);
}

/* ---- Ports ---- */

static void the_io_map_decides_below_iopl(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, PROT32, 3);
    b->ports[0x3f8 / 4] = 0x11223344;
    b->cpu->regs[HV_RDX] = 0x3f8;
    EXPECT_FAULT(b, "\xec", X86_GP, 0); /* the map ends before */
    b->cpu->tr.limit = 0x68 + 0x80;
    bench_poke(b, TSS + 0x68 + 0x7f, 0xff00, 2);
    assert_int_equal(RUN(b, "\xed"), EMU_NEXT); /* in eax, dx: bits 0 to 3 of byte 7f */
    assert_int_equal(b->cpu->regs[HV_RAX], 0x11223344);
    bench_poke(b, TSS + 0x68 + 0x7f, 0x8, 2);
    EXPECT_FAULT(b, "\xed", X86_GP, 0);
    b->cpu->regs[HV_RAX] = 0;
    assert_int_equal(RUN(b, "\xec"), EMU_NEXT); /* one byte is allowed */
    assert_int_equal(b->cpu->regs[HV_RAX], 0x44);
    b->cpu->regs[HV_RDX] = 0x3fb;
    EXPECT_FAULT(b, "\xec", X86_GP, 0);
    emu_set_rflags(b->cpu, 2 | X86_IOPL);
    assert_int_equal(RUN(b, "\xec"), EMU_NEXT);
    bench_mode(b, V86, 3);
    emu_set_rflags(b->cpu, 2 | X86_VM | X86_IOPL); /* v86 asks the map always */
    b->cpu->regs[HV_RDX] = 0x3f8;
    EXPECT_FAULT(b, "\xec", X86_GP, 0);
}

static void string_input_commits_by_element(void **state)
{
    struct bench *b = bench_of(state);
    struct emu_cpu *cpu = b->cpu;

    bench_mode(b, LONG64, 0);
    b->ports[0x1f0 / 4] = 0xabcd;
    cpu->regs[HV_RDX] = 0x1f0;
    cpu->regs[HV_RCX] = 4;
    cpu->regs[HV_RDI] = 0x40000 - 4;
    /* The third element lies in a page that isn't there. */
    bench_poke(b, PML4 + 0x3000 + 0x40 * 8, 0, 8);
    emu_tlb_flush_all(cpu);
    assert_int_equal(RUN(b, "\xf3\x66\x6d"), EMU_FAULT); /* rep insw */
    assert_int_equal(cpu->fault.vector, X86_PF);
    assert_int_equal(cpu->fault.address, 0x40000);
    assert_int_equal(cpu->regs[HV_RCX], 2);
    assert_int_equal(cpu->regs[HV_RDI], 0x40000);
    assert_int_equal(bench_peek(b, 0x3fffc, 4), 0xabcdabcd);
    cpu->regs[HV_RDI] = 0x3000;
    atomic_store(&cpu->request, EMU_REQ_CANCEL);
    assert_int_equal(RUN(b, "\xf3\x66\x6d"), EMU_REPEAT);
    assert_int_equal(cpu->regs[HV_RCX], 1);
    assert_int_equal(RUN(b, "\xf3\x66\x6d"), EMU_NEXT);
    assert_int_equal(RUN(b, "\xf3\x66\x6d"), EMU_NEXT); /* nothing left */
    atomic_store(&cpu->request, 0);
    cpu->regs[HV_RSI] = 0x3002;
    cpu->df_step = UINT64_MAX;
    assert_int_equal(RUN(b, "\x6e"), EMU_NEXT); /* outsb, downwards */
    assert_int_equal(cpu->regs[HV_RSI], 0x3001);
    assert_int_equal(b->ports[0x1f0 / 4], 0xcd);
}

/* ---- Identification ---- */

static void cpuid_follows_the_state(void **state)
{
    struct bench *b = bench_of(state);
    struct emu_cpu *cpu = b->cpu;

    bench_mode(b, LONG64, 0);
    EXPECT_FAULT(b, "\x0f\x01\xd0", X86_UD, NO_CODE); /* xgetbv */
    cpu->regs[HV_RAX] = 1;
    assert_int_equal(RUN(b, "\x0f\xa2"), EMU_NEXT);
    assert_false(cpu->regs[HV_RCX] >> 27 & 1);
    assert_true(emu_write_cr4(cpu, X86_CR4_PAE | X86_CR4_OSXSAVE));
    cpu->regs[HV_RAX] = 1;
    assert_int_equal(RUN(b, "\x0f\xa2"), EMU_NEXT);
    assert_true(cpu->regs[HV_RCX] >> 27 & 1);
    cpu->regs[HV_RAX] = 0xd;
    cpu->regs[HV_RCX] = 0;
    assert_int_equal(RUN(b, "\x0f\xa2"), EMU_NEXT);
    assert_int_equal(cpu->regs[HV_RBX], 576);
    cpu->regs[HV_RAX] = 7;
    cpu->regs[HV_RCX] = cpu->regs[HV_RDX] = 0;
    assert_int_equal(RUN(b, "\x0f\x01\xd1"), EMU_LEAVE); /* xsetbv */
    cpu->regs[HV_RAX] = 0xd;
    cpu->regs[HV_RCX] = 0;
    assert_int_equal(RUN(b, "\x0f\xa2"), EMU_NEXT);
    assert_int_equal(cpu->regs[HV_RBX], 832);
}

static void xcr0_combinations(void **state)
{
    struct bench *b = bench_of(state);
    struct emu_cpu *cpu = b->cpu;

    bench_mode(b, LONG64, 0);
    assert_true(emu_write_cr4(cpu, X86_CR4_PAE | X86_CR4_OSXSAVE));
    for (unsigned value = 0; value < 16; value++) {
        bool is_good = value & 1 && value < 8 && (!(value & 4) || value & 2);

        cpu->regs[HV_RAX] = value;
        cpu->regs[HV_RCX] = cpu->regs[HV_RDX] = 0;
        assert_int_equal(RUN(b, "\x0f\x01\xd1"), is_good ? EMU_LEAVE : EMU_FAULT);
        if (is_good)
            assert_int_equal(cpu->xcr0, value);
    }
}

static void hypercalls_go_to_the_bus(void **state)
{
    struct bench *b = bench_of(state);

    bench_mode(b, LONG64, 0);
    assert_int_equal(RUN(b, "\x0f\x01\xd9"), EMU_LEAVE); /* vmmcall */
    assert_int_equal(RUN(b, "\x0f\x01\xc1"), EMU_LEAVE); /* vmcall */
    assert_int_equal(b->n_hypercalls, 2);
    assert_int_equal(b->cpu->regs[HV_RAX], 0x77);
    bench_mode(b, REAL16, 0);
    EXPECT_FAULT(b, "\x0f\x01\xd9", X86_UD, NO_CODE);
}

static void reset_and_start(void **state)
{
    struct bench *b = bench_of(state);
    struct emu_cpu *cpu = b->cpu;

    bench_mode(b, LONG64, 3);
    cpu->lstar = 0x1234;
    cpu->cr0 |= X86_CR0_CD;
    emu_reset(cpu, false);
    assert_int_equal(cpu->cr0, 0x10 | X86_CR0_CD);
    assert_int_equal(cpu->lstar, 0x1234); /* INIT leaves MSRs */
    assert_int_equal(cpu->segment[HV_CS].base + cpu->rip, 0xfffffff0);
    assert_int_equal(cpu->regs[HV_RDX], 0x00b00f21);
    emu_sipi(cpu, 0x9a);
    assert_int_equal(cpu->segment[HV_CS].base + cpu->rip, 0x9a000);
    assert_int_equal(cpu->segment[HV_CS].selector, 0x9a00);
    emu_reset(cpu, true);
    assert_int_equal(cpu->cr0, 0x60000010);
    assert_int_equal(cpu->lstar, 0);
    assert_int_equal(emu_rflags(cpu), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cr0_combinations),
        cmocka_unit_test(long_mode_begins_with_paging),
        cmocka_unit_test(efer_bits_must_be_offered),
        cmocka_unit_test(cr3_reserved_bits),
        cmocka_unit_test(cr4_bits_must_be_offered),
        cmocka_unit_test(pae_paging_looks_at_its_pointers),
        cmocka_unit_test(control_registers_are_the_kernels),
        cmocka_unit_test(lmsw_sets_pe_and_never_clears_it),
        cmocka_unit_test(debug_registers),
        cmocka_unit_test(data_breakpoints_match_by_condition_and_range),
        cmocka_unit_test(alignment_is_checked_for_users_who_ask),
        cmocka_unit_test(smap_hides_user_pages_unless_ac),
        cmocka_unit_test(popf_keeps_what_the_ring_may_not_change),
        cmocka_unit_test(popf_leaves_for_steps_and_interrupts),
        cmocka_unit_test(v86_flags_need_iopl_3),
        cmocka_unit_test(sti_casts_a_shadow_once),
        cmocka_unit_test(msrs_have_rules),
        cmocka_unit_test(the_tsc_goes_on_from_what_was_written),
        cmocka_unit_test(the_io_map_decides_below_iopl),
        cmocka_unit_test(string_input_commits_by_element),
        cmocka_unit_test(cpuid_follows_the_state),
        cmocka_unit_test(xcr0_combinations),
        cmocka_unit_test(hypercalls_go_to_the_bus),
        cmocka_unit_test(reset_and_start),
    };

    return cmocka_run_group_tests(tests, bench_setup, bench_teardown);
}
