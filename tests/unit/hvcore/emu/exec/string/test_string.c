/* SPDX-License-Identifier: Apache-2.0 */
/* String instructions in bulk do what they do element by element. */
#include "tests/lib/cmocka.h"
#include "tests/lib/emu_flat.h"

#include <string.h>

enum { N_CASES = 6000, MAX_BYTES = 15, END = FLAT_READ_ONLY * HV_PAGE_BYTES };

struct fixture {
    struct flat *bulk, *single;
    uint64_t random;
};

static unsigned pick_of(struct fixture *f, unsigned n)
{
    f->random ^= f->random << 13;
    f->random ^= f->random >> 7;
    f->random ^= f->random << 17;
    return (unsigned)(f->random >> 20) % n;
}

static void decode(const uint8_t *bytes, struct emu_insn *ret)
{
    assert_int_equal(emu_decode(bytes, MAX_BYTES, EMU_CODE64, ret), EMU_DECODE_OK);
}

/* a4 to a7, aa to af, with or without prefixes */
static void make_insn(struct fixture *f, struct emu_insn *ret)
{
    static const uint8_t opcodes[] = { 0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf };
    static const uint8_t sizes[] = { 0, 0x66, 0x48 };
    uint8_t bytes[MAX_BYTES] = { 0 };
    unsigned n = 0, size = pick_of(f, 3);

    if (sizes[size] == 0x66)
        bytes[n++] = 0x66;
    if (pick_of(f, 5))
        bytes[n++] = pick_of(f, 2) ? 0xf2 : 0xf3;
    if (sizes[size] == 0x48)
        bytes[n++] = 0x48;
    bytes[n] = opcodes[pick_of(f, sizeof(opcodes))];
    decode(bytes, ret);
}

static void make_state(struct fixture *f)
{
    struct emu_cpu *cpu = &f->bulk->cpu;
    unsigned alphabet = pick_of(f, 3) ? 2 : 1;

    flat_reset(f->bulk);
    cpu->regs[HV_RSI] = FLAT_BASE + pick_of(f, FLAT_BYTES);
    cpu->regs[HV_RDI] = pick_of(f, 2) ? cpu->regs[HV_RSI] + pick_of(f, 40) - 20
                                      : FLAT_BASE + pick_of(f, FLAT_BYTES);
    cpu->regs[HV_RCX] = pick_of(f, 3) ? pick_of(f, 80) : pick_of(f, 9000);
    cpu->regs[HV_RAX] = pick_of(f, 2) ? 0x0101010101010101 : f->random;
    cpu->df_step = pick_of(f, 4) ? 1 : UINT64_MAX;
    for (unsigned i = 0; i < FLAT_BYTES; i++)
        f->bulk->memory[i] = pick_of(f, 50) ? 1 : (uint8_t)pick_of(f, alphabet);
    flat_reset(f->single);
    memcpy(f->single->cpu.regs, cpu->regs, sizeof(cpu->regs));
    f->single->cpu.df_step = cpu->df_step;
    memcpy(f->single->memory, f->bulk->memory, FLAT_BYTES);
    f->single->no_spans = true;
}

static void bulk_agrees_with_single_elements(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < N_CASES; i++) {
        enum emu_result a, b;
        struct emu_insn insn;

        make_insn(f, &insn);
        make_state(f);
        a = flat_exec(f->bulk, &insn);
        b = flat_exec(f->single, &insn);
        assert_int_equal(a, b);
        if (a == EMU_FAULT)
            assert_int_equal(f->bulk->cpu.fault.address, f->single->cpu.fault.address);
        assert_memory_equal(f->bulk->cpu.regs, f->single->cpu.regs, sizeof(f->bulk->cpu.regs));
        assert_int_equal(emu_arith_flags(&f->bulk->cpu), emu_arith_flags(&f->single->cpu));
        assert_memory_equal(f->bulk->memory, f->single->memory, FLAT_BYTES);
    }
}

static void a_fault_on_the_way_leaves_what_was_done(void **state)
{
    static const uint8_t rep_movsb[MAX_BYTES] = { 0xf3, 0xa4 };
    struct fixture *f = *state;
    struct emu_cpu *cpu = &f->bulk->cpu;
    struct emu_insn insn;

    decode(rep_movsb, &insn);
    flat_reset(f->bulk);
    memset(f->bulk->memory, 7, 64);
    memset(f->bulk->memory + END - 16, 0, 32);
    cpu->regs[HV_RSI] = FLAT_BASE;
    cpu->regs[HV_RDI] = FLAT_BASE + END - 10;
    cpu->regs[HV_RCX] = 30;
    assert_int_equal(flat_exec(f->bulk, &insn), EMU_FAULT);
    assert_int_equal(cpu->fault.address, FLAT_BASE + END);
    assert_int_equal(cpu->regs[HV_RCX], 20);
    assert_int_equal(cpu->regs[HV_RSI], FLAT_BASE + 10);
    assert_int_equal(cpu->regs[HV_RDI], FLAT_BASE + END);
    assert_int_equal(f->bulk->memory[END - 1], 7);
    assert_int_equal(f->bulk->memory[END], 0);
}

static void a_count_of_zero_does_nothing(void **state)
{
    static const uint8_t repe_cmpsb[MAX_BYTES] = { 0xf3, 0xa6 };
    struct fixture *f = *state;
    struct emu_insn insn;

    decode(repe_cmpsb, &insn);
    flat_reset(f->bulk);
    emu_set_arith_flags(&f->bulk->cpu, EMU_CF);
    assert_int_equal(flat_exec(f->bulk, &insn), EMU_NEXT);
    assert_int_equal(emu_arith_flags(&f->bulk->cpu), EMU_CF);
    assert_int_equal(f->bulk->cpu.regs[HV_RSI], 0);
}

static void requests_are_answered_between_pieces(void **state)
{
    static const uint8_t rep_stosb[MAX_BYTES] = { 0xf3, 0xaa };
    struct fixture *f = *state;
    struct emu_cpu *cpu = &f->bulk->cpu;
    struct emu_insn insn;

    decode(rep_stosb, &insn);
    flat_reset(f->bulk);
    cpu->regs[HV_RDI] = FLAT_BASE + 100;
    cpu->regs[HV_RCX] = 2 * HV_PAGE_BYTES;
    atomic_store(&cpu->request, EMU_REQ_INTERRUPT);
    assert_int_equal(flat_exec(f->bulk, &insn), EMU_REPEAT);
    assert_int_equal(cpu->regs[HV_RDI], FLAT_BASE + HV_PAGE_BYTES);
    assert_int_equal(cpu->regs[HV_RCX], HV_PAGE_BYTES + 100);
}

static int set_up(void **state)
{
    static struct fixture f;

    f = (struct fixture){ .bulk = flat_new(), .single = flat_new(), .random = 88172645463325252 };
    *state = &f;
    return f.bulk && f.single ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    free(f->bulk);
    free(f->single);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bulk_agrees_with_single_elements, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_fault_on_the_way_leaves_what_was_done, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_count_of_zero_does_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(requests_are_answered_between_pieces, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
