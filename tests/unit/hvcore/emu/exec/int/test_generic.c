/* SPDX-License-Identifier: Apache-2.0 */
/* What generic integer instructions promise beyond their arithmetic, which is compared with the
 * host's processor elsewhere: faults, widths, modes. */
#include "tests/lib/cmocka.h"
#include "tests/lib/emu_flat.h"

#include <string.h>

static struct flat *flat;

static int set_up(void **state)
{
    flat = flat_new();
    return flat ? 0 : -1;
}

static int tear_down(void **state)
{
    free(flat);
    return 0;
}

static enum emu_result run(enum emu_code_size code_size, const char *bytes, unsigned n)
{
    struct emu_insn insn;

    flat->cpu.code_size = (uint8_t)code_size;
    assert_int_equal(emu_decode((const uint8_t *)bytes, n, code_size, &insn), EMU_DECODE_OK);
    assert_int_equal(insn.length, n);
    return flat_exec(flat, &insn);
}

#define RUN64(bytes) run(EMU_CODE64, bytes, sizeof(bytes) - 1)
#define RUN32(bytes) run(EMU_CODE32, bytes, sizeof(bytes) - 1)
#define RUN16(bytes) run(EMU_CODE16, bytes, sizeof(bytes) - 1)

/* A legacy segment over the array: FLAT_BASE has more than 32 bits, so these tests only look at
 * faults of segments, which come before any access. */
static struct hv_segment_register *legacy_segment(enum hv_segment seg, uint16_t attributes,
                                                  uint32_t limit)
{
    struct hv_segment_register *s = &flat->cpu.segment[seg];

    flat->cpu.efer = 0;
    *s = (struct hv_segment_register){ .limit = limit, .attributes = attributes };
    return s;
}

static void assert_fault(enum emu_result result, uint8_t vector)
{
    assert_int_equal(result, EMU_FAULT);
    assert_int_equal(flat->cpu.fault.vector, vector);
}

static void division_faults_before_it_is_done(void **state)
{
    struct emu_cpu *cpu = &flat->cpu;

    cpu->regs[HV_RAX] = 7;
    cpu->regs[HV_RDX] = 1;
    assert_fault(RUN64("\x48\xf7\xf1"), X86_DE); /* div rcx, by 0 */
    cpu->regs[HV_RCX] = 1;
    assert_fault(RUN64("\x48\xf7\xf1"), X86_DE); /* quotient of 65 bits */
    cpu->regs[HV_RAX] = UINT64_C(1) << 63;
    cpu->regs[HV_RDX] = UINT64_MAX;
    cpu->regs[HV_RCX] = UINT64_MAX;
    assert_fault(RUN64("\x48\xf7\xf9"), X86_DE); /* the most negative number by -1 */
    cpu->regs[HV_RCX] = 1;
    assert_int_equal(RUN64("\x48\xf7\xf9"), EMU_NEXT);
    assert_int_equal(cpu->regs[HV_RAX], UINT64_C(1) << 63);
    assert_int_equal(cpu->regs[HV_RDX], 0);
    cpu->regs[HV_RAX] = 0x8000;
    cpu->regs[HV_RCX] = 0xff;
    assert_fault(RUN64("\xf6\xf9"), X86_DE); /* idiv cl: 128 * 256 / -1 */
}

static void a_fault_leaves_everything_as_it_was(void **state)
{
    static const struct {
        const char *bytes;
        unsigned n;
    } rows[] = {
        { "\x48\x87\x03", 3 },         /* xchg [rbx], rax */
        { "\xf0\x48\x0f\xc1\x03", 5 }, /* lock xadd [rbx], rax */
        { "\x48\x0f\xb1\x0b", 4 },     /* cmpxchg [rbx], rcx: writes in any case */
        { "\x48\x0f\xc7\x0b", 4 },     /* cmpxchg16b [rbx] */
        { "\x48\x11\x03", 3 },         /* adc [rbx], rax */
        { "\x8f\x03", 2 },             /* pop [rbx] */
        { "\x0f\x94\x03", 3 },         /* sete [rbx] */
        { "\x48\x0f\xab\x0b", 4 },     /* bts [rbx], rcx */
        { "\xd1\x13", 2 },             /* rcl dword [rbx], 1 */
        { "\x48\xa5", 2 },             /* movsq */
    };
    struct emu_cpu *cpu = &flat->cpu;

    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        uint64_t before[HV_N_GPRS];

        flat_reset(flat);
        for (unsigned r = 0; r < HV_N_GPRS; r++)
            cpu->regs[r] = UINT64_C(0x1111111111111111) * r;
        cpu->regs[HV_RCX] = 5;
        cpu->regs[HV_RSP] = cpu->regs[HV_RSI] = FLAT_BASE + 64;
        cpu->regs[HV_RBX] = cpu->regs[HV_RDI] = FLAT_BASE + FLAT_READ_ONLY * HV_PAGE_BYTES + 16;
        emu_set_arith_flags(cpu, EMU_CF | EMU_PF);
        memcpy(before, cpu->regs, sizeof(before));
        assert_fault(run(EMU_CODE64, rows[i].bytes, rows[i].n), X86_PF);
        assert_int_equal(cpu->fault.error_code, X86_PF_W);
        assert_memory_equal(before, cpu->regs, sizeof(before));
        assert_int_equal(emu_arith_flags(cpu), EMU_CF | EMU_PF);
    }
}

static void narrow_writes_keep_and_wide_ones_clear_the_rest(void **state)
{
    struct emu_cpu *cpu = &flat->cpu;

    cpu->regs[HV_RAX] = UINT64_MAX;
    assert_int_equal(RUN64("\xb4\x12"), EMU_NEXT); /* mov ah, 12h */
    assert_int_equal(cpu->regs[HV_RAX], 0xffffffffffff12ff);
    assert_int_equal(RUN64("\x66\xb8\x34\x12"), EMU_NEXT); /* mov ax */
    assert_int_equal(cpu->regs[HV_RAX], 0xffffffffffff1234);
    assert_int_equal(RUN64("\x0f\x44\xc0"), EMU_NEXT); /* cmove eax, eax, which isn't */
    assert_int_equal(cpu->regs[HV_RAX], 0xffff1234);
}

static void a_bit_number_reaches_beyond_its_operand(void **state)
{
    struct emu_cpu *cpu = &flat->cpu;

    memset(flat->memory, 0, sizeof(flat->memory));
    cpu->regs[HV_RBX] = FLAT_BASE + 64;
    cpu->regs[HV_RCX] = (uint64_t)-8;
    assert_int_equal(RUN64("\x48\x0f\xab\x0b"), EMU_NEXT); /* bts [rbx], rcx */
    assert_int_equal(flat->memory[63], 1);
    cpu->regs[HV_RCX] = 0xf0000;
    assert_int_equal(RUN64("\x66\x0f\xab\x0b"), EMU_NEXT); /* bts [rbx], cx: only 16 bits count */
    assert_int_equal(flat->memory[64], 1);
    assert_int_equal(RUN64("\x0f\xba\x2b\x21"), EMU_NEXT); /* bts dword [rbx], 33: modulo 32 */
    assert_int_equal(flat->memory[64], 3);
}

static void branches_check_their_targets_first(void **state)
{
    struct emu_cpu *cpu = &flat->cpu;

    cpu->regs[HV_RAX] = UINT64_C(1) << 60;
    cpu->regs[HV_RSP] = FLAT_BASE + 64;
    assert_fault(RUN64("\xff\xd0"), X86_GP); /* call rax */
    assert_int_equal(cpu->regs[HV_RSP], FLAT_BASE + 64);
    memcpy(flat->memory + 64, &cpu->regs[HV_RAX], 8);
    assert_fault(RUN64("\xc3"), X86_GP); /* ret */
    assert_int_equal(cpu->regs[HV_RSP], FLAT_BASE + 64);

    legacy_segment(HV_CS, 0x9b, 0xffff);
    cpu->rip = 0xfff0;
    cpu->regs[HV_RCX] = 2;
    assert_fault(RUN32("\xe2\x7f"), X86_GP); /* loop beyond the limit: rcx is kept */
    assert_int_equal(cpu->regs[HV_RCX], 2);
    assert_int_equal(RUN16("\xeb\x7f"), EMU_BRANCH); /* 16-bit code wraps */
    assert_int_equal(cpu->rip, 0x71);
}

static void segments_are_checked_as_protected_mode_says(void **state)
{
    struct emu_cpu *cpu = &flat->cpu;

    legacy_segment(HV_DS, 0x093, 0xff);
    cpu->regs[HV_RBX] = 0xfd;
    assert_fault(RUN32("\x8b\x03"), X86_GP); /* mov eax, [ebx]: the last byte is outside */
    legacy_segment(HV_DS, 0x091, 0xfff);
    assert_fault(RUN32("\x89\x03"), X86_GP); /* read-only */
    legacy_segment(HV_DS, 0x099, 0xfff);
    assert_fault(RUN32("\x8b\x03"), X86_GP); /* execute-only */
    legacy_segment(HV_DS, 0, 0);
    assert_fault(RUN32("\x8b\x03"), X86_GP); /* null selector */
    legacy_segment(HV_DS, 0x497, 0xfff);     /* expands down: valid above the limit */
    assert_fault(RUN32("\x8b\x03"), X86_GP);
    cpu->regs[HV_RBX] = 0x1000;
    assert_fault(RUN32("\x8b\x03"), X86_PF); /* through the segment, to a page that isn't there */
    legacy_segment(HV_SS, 0x093, 0xff);
    cpu->regs[HV_RBP] = 0x100;
    assert_fault(RUN32("\x8b\x45\x00"), X86_SS);
    cpu->cr0 = 0; /* real mode knows no types */
    legacy_segment(HV_DS, 0x091, 0xffff);
    cpu->regs[HV_RBX] = 0xfffd;
    assert_fault(RUN16("\x66\x89\x07"), X86_GP); /* but limits: mov [bx], eax */
    cpu->regs[HV_RBX] = 0xfffc;
    assert_fault(RUN16("\x66\x89\x07"), X86_PF);
    assert_int_equal(cpu->fault.address, 0xfffc);
}

static void a_stack_is_as_wide_as_its_segment(void **state)
{
    struct emu_cpu *cpu = &flat->cpu;

    legacy_segment(HV_SS, 0x093, 0xffff);
    cpu->regs[HV_RSP] = 0x12340002;
    assert_fault(RUN16("\x66\x50"), X86_SS); /* push eax: sp wraps to fffe, two bytes outside */
    cpu->regs[HV_RSP] = 0x12340000;
    assert_fault(RUN16("\x50"), X86_PF);
    assert_int_equal(cpu->fault.address, 0xfffe);
    cpu->is_stack32 = 1;
    legacy_segment(HV_SS, 0x493, UINT32_MAX);
    assert_fault(RUN16("\x50"), X86_PF);
    assert_int_equal(cpu->fault.address, 0x1233fffe);
}

static void decimal_adjustment_follows_the_manual(void **state)
{
    struct emu_cpu *cpu = &flat->cpu;

    cpu->regs[HV_RAX] = 0xae;
    emu_set_arith_flags(cpu, 0);
    assert_int_equal(RUN32("\x27"), EMU_NEXT); /* daa */
    assert_int_equal(cpu->regs[HV_RAX], 0x14);
    assert_int_equal(emu_arith_flags(cpu) & (EMU_CF | EMU_AF), EMU_CF | EMU_AF);
    cpu->regs[HV_RAX] = 0xee;
    emu_set_arith_flags(cpu, EMU_CF | EMU_AF);
    assert_int_equal(RUN32("\x2f"), EMU_NEXT); /* das */
    assert_int_equal(cpu->regs[HV_RAX], 0x88);
    cpu->regs[HV_RAX] = 0x01ff;
    emu_set_arith_flags(cpu, 0);
    assert_int_equal(RUN32("\x37"), EMU_NEXT); /* aaa */
    assert_int_equal(cpu->regs[HV_RAX], 0x0305);
    assert_fault(RUN32("\xd4\x00"), X86_DE); /* aam 0 */
    cpu->regs[HV_RAX] = 0x2a;
    assert_int_equal(RUN32("\xd4\x0a"), EMU_NEXT);
    assert_int_equal(cpu->regs[HV_RAX], 0x0402);
    assert_int_equal(RUN32("\xd5\x0a"), EMU_NEXT); /* aad */
    assert_int_equal(cpu->regs[HV_RAX], 0x2a);
}

static void undefined_instructions_say_so(void **state)
{
    assert_fault(RUN64("\x0f\x0b"), X86_UD);
    assert_fault(RUN64("\x0f\xb9\xc0"), X86_UD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(division_faults_before_it_is_done, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_fault_leaves_everything_as_it_was, set_up, tear_down),
        cmocka_unit_test_setup_teardown(narrow_writes_keep_and_wide_ones_clear_the_rest, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_bit_number_reaches_beyond_its_operand, set_up, tear_down),
        cmocka_unit_test_setup_teardown(branches_check_their_targets_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(segments_are_checked_as_protected_mode_says, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_stack_is_as_wide_as_its_segment, set_up, tear_down),
        cmocka_unit_test_setup_teardown(decimal_adjustment_follows_the_manual, set_up, tear_down),
        cmocka_unit_test_setup_teardown(undefined_instructions_say_so, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
