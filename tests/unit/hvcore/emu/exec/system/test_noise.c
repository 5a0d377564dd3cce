/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile guest: random bytes as code, tables and registers, in every mode. Nothing is claimed
 * but that the processor survives and stays in a state that can be. */
#include "bench.h"

#include <string.h>

enum { ROUNDS = 6000, STEPS = 40 };

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Opcodes that go to this family, so that noise meets it often. */
static const char *const openings[] = {
    "\xcf",
    "\x48\xcf",
    "\xcb",
    "\xca",
    "\xcd",
    "\xcc",
    "\xce",
    "\xf1",
    "\x0f\x05",
    "\x0f\x07",
    "\x48\x0f\x07",
    "\x0f\x34",
    "\x0f\x35",
    "\x0f\x00",
    "\x0f\x01",
    "\x0f\x02",
    "\x0f\x03",
    "\x0f\x06",
    "\x0f\x20",
    "\x0f\x21",
    "\x0f\x22",
    "\x0f\x23",
    "\x0f\x30",
    "\x0f\x32",
    "\x0f\xa2",
    "\x0f\xb2",
    "\x0f\xb4",
    "\x8e",
    "\x8c",
    "\x9a",
    "\xea",
    "\xff",
    "\x9c",
    "\x9d",
    "\xfa",
    "\xfb",
    "\x6c",
    "\xf3\x6d",
    "\xf3\x6e",
    "\xe4",
    "\xed",
    "\xef",
    "\xc4",
    "\xc5",
    "\x07",
    "\x1f",
    "\x17",
    "\x0f\xa1",
    "\x66\x0f\x38\x82",
    "\xf3\x0f\xae",
    "\x0f\x33",
    "\x63",
};

static void scatter(struct bench *b, uint64_t *seed, hv_gpa_t first, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i += 8) {
        uint64_t value = next_random(seed);

        if (value & 1)
            bench_poke(b, first + i, next_random(seed), 8);
    }
}

static uint64_t interesting(uint64_t *seed)
{
    static const uint64_t values[] = { 0,
                                       1,
                                       3,
                                       7,
                                       0x80,
                                       0xfff,
                                       0x7fff,
                                       0x8000,
                                       0xffff,
                                       0x10000,
                                       0x7fffffff,
                                       0x80000000,
                                       0xffffffff,
                                       0xc0000080,
                                       0xc0000082,
                                       0x1b,
                                       0x277,
                                       0x80b,
                                       0x830,
                                       0x7fffffffffff,
                                       0x800000000000,
                                       0xffff800000000000,
                                       UINT64_MAX };
    uint64_t value = next_random(seed);

    switch (value % 5) {
    case 0: return values[value / 8 % HV_ARRAY_SIZE(values)];
    case 1: return value / 8 % GDT_BYTES;
    case 2: return value / 8 % RAM_BYTES;
    case 3: return STACK0 - value / 8 % 64;
    default: return value;
    }
}

static void step(struct bench *b, uint64_t *seed)
{
    uint8_t code[15];
    struct emu_insn insn;
    enum emu_result result = EMU_FAULT;

    for (unsigned i = 0; i < sizeof(code); i++)
        code[i] = (uint8_t)next_random(seed);
    if (next_random(seed) & 3) {
        const char *opening = openings[next_random(seed) % HV_ARRAY_SIZE(openings)];

        memcpy(code, opening, strlen(opening));
    }
    /* A request is always there, so that a count of 2^64 doesn't keep anybody. */
    atomic_store(&b->cpu->request, EMU_REQ_CANCEL);
    if (emu_decode(code, sizeof(code), b->cpu->code_size, &insn) == EMU_DECODE_OK)
        result = emu_exec_of(insn.mnemonic)(b->cpu, &insn);
    else
        (void)emu_raise(b->cpu, X86_UD);
    if (result == EMU_FAULT)
        result = emu_deliver_fault(b->cpu);
    if (result == EMU_SHUTDOWN)
        b->cpu->idtr.limit = 0xfff;
}

static void expect_sane(struct emu_cpu *cpu)
{
    assert_true(!(cpu->cr0 & X86_CR0_PG) || cpu->cr0 & X86_CR0_PE);
    assert_true(!emu_is_long(cpu) ||
                (cpu->cr0 & X86_CR0_PG && cpu->cr4 & X86_CR4_PAE && cpu->efer & X86_EFER_LME));
    assert_true(cpu->cpl <= 3);
    assert_true(cpu->cr0 & X86_CR0_PE || cpu->cpl == 0);
    assert_true(!(cpu->sys_flags & X86_VM) || cpu->cpl == 3);
    assert_true(emu_is_canonical(cpu->lstar) && emu_is_canonical(cpu->regs[EMU_REG_FS_BASE]));
    assert_int_equal(cpu->regs[EMU_REG_ZERO], 0);
    assert_int_equal(cpu->class, cpu->cpl == 3 ? EMU_USER
                                 : cpu->cr4 & X86_CR4_SMAP && cpu->sys_flags & X86_AC_FLAG
                                     ? EMU_SUPERVISOR_AC
                                     : EMU_SUPERVISOR);
}

static void noise_breaks_nothing(void **state)
{
    struct bench *b = bench_of(state);
    uint64_t seed = UINT64_C(0x9e3779b97f4a7c15);

    emu_fpu_load(b->cpu);
    for (unsigned round = 0; round < ROUNDS; round++) {
        enum mode mode = round % N_MODES;

        bench_mode(b, mode, mode == REAL16 || mode == PROT16 ? 0 : (round / N_MODES & 1) * 3);
        if (mode != REAL16)
            bench_gates(b, 14 + (round & 1), round & 2 ? 3 : 0, 0);
        scatter(b, &seed, GDT + SEL_CONFORMING, GDT_BYTES - SEL_CONFORMING);
        if (round & 4)
            scatter(b, &seed, IDT, 0x200);
        if (round & 8)
            scatter(b, &seed, TSS, 0x68);
        if (round & 16)
            scatter(b, &seed, TSS2, 0x68);
        scatter(b, &seed, STACK0 - 64, 128);
        for (unsigned n = 0; n < STEPS; n++) {
            if (next_random(&seed) % 4 == 0)
                b->cpu->regs[next_random(&seed) % HV_N_GPRS] = interesting(&seed);
            step(b, &seed);
            expect_sane(b->cpu);
        }
        atomic_store(&b->cpu->request, 0);
    }
    emu_fpu_unload(b->cpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(noise_breaks_nothing) };

    return cmocka_run_group_tests(tests, bench_setup, bench_teardown);
}
