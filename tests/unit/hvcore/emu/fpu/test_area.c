/* SPDX-License-Identifier: Apache-2.0 */
/* Images of the floating-point state: what the host's own instructions write, and what is refused.
 */
#include "hvcore/emu/fpu/fpu_priv.h"
#include "tests/lib/cmocka.h"
#include "tests/lib/emu_flat.h"
#include "tests/unit/hvcore/emu/exec/simd/native.h"

#include <string.h>
#include <sys/mman.h>

enum { AREA = 4096, AREA_BYTES = 1024 };

struct fixture {
    struct flat *flat;
    uint8_t image[HV_XSAVE_BYTES]; /* the state before */
};

/* A state with something in every corner. */
static void fill_image(uint8_t *image)
{
    struct fpu_image fx = { .fcw = 0xb7f, .fsw = 0x5b21, .ftw = 0xb7, .mxcsr = 0x7fa1 };
    uint64_t components = 7;

    for (unsigned i = 0; i < 8; i++) {
        static const uint8_t st[4][10] = {
            { 1, 2, 3, 4, 5, 6, 7, 0x88, 0xff, 0x3f },
            { 0 },
            { 0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0x7f },
            { 9, 8, 7, 6, 5, 4, 3, 2, 0, 0x80 },
        };

        memcpy(fx.st[i], st[i & 3], 10);
    }
    for (unsigned i = 0; i < 256; i++) {
        ((uint8_t *)fx.xmm)[i] = (uint8_t)(i * 7 + 1);
        image[576 + i] = (uint8_t)(i * 13 + 5);
    }
    memcpy(image, &fx, sizeof(fx));
    memcpy(image + 512, &components, 8);
}

static void start(struct fixture *f)
{
    struct emu_cpu *cpu = &f->flat->cpu;
    struct emu_fpu *fpu = cpu->fpu;

    flat_reset(f->flat);
    cpu->fpu = fpu;
    cpu->cr0 |= X86_CR0_NE | X86_CR0_MP;
    cpu->cr4 = X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE;
    cpu->xcr0 = 7;
    cpu->regs[HV_RAX] = 7;
    cpu->regs[HV_RBX] = FLAT_BASE + AREA;
    assert_int_equal(emu_fpu_set_xsave(cpu, f->image), 0);
    memset(f->flat->memory, 0xa5, FLAT_BYTES);
    memset(f->flat->memory + AREA + 512, 0, 64);
}

static int set_up(void **state)
{
    static struct fixture f;

    f = (struct fixture){ .flat = flat_new() };
    *state = &f;
    if (!f.flat || emu_fpu_new(&f.flat->cpu))
        return -1;
    fill_image(f.image);
    start(&f);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    emu_fpu_free(&f->flat->cpu);
    free(f->flat);
    return 0;
}

static enum emu_result run(struct fixture *f, const uint8_t *bytes, unsigned n)
{
    enum emu_result result;
    struct emu_insn insn;

    assert_int_equal(emu_decode(bytes, n, f->flat->cpu.code_size, &insn), EMU_DECODE_OK);
    emu_fpu_load(&f->flat->cpu);
    result = flat_exec(f->flat, &insn);
    emu_fpu_unload(&f->flat->cpu);
    return result;
}

#define RUN(f, ...)                                                                                \
    run(f, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))
/* ... [rbx] */
#define FXSAVE64   0x48, 0x0f, 0xae, 0x03
#define FXRSTOR64  0x48, 0x0f, 0xae, 0x0b
#define XSAVE64    0x48, 0x0f, 0xae, 0x23
#define XRSTOR64   0x48, 0x0f, 0xae, 0x2b
#define XSAVEOPT64 0x48, 0x0f, 0xae, 0x33
#define XSAVEC64   0x48, 0x0f, 0xc7, 0x23
#define LDMXCSR    0x0f, 0xae, 0x13
#define FNSTENV    0xd9, 0x33
#define FLDENV     0xd9, 0x23
#define FNSAVE     0xdd, 0x33
#define FRSTOR     0xdd, 0x23

/* What the host writes for the same state into memory that looks the same. */
static void host_image(struct fixture *f, const uint8_t *bytes, unsigned n, uint8_t *ret)
{
    static _Alignas(64) uint8_t area[AREA_BYTES];
    struct native native = { .rflags = 2 };

    memset(area, 0xa5, sizeof(area));
    memset(area + 512, 0, 64);
    memcpy(native.xsave, f->image, sizeof(native.xsave));
    native.gpr[HV_RAX] = 7;
    native.gpr[HV_RBX] = (uint64_t)(uintptr_t)area;
    assert_true(native_init());
    native_run(bytes, n, &native);
    assert_false(native.has_faulted);
    memcpy(ret, area, sizeof(area));
}

/* Ranges that may differ: error pointers, the mask of MXCSR, which components count as in use. */
struct range {
    unsigned first, last;
};

static void assert_as_host(struct fixture *f, const uint8_t *bytes, unsigned n,
                           const struct range *except, unsigned n_except)
{
    uint8_t host[AREA_BYTES], *ours = f->flat->memory + AREA;

    start(f);
    host_image(f, bytes, n, host);
    assert_int_equal(run(f, bytes, n), EMU_NEXT);
    for (unsigned i = 0; i < n_except; i++)
        memset(host + except[i].first, 0, except[i].last - except[i].first + 1);
    for (unsigned i = 0; i < n_except; i++)
        memset(ours + except[i].first, 0, except[i].last - except[i].first + 1);
    assert_memory_equal(ours, host, AREA_BYTES);
}

#define AS_HOST(f, ranges, ...)                                                                    \
    assert_as_host(f, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }),  \
                   ranges, HV_ARRAY_SIZE(ranges))

static void images_are_those_of_the_host(void **state)
{
    static const struct range legacy[] = { { 6, 23 }, { 28, 31 } };
    static const struct range header[] = { { 6, 23 }, { 28, 31 }, { 512, 519 } };
    static const struct range long_form[] = { { 12, 23 } };
    static const struct range short_form[] = { { 6, 13 } };
    struct fixture *f = *state;

    AS_HOST(f, legacy, FXSAVE64);
    AS_HOST(f, header, XSAVE64);
    AS_HOST(f, header, XSAVEOPT64);
    AS_HOST(f, header, XSAVEC64);
    AS_HOST(f, long_form, FNSTENV);
    AS_HOST(f, long_form, FNSAVE);
    AS_HOST(f, short_form, 0x66, FNSTENV);
    AS_HOST(f, short_form, 0x66, FNSAVE);
}

/* What comes back by `restore` after `save` and a different state in between. */
static void assert_round_trip(struct fixture *f, const uint8_t *save, const uint8_t *restore,
                              unsigned n, bool has_vectors)
{
    uint8_t before[HV_XSAVE_BYTES], after[HV_XSAVE_BYTES], empty[HV_XSAVE_BYTES] = { 0 };
    struct fpu_image a, b;

    start(f);
    emu_fpu_get_xsave(&f->flat->cpu, before);
    assert_int_equal(run(f, save, n), EMU_NEXT);
    empty[24] = 0x80;
    empty[25] = 0x1f;
    assert_int_equal(emu_fpu_set_xsave(&f->flat->cpu, empty), 0);
    assert_int_equal(run(f, restore, n), EMU_NEXT);
    emu_fpu_get_xsave(&f->flat->cpu, after);
    memcpy(&a, before, sizeof(a));
    memcpy(&b, after, sizeof(b));
    assert_int_equal(a.fcw, b.fcw);
    assert_int_equal(a.fsw, b.fsw);
    assert_int_equal(a.ftw, b.ftw);
    assert_memory_equal(a.st, b.st, sizeof(a.st));
    if (!has_vectors)
        return;
    assert_int_equal(a.mxcsr, b.mxcsr);
    assert_memory_equal(a.xmm, b.xmm, sizeof(a.xmm));
}

static void what_is_saved_comes_back(void **state)
{
    static const struct {
        uint8_t save[5], restore[5];
        unsigned n;
        bool has_vectors;
    } pairs[] = {
        { { FXSAVE64 }, { FXRSTOR64 }, 4, true }, { { XSAVE64 }, { XRSTOR64 }, 4, true },
        { { XSAVEC64 }, { XRSTOR64 }, 4, true },  { { XSAVEOPT64 }, { XRSTOR64 }, 4, true },
        { { FNSAVE }, { FRSTOR }, 2, false },     { { 0x66, FNSAVE }, { 0x66, FRSTOR }, 3, false },
    };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(pairs); i++)
        assert_round_trip(*state, pairs[i].save, pairs[i].restore, pairs[i].n,
                          pairs[i].has_vectors);
}

static void assert_refused(struct fixture *f, enum emu_result result, uint8_t vector)
{
    assert_int_equal(result, EMU_FAULT);
    assert_int_equal(f->flat->cpu.fault.vector, vector);
}

static void bad_areas_are_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t *area = f->flat->memory + AREA;

    f->flat->cpu.regs[HV_RBX] += 8;
    assert_refused(f, RUN(f, FXSAVE64), X86_GP);
    assert_refused(f, RUN(f, XSAVE64), X86_GP);
    f->flat->cpu.regs[HV_RBX] += 24; /* aligned for one, not for the other */
    assert_int_equal(RUN(f, FXSAVE64), EMU_NEXT);
    assert_refused(f, RUN(f, XRSTOR64), X86_GP);

    start(f);
    assert_int_equal(RUN(f, XSAVE64), EMU_NEXT);
    area[26] = 1; /* MXCSR bit 16 */
    assert_refused(f, RUN(f, XRSTOR64), X86_GP);
    assert_refused(f, RUN(f, FXRSTOR64), X86_GP);
    f->flat->cpu.regs[HV_RBX] += 24;
    assert_refused(f, RUN(f, LDMXCSR), X86_GP);
    f->flat->cpu.regs[HV_RBX] -= 24;
    area[26] = 0;
    area[512] = 0x0f; /* a component that XCR0 doesn't have */
    assert_refused(f, RUN(f, XRSTOR64), X86_GP);
    area[512] = 7;
    area[520] = 1; /* XCOMP_BV without its bit 63 */
    assert_refused(f, RUN(f, XRSTOR64), X86_GP);
    area[520] = 3;
    area[527] = 0x80; /* compacted, with AVX present and not part of the format */
    assert_refused(f, RUN(f, XRSTOR64), X86_GP);
    area[520] = area[527] = 0;
    assert_int_equal(RUN(f, XRSTOR64), EMU_NEXT);
}

static void an_area_that_cannot_be_written_is_left_alone(void **state)
{
    struct fixture *f = *state;
    uint8_t *area = f->flat->memory + FLAT_READ_ONLY * HV_PAGE_BYTES - 448;

    f->flat->cpu.regs[HV_RBX] = FLAT_BASE + FLAT_READ_ONLY * HV_PAGE_BYTES - 448;
    assert_refused(f, RUN(f, FXSAVE64), X86_PF);
    assert_refused(f, RUN(f, XSAVE64), X86_PF);
    for (unsigned i = 0; i < 448; i++)
        assert_int_equal(area[i], 0xa5);
}

static void modes_trap(void **state)
{
    struct fixture *f = *state;
    struct emu_cpu *cpu = &f->flat->cpu;

    cpu->fp_trap = 1;
    assert_refused(f, RUN(f, FXSAVE64), X86_NM);
    assert_refused(f, RUN(f, FNSTENV), X86_NM);
    cpu->fp_trap = 0;
    cpu->cr0 |= X86_CR0_TS;
    assert_refused(f, RUN(f, XSAVE64), X86_NM);
    cpu->cr0 &= ~(uint64_t)X86_CR0_TS;
    cpu->cr4 &= ~(uint64_t)X86_CR4_OSXSAVE;
    assert_refused(f, RUN(f, XSAVE64), X86_UD);
    assert_refused(f, RUN(f, XRSTOR64), X86_UD);
    cpu->simd_trap = X86_UD;
    assert_refused(f, RUN(f, LDMXCSR), X86_UD);
}

static void xrstor_initialises_what_is_absent(void **state)
{
    struct fixture *f = *state;
    uint8_t after[HV_XSAVE_BYTES];
    struct fpu_image image;

    assert_int_equal(RUN(f, XSAVE64), EMU_NEXT);
    f->flat->memory[AREA + 512] = 0;
    f->flat->cpu.regs[HV_RAX] = 5; /* SSE stays */
    assert_int_equal(RUN(f, XRSTOR64), EMU_NEXT);
    emu_fpu_get_xsave(&f->flat->cpu, after);
    memcpy(&image, after, sizeof(image));
    assert_int_equal(image.fcw, 0x37f);
    assert_int_equal(image.fsw, 0);
    assert_int_equal(image.ftw, 0);
    assert_memory_equal(image.xmm, f->image + 160, 256);
    for (unsigned i = 0; i < 256; i++)
        assert_int_equal(after[576 + i], 0);
}

static void saved_states_are_judged(void **state)
{
    struct fixture *f = *state;
    uint8_t image[HV_XSAVE_BYTES];

    memcpy(image, f->image, sizeof(image));
    image[26] = 4;
    assert_int_equal(emu_fpu_set_xsave(&f->flat->cpu, image), -EINVAL);
    memcpy(image, f->image, sizeof(image));
    image[513] = 1;
    assert_int_equal(emu_fpu_set_xsave(&f->flat->cpu, image), -EINVAL);
    memcpy(image, f->image, sizeof(image));
    image[527] = 0x80;
    assert_int_equal(emu_fpu_set_xsave(&f->flat->cpu, image), -EINVAL);
}

/* In a 32-bit format nothing of the host's 64-bit pointers may be seen, and in none of them. */
static void pointers_are_the_guests(void **state)
{
    struct fixture *f = *state;
    struct fpu_image image;

    f->flat->cpu.rip = FLAT_BASE + 0x777;
    memset(f->flat->memory + AREA, 0, 16);
    f->flat->memory[AREA] = 0x78; /* fldcw: zero division and invalid operation unmasked */
    f->flat->memory[AREA + 1] = 3;
    assert_int_equal(RUN(f, 0xdb, 0xe3), EMU_NEXT);
    assert_int_equal(RUN(f, 0xd9, 0x2b), EMU_NEXT);
    assert_int_equal(RUN(f, 0xdd, 0x43, 0x08), EMU_NEXT); /* fld qword [rbx+8]: zero */
    assert_int_equal(RUN(f, FXSAVE64), EMU_NEXT);
    memcpy(&image, f->flat->memory + AREA, sizeof(image));
    assert_int_equal(image.fip, 0);
    assert_int_equal(image.fdp, 0);
    assert_int_equal(RUN(f, 0xd9, 0xe8), EMU_NEXT); /* fld1 */
    f->flat->cpu.rip = FLAT_BASE + 0x123;
    assert_int_equal(RUN(f, 0xd8, 0xf1), EMU_NEXT); /* fdiv st, st(1) */
    f->flat->cpu.rip = FLAT_BASE + 0x125;
    assert_refused(f, RUN(f, 0xd9, 0xe8), X86_MF);
    assert_int_equal(RUN(f, FXSAVE64), EMU_NEXT);
    memcpy(&image, f->flat->memory + AREA, sizeof(image));
    assert_int_equal(image.fip, FLAT_BASE + 0x123);
    assert_int_equal(image.fdp, FLAT_BASE + AREA + 8);
    assert_int_equal(image.fop, 0x0f1);
    assert_int_equal(image.fsw & 0x80ff, 0x8084);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(images_are_those_of_the_host, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_saved_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_areas_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_area_that_cannot_be_written_is_left_alone, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(modes_trap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(xrstor_initialises_what_is_absent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(saved_states_are_judged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pointers_are_the_guests, set_up, tear_down),
    };

    if (!(fpu_host_features() & FPU_HAS_AVX)) {
        print_message("skipped: the host has no AVX\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
