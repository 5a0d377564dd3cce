/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vector and x87 instructions against the host's processor: random encodings and states, the
 * generic form, the fast handler where there is one, and the real thing.
 */
#include "hvcore/emu/fpu/fpu_priv.h"
#include "tests/lib/cmocka.h"
#include "tests/lib/emu_flat.h"
#include "tests/unit/hvcore/emu/exec/simd/native.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { N_CASES = 400000, MAX_BYTES = 15, PAGE_OFFSET = 0x234, AVX_AT = 576 };

struct fixture {
    struct flat *fast, *generic;
    uint8_t *memory; /* the host's, at FLAT_BASE, through its writable alias */
    uint64_t random;
    unsigned n_native, n_fast, n_slow, n_faults;
    unsigned seen[EMU_N_MNEMONICS];
    bool all_masked; /* this case: all SIMD exceptions */
    int fd;          /* the host's memory */
};

/* The state of one case. */
struct start {
    struct native native;
    uint8_t memory[FLAT_BYTES];
};

static uint64_t next_random(struct fixture *f)
{
    f->random ^= f->random << 13;
    f->random ^= f->random >> 7;
    f->random ^= f->random << 17;
    return f->random;
}

static unsigned pick_of(struct fixture *f, unsigned n)
{
    return (unsigned)(next_random(f) >> 20) % n;
}

/* ---- Instructions ---- */
static unsigned make_legacy(struct fixture *f, uint8_t *bytes)
{
    static const uint8_t prefixes[] = { 0x66, 0xf3, 0xf2 };
    unsigned n = 0, which = pick_of(f, 4);

    if (which < 3)
        bytes[n++] = prefixes[which];
    if (pick_of(f, 2))
        bytes[n++] = (uint8_t)(0x40 | pick_of(f, 16));
    bytes[n++] = 0x0f;
    which = pick_of(f, 5);
    if (which >= 3)
        bytes[n++] = which == 3 ? 0x38 : 0x3a;
    bytes[n++] = (uint8_t)next_random(f);
    return n;
}

static unsigned make_vex(struct fixture *f, uint8_t *bytes)
{
    unsigned n = 0;

    bytes[n++] = 0xc4;
    bytes[n++] = (uint8_t)(pick_of(f, 8) << 5 | (1 + pick_of(f, 3)));
    bytes[n++] = (uint8_t)next_random(f);
    bytes[n++] = (uint8_t)next_random(f);
    /* many forms want vvvv unused */
    if (pick_of(f, 3) == 0)
        bytes[2] |= 0x78;
    return n;
}

static unsigned make_x87(struct fixture *f, uint8_t *bytes)
{
    bytes[0] = (uint8_t)(0xd8 | pick_of(f, 8));
    bytes[1] = (uint8_t)(next_random(f) | (pick_of(f, 2) ? 0xc0 : 0));
    return 2;
}

static bool is_for_others(const struct fixture *f, const struct emu_insn *insn)
{
    switch (insn->mnemonic) {
    /* whole states have tests of their own */
    case EMU_MN_FXSAVE:
    case EMU_MN_FXSAVE64:
    case EMU_MN_FXRSTOR:
    case EMU_MN_FXRSTOR64:
    case EMU_MN_XSAVE:
    case EMU_MN_XSAVE64:
    case EMU_MN_XSAVEC:
    case EMU_MN_XSAVEC64:
    case EMU_MN_XSAVEOPT:
    case EMU_MN_XSAVEOPT64:
    case EMU_MN_XRSTOR:
    case EMU_MN_XRSTOR64:
    case EMU_MN_FNSTENV:
    case EMU_MN_FLDENV:
    case EMU_MN_FNSAVE:
    case EMU_MN_FRSTOR: return true;
    /* 256-bit forms of sets that aren't offered */
    case EMU_MN_VAESENC:
    case EMU_MN_VAESENCLAST:
    case EMU_MN_VAESDEC:
    case EMU_MN_VAESDECLAST:
    case EMU_MN_VPCLMULQDQ: return insn->vex_l;
    /* which of several steps raised an unmasked exception, the flags don't say */
    case EMU_MN_DPPS:
    case EMU_MN_VDPPS:
    case EMU_MN_DPPD:
    case EMU_MN_VDPPD: return !f->all_masked;
    /* processors differ about unaligned memory */
    case EMU_MN_SHA1RNDS4:
    case EMU_MN_SHA1NEXTE:
    case EMU_MN_SHA1MSG1:
    case EMU_MN_SHA1MSG2:
    case EMU_MN_SHA256RNDS2:
    case EMU_MN_SHA256MSG1:
    case EMU_MN_SHA256MSG2: return insn->op[1].kind == EMU_OPD_MEM;
    /* MXCSR.MM, the host's own */
    case EMU_MN_LDMXCSR:
    case EMU_MN_VLDMXCSR: return true;
    default: return insn->is_rip_relative || insn->seg == HV_FS || insn->seg == HV_GS;
    }
}

static bool make_insn(struct fixture *f, uint8_t bytes[static MAX_BYTES], struct emu_insn *ret)
{
    unsigned n, which = pick_of(f, 8);

    n = which < 3 ? make_legacy(f, bytes) : which < 7 ? make_vex(f, bytes) : make_x87(f, bytes);
    while (n < MAX_BYTES)
        bytes[n++] = (uint8_t)next_random(f);
    if (emu_decode(bytes, MAX_BYTES, EMU_CODE64, ret) != EMU_DECODE_OK ||
        !(emu_exec_simd[ret->mnemonic] || emu_exec_x87[ret->mnemonic]))
        return false;
    if (ret->disp != (int8_t)ret->disp)
        return false;
    return !is_for_others(f, ret);
}

/* ---- States ---- */
static uint64_t make_address(struct fixture *f)
{
    switch (pick_of(f, 4)) {
    case 0: return FLAT_BASE + pick_of(f, FLAT_PAGES) * HV_PAGE_BYTES + 0xfc0 + pick_of(f, 128);
    case 1: return FLAT_BASE + 256 + pick_of(f, FLAT_BYTES / 2);
    default: return FLAT_BASE + 256 + 32 * pick_of(f, FLAT_BYTES / 64);
    }
}

static uint64_t make_value(struct fixture *f)
{
    static const uint64_t edges[] = { 0,
                                      1,
                                      0x80,
                                      0x7fff8000,
                                      UINT64_MAX,
                                      INT64_MAX,
                                      0x3ff0000000000000,
                                      0x7ff0000000000000,
                                      0x7ff8000000000000,
                                      0x7ff4000000000000,
                                      0xfff0000000000000,
                                      0x8000000000000000,
                                      0x000fffffffffffff,
                                      0x3f8000003f800000,
                                      0x7f8000007f800001,
                                      0xff800000ffc00000,
                                      0x8000000000000001,
                                      0x41dfffffffc00000,
                                      0x43e0000000000000,
                                      0x4f0000005f000000,
                                      0x7fefffffffffffff,
                                      0x7f7fffff00800000,
                                      0x0000003000000001,
                                      0x0041004200430000 };

    switch (pick_of(f, 6)) {
    case 0: return edges[pick_of(f, HV_ARRAY_SIZE(edges))];
    case 1: return pick_of(f, 256);
    /* doubles and floats of ordinary size */
    case 2: return (next_random(f) & 0x80ffffffffffffff) | 0x3f00000000000000;
    case 3: return (next_random(f) & 0x83ffffff83ffffff) | 0x3c0000003c000000;
    default: return next_random(f);
    }
}

static void make_st(struct fixture *f, uint8_t *st)
{
    static const uint16_t exponents[] = { 0, 1, 0x3ffe, 0x3fff, 0x4000, 0x403e, 0x7ffe, 0x7fff };
    uint64_t mantissa = make_value(f);
    uint16_t exponent = exponents[pick_of(f, 8)];

    if (exponent && pick_of(f, 8))
        mantissa |= UINT64_C(1) << 63;
    exponent |= pick_of(f, 2) ? 0x8000 : 0;
    memcpy(st, &mantissa, 8);
    memcpy(st + 8, &exponent, 2);
}

static void make_fpu(struct fixture *f, uint8_t *xsave)
{
    struct fpu_image image = { .mxcsr = 0x1f80 };
    uint64_t components = 7;

    image.fcw = (uint16_t)(0x37f | (pick_of(f, 4) << 10));
    if (pick_of(f, 4) == 0)
        image.fcw = (image.fcw & ~0x300) | (uint16_t)(pick_of(f, 4) << 8);
    if (pick_of(f, 4) == 0)
        image.fcw = (image.fcw & ~0x3f) | (uint16_t)pick_of(f, 64);
    image.fsw = (uint16_t)next_random(f) & 0x7f7f;
    image.fsw &= ~(~image.fcw & 0x3f);
    image.ftw = pick_of(f, 2) ? (uint8_t)next_random(f) : 0xff;
    image.mxcsr |= (uint32_t)next_random(f) & 0x3f;
    if (pick_of(f, 3) == 0)
        image.mxcsr |= (uint32_t)next_random(f) & 0xe040;
    if (!f->all_masked)
        image.mxcsr &= (uint32_t)next_random(f) | ~0x1f80U;
    for (unsigned i = 0; i < 8; i++)
        make_st(f, image.st[i]);
    for (unsigned i = 0; i < 32; i++) {
        uint64_t low = make_value(f), high = make_value(f);

        memcpy(image.xmm[i / 2] + 8 * (i & 1), &low, 8);
        memcpy(xsave + AVX_AT + 8 * i, &high, 8);
    }
    memcpy(xsave, &image, sizeof(image));
    memcpy(xsave + 512, &components, 8);
}

static void make_start(struct fixture *f, const struct emu_insn *insn, struct start *start)
{
    memset(&start->native, 0, sizeof(start->native));
    for (unsigned i = 0; i < 16; i++)
        start->native.gpr[i] = make_value(f);
    if (insn->index != EMU_NO_REG)
        start->native.gpr[insn->index & 15] = pick_of(f, 64);
    if (insn->base != EMU_NO_REG)
        start->native.gpr[insn->base] = make_address(f);
    if (insn->mnemonic == EMU_MN_MASKMOVDQU || insn->mnemonic == EMU_MN_VMASKMOVDQU ||
        insn->mnemonic == EMU_MN_MASKMOVQ)
        start->native.gpr[HV_RDI] = make_address(f);
    if (insn->mnemonic == EMU_MN_PCMPESTRI || insn->mnemonic == EMU_MN_PCMPESTRM) {
        start->native.gpr[HV_RAX] = pick_of(f, 20);
        start->native.gpr[HV_RDX] = pick_of(f, 20);
    }
    start->native.rflags = 2 | (next_random(f) & EMU_ARITH_FLAGS);
    make_fpu(f, start->native.xsave);
    for (unsigned i = 0; i < FLAT_BYTES; i += 8) {
        uint64_t value = make_value(f);

        memcpy(start->memory + i, &value, 8);
        i += 8 * pick_of(f, 12);
    }
}

/* ---- Running ---- */
static void load_flat(struct flat *flat, const struct start *start)
{
    struct emu_cpu *cpu = &flat->cpu;
    struct emu_fpu *fpu = cpu->fpu;
    uint8_t xsave[HV_XSAVE_BYTES] = { 0 };

    flat_reset(flat);
    cpu->fpu = fpu;
    cpu->cr0 |= X86_CR0_NE | X86_CR0_MP;
    cpu->cr4 = X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE;
    cpu->xcr0 = 7;
    memcpy(cpu->regs, start->native.gpr, sizeof(start->native.gpr));
    cpu->regs[EMU_REG_RIP_BASE] = FLAT_BASE + 4096;
    cpu->rip = cpu->regs[EMU_REG_RIP_BASE] + PAGE_OFFSET;
    emu_set_arith_flags(cpu, (uint32_t)start->native.rflags);
    memcpy(xsave, start->native.xsave, sizeof(start->native.xsave));
    assert_int_equal(emu_fpu_set_xsave(cpu, xsave), 0);
    memcpy(flat->memory, start->memory, FLAT_BYTES);
}

static enum emu_result run_generic(struct flat *flat, const struct emu_insn *insn)
{
    enum emu_result result;

    emu_fpu_load(&flat->cpu);
    result = flat_exec(flat, insn);
    emu_fpu_unload(&flat->cpu);
    return result;
}

static void complain(const char *what, const struct emu_insn *insn, const uint8_t *bytes)
{
    print_error("%s: %s prefixes %x L%u kinds %u %u %u bytes", what,
                emu_mnemonic_name(insn->mnemonic), insn->prefixes, insn->vex_l, insn->op[0].kind,
                insn->op[1].kind, insn->op[2].kind);
    for (unsigned i = 0; i < insn->length; i++)
        print_error(" %02x", bytes[i]);
    print_error("\n");
}

/* Everything that an image shows but the pointers. */
static const char *compare_images(const uint8_t *a, const uint8_t *b)
{
    struct fpu_image x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    if (x.fcw != y.fcw)
        return "control word";
    if (x.fsw != y.fsw)
        return "status word";
    if (x.ftw != y.ftw)
        return "tag word";
    /* is a result out of range inexact as well? See hvcore/emu/fpu/README.md. */
    if (~x.mxcsr & (MXCSR_OM | MXCSR_UM))
        y.mxcsr |= x.mxcsr & X87_PE;
    if (x.mxcsr != y.mxcsr)
        return "mxcsr";
    for (unsigned i = 0; i < 8; i++)
        if (memcmp(x.st[i], y.st[i], 10))
            return "st";
    if (memcmp(x.xmm, y.xmm, sizeof(x.xmm)))
        return "xmm";
    return memcmp(a + AVX_AT, b + AVX_AT, 256) ? "ymm" : NULL;
}

/* Components in their initial state may be left out of the host's image. */
static void complete(uint8_t *xsave)
{
    uint64_t components;

    memcpy(&components, xsave + 512, 8);
    if (!(components & 1)) {
        memset(xsave, 0, 24);
        memset(xsave + 32, 0, 128);
        xsave[0] = 0x7f;
        xsave[1] = 3;
    }
    if (!(components & 2))
        memset(xsave + 160, 0, 256);
    if (!(components & 4))
        memset(xsave + AVX_AT, 0, 256);
}

static void dump(const char *name, const uint8_t *xsave)
{
    print_error("%s cw %02x%02x sw %02x%02x tag %02x mxcsr %02x%02x\n", name, xsave[1], xsave[0],
                xsave[3], xsave[2], xsave[4], xsave[25], xsave[24]);
    for (unsigned i = 0; i < 8; i++) {
        print_error(" st%u ", i);
        for (unsigned j = 10; j-- > 0;)
            print_error("%02x", xsave[32 + 16 * i + j]);
    }
    print_error("\n");
    for (unsigned i = 0; i < 16; i++) {
        print_error(" v%-2u ", i);
        for (unsigned j = 16; j-- > 0;)
            print_error("%02x", xsave[AVX_AT + 16 * i + j]);
        print_error(" ");
        for (unsigned j = 16; j-- > 0;)
            print_error("%02x", xsave[160 + 16 * i + j]);
        print_error("\n");
    }
}

static const char *compare(struct fixture *f, struct flat *flat, struct native *n)
{
    uint8_t xsave[HV_XSAVE_BYTES];

    if (memcmp(flat->cpu.regs, n->gpr, sizeof(n->gpr)))
        return "registers";
    if (memcmp(flat->memory, f->memory, FLAT_BYTES))
        return "memory";
    if (emu_arith_flags(&flat->cpu) != (n->rflags & EMU_ARITH_FLAGS))
        return "flags";
    emu_fpu_get_xsave(&flat->cpu, xsave);
    return compare_images(xsave, n->xsave);
}

static unsigned n_errors;

static void report(struct fixture *f, const char *what, const struct emu_insn *insn,
                   const uint8_t *bytes, struct flat *flat, const struct native *n,
                   const struct start *start)
{
    uint8_t xsave[HV_XSAVE_BYTES];

    (void)f;
    if (n_errors++ >= 12)
        return;
    complain(what, insn, bytes);
    emu_fpu_get_xsave(&flat->cpu, xsave);
    dump("start", start->native.xsave);
    dump("host", n->xsave);
    dump("ours", xsave);
    print_error("flags host %lx ours %x\n", (unsigned long)n->rflags & EMU_ARITH_FLAGS,
                emu_arith_flags(&flat->cpu));
    for (unsigned i = 0; i < 16; i++)
        if (flat->cpu.regs[i] != n->gpr[i])
            print_error("reg %u host %lx ours %lx\n", i, (unsigned long)n->gpr[i],
                        (unsigned long)flat->cpu.regs[i]);
}

static bool run_native(struct fixture *f, const uint8_t *bytes, const struct emu_insn *insn,
                       const struct start *start, struct native *n)
{
    *n = start->native;
    memcpy(f->memory, start->memory, FLAT_BYTES);
    native_run(bytes, insn->length, n);
    complete(n->xsave);
    f->n_native++;
    f->n_faults += n->has_faulted;
    return !n->has_faulted;
}

static void run_fast(struct fixture *f, const uint8_t *bytes, const struct emu_insn *insn,
                     const struct start *start, struct native *n)
{
    struct emu_op ops[2] = { { 0 } };
    struct emu_pick pick = { .insn = insn,
                             .flags_live = true,
                             .live = EMU_ARITH_FLAGS,
                             .offset = PAGE_OFFSET,
                             .is_64bit = true };
    const char *what;

    ops[0].pos = (uint16_t)(PAGE_OFFSET | insn->length << 12);
    ops[1].fn = flat_stop;
    if (!emu_pick_simd(&pick, ops))
        return;
    load_flat(f->fast, start);
    emu_fpu_load(&f->fast->cpu);
    flat_run(f->fast, ops);
    emu_fpu_unload(&f->fast->cpu);
    if (f->fast->end == FLAT_SLOW) {
        f->n_slow++;
        return;
    }
    f->n_fast++;
    what = n->has_faulted ? "fast handler doesn't see the fault" : compare(f, f->fast, n);
    if (what)
        report(f, what, insn, bytes, f->fast, n, start);
}

static void run_one(struct fixture *f, struct start *start)
{
    uint8_t bytes[MAX_BYTES];
    enum emu_result result;
    struct emu_insn insn;
    struct native n;
    const char *what;
    bool is_done;

    f->all_masked = pick_of(f, 4) != 0;
    if (!make_insn(f, bytes, &insn))
        return;
    f->seen[insn.mnemonic]++;
    make_start(f, &insn, start);
    is_done = run_native(f, bytes, &insn, start, &n);
    load_flat(f->generic, start);
    result = run_generic(f->generic, &insn);
    /* the processor may fault for bytes that the mask leaves out */
    if (!is_done && result == EMU_NEXT &&
        (insn.mnemonic == EMU_MN_MASKMOVQ || insn.mnemonic == EMU_MN_MASKMOVDQU ||
         insn.mnemonic == EMU_MN_VMASKMOVDQU))
        return;
    if (is_done != (result == EMU_NEXT))
        what = is_done ? "fault only here" : "fault only on the host";
    else if (!is_done && n.vector != f->generic->cpu.fault.vector)
        what = "different faults";
    else
        what = compare(f, f->generic, &n);
    if (what) {
        report(f, what, &insn, bytes, f->generic, &n, start);
        if (n_errors <= 12)
            print_error("result %d vector %u, host %d vector %u\n", result,
                        f->generic->cpu.fault.vector, n.has_faulted, n.vector);
    }
    run_fast(f, bytes, &insn, start, &n);
}

static void instructions_do_what_the_host_does(void **state)
{
    struct fixture *f = *state;
    struct start *start = malloc(sizeof(*start));
    unsigned i, n = 0;

    assert_non_null(start);
    /* here, for cmocka has handlers of its own around each test */
    assert_true(native_init());
    memset(start, 0, sizeof(*start));
    for (i = 0; i < N_CASES; i++)
        run_one(f, start);
    for (i = 0; i < EMU_N_MNEMONICS; i++)
        n += f->seen[i] != 0;
    print_message("%u instructions of %u kinds, %u faults; %u fast, %u gave up\n", f->n_native, n,
                  f->n_faults, f->n_fast, f->n_slow);
    free(start);
    assert_int_equal(n_errors, 0);
}

/* ---- Sequences: pending x87 exceptions meet the next instructions ---- */
enum { N_SEQUENCES = 20000, SEQUENCE = 6 };

static unsigned make_sequence(struct fixture *f, uint8_t *bytes)
{
    unsigned total = 0;

    for (unsigned i = 0; i < SEQUENCE; i++) {
        struct emu_insn insn;
        unsigned n;

        do {
            n = pick_of(f, 8) ? make_x87(f, bytes + total) : make_legacy(f, bytes + total);
            bytes[total + n] = (uint8_t)(0xc0 | pick_of(f, 64));
        } while (emu_decode(bytes + total, MAX_BYTES, EMU_CODE64, &insn) != EMU_DECODE_OK ||
                 insn.op[0].kind == EMU_OPD_MEM || insn.op[1].kind == EMU_OPD_MEM ||
                 insn.mnemonic == EMU_MN_MASKMOVQ ||
                 !(emu_exec_x87[insn.mnemonic] ||
                   (emu_exec_simd[insn.mnemonic] && insn.op[0].kind == EMU_OPD_MM)));
        total += insn.length;
    }
    return total;
}

static enum emu_result run_sequence(struct flat *flat, const uint8_t *bytes, unsigned total,
                                    struct emu_insn *insn)
{
    enum emu_result result = EMU_NEXT;

    emu_fpu_load(&flat->cpu);
    for (unsigned at = 0; at < total && result == EMU_NEXT; at += insn->length) {
        assert_int_equal(emu_decode(bytes + at, MAX_BYTES, EMU_CODE64, insn), EMU_DECODE_OK);
        result = flat_exec(flat, insn);
    }
    emu_fpu_unload(&flat->cpu);
    return result;
}

static void sequences_end_as_on_the_host(void **state)
{
    struct fixture *f = *state;
    struct start *start = calloc(1, sizeof(*start));
    unsigned n_faults = 0;

    assert_non_null(start);
    assert_true(native_init());
    f->all_masked = true;
    for (unsigned i = 0; i < N_SEQUENCES; i++) {
        uint8_t bytes[SEQUENCE * MAX_BYTES] = { 0 };
        unsigned total = make_sequence(f, bytes);
        struct emu_insn insn = { .base = EMU_NO_REG, .index = EMU_NO_REG };
        const char *what;
        struct native n;

        make_start(f, &insn, start);
        insn.length = (uint8_t)total;
        run_native(f, bytes, &insn, start, &n);
        n_faults += n.has_faulted;
        load_flat(f->generic, start);
        if ((run_sequence(f->generic, bytes, total, &insn) != EMU_NEXT) != n.has_faulted)
            what = "different end of a sequence";
        else if (n.has_faulted && n.vector != f->generic->cpu.fault.vector)
            what = "different fault in a sequence";
        else
            what = compare(f, f->generic, &n);
        insn.length = (uint8_t)total;
        if (what)
            report(f, what, &insn, bytes, f->generic, &n, start);
    }
    print_message("%u sequences, %u faults\n", (unsigned)N_SEQUENCES, n_faults);
    free(start);
    assert_int_equal(n_errors, 0);
}

/* The environment may ask for other cases. */
static uint64_t seed(void)
{
    const char *text = getenv("SEED");

    return text ? strtoull(text, NULL, 0) : UINT64_C(88172645463325253);
}

static int set_up(void **state)
{
    static struct fixture f;
    int fd = memfd_create("memory", 0);
    void *at = (void *)(uintptr_t)FLAT_BASE;

    f = (struct fixture){ .fast = flat_new(), .generic = flat_new(), .random = seed(), .fd = fd };
    *state = &f;
    if (fd < 0 || ftruncate(fd, FLAT_BYTES) || !f.fast || !f.generic || emu_fpu_new(&f.fast->cpu) ||
        emu_fpu_new(&f.generic->cpu))
        return -1;
    f.memory = mmap(NULL, FLAT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (f.memory == MAP_FAILED ||
        mmap(at, FLAT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0) != at)
        return -1;
    return mprotect((uint8_t *)at + FLAT_READ_ONLY * HV_PAGE_BYTES,
                    FLAT_BYTES - FLAT_READ_ONLY * HV_PAGE_BYTES, PROT_READ);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    emu_fpu_free(&f->fast->cpu);
    emu_fpu_free(&f->generic->cpu);
    munmap(f->memory, FLAT_BYTES);
    munmap((void *)(uintptr_t)FLAT_BASE, FLAT_BYTES);
    close(f->fd);
    free(f->fast);
    free(f->generic);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(instructions_do_what_the_host_does, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sequences_end_as_on_the_host, set_up, tear_down),
    };

    if (!(fpu_host_features() & FPU_HAS_AVX)) {
        print_message("skipped: the host has no AVX\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
