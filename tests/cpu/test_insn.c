/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random user instructions on the software processor and on the host's own, compared in registers,
 * flags, vector and x87 state, memory, exception, error code and address.
 *
 * usage: test_insn [-n CASES] [-s SEED] [-l LENGTH] [-m MNEMONIC] [-b 32|64] [-g] [-o] [-t] [-w]
 * [-v] -l  instructions in a case (1)      -m  only this one, 64-bit unless -b 32 -b  only 32-bit
 * or 64-bit code      -g  generic forms only (default: both, one after the other) -o  only the
 * software one, without comparing: for sanitizers, whose own mappings lie where random addresses
 * lead -t  unmasked floating point exceptions too -w  code that writes over instructions right
 * before they run (with -l) -v  print every case before it runs
 */
#include "tests/cpu/generate.h"
#include "tests/cpu/layout.h"
#include "tests/cpu/oracle.h"
#include "tests/cpu/soft.h"

#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_REPORTS = 15, INT3 = 0xcc };

struct region {
    uint64_t linear;
    unsigned bytes;
    int protection;
};

static const struct region regions[] = {
    { CPU_CODE, CPU_CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC },
    { CPU_EDGE, CPU_EDGE_BYTES, PROT_READ | PROT_EXEC },
    { CPU_DATA, CPU_DATA_BYTES, PROT_READ | PROT_WRITE },
    { CPU_CONST, CPU_CONST_BYTES, PROT_READ },
};

enum { N_REGIONS = sizeof(regions) / sizeof(regions[0]), N_CODE_REGIONS = 2 };

struct test {
    struct random random;
    struct soft_cpu *soft;
    uint8_t *alias[N_REGIONS]; /* writable, of the host's side */
    bool is_alone;
    uint64_t n_cases, n_failures, n_vectors[32];
    uint32_t failures_of[EMU_N_MNEMONICS];
};

/* ---- The host's memory ---- */

/* Map each region at its address with its rights, and somewhere else for writing. */
static void map_regions(struct test *test)
{
    for (unsigned i = 0; i < N_REGIONS; i++) {
        const int fd = memfd_create("cpu", MFD_CLOEXEC);
        void *fixed, *alias;

        if (fd < 0 || ftruncate(fd, regions[i].bytes) < 0)
            exit(2);
        fixed = mmap((void *)(uintptr_t)regions[i].linear, regions[i].bytes, regions[i].protection,
                     MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, fd, 0);
        alias = mmap(NULL, regions[i].bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        if (fixed == MAP_FAILED || alias == MAP_FAILED)
            exit(2);
        test->alias[i] = alias;
    }
}

static void fill_code(struct test *test)
{
    uint8_t page[HV_PAGE_BYTES];

    memset(page, INT3, sizeof(page));
    for (unsigned i = 0; i < N_CODE_REGIONS; i++) {
        for (unsigned at = 0; at < regions[i].bytes; at += sizeof(page)) {
            memcpy(test->alias[i] + at, page, sizeof(page));
            soft_cpu_write(test->soft, regions[i].linear + at, page, sizeof(page));
        }
    }
}

/* The same contents on both sides: values that instructions may find useful. */
static void fill_data(struct test *test)
{
    for (unsigned i = N_CODE_REGIONS; i < N_REGIONS; i++) {
        for (unsigned at = 0; at < regions[i].bytes; at += 8) {
            uint64_t value = random_u64(&test->random);

            if (random_below(&test->random, 4) == 0)
                value &= 0xff;
            memcpy(test->alias[i] + at, &value, 8);
        }
        soft_cpu_write(test->soft, regions[i].linear, test->alias[i], regions[i].bytes);
    }
}

static void put_code(struct test *test, uint64_t linear, const uint8_t *bytes, unsigned n)
{
    for (unsigned i = 0; i < N_CODE_REGIONS; i++) {
        if (linear - regions[i].linear < regions[i].bytes) {
            memcpy(test->alias[i] + (linear - regions[i].linear), bytes, n);
            soft_cpu_write(test->soft, linear, bytes, n);
        }
    }
}

/* ---- Comparing ---- */

enum { FX_FOP = 6, FX_FIP = 8, FX_MXCSR = 24, FX_MXCSR_MASK = 28, FX_USED = 416 };

/* Take out what is no part of the comparison: where the last x87 instruction was, and what the host
 * says it has. */
static void normalize(struct cpu_state *state, struct cpu_end *end, const struct cpu_case *c)
{
    memset(state->fx + FX_FOP, 0, FX_MXCSR - FX_FOP);
    memset(state->fx + FX_MXCSR_MASK, 0, 4);
    memset(state->fx + FX_USED, 0, sizeof(state->fx) - FX_USED);
    for (unsigned i = 0; i < 8; i++)
        memset(state->fx + 32 + 16 * i + 10, 0, 6);
    if (c->code_size == EMU_CODE32) {
        for (unsigned i = 0; i < HV_N_GPRS; i++)
            state->gpr[i] = i < 8 ? (uint32_t)state->gpr[i] : 0;
    }
    /* the kernel forgets the low bits of null selectors when it switches threads */
    for (unsigned i = 0; i < HV_N_SEGMENTS; i++)
        state->selector[i] = state->selector[i] < 4 ? 0 : state->selector[i];
    if (end->vector != 14)
        end->address = 0;
    /* Linux calls every address of the kernel's half present */
    if (end->vector == 14 && end->address >= UINT64_C(0x7ffffffff000))
        end->error_code |= 1;
}

/* The instruction that both stopped at, as memory has it now. */
static bool decode_last(struct test *test, const struct cpu_state *state, const struct cpu_case *c,
                        struct emu_insn *ret)
{
    const uint64_t left = CPU_CODE + CPU_CODE_BYTES - state->rip;

    return left - 1 < CPU_CODE_BYTES &&
           emu_decode(soft_cpu_memory(test->soft, state->rip), left < 15 ? left : 15, c->code_size,
                      ret) == EMU_DECODE_OK;
}

/* Things that the manuals leave open, when both sides fault alike: popa that faults in the middle
 * has loaded what came before on the host, and nothing here; an x87 image is read in pieces of an
 * order of its own there; a dot product raises exceptions step by step there. */
static void forget_open(struct test *test, struct cpu_state state[2], struct cpu_end end[2],
                        const struct cpu_case *c)
{
    struct emu_insn insn;

    if (end[0].vector != end[1].vector || !decode_last(test, &state[0], c, &insn))
        return;
    switch (insn.mnemonic) {
    case EMU_MN_POPA:
    case EMU_MN_POPAD: memcpy(state[1].gpr, state[0].gpr, sizeof(state[0].gpr)); break;
    case EMU_MN_FLDENV:
    case EMU_MN_FRSTOR: end[1].address = end[0].address; break;
    case EMU_MN_DPPS:
    case EMU_MN_DPPD:
    case EMU_MN_VDPPS:
    case EMU_MN_VDPPD: state[1].fx[FX_MXCSR] = state[0].fx[FX_MXCSR]; break;
    default: break;
    }
}

static bool is_memory_fault(const struct cpu_end *end)
{
    return end->vector == 13 || end->vector == 14;
}

/* Where both operands of a cmps fault, one generation of hosts tells of the first and another of
 * the second, and with a repeat prefix now of one, now of the other. */
static void forget_order(struct test *test, const struct cpu_state *state, struct cpu_end end[2],
                         const struct cpu_case *c)
{
    struct emu_insn insn;

    if (!is_memory_fault(&end[0]) || !is_memory_fault(&end[1]) ||
        !decode_last(test, state, c, &insn))
        return;
    if (insn.mnemonic == EMU_MN_CMPSB || insn.mnemonic == EMU_MN_CMPSW ||
        insn.mnemonic == EMU_MN_CMPSD || insn.mnemonic == EMU_MN_CMPSQ)
        end[1] = end[0];
}

/* Unmasked overflow and underflow trap before the result is fitted into its format; whether it was
 * inexact by then isn't modelled: the operation is done with all exceptions masked. */
static void forget_inexact(struct cpu_state state[2], const struct cpu_end *end)
{
    const unsigned unmasked =
        ~(unsigned)(state[0].fx[FX_MXCSR] >> 7 | state[0].fx[FX_MXCSR + 1] << 1);

    if (end->vector != 19 || !(state[0].fx[FX_MXCSR] & unmasked & 0x18))
        return;
    state[0].fx[FX_MXCSR] |= 0x20;
    state[1].fx[FX_MXCSR] |= 0x20;
}

static const char *const gpr_names[HV_N_GPRS] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp",
                                                  "rsi", "rdi", "r8",  "r9",  "r10", "r11",
                                                  "r12", "r13", "r14", "r15" };

static void print_u64(const char *name, unsigned n, uint64_t before, uint64_t host, uint64_t soft)
{
    if (host != soft)
        printf("    %s%.0u: was %016lx host %016lx soft %016lx\n", name, n, (unsigned long)before,
               (unsigned long)host, (unsigned long)soft);
}

static void print_bytes(const char *name, unsigned n, const uint8_t *before, const uint8_t *host,
                        const uint8_t *soft, unsigned bytes)
{
    const uint8_t *const rows[] = { before, host, soft };
    static const char *const who[] = { "was", "host", "soft" };

    if (memcmp(host, soft, bytes) == 0)
        return;
    printf("    %s%u:", name, n);
    for (unsigned r = 0; r < 3; r++) {
        printf(" %s ", who[r]);
        for (unsigned i = bytes; i-- > 0;)
            printf("%02x", rows[r][i]);
    }
    printf("\n");
}

static void print_difference(const struct cpu_state *was, const struct cpu_state *host,
                             const struct cpu_state *soft)
{
    for (unsigned i = 0; i < HV_N_GPRS; i++)
        print_u64(gpr_names[i], 0, was->gpr[i], host->gpr[i], soft->gpr[i]);
    print_u64("rip", 0, was->rip, host->rip, soft->rip);
    print_u64("rflags", 0, was->rflags, host->rflags, soft->rflags);
    print_u64("fs", 0, was->fs_base, host->fs_base, soft->fs_base);
    print_u64("gs", 0, was->gs_base, host->gs_base, soft->gs_base);
    for (unsigned i = 0; i < HV_N_SEGMENTS; i++)
        print_u64("selector ", i, was->selector[i], host->selector[i], soft->selector[i]);
    print_bytes("fcw fsw ftw ", 0, was->fx, host->fx, soft->fx, 6);
    print_bytes("mxcsr ", 0, was->fx + FX_MXCSR, host->fx + FX_MXCSR, soft->fx + FX_MXCSR, 4);
    for (unsigned i = 0; i < 8; i++)
        print_bytes("st", i, was->fx + 32 + 16 * i, host->fx + 32 + 16 * i, soft->fx + 32 + 16 * i,
                    10);
    for (unsigned i = 0; i < 16; i++) {
        print_bytes("xmm", i, was->fx + 160 + 16 * i, host->fx + 160 + 16 * i,
                    soft->fx + 160 + 16 * i, 16);
        print_bytes("ymm_high", i, was->ymm_high[i], host->ymm_high[i], soft->ymm_high[i], 16);
    }
}

/* Print, and mend, memory that differs. */
static bool is_memory_equal(struct test *test, bool is_reported)
{
    bool is_equal = true;

    for (unsigned i = 0; i < N_REGIONS; i++) {
        const uint8_t *soft = soft_cpu_memory(test->soft, regions[i].linear);

        if (memcmp(test->alias[i], soft, regions[i].bytes) == 0)
            continue;
        is_equal = false;
        for (unsigned at = 0; at < regions[i].bytes && is_reported; at += 8) {
            if (memcmp(test->alias[i] + at, soft + at, 8) != 0)
                print_bytes("memory ", (unsigned)regions[i].linear + at, soft + at,
                            test->alias[i] + at, soft + at, 8);
        }
    }
    return is_equal;
}

static void print_case(const struct cpu_case *c)
{
    char text[128];

    for (unsigned i = 0; i < c->n_insns; i++) {
        const unsigned start = c->starts[i];
        const unsigned end = i + 1 < c->n_insns ? c->starts[i + 1] : c->n_bytes;

        emu_zydis_format(c->bytes + start, end - start, c->code_size, text, sizeof(text));
        printf("  %08lx ", (unsigned long)c->state.rip + start);
        for (unsigned at = start; at < end; at++)
            printf(" %02x", c->bytes[at]);
        printf("  %s\n", text);
    }
}

static void report(struct test *test, const struct cpu_case *c, const struct cpu_state state[2],
                   const struct cpu_end end[2])
{
    struct cpu_state was = c->state;
    struct cpu_end none = { 0 };
    struct emu_insn insn;

    normalize(&was, &none, c);
    test->n_failures++;
    if (emu_decode(c->bytes, c->n_bytes, c->code_size, &insn) == EMU_DECODE_OK &&
        test->failures_of[insn.mnemonic]++ >= 3)
        return;
    if (test->n_failures > MAX_REPORTS * 10)
        return;
    printf("case %lu, %s code:\n", (unsigned long)test->n_cases,
           c->code_size == EMU_CODE64 ? "64-bit" : "32-bit");
    print_case(c);
    if (memcmp(&end[0], &end[1], sizeof(end[0])) != 0)
        printf("    host: vector %u error %x address %lx; soft: vector %u error %x address %lx\n",
               end[0].vector, end[0].error_code, (unsigned long)end[0].address, end[1].vector,
               end[1].error_code, (unsigned long)end[1].address);
    print_difference(&was, &state[0], &state[1]);
    (void)is_memory_equal(test, true);
}

/* ---- Running ---- */

enum { AC_FLAG = 1 << 18, TF_FLAG = 1 << 8 };

/* Take the software processor's outcome for the host's. */
static void believe_soft(struct test *test, struct cpu_state state[2], struct cpu_end end[2])
{
    state[0] = state[1];
    end[0] = end[1];
    for (unsigned i = 0; i < N_REGIONS; i++)
        memcpy(test->alias[i], soft_cpu_memory(test->soft, regions[i].linear), regions[i].bytes);
}

static void run_case(struct test *test, const struct cpu_case *c)
{
    struct cpu_state state[2] = { c->state, c->state };
    struct cpu_end end[2] = { { 0 }, { 0 } };
    uint8_t blank[CPU_CASE_MAX_BYTES];

    put_code(test, c->state.rip, c->bytes, c->n_bytes);
    if (!soft_cpu_run(test->soft, &state[1], c->cs, &end[1]))
        end[1].vector = 255;
    if (test->is_alone)
        believe_soft(test, state, end);
    else
        host_cpu_run(&state[0], c->cs, &end[0]);
    for (unsigned i = 0; i < 2; i++)
        normalize(&state[i], &end[i], c);
    forget_open(test, state, end, c);
    forget_order(test, &state[0], end, c);
    forget_inexact(state, &end[0]);
    if (end[0].vector < 32)
        test->n_vectors[end[0].vector]++;
    /* alignment checks aren't modelled, and a trap flag that popf set strikes at int3 */
    if (!(state[0].rflags & (AC_FLAG | TF_FLAG)) &&
        (memcmp(&state[0], &state[1], sizeof(state[0])) != 0 ||
         memcmp(&end[0], &end[1], sizeof(end[0])) != 0 || !is_memory_equal(test, false)))
        report(test, c, state, end);
    if (!is_memory_equal(test, false))
        fill_data(test);
    memset(blank, INT3, c->n_bytes);
    put_code(test, c->state.rip, blank, c->n_bytes);
}

static enum emu_mnemonic mnemonic_of(const char *name)
{
    for (unsigned i = 1; i < EMU_N_MNEMONICS; i++) {
        if (strcmp(name, emu_mnemonic_name(i)) == 0)
            return i;
    }
    fprintf(stderr, "There is no mnemonic %s.\n", name);
    exit(2);
}

struct plan {
    uint64_t n_cases, seed;
    unsigned max_insns, bits;
    struct cpu_wish wish;
    bool is_generic_only, is_verbose, is_alone;
};

static uint64_t run_plan(const struct plan *plan, bool no_fast)
{
    static struct test test;
    struct cpu_wish wish = plan->wish;
    struct cpu_case c;

    if (!test.alias[0])
        map_regions(&test);
    test = (struct test){ .random = random_seeded(plan->seed),
                          .soft = soft_cpu_new(no_fast),
                          .alias = { test.alias[0], test.alias[1], test.alias[2], test.alias[3] },
                          .is_alone = plan->is_alone };
    fill_code(&test);
    fill_data(&test);
    for (; test.n_cases < plan->n_cases; test.n_cases++) {
        wish.code_size = plan->bits == 64                     ? EMU_CODE64
                         : plan->bits == 32                   ? EMU_CODE32
                         : random_below(&test.random, 4) == 0 ? EMU_CODE32
                                                              : EMU_CODE64;
        wish.n_insns =
            plan->max_insns == 1 ? 1 : 2 + random_below(&test.random, plan->max_insns - 1);
        if (test.n_cases % 64 == 0)
            fill_data(&test);
        cpu_generate(&test.random, &wish, &c);
        if (plan->is_verbose) {
            printf("%lu\n", (unsigned long)test.n_cases);
            print_case(&c);
            fflush(stdout);
        }
        run_case(&test, &c);
    }
    printf("%s: %lu cases, %lu failed; vectors", no_fast ? "generic" : "fast",
           (unsigned long)test.n_cases, (unsigned long)test.n_failures);
    for (unsigned i = 0; i < 32; i++) {
        if (test.n_vectors[i])
            printf(" %u:%lu", i, (unsigned long)test.n_vectors[i]);
    }
    printf("\n");
    for (unsigned i = 0; i < EMU_N_MNEMONICS; i++) {
        if (test.failures_of[i])
            printf("  %6u %s\n", test.failures_of[i], emu_mnemonic_name(i));
    }
    soft_cpu_free(test.soft);
    return test.n_failures;
}

/* Can this host be compared with? What the manuals leave undefined is compared too, and the
 * software processor is an AMD one; in and out takes the FSGSBASE instructions. */
static bool is_host_comparable(void)
{
    enum { HWCAP2_FSGSBASE_BIT = 2 };
    unsigned eax, ebx, ecx, edx;

    __cpuid(0, eax, ebx, ecx, edx);
    return ebx == signature_AMD_ebx && edx == signature_AMD_edx && ecx == signature_AMD_ecx &&
           (getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT);
}

int main(int argc, char **argv)
{
    struct plan plan = { .n_cases = 20000, .seed = 1, .max_insns = 1 };
    uint64_t n_failures;
    int option;

    while ((option = getopt(argc, argv, "n:s:l:m:b:gotwv")) != -1) {
        switch (option) {
        case 'n': plan.n_cases = strtoull(optarg, NULL, 0); break;
        case 's': plan.seed = strtoull(optarg, NULL, 0); break;
        case 'l': plan.max_insns = (unsigned)strtoul(optarg, NULL, 0); break;
        case 'm':
            plan.wish.mnemonic = (uint16_t)mnemonic_of(optarg);
            plan.bits = plan.bits ? plan.bits : 64; /* not all exist in both */
            break;
        case 'b': plan.bits = (unsigned)strtoul(optarg, NULL, 0); break;
        case 'g': plan.is_generic_only = true; break;
        case 't': plan.wish.has_traps = true; break;
        case 'w': plan.wish.has_patches = true; break;
        case 'o': plan.is_alone = true; break;
        case 'v': plan.is_verbose = true; break;
        default: return 2;
        }
    }
    if (plan.max_insns < 1 || plan.max_insns > 20)
        return 2;
    if (!plan.is_alone && !is_host_comparable()) {
        printf("Not compared: this host's processor is not an AMD one with FSGSBASE.\n");
        plan.is_alone = true;
    }
    if (!plan.is_alone && host_cpu_init() < 0)
        return 2;
    n_failures = run_plan(&plan, true);
    if (!plan.is_generic_only)
        n_failures += run_plan(&plan, false);
    return n_failures ? 1 : 0;
}
