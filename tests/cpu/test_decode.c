/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decoder against libzydis: random bytes with all prefixes in all code sizes, and real code.
 *
 * usage: test_decode [-n CASES] [-s SEED] [FILE...]: files are byte streams, decoded from their
 * first byte on. Each difference is explained by a row below, or is a failure.
 */
#include "tests/cpu/oracle.h"
#include "tests/cpu/random.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_BYTES = 15, MAX_REPORTS = 20 };

/* What two answers can differ in. */
enum field {
    RESULT = 1,
    MNEMONIC = 2,
    LENGTH = 4,
    OPERANDS = 8,
    IMMEDIATE = 16,
    MEMORY = 32,
    PREFIXES = 64,
    OP_SIZE = 128,
    STACK_SIZE = 256,
    FLAGS = 512,
    OTHER = 1024,
};

enum when { ALWAYS, WITH_66, WITH_W };

static const struct {
    uint16_t mnemonic; /* ours, or the oracle's where we have none */
    uint16_t fields;
    uint8_t when;
    const char *why;
} explained[] = {
#define NEAR_BRANCH(name)                                                                          \
    {                                                                                              \
        EMU_MN_##name, OPERANDS | OP_SIZE | STACK_SIZE, WITH_66,                                   \
            "AMD: 66 makes any near branch 16-bit; Zydis knows it of rel32 only"                   \
    }
#define FAR_POINTER(name)                                                                          \
    {                                                                                              \
        EMU_MN_##name, OPERANDS | OP_SIZE | STACK_SIZE, WITH_W,                                    \
            "AMD: far pointers are 16:32 at most, REX.W is ignored"                                \
    }
#define TESTS(name)                                                                                \
    {                                                                                              \
        EMU_MN_##name, FLAGS, ALWAYS, "all six flags are written, four of them to 0"               \
    }
    NEAR_BRANCH(RET),
    NEAR_BRANCH(CALL),
    NEAR_BRANCH(JMP),
    NEAR_BRANCH(LOOP),
    NEAR_BRANCH(LOOPE),
    NEAR_BRANCH(LOOPNE),
    NEAR_BRANCH(JECXZ),
    NEAR_BRANCH(JRCXZ),
    NEAR_BRANCH(JO),
    NEAR_BRANCH(JNO),
    NEAR_BRANCH(JB),
    NEAR_BRANCH(JNB),
    NEAR_BRANCH(JZ),
    NEAR_BRANCH(JNZ),
    NEAR_BRANCH(JBE),
    NEAR_BRANCH(JNBE),
    NEAR_BRANCH(JS),
    NEAR_BRANCH(JNS),
    NEAR_BRANCH(JP),
    NEAR_BRANCH(JNP),
    NEAR_BRANCH(JL),
    NEAR_BRANCH(JNL),
    NEAR_BRANCH(JLE),
    NEAR_BRANCH(JNLE),
    FAR_POINTER(LSS),
    FAR_POINTER(LFS),
    FAR_POINTER(LGS),
    FAR_POINTER(CALL_FAR),
    FAR_POINTER(JMP_FAR),
    TESTS(VPTEST),
    TESTS(VTESTPS),
    TESTS(VTESTPD),
    { EMU_MN_VMCALL, FLAGS, ALWAYS, "a hypercall leaves the flags alone" },
    { EMU_MN_CLZERO, OPERANDS, ALWAYS, "rax is not written out" },
    { EMU_MN_MOVMSKPS, OPERANDS, WITH_W, "the result fits in 32 bits either way" },
    { EMU_MN_LAR, OPERANDS, WITH_W, "a selector is 16 bits either way" },
    { EMU_MN_LSL, OPERANDS, WITH_W, "a selector is 16 bits either way" },
    { EMU_MN_XCHG, MNEMONIC | OPERANDS | PREFIXES, ALWAYS, "F3 REX.B 90 is xchg, not pause" },
};

static uint64_t n_failures, n_explained, n_agreed, n_invalid;

static bool has_memory(const struct emu_insn *insn)
{
    for (unsigned i = 0; i < insn->n_operands; i++) {
        if (insn->op[i].kind == EMU_OPD_MEM)
            return true;
    }
    return false;
}

static bool has_vector(const struct emu_insn *insn)
{
    for (unsigned i = 0; i < insn->n_operands; i++) {
        if (insn->op[i].kind == EMU_OPD_VEC || insn->op[i].kind == EMU_OPD_MM)
            return true;
    }
    return insn->prefixes & EMU_PFX_VEX;
}

/* Does it read or write memory through a segment that can be overridden, without an operand? */
static bool has_implicit_memory(const struct emu_insn *insn)
{
    switch (insn->opcode) {
    case 0x6e:
    case 0x6f:
    case 0xa4:
    case 0xa5:
    case 0xa6:
    case 0xa7:
    case 0xac:
    case 0xad:
    case 0xd7:
    case 0x1f7: return true;
    default: return false;
    }
}

/* Does stack_size mean anything? */
static bool has_stack(const struct emu_insn *insn)
{
    static const char *const names[] = { "PUSH", "POP", "CALL", "RET", "IRET", "ENTER", "LEAVE" };
    const char *name = emu_mnemonic_name(insn->mnemonic);

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!strncmp(name, names[i], strlen(names[i])) && insn->mnemonic != EMU_MN_POPCNT)
            return true;
    }
    return false;
}

/* Does op_size say anything that the operands don't? */
static bool has_op_size(const struct emu_insn *insn)
{
    switch (insn->mnemonic) {
    case EMU_MN_SYSCALL:
    case EMU_MN_CLWB:
    case EMU_MN_CLFLUSHOPT:
    case EMU_MN_CMPXCHG8B:
    case EMU_MN_INSD: /* ours is 4 with REX.W as well */
    case EMU_MN_OUTSD:
    case EMU_MN_CVTTSS2SI: /* in 16-bit code */
    case EMU_MN_CVTTSD2SI:
    case EMU_MN_CVTSS2SI:
    case EMU_MN_CVTSD2SI:
    case EMU_MN_RDFSBASE: /* 4 with 66 */
    case EMU_MN_RDGSBASE:
    case EMU_MN_WRFSBASE:
    case EMU_MN_WRGSBASE: return false;
    default: return !has_vector(insn);
    }
}

/* Things that are the same in effect are made the same. */
static void normalize(struct emu_insn *insn, enum emu_code_size code_size)
{
    const bool is_moffs = insn->opcode >= 0xa0 && insn->opcode <= 0xa3;
    const bool is_special_mov = insn->opcode >= 0x120 && insn->opcode <= 0x123;

    if (insn->mnemonic == EMU_MN_NOP || insn->mnemonic == EMU_MN_UD0 ||
        insn->mnemonic == EMU_MN_UD1) {
        memset(insn->op, 0, sizeof(insn->op));
        insn->n_operands = insn->base = insn->index = insn->scale = insn->is_rip_relative = 0;
        insn->disp = insn->prefixes = insn->op_size = 0;
    }
    if (!(has_memory(insn) || has_implicit_memory(insn)) || insn->mnemonic == EMU_MN_LEA ||
        insn->mnemonic == EMU_MN_NOP) {
        insn->seg = HV_DS;
        insn->prefixes &= (uint8_t)~EMU_PFX_SEG;
    }
    if (is_moffs && insn->addr_size < 8)
        insn->disp &= (INT64_C(1) << insn->addr_size * 8) - 1;
    if (insn->mnemonic == EMU_MN_MOV && insn->opcode < 0x100 && insn->op_size < 8)
        insn->imm &= (UINT64_C(1) << insn->op_size * 8) - 1;
    if (is_special_mov && code_size != EMU_CODE64)
        insn->op[0].size = insn->op[1].size = 4;
}

static unsigned compare(const struct emu_insn *a, const struct emu_insn *b)
{
    unsigned fields = 0;

    fields |= a->mnemonic != b->mnemonic ? MNEMONIC : 0;
    fields |= a->length != b->length ? LENGTH : 0;
    fields |= a->n_operands != b->n_operands || memcmp(a->op, b->op, sizeof(a->op)) ? OPERANDS : 0;
    fields |= a->imm != b->imm || a->imm2 != b->imm2 ? IMMEDIATE : 0;
    fields |= a->base != b->base || a->index != b->index || a->scale != b->scale ||
                      a->disp != b->disp || a->is_rip_relative != b->is_rip_relative ||
                      a->seg != b->seg || a->addr_size != b->addr_size
                  ? MEMORY
                  : 0;
    fields |= a->prefixes != b->prefixes ? PREFIXES : 0;
    fields |= a->op_size != b->op_size && has_op_size(a) ? OP_SIZE : 0;
    fields |= a->stack_size != b->stack_size && has_stack(a) ? STACK_SIZE : 0;
    fields |= a->flags_read != b->flags_read || a->flags_written != b->flags_written ? FLAGS : 0;
    fields |= a->opcode != b->opcode || a->vex_l != b->vex_l ? OTHER : 0;
    return fields;
}

/* With 32-bit addresses Zydis takes SIB base 101 and REX.B for r13; it is a displacement alone, as
 * with 64-bit ones. */
static bool is_missing_base(const struct emu_insn insn[2], enum emu_code_size code_size)
{
    return code_size == EMU_CODE64 && insn[0].addr_size == 4 && insn[0].base == EMU_NO_REG &&
           insn[1].base == HV_R13;
}

static bool is_explained(const struct emu_insn *insn, unsigned fields)
{
    for (unsigned i = 0; i < sizeof(explained) / sizeof(explained[0]); i++) {
        const bool holds = explained[i].when == WITH_66  ? insn->prefixes & EMU_PFX_OPSIZE
                           : explained[i].when == WITH_W ? insn->prefixes & EMU_PFX_REX_W
                                                         : true;

        if (insn->mnemonic == explained[i].mnemonic && !(fields & ~explained[i].fields) && holds)
            return true;
    }
    return false;
}

/* What Zydis takes and AMD processors don't: 0F 0D with a register, vpinsrq and vpextrq outside
 * 64-bit mode. */
static bool is_explained_result(const struct emu_insn *theirs, enum emu_code_size code_size)
{
    if (theirs->mnemonic == EMU_MN_NOP)
        return theirs->opcode == 0x10d;
    return (theirs->mnemonic == EMU_MN_VPINSRD || theirs->mnemonic == EMU_MN_VPEXTRD) &&
           code_size != EMU_CODE64 && (theirs->prefixes & EMU_PFX_REX_W);
}

static void print_insn(const char *who, int result, const struct emu_insn *insn)
{
    printf("  %s: result %d", who, result);
    if (result == EMU_DECODE_OK) {
        printf(" %s length %u sizes %u %u %u prefixes %02x seg %u base %u index %u scale %u rip %u "
               "disp %lx imm %lx %x flags %x %x",
               emu_mnemonic_name(insn->mnemonic), insn->length, insn->op_size, insn->addr_size,
               insn->stack_size, insn->prefixes, insn->seg, insn->base, insn->index, insn->scale,
               insn->is_rip_relative, (unsigned long)insn->disp, (unsigned long)insn->imm,
               insn->imm2, insn->flags_read, insn->flags_written);
        for (unsigned i = 0; i < insn->n_operands; i++)
            printf(" {%u %u %u}", insn->op[i].kind, insn->op[i].reg, insn->op[i].size);
    }
    printf("\n");
}

static void report(const uint8_t *bytes, enum emu_code_size code_size, unsigned fields,
                   const int result[2], const struct emu_insn insn[2])
{
    if (n_failures++ >= MAX_REPORTS)
        return;
    printf("code size %d, fields %x:", code_size, fields);
    for (unsigned i = 0; i < MAX_BYTES; i++)
        printf(" %02x", bytes[i]);
    printf("\n");
    print_insn("ours  ", result[0], &insn[0]);
    print_insn("oracle", result[1], &insn[1]);
}

/* Every shorter run of the same bytes must be found too short. */
static bool is_short_of(const uint8_t *bytes, unsigned length, enum emu_code_size code_size)
{
    struct emu_insn insn;
    uint8_t copy[MAX_BYTES];

    for (unsigned n = 0; n < length; n++) {
        memcpy(copy, bytes, n);
        if (emu_decode(copy, n, code_size, &insn) != EMU_DECODE_SHORT)
            return false;
    }
    return true;
}

/* Returns the length to go on by. */
static unsigned check(const uint8_t *bytes, size_t available, enum emu_code_size code_size)
{
    struct emu_insn insn[2] = { { 0 }, { 0 } };
    int result[2];
    unsigned fields, length;

    result[0] = emu_decode(bytes, available, code_size, &insn[0]);
    result[1] = emu_zydis_decode(bytes, available, code_size, &insn[1]);
    length = result[0] == EMU_DECODE_OK ? insn[0].length : 1;
    if (result[0] != result[1]) {
        if (result[1] == EMU_DECODE_OK && is_explained_result(&insn[1], code_size))
            n_explained++;
        else
            report(bytes, code_size, RESULT, result, insn);
        return length;
    }
    if (result[0] != EMU_DECODE_OK) {
        n_invalid++;
        return length;
    }
    normalize(&insn[0], code_size);
    normalize(&insn[1], code_size);
    fields = compare(&insn[0], &insn[1]);
    if (is_missing_base(insn, code_size))
        fields &= ~(unsigned)MEMORY;
    if (!fields)
        n_agreed++;
    else if (is_explained(&insn[0], fields))
        n_explained++;
    else
        report(bytes, code_size, fields, result, insn);
    return length;
}

/* Random bytes behind random prefixes, tilted towards escapes and VEX. */
static void make_bytes(struct random *random, uint8_t bytes[32])
{
    static const uint8_t prefixes[] = { 0x66, 0xf2, 0xf3, 0x48, 0x67, 0xf0, 0x64, 0x65,
                                        0x2e, 0x3e, 0x41, 0x4f, 0x44, 0x42, 0x26, 0x36 };
    const unsigned kind = random_below(random, 8);
    unsigned n = 0;

    random_bytes(random, bytes, 32);
    while (n < 6 && random_below(random, 4) == 0)
        bytes[n++] = prefixes[random_below(random, sizeof(prefixes))];
    if (kind >= 3 && kind < 6) {
        bytes[n++] = 0x0f;
        if (random_below(random, 3) == 0)
            bytes[n] = random_below(random, 2) ? 0x38 : 0x3a;
    } else if (kind == 6) {
        bytes[n++] = 0xc4;
        bytes[n] = (uint8_t)((bytes[n] & 0xe0) | (1 + random_below(random, 3)));
        n++;
        bytes[n] |= random_below(random, 2) ? 0x78 : 0;
    } else if (kind == 7) {
        bytes[n++] = 0xc5;
        bytes[n] |= random_below(random, 2) ? 0xf8 : 0;
    }
}

static void check_random(uint64_t n_cases, uint64_t seed)
{
    struct random random = random_seeded(seed);
    uint8_t bytes[32];
    struct emu_insn insn;

    for (uint64_t i = 0; i < n_cases; i++) {
        const enum emu_code_size code_size = (enum emu_code_size)random_below(&random, 3);

        make_bytes(&random, bytes);
        check(bytes, MAX_BYTES, code_size);
        if (emu_decode(bytes, MAX_BYTES, code_size, &insn) == EMU_DECODE_OK &&
            !is_short_of(bytes, insn.length, code_size)) {
            n_failures++;
            printf("a part of an instruction is found whole or invalid: seed %lu case %lu\n",
                   (unsigned long)seed, (unsigned long)i);
        }
    }
}

static int check_file(const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    uint8_t *bytes;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0) {
        if (fd >= 0)
            close(fd);
        return 0; /* what can't be read is no code */
    }
    bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (bytes == MAP_FAILED)
        return -1;
    for (size_t at = 0; at + MAX_BYTES <= (size_t)st.st_size;)
        at += check(bytes + at, MAX_BYTES, EMU_CODE64);
    munmap(bytes, (size_t)st.st_size);
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t n_cases = 300000, seed = 1;
    int option;

    while ((option = getopt(argc, argv, "n:s:")) != -1) {
        if (option == 'n')
            n_cases = strtoull(optarg, NULL, 0);
        else if (option == 's')
            seed = strtoull(optarg, NULL, 0);
        else
            return 2;
    }
    check_random(n_cases, seed);
    for (int i = optind; i < argc; i++) {
        if (check_file(argv[i]) < 0)
            return 2;
    }
    printf("%lu agreed, %lu invalid for both, %lu explained, %lu failed\n", (unsigned long)n_agreed,
           (unsigned long)n_invalid, (unsigned long)n_explained, (unsigned long)n_failures);
    return n_failures ? 1 : 0;
}
