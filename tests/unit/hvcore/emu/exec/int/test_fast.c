/* SPDX-License-Identifier: Apache-2.0 */
/* Fast handlers do what the generic forms do: random instructions, random states. */
#include "tests/lib/cmocka.h"
#include "tests/lib/emu_flat.h"

#include <stdio.h>
#include <string.h>

enum { N_CASES = 200000, MAX_BYTES = 15, PAGE_OFFSET = 0x234 };

struct fixture {
    struct flat *fast, *generic;
    uint64_t random;
    unsigned n_fast, n_slow, n_fused;
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

static const uint8_t one_byte[] = {
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x08, 0x09, 0x0a, 0x0b, 0x0d, 0x10, 0x11, 0x12, 0x13, 0x15,
    0x18, 0x19, 0x1a, 0x1b, 0x20, 0x21, 0x22, 0x23, 0x25, 0x28, 0x29, 0x2a, 0x2b, 0x2d, 0x30, 0x31,
    0x32, 0x33, 0x35, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x50, 0x53, 0x55, 0x58, 0x5c, 0x5d, 0x63,
    0x68, 0x69, 0x6a, 0x6b, 0x70, 0x71, 0x72, 0x74, 0x75, 0x77, 0x78, 0x7a, 0x7c, 0x7d, 0x7e, 0x7f,
    0x80, 0x81, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8d, 0x8f, 0x90, 0x93, 0x98,
    0x99, 0x9e, 0x9f, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0xb0,
    0xb4, 0xb8, 0xbb, 0xc0, 0xc1, 0xc2, 0xc3, 0xc6, 0xc7, 0xc9, 0xd0, 0xd1, 0xd2, 0xd3, 0xe0, 0xe2,
    0xe3, 0xe8, 0xe9, 0xeb, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfc, 0xfd, 0xfe, 0xff,
};
static const uint8_t two_byte[] = {
    0x18, 0x1f, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c,
    0x4d, 0x4e, 0x4f, 0x80, 0x82, 0x84, 0x85, 0x8c, 0x8f, 0x90, 0x92, 0x94, 0x96, 0x98, 0x9a,
    0x9c, 0x9f, 0xa3, 0xa4, 0xa5, 0xab, 0xac, 0xad, 0xaf, 0xb0, 0xb1, 0xb3, 0xb6, 0xb7, 0xb8,
    0xba, 0xbb, 0xbc, 0xbd, 0xbe, 0xbf, 0xc0, 0xc1, 0xc3, 0xc7, 0xc8, 0xcb,
};

static unsigned make_bytes(struct fixture *f, uint8_t bytes[static MAX_BYTES])
{
    unsigned n = 0;

    if (pick_of(f, 16) == 0)
        bytes[n++] = pick_of(f, 2) ? 0x64 : 0x65;
    if (pick_of(f, 10) == 0)
        bytes[n++] = 0xf0;
    else if (pick_of(f, 6) == 0)
        bytes[n++] = pick_of(f, 2) ? 0xf2 : 0xf3;
    if (pick_of(f, 6) == 0)
        bytes[n++] = 0x66;
    if (pick_of(f, 40) == 0)
        bytes[n++] = 0x67;
    if (pick_of(f, 4) != 0)
        bytes[n++] = (uint8_t)(0x40 | pick_of(f, 16));
    if (pick_of(f, 3) == 0) {
        bytes[n++] = 0x0f;
        bytes[n++] = two_byte[pick_of(f, sizeof(two_byte))];
    } else {
        bytes[n++] = one_byte[pick_of(f, sizeof(one_byte))];
    }
    while (n < MAX_BYTES)
        bytes[n++] = (uint8_t)next_random(f);
    return n;
}

static bool make_insn(struct fixture *f, struct emu_insn *ret)
{
    uint8_t bytes[MAX_BYTES];

    make_bytes(f, bytes);
    if (emu_decode(bytes, MAX_BYTES, EMU_CODE64, ret) != EMU_DECODE_OK ||
        !(emu_exec_int[ret->mnemonic] || emu_exec_string[ret->mnemonic]))
        return false;
    /* A near displacement, so that addresses built on a good base hit memory. */
    if (ret->op[0].kind != EMU_OPD_REL)
        ret->disp = (int8_t)ret->disp;
    return true;
}

/* ---- States ---- */

static uint64_t make_value(struct fixture *f)
{
    static const uint64_t edges[] = {
        0,
        1,
        2,
        0x7f,
        0x80,
        0xff,
        0x7fff,
        0x8000,
        0x7fffffff,
        0x80000000,
        0xffffffff,
        INT64_MAX,
        UINT64_C(1) << 63,
        UINT64_MAX,
        UINT64_MAX - 1,
    };
    unsigned near_page = pick_of(f, FLAT_PAGES) * HV_PAGE_BYTES;

    switch (pick_of(f, 5)) {
    case 0: return edges[pick_of(f, HV_ARRAY_SIZE(edges))];
    case 1: return next_random(f);
    case 2: return pick_of(f, 64);
    case 3: return FLAT_BASE + near_page + 0xff0 + pick_of(f, 32);
    default: return FLAT_BASE + 256 + pick_of(f, FLAT_BYTES / 2);
    }
}

static void make_state(struct fixture *f)
{
    struct emu_cpu *cpu = &f->fast->cpu;

    flat_reset(f->fast);
    for (unsigned i = 0; i < HV_N_GPRS; i++)
        cpu->regs[i] = make_value(f);
    if (pick_of(f, 3) != 0)
        cpu->regs[HV_RSP] = FLAT_BASE + 4096 + pick_of(f, 4096);
    if (pick_of(f, 3) != 0)
        cpu->regs[HV_RCX] = pick_of(f, 200);
    cpu->regs[EMU_REG_FS_BASE] = cpu->segment[HV_FS].base = pick_of(f, 2) ? make_value(f) : 8;
    cpu->regs[EMU_REG_GS_BASE] = cpu->segment[HV_GS].base = pick_of(f, 2) ? make_value(f) : 16;
    cpu->regs[EMU_REG_RIP_BASE] = FLAT_BASE + 4096;
    cpu->rip = cpu->regs[EMU_REG_RIP_BASE] + PAGE_OFFSET;
    emu_set_arith_flags(cpu, (uint32_t)next_random(f));
    cpu->df_step = pick_of(f, 8) ? 1 : UINT64_MAX;
    for (unsigned i = 0; i < FLAT_BYTES; i += 8) {
        uint64_t value = pick_of(f, 4) ? next_random(f) : 0;

        memcpy(f->fast->memory + i, &value, 8);
        i += pick_of(f, 2) ? 0 : 200;
    }
    memcpy(f->generic->memory, f->fast->memory, FLAT_BYTES);
    memcpy(&f->generic->cpu, cpu, offsetof(struct emu_cpu, tlbs));
    f->generic->cpu.tlb = f->generic->cpu.tlbs[EMU_SUPERVISOR];
}

/* ---- Comparison ---- */

static void assert_same(struct fixture *f, const struct emu_insn *insn, bool with_flags)
{
    const struct emu_cpu *a = &f->fast->cpu, *b = &f->generic->cpu;
    bool same = !memcmp(a->regs, b->regs, sizeof(a->regs)) && a->df_step == b->df_step &&
                !memcmp(f->fast->memory, f->generic->memory, FLAT_BYTES);

    if (with_flags)
        same = same && emu_arith_flags(a) == emu_arith_flags(b);
    if (same)
        return;
    print_error("%s opcode %x size %u prefixes %x kinds %u %u flags %x %x\n",
                emu_mnemonic_name(insn->mnemonic), insn->opcode, insn->op_size, insn->prefixes,
                insn->op[0].kind, insn->op[1].kind, emu_arith_flags(a), emu_arith_flags(b));
    for (unsigned i = 0; i < HV_N_GPRS; i++)
        if (a->regs[i] != b->regs[i])
            print_error("reg %u: fast %lx generic %lx\n", i, (unsigned long)a->regs[i],
                        (unsigned long)b->regs[i]);
    fail();
}

/* Where the generic form went, against where the handlers went. */
static void assert_same_way(struct fixture *f, const struct emu_insn *insn, enum emu_result result)
{
    const struct flat *fast = f->fast;

    switch (result) {
    case EMU_NEXT: assert_int_equal(fast->end, FLAT_FELL_THROUGH); break;
    case EMU_BRANCH:
        assert_true(fast->end == FLAT_JUMPED || fast->end == FLAT_INDIRECT);
        assert_int_equal(fast->target, f->generic->cpu.rip);
        break;
    default:
        print_error("%s: generic ended with %d, fast with %d\n", emu_mnemonic_name(insn->mnemonic),
                    result, fast->end);
        fail();
    }
}

static bool pick_any(const struct emu_pick *pick, struct emu_op *op)
{
    return emu_pick_int(pick, op) || emu_pick_string(pick, op);
}

static void run_one(struct fixture *f)
{
    bool live = pick_of(f, 2);
    struct emu_op ops[2] = { { 0 } };
    struct emu_pick pick = { 0 };
    struct emu_insn insn;
    enum emu_result result;

    if (!make_insn(f, &insn))
        return;
    pick = (struct emu_pick){ .insn = &insn,
                              .flags_live = live && insn.flags_written,
                              .live = live ? EMU_ARITH_FLAGS : 0,
                              .offset = PAGE_OFFSET,
                              .is_64bit = true };
    ops[0].pos = (uint16_t)(PAGE_OFFSET | insn.length << 12);
    ops[1] = (struct emu_op){ .fn = flat_stop, .disp = PAGE_OFFSET + insn.length };
    if (!pick_any(&pick, ops))
        return;
    make_state(f);
    flat_run(f->fast, ops);
    result = flat_exec(f->generic, &insn);
    if (f->fast->end == FLAT_SLOW) {
        f->n_slow++;
        /* A string stops at the fault; all else must have done nothing. */
        if (emu_exec_string[insn.mnemonic])
            return;
        if (result == EMU_FAULT)
            assert_same(f, &insn, true);
        return;
    }
    f->n_fast++;
    assert_same(f, &insn, live || !insn.flags_written);
    assert_same_way(f, &insn, result);
}

static void fast_handlers_agree_with_generic_forms(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < N_CASES; i++)
        run_one(f);
    print_message("%u handlers ran, %u of them gave up\n", f->n_fast + f->n_slow, f->n_slow);
    assert_true(f->n_fast > N_CASES / 8);
}

/* ---- Pairs ---- */

static void make_jcc(struct fixture *f, struct emu_insn *ret)
{
    uint8_t bytes[2] = { (uint8_t)(0x70 + pick_of(f, 16)), (uint8_t)next_random(f) };

    assert_int_equal(emu_decode(bytes, 2, EMU_CODE64, ret), EMU_DECODE_OK);
}

static void run_pair(struct fixture *f)
{
    struct emu_op ops[3] = { { 0 } };
    struct emu_pick pick = { 0 }, alone;
    struct emu_insn insns[2];
    enum emu_result result;
    emu_handler *single;

    if (!make_insn(f, &insns[0]))
        return;
    make_jcc(f, &insns[1]);
    pick = (struct emu_pick){ .insn = &insns[0],
                              .next = &insns[1],
                              .flags_live = true,
                              .live = EMU_ARITH_FLAGS,
                              .offset = PAGE_OFFSET,
                              .is_64bit = true };
    alone = pick;
    alone.next = NULL;
    if (!pick_any(&alone, ops))
        return;
    single = ops[0].fn;
    ops[0] = (struct emu_op){ .pos = (uint16_t)(PAGE_OFFSET | insns[0].length << 12) };
    if (!pick_any(&pick, ops) || ops[0].fn == single)
        return;
    pick.insn = &insns[1];
    pick.next = NULL;
    pick.offset += insns[0].length;
    ops[1] = (struct emu_op){ .pos = (uint16_t)(pick.offset | 2 << 12) };
    assert_true(pick_any(&pick, &ops[1]));
    ops[2] = (struct emu_op){ .fn = flat_stop, .disp = (int32_t)pick.offset + 2 };

    make_state(f);
    flat_run(f->fast, ops);
    if (f->fast->end == FLAT_SLOW)
        return;
    f->n_fused++;
    assert_int_equal(flat_exec(f->generic, &insns[0]), EMU_NEXT);
    f->generic->cpu.rip += insns[0].length;
    result = flat_exec(f->generic, &insns[1]);
    assert_same(f, &insns[0], true);
    if (result == EMU_NEXT) {
        assert_int_equal(f->fast->end, FLAT_FELL_THROUGH);
        assert_ptr_equal(f->fast->at, &ops[2]);
    } else {
        assert_int_equal(f->fast->end, FLAT_JUMPED);
        assert_int_equal(f->fast->target, f->generic->cpu.rip);
    }
}

static void pairs_agree_with_their_parts(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < N_CASES; i++)
        run_pair(f);
    print_message("%u pairs ran\n", f->n_fused);
    assert_true(f->n_fused > N_CASES / 40);
}

/* ---- Records that do what follows them as well ---- */

/* One that touches memory or the stack, moves, computes, or ends a block; not through rsp as a
 * general register. */
static bool make_common_insn(struct fixture *f, struct emu_insn *ret)
{
    static const uint8_t opcodes[] = { 0x50, 0x58, 0x89, 0x8b, 0x8b, 0xc7, 0xb6, 0x31, 0x01,
                                       0x81, 0x8d, 0x63, 0x21, 0xc1, 0xc3, 0xe8, 0xeb };
    uint8_t bytes[MAX_BYTES], opcode = opcodes[pick_of(f, sizeof(opcodes))];
    unsigned n = 0;

    for (unsigned i = 0; i < MAX_BYTES; i++)
        bytes[i] = (uint8_t)next_random(f);
    bytes[n++] = (uint8_t)(0x40 | pick_of(f, 16));
    if (opcode == 0xb6)
        bytes[n++] = 0x0f;
    if (opcode < 0x60 && opcode >= 0x50)
        opcode |= (uint8_t)pick_of(f, 8);
    bytes[n++] = opcode;
    if (opcode == 0xc7 || opcode == 0x81)
        bytes[n] &= pick_of(f, 2) ? 0xc7 : 0xef;
    if (emu_decode(bytes, MAX_BYTES, EMU_CODE64, ret) != EMU_DECODE_OK)
        return false;
    if (ret->op[0].kind != EMU_OPD_REL)
        ret->disp = (int8_t)ret->disp;
    return true;
}

/* test or cmp of registers, or with a constant. */
static void make_compare(struct fixture *f, struct emu_insn *ret)
{
    static const uint8_t opcodes[] = { 0x85, 0x39, 0x3b, 0x81, 0x83, 0xf6 };
    uint8_t bytes[MAX_BYTES] = { (uint8_t)(0x40 | pick_of(f, 16)),
                                 opcodes[pick_of(f, sizeof(opcodes))],
                                 (uint8_t)(0xc0 | next_random(f)), (uint8_t)next_random(f) };

    if (bytes[1] == 0x81 || bytes[1] == 0x83)
        bytes[2] |= 0x38;
    if (bytes[1] == 0xf6)
        bytes[2] &= 0xc7;
    assert_int_equal(emu_decode(bytes, MAX_BYTES, EMU_CODE64, ret), EMU_DECODE_OK);
}

/* The last one's, from where the record is that it began. */
static void assert_joined_way(struct fixture *f, const struct emu_op *end, enum emu_result result)
{
    if (result == EMU_BRANCH) {
        assert_true(f->fast->end == FLAT_JUMPED || f->fast->end == FLAT_INDIRECT);
        assert_int_equal(f->fast->target, f->generic->cpu.rip);
    } else {
        assert_int_equal(f->fast->end, FLAT_FELL_THROUGH);
        assert_ptr_equal(f->fast->at, end);
    }
}

/* Run the generic forms up to the record where the fast ones gave up, or to the end. */
static void follow_joined(struct fixture *f, const struct emu_insn *insns, const struct emu_op *ops,
                          unsigned n, bool live)
{
    enum emu_result result = EMU_NEXT;
    unsigned i;

    for (i = 0; i < n && result == EMU_NEXT; i++) {
        if (f->fast->end == FLAT_SLOW && f->fast->at == &ops[i])
            break;
        result = flat_exec(f->generic, &insns[i]);
        if (result == EMU_NEXT)
            f->generic->cpu.rip += insns[i].length;
    }
    assert_same(f, &insns[i ? i - 1 : 0], live);
    if (f->fast->end != FLAT_SLOW)
        assert_joined_way(f, &ops[n], result);
}

/* Instructions, the last two perhaps a comparison and a branch. */
static bool make_joined(struct fixture *f, struct emu_insn *insns, unsigned n, bool branches)
{
    for (unsigned i = 0; i < n; i++) {
        if (branches && i == n - 2)
            make_compare(f, &insns[i]);
        else if (branches && i == n - 1)
            make_jcc(f, &insns[i]);
        else if (!make_common_insn(f, &insns[i]))
            return false;
    }
    return true;
}

enum { MAX_JOINED = 5 };

/* The first of these, joined with what follows it, against the generic forms; branches: the last
 * two are a comparison and its branch. */
static void run_these(struct fixture *f, const struct emu_insn *insns, unsigned n, bool branches,
                      const uint16_t *live)
{
    struct emu_op ops[MAX_JOINED + 1] = { { 0 } };
    uint8_t kinds[MAX_JOINED + 1] = { 0 };
    unsigned offset = PAGE_OFFSET;
    emu_handler *alone;

    for (unsigned i = 0; i < n; i++) {
        struct emu_pick pick = { .insn = &insns[i],
                                 .next = branches && i == n - 2 ? &insns[n - 1] : NULL,
                                 .flags_live = live[i] & insns[i].flags_written,
                                 .live = live[i],
                                 .offset = offset,
                                 .is_64bit = true };

        ops[i].pos = (uint16_t)(offset | insns[i].length << 12);
        offset += insns[i].length;
        if (!pick_any(&pick, &ops[i]) || ops[i].dst == EMU_REG_OFFSET(HV_RSP))
            return;
        kinds[i] = ops[i].aux;
    }
    ops[n] = (struct emu_op){ .fn = flat_stop, .disp = (int32_t)offset };
    alone = ops[0].fn;
    emu_join(ops, kinds, n + 1);
    if (ops[0].fn == alone)
        return;
    make_state(f);
    flat_run(f->fast, ops);
    f->n_fused++;
    follow_joined(f, insns, ops, n, live[n - 1] != 0);
}

static void run_joined(struct fixture *f)
{
    static const uint16_t dead[MAX_JOINED];
    static const uint16_t live[MAX_JOINED] = { EMU_ARITH_FLAGS, EMU_ARITH_FLAGS, EMU_ARITH_FLAGS,
                                               EMU_ARITH_FLAGS, EMU_ARITH_FLAGS };
    bool branches = pick_of(f, 3) == 0;
    unsigned n = 2 + branches + pick_of(f, 3);
    struct emu_insn insns[MAX_JOINED];

    if (make_joined(f, insns, n, branches))
        run_these(f, insns, n, branches, pick_of(f, 2) ? live : dead);
}

static void decode_to(const uint8_t *bytes, size_t n, struct emu_insn *ret)
{
    assert_int_equal(emu_decode(bytes, n, EMU_CODE64, ret), EMU_DECODE_OK);
}

/* movsxd r, [b + i * 4 + disp]; add r, c; jmp r */
static void run_switch(struct fixture *f)
{
    static const uint16_t live[] = { EMU_ARITH_FLAGS, EMU_ARITH_FLAGS, EMU_ARITH_FLAGS };
    unsigned r = pick_of(f, 8), b = pick_of(f, 8), index = pick_of(f, 8), c = pick_of(f, 8);
    const uint8_t table[] = { 0x48, 0x63, (uint8_t)(0x44 | r << 3),
                              (uint8_t)(0x80 | index << 3 | b), (uint8_t)next_random(f) };
    const uint8_t add[] = { 0x48, 0x01, (uint8_t)(0xc0 | c << 3 | r) };
    const uint8_t jump[] = { 0xff, (uint8_t)(0xe0 | r) };
    struct emu_insn insns[3];

    decode_to(table, sizeof(table), &insns[0]);
    decode_to(add, sizeof(add), &insns[1]);
    decode_to(jump, sizeof(jump), &insns[2]);
    run_these(f, insns, 3, false, live);
}

/* add a, b; adc c, d or a constant, whose flags nobody reads */
static void run_wide_sum(struct fixture *f)
{
    static const uint16_t live[] = { EMU_ARITH_FLAGS, 0 };
    const uint8_t add[] = { 0x48, 0x01, (uint8_t)(0xc0 | next_random(f)) };
    const uint8_t adc[] = { 0x48, 0x11, (uint8_t)(0xc0 | next_random(f)) };
    const uint8_t adc_imm[] = { 0x48, 0x83, (uint8_t)(0xd0 | pick_of(f, 8)),
                                (uint8_t)next_random(f) };
    struct emu_insn insns[2];

    decode_to(add, sizeof(add), &insns[0]);
    if (pick_of(f, 2))
        decode_to(adc, sizeof(adc), &insns[1]);
    else
        decode_to(adc_imm, sizeof(adc_imm), &insns[1]);
    run_these(f, insns, 2, false, live);
}

static void switches_and_wide_sums_agree_with_their_parts(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < N_CASES; i++) {
        run_switch(f);
        run_wide_sum(f);
    }
    print_message("%u of them ran\n", f->n_fused);
    assert_true(f->n_fused > N_CASES);
}

static void joined_records_agree_with_their_parts(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 4 * N_CASES; i++)
        run_joined(f);
    print_message("%u joined records ran\n", f->n_fused);
    assert_true(f->n_fused > N_CASES / 40);
}

/* ---- Two register instructions whose flags nobody reads ---- */

static bool make_register_insn(struct fixture *f, struct emu_insn *ret)
{
    static const uint8_t opcodes[] = { 0x89, 0x8b, 0x01, 0x03, 0x83, 0x81, 0x29, 0x21, 0x09,
                                       0x31, 0xc1, 0xd1, 0x8d, 0xc7, 0x63, 0xb6, 0xaf };
    uint8_t bytes[MAX_BYTES], opcode = opcodes[pick_of(f, sizeof(opcodes))];
    unsigned n = 0;

    bytes[n++] = (uint8_t)(0x40 | pick_of(f, 16));
    if (opcode == 0xb6 || opcode == 0xaf)
        bytes[n++] = 0x0f;
    bytes[n++] = opcode;
    bytes[n++] = (uint8_t)(next_random(f) | (opcode == 0x8d ? 0 : 0xc0));
    while (n < MAX_BYTES)
        bytes[n++] = (uint8_t)next_random(f);
    return emu_decode(bytes, MAX_BYTES, EMU_CODE64, ret) == EMU_DECODE_OK;
}

static void run_dead_pair(struct fixture *f)
{
    struct emu_op ops[3] = { { 0 } };
    struct emu_insn insns[2];
    struct emu_pick pick = { .insn = &insns[0], .offset = PAGE_OFFSET, .is_64bit = true };
    emu_handler *single;

    if (!make_register_insn(f, &insns[0]) || !make_register_insn(f, &insns[1]))
        return;
    if (pick_of(f, 2))
        insns[1].op[0].reg = insns[0].op[0].reg;
    else if (pick_of(f, 2))
        insns[1].op[1].reg = insns[0].op[0].reg;
    if (!pick_any(&pick, ops))
        return;
    single = ops[0].fn;
    ops[0] = (struct emu_op){ .pos = (uint16_t)(PAGE_OFFSET | insns[0].length << 12) };
    pick.next = &insns[1];
    if (!pick_any(&pick, ops) || ops[0].fn == single)
        return;
    pick = (struct emu_pick){ .insn = &insns[1],
                              .offset = PAGE_OFFSET + insns[0].length,
                              .is_64bit = true };
    ops[1] = (struct emu_op){ .pos = (uint16_t)(pick.offset | insns[1].length << 12) };
    assert_true(pick_any(&pick, &ops[1]));
    ops[2] = (struct emu_op){ .fn = flat_stop };

    make_state(f);
    flat_run(f->fast, ops);
    f->n_fused++;
    assert_int_equal(f->fast->end, FLAT_FELL_THROUGH);
    assert_ptr_equal(f->fast->at, &ops[2]);
    assert_int_equal(flat_exec(f->generic, &insns[0]), EMU_NEXT);
    f->generic->cpu.rip += insns[0].length;
    assert_int_equal(flat_exec(f->generic, &insns[1]), EMU_NEXT);
    assert_same(f, &insns[1], false);
}

static void dead_pairs_agree_with_their_parts(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < N_CASES; i++)
        run_dead_pair(f);
    print_message("%u pairs ran\n", f->n_fused);
    assert_true(f->n_fused > N_CASES / 40);
}

static int set_up(void **state)
{
    static struct fixture f;

    f = (struct fixture){ .fast = flat_new(), .generic = flat_new(), .random = 8817264546332527 };
    *state = &f;
    return f.fast && f.generic ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    free(f->fast);
    free(f->generic);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fast_handlers_agree_with_generic_forms, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pairs_agree_with_their_parts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(joined_records_agree_with_their_parts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(switches_and_wide_sums_agree_with_their_parts, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(dead_pairs_agree_with_their_parts, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
