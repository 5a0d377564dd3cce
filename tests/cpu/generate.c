/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cpu/generate.h"

#include "tests/cpu/layout.h"

/* An instruction being made. */
struct draft {
    uint8_t bytes[24];
    unsigned n;       /* bytes before the random rest */
    unsigned disp_at; /* where a displacement would be */
    bool has_modrm;
    struct emu_insn insn;
};

/* ---- What the two sides can't be compared on ---- */

/* Far returns, which read their frames in an order of their own; clocks, identity and randomness;
 * the kernel's doors; descriptor tables, which are the host kernel's own; images that hold
 * addresses of the last x87 instruction. */
static const uint16_t excluded[] = {
    EMU_MN_RET_FAR,   EMU_MN_IRET,       EMU_MN_IRETD,   EMU_MN_IRETQ,    EMU_MN_SYSCALL,
    EMU_MN_SYSENTER,  EMU_MN_SYSEXIT,    EMU_MN_SYSRET,  EMU_MN_INT,      EMU_MN_INT1,
    EMU_MN_CPUID,     EMU_MN_RDTSC,      EMU_MN_RDTSCP,  EMU_MN_RDPMC,    EMU_MN_RDRAND,
    EMU_MN_RDSEED,    EMU_MN_RDPID,      EMU_MN_XGETBV,  EMU_MN_SGDT,     EMU_MN_SIDT,
    EMU_MN_SLDT,      EMU_MN_STR,        EMU_MN_SMSW,    EMU_MN_LAR,      EMU_MN_LSL,
    EMU_MN_MONITOR,   EMU_MN_MWAIT,      EMU_MN_VMCALL,  EMU_MN_VMMCALL,  EMU_MN_VMFUNC,
    EMU_MN_SERIALIZE, EMU_MN_CLZERO,     EMU_MN_FXSAVE,  EMU_MN_FXSAVE64, EMU_MN_FXRSTOR,
    EMU_MN_FXRSTOR64, EMU_MN_XSAVE,      EMU_MN_XSAVE64, EMU_MN_XSAVEC,   EMU_MN_XSAVEC64,
    EMU_MN_XSAVEOPT,  EMU_MN_XSAVEOPT64, EMU_MN_XRSTOR,  EMU_MN_XRSTOR64, EMU_MN_FNSAVE,
    EMU_MN_FNSTENV,   EMU_MN_CLAC,       EMU_MN_STAC,    EMU_MN_RSM,
};

static bool is_segment_load(const struct emu_insn *insn)
{
    return (insn->mnemonic == EMU_MN_MOV || insn->mnemonic == EMU_MN_POP) &&
           insn->op[0].kind == EMU_OPD_SEG;
}

static bool takes_selector(const struct emu_insn *insn)
{
    return is_segment_load(insn) || insn->mnemonic == EMU_MN_VERR || insn->mnemonic == EMU_MN_VERW;
}

/* A branch into itself may never end. */
static bool is_loop(const struct emu_insn *insn)
{
    return insn->op[0].kind == EMU_OPD_REL && (int64_t)insn->imm < 0 &&
           (int64_t)insn->imm >= -(int64_t)insn->length;
}

/* The 256-bit forms of these are extensions of their own, and not offered. */
static bool is_wide_crypto(const struct emu_insn *insn)
{
    return insn->vex_l &&
           ((insn->opcode >= 0x2dc && insn->opcode <= 0x2df) || insn->opcode == 0x344);
}

/* Meaningless there by the manuals; AMD processors take F3 for loope and F2 for loopne. */
static bool is_repeated_loop(const struct emu_insn *insn)
{
    return (insn->opcode == 0xe0 || insn->opcode == 0xe1) &&
           (insn->prefixes & (EMU_PFX_REP | EMU_PFX_REPNE));
}

static bool is_comparable(const struct emu_insn *insn)
{
    for (unsigned i = 0; i < sizeof(excluded) / sizeof(excluded[0]); i++) {
        if (insn->mnemonic == excluded[i])
            return false;
    }
    return !is_loop(insn) && !is_wide_crypto(insn) && !is_repeated_loop(insn);
}

static bool is_branch(const struct emu_insn *insn)
{
    return insn->op[0].kind == EMU_OPD_REL || insn->mnemonic == EMU_MN_RET ||
           insn->mnemonic == EMU_MN_CALL || insn->mnemonic == EMU_MN_JMP;
}

/* ---- Bytes ---- */

static void draft_byte(struct draft *draft, unsigned byte)
{
    draft->bytes[draft->n++] = (uint8_t)byte;
}

static bool chance(struct random *random, unsigned percent)
{
    return random_below(random, 100) < percent;
}

static void draft_prefixes(struct random *random, enum emu_code_size code_size, bool is_escaped,
                           struct draft *draft)
{
    if (chance(random, 3))
        draft_byte(draft, 0x64 + random_below(random, 2));
    if (chance(random, 3))
        draft_byte(draft, 0x67);
    if (chance(random, 4))
        draft_byte(draft, 0xf0);
    if (chance(random, is_escaped ? 40 : 20))
        draft_byte(draft, 0x66);
    if (chance(random, is_escaped ? 40 : 10))
        draft_byte(draft, 0xf2 + random_below(random, 2));
    if (code_size == EMU_CODE64 && chance(random, 60))
        draft_byte(draft, 0x40 + random_below(random, 16));
}

static void draft_vex(struct random *random, enum emu_code_size code_size, struct draft *draft)
{
    const unsigned high = code_size == EMU_CODE64 ? random_below(random, 8) << 5 : 0xc0;
    /* all ones in VEX.vvvv, where it is not used, are likelier */
    const unsigned vvvv = chance(random, 40) ? 15 : random_below(random, 16);

    if (chance(random, 3))
        draft_byte(draft, 0x64 + random_below(random, 2));
    if (chance(random, 3))
        draft_byte(draft, 0x67);
    if (chance(random, 25)) {
        draft_byte(draft, 0xc5);
        draft_byte(draft, (high & 0x80) | vvvv << 3 | random_below(random, 8));
        return;
    }
    draft_byte(draft, 0xc4);
    draft_byte(draft, high | (1 + random_below(random, 3)));
    draft_byte(draft, (chance(random, 30) ? 0x80 : 0) | vvvv << 3 | random_below(random, 8));
}

static void draft_opcode(struct random *random, enum emu_code_size code_size, struct draft *draft)
{
    const unsigned kind = random_below(random, 100);

    if (kind < 20) {
        draft_vex(random, code_size, draft);
    } else if (kind < 55) {
        draft_prefixes(random, code_size, false, draft);
    } else {
        draft_prefixes(random, code_size, true, draft);
        draft_byte(draft, 0x0f);
        if (kind >= 90)
            draft_byte(draft, kind >= 97 ? 0x3a : 0x38);
    }
    draft_byte(draft, random_below(random, 256));
}

/* ModRM behind the opcode; what follows is random already. Returns whether it is an instruction. */
static bool draft_rest(struct random *random, enum emu_code_size code_size, struct draft *draft)
{
    unsigned modrm = draft->bytes[draft->n];

    if (chance(random, 40))
        modrm |= 0xc0;
    draft->bytes[draft->n] = (uint8_t)modrm;
    draft->disp_at = draft->n + 1 + ((modrm & 7) == 4);
    return emu_decode(draft->bytes, 15, code_size, &draft->insn) == EMU_DECODE_OK;
}

static bool draft_try(struct random *random, struct cpu_wish *wish, struct draft *draft)
{
    const unsigned n_found = wish->n_found[wish->code_size];

    random_bytes(random, draft->bytes, sizeof(draft->bytes));
    draft->n = 0;
    if (!n_found) {
        draft_opcode(random, wish->code_size, draft);
        return draft_rest(random, wish->code_size, draft);
    }
    memcpy(draft->bytes, wish->found[wish->code_size], n_found);
    draft->n = n_found;
    if (chance(random, 40))
        draft->bytes[random_below(random, draft->n)] ^= (uint8_t)(1 << random_below(random, 8));
    return draft_rest(random, wish->code_size, draft);
}

static void remember(struct random *random, struct cpu_wish *wish, const struct draft *draft)
{
    if (wish->mnemonic == EMU_MN_INVALID || draft->n > sizeof(wish->found[0]))
        return;
    memcpy(wish->found[wish->code_size], draft->bytes, draft->n);
    wish->n_found[wish->code_size] = (uint8_t)draft->n;
}

static void draft_make(struct random *random, struct cpu_wish *wish, struct draft *draft)
{
    for (;;) {
        if (!draft_try(random, wish, draft))
            continue;
        if (wish->mnemonic != EMU_MN_INVALID && draft->insn.mnemonic != wish->mnemonic)
            continue;
        if (!is_comparable(&draft->insn))
            continue;
        if (wish->n_insns > 1 && is_branch(&draft->insn))
            continue;
        remember(random, wish, draft);
        return;
    }
}

/* ---- Values ---- */

static uint64_t pick_data(struct random *random)
{
    const unsigned kind = random_below(random, 16);
    const unsigned page = random_below(random, 4) * HV_PAGE_BYTES;

    if (kind < 7)
        return CPU_DATA + random_below(random, CPU_DATA_BYTES / 64) * 64;
    if (kind < 10)
        return CPU_DATA + random_below(random, CPU_DATA_BYTES);
    if (kind < 11)
        return CPU_DATA + page; /* a page's start */
    if (kind < 14)
        return CPU_DATA + page + HV_PAGE_BYTES - random_below(random, 33); /* its end */
    if (kind < 15)
        return CPU_CONST + random_below(random, HV_PAGE_BYTES);
    return CPU_DATA - 16 + random_below(random, 32);
}

static uint64_t pick_value(struct random *random)
{
    static const uint64_t edges[] = { 0,
                                      1,
                                      2,
                                      0x7f,
                                      0x80,
                                      0xff,
                                      0x7fff,
                                      0x8000,
                                      0xffff,
                                      0x7fffffff,
                                      0x80000000,
                                      0xffffffff,
                                      UINT64_C(0x7fffffffffffffff),
                                      UINT64_C(0x8000000000000000),
                                      UINT64_MAX,
                                      UINT64_MAX - 1 };

    switch (random_below(random, 8)) {
    case 0:
    case 1: return edges[random_below(random, sizeof(edges) / sizeof(edges[0]))];
    case 2: return random_below(random, 64);
    case 3: return pick_data(random);
    case 4: return random_u64(random) >> random_below(random, 64);
    case 5: return ~(random_u64(random) >> random_below(random, 64));
    default: return random_u64(random);
    }
}

static uint64_t pick_float_bits(struct random *random)
{
    static const uint32_t singles[] = {
        0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000,
        0xff800000, 0x7fc00000, 0x7fa00000, 0x00000001, 0x807fffff,
        0x7f7fffff, 0x00800000, 0x4f000000, 0xcf000000, 0x3f000000
    };
    static const uint64_t doubles[] = {
        0,
        UINT64_C(0x8000000000000000),
        UINT64_C(0x3ff0000000000000),
        UINT64_C(0xbff8000000000000),
        UINT64_C(0x7ff0000000000000),
        UINT64_C(0xfff0000000000000),
        UINT64_C(0x7ff8000000000000),
        UINT64_C(0x7ff4000000000000),
        UINT64_C(0x0000000000000001),
        UINT64_C(0x800fffffffffffff),
        UINT64_C(0x7fefffffffffffff),
        UINT64_C(0x0010000000000000),
        UINT64_C(0x41e0000000000000),
        UINT64_C(0xc3e0000000000000),
    };

    if (random_below(random, 2))
        return doubles[random_below(random, sizeof(doubles) / sizeof(doubles[0]))];
    return singles[random_below(random, sizeof(singles) / sizeof(singles[0]))] |
           (uint64_t)singles[random_below(random, sizeof(singles) / sizeof(singles[0]))] << 32;
}

static uint64_t pick_vector_lane(struct random *random)
{
    switch (random_below(random, 4)) {
    case 0: return random_u64(random);
    case 1: return pick_float_bits(random);
    case 2: /* near 1: results that must be rounded */
        return UINT64_C(0x3f8000003f800000) ^ (random_u64(random) & UINT64_C(0x407fffff007fffff));
    default: return random_below(random, 2) ? pick_value(random) : random_below(random, 256);
    }
}

/* ---- Floating point state ---- */

enum { FX_FCW = 0, FX_FSW = 2, FX_FTW = 4, FX_MXCSR = 24, FX_ST = 32, FX_XMM = 160 };

static void put16(uint8_t *to, unsigned value)
{
    to[0] = (uint8_t)value;
    to[1] = (uint8_t)(value >> 8);
}

static void pick_st(struct random *random, uint8_t st[10])
{
    static const uint16_t exponents[] = { 0, 0x3fff, 0x7fff, 0xbfff, 0xffff, 0x8000, 0x4000, 1 };
    uint64_t significand = random_u64(random);
    unsigned exponent = (unsigned)random_u64(random) & 0xffff;

    if (chance(random, 40))
        exponent = 0x3fff + random_below(random, 64);
    else if (chance(random, 50))
        exponent = exponents[random_below(random, 8)];
    if (chance(random, 70))
        significand |= UINT64_C(1) << 63;
    if (chance(random, 20))
        significand &= UINT64_C(3) << 62;
    memcpy(st, &significand, 8);
    put16(st + 8, exponent);
}

static void pick_fp(struct random *random, bool has_traps, struct cpu_state *state)
{
    uint32_t mxcsr = 0x1f80 | random_below(random, 4) << 13 | (chance(random, 20) ? 0x8000 : 0) |
                     (chance(random, 20) ? 0x40 : 0) | random_below(random, 64);
    unsigned fcw = 0x037f;

    if (chance(random, 50))
        fcw = 0x7f | (unsigned[]){ 0, 2, 3 }[random_below(random, 3)] << 8 |
              random_below(random, 4) << 10;
    if (has_traps && chance(random, 50))
        mxcsr &= ~(random_below(random, 64) << 7);
    if (has_traps && chance(random, 50))
        fcw &= ~random_below(random, 64);
    memset(state->fx, 0, sizeof(state->fx));
    put16(state->fx + FX_FCW, fcw);
    /* condition codes, top of stack; no exception pending */
    put16(state->fx + FX_FSW, (random_below(random, 8) << 11) |
                                  (random_below(random, 16) & 7) << 8 |
                                  random_below(random, 2) << 14);
    state->fx[FX_FTW] = (uint8_t)(chance(random, 30) ? 0xff : random_u64(random));
    memcpy(state->fx + FX_MXCSR, &mxcsr, 4);
    for (unsigned i = 0; i < 8; i++)
        pick_st(random, state->fx + FX_ST + 16 * i);
    for (unsigned i = 0; i < 32; i++) {
        const uint64_t low = pick_vector_lane(random), high = pick_vector_lane(random);

        memcpy(state->fx + FX_XMM + 8 * i, &low, 8);
        memcpy(state->ymm_high[i / 2] + 8 * (i & 1), &high, 8);
    }
}

static void pick_state(struct random *random, const struct cpu_wish *wish, struct cpu_state *state)
{
    for (unsigned i = 0; i < HV_N_GPRS; i++)
        state->gpr[i] = pick_value(random);
    state->rflags =
        0x202 | (random_u64(random) & EMU_ARITH_FLAGS) | (chance(random, 20) ? EMU_DF : 0);
    state->fs_base = pick_data(random);
    state->gs_base = pick_data(random);
    pick_fp(random, wish->has_traps, state);
}

/* ---- Making an instruction meet its memory ---- */

static uint64_t segment_base(const struct cpu_state *state, const struct emu_insn *insn)
{
    return insn->seg == HV_FS ? state->fs_base : insn->seg == HV_GS ? state->gs_base : 0;
}

static const struct emu_operand *memory_operand(const struct emu_insn *insn)
{
    for (unsigned i = 0; i < insn->n_operands; i++) {
        if (insn->op[i].kind == EMU_OPD_MEM)
            return &insn->op[i];
    }
    return NULL;
}

static bool is_vsib(const struct emu_insn *insn)
{
    return (insn->opcode >= 0x290 && insn->opcode <= 0x293) && (insn->prefixes & EMU_PFX_VEX);
}

/* Indices that stay near, and masks with something in them. */
static void aim_gather(struct random *random, const struct emu_insn *insn, struct cpu_state *state)
{
    for (unsigned i = 0; i < 4; i++) {
        const uint64_t index = random_below(random, 64) |
                               (insn->opcode & 1 ? 0 : (uint64_t)random_below(random, 64) << 32);
        uint8_t *half =
            i < 2 ? state->fx + FX_XMM + 16 * insn->index : state->ymm_high[insn->index];

        memcpy(half + 8 * (i & 1), &index, 8);
    }
}

static void aim_address(struct draft *draft, const struct cpu_state *state,
                        enum emu_code_size code_size, uint64_t rip, uint64_t target)
{
    const struct emu_insn *insn = &draft->insn;
    uint64_t disp = target;
    struct draft aimed = *draft;
    uint32_t disp32;

    if (insn->is_rip_relative)
        disp -= rip + insn->length;
    if (insn->index != EMU_NO_REG && !is_vsib(insn))
        disp -= state->gpr[insn->index] << insn->scale;
    disp32 = (uint32_t)disp;
    if (insn->opcode >= 0xa0 && insn->opcode <= 0xa3) /* moffs */
        memcpy(aimed.bytes + insn->length - insn->addr_size, &disp, insn->addr_size);
    else
        memcpy(aimed.bytes + draft->disp_at, &disp32, 4);
    /* where the opcode was random enough to be a prefix, that was no displacement */
    if (emu_decode(aimed.bytes, 15, code_size, &aimed.insn) == EMU_DECODE_OK &&
        aimed.insn.length == insn->length && aimed.insn.mnemonic == insn->mnemonic)
        *draft = aimed;
}

static void aim_memory(struct random *random, struct draft *draft, struct cpu_state *state,
                       enum emu_code_size code_size, uint64_t rip)
{
    struct emu_insn *insn = &draft->insn;
    uint64_t target = pick_data(random) - segment_base(state, insn);
    uint64_t index = 0;

    if (insn->addr_size == 2)
        return;
    if (is_vsib(insn)) {
        aim_gather(random, insn, state);
    } else if (insn->index != EMU_NO_REG) {
        if (insn->index != insn->base)
            state->gpr[insn->index] =
                random_below(random, 3) ? random_below(random, 64) : pick_value(random);
        if (insn->base == EMU_NO_REG)
            state->gpr[insn->index] = random_below(random, 64);
        index = state->gpr[insn->index] << insn->scale;
    }
    if (insn->base != EMU_NO_REG && insn->base == insn->index)
        return;
    if (insn->base != EMU_NO_REG)
        state->gpr[insn->base] = target - index - (uint64_t)insn->disp;
    else
        aim_address(draft, state, code_size, rip, target);
}

static void aim_registers(struct random *random, const struct emu_insn *insn,
                          struct cpu_state *state)
{
    const unsigned opcode = insn->opcode;

    if ((opcode >= 0xa4 && opcode <= 0xaf && (opcode & 0xfe) != 0xa8) ||
        (opcode >= 0x6c && opcode <= 0x6f)) {
        state->gpr[HV_RSI] = pick_data(random) - segment_base(state, insn);
        state->gpr[HV_RDI] = pick_data(random);
        state->gpr[HV_RCX] = random_below(random, 80);
    }
    if (takes_selector(insn) && insn->op[insn->n_operands - 1].kind == EMU_OPD_GPR)
        state->gpr[insn->op[insn->n_operands - 1].reg] = random_below(random, 0x40);
    if (insn->mnemonic == EMU_MN_XLAT)
        state->gpr[HV_RBX] = pick_data(random) - segment_base(state, insn);
    if (opcode == 0x1f7)
        state->gpr[HV_RDI] = pick_data(random) - segment_base(state, insn);
    if ((insn->mnemonic == EMU_MN_DIV || insn->mnemonic == EMU_MN_IDIV) && chance(random, 60))
        state->gpr[HV_RDX] = chance(random, 50) ? 0 : UINT64_MAX;
    if (insn->mnemonic == EMU_MN_LEAVE || insn->mnemonic == EMU_MN_ENTER)
        state->gpr[HV_RBP] = pick_data(random);
}

/* Bit strings reach far: keep the offset near. */
static void aim_bits(struct random *random, const struct emu_insn *insn, struct cpu_state *state)
{
    switch (insn->mnemonic) {
    case EMU_MN_BT:
    case EMU_MN_BTS:
    case EMU_MN_BTR:
    case EMU_MN_BTC: break;
    default: return;
    }
    if (insn->op[0].kind != EMU_OPD_MEM || insn->op[1].kind != EMU_OPD_GPR)
        return;
    if (insn->op[1].reg == insn->base || insn->op[1].reg == insn->index)
        return;
    state->gpr[insn->op[1].reg] = random_below(random, 1024) - UINT64_C(512);
}

static void aim(struct random *random, struct draft *draft, struct cpu_state *state,
                enum emu_code_size code_size, uint64_t rip)
{
    state->gpr[HV_RSP] = pick_data(random);
    if (chance(random, 80))
        state->gpr[HV_RSP] &= ~UINT64_C(7);
    aim_registers(random, &draft->insn, state);
    if (memory_operand(&draft->insn) && chance(random, 95))
        aim_memory(random, draft, state, code_size, rip);
    aim_bits(random, &draft->insn, state);
}

/* ---- Cases ---- */

static void append(struct cpu_case *to, const struct draft *draft)
{
    to->starts[to->n_insns] = (uint16_t)to->n_bytes;
    memcpy(to->bytes + to->n_bytes, draft->bytes, draft->insn.length);
    to->n_bytes += draft->insn.length;
    to->n_insns++;
}

/* Anywhere in the two pages of code with room behind, or right at the end of the single page. */
static uint64_t place(struct random *random, const struct cpu_wish *wish, const struct draft *draft)
{
    if (wish->n_insns == 1 && chance(random, 15))
        return CPU_EDGE + CPU_EDGE_BYTES - draft->insn.length;
    if (chance(random, 20))
        return CPU_CODE + HV_PAGE_BYTES - random_below(random, 40);
    return CPU_CODE + random_below(random, CPU_CODE_BYTES - CPU_CASE_MAX_BYTES);
}

/* ---- Code that changes itself ---- */

/* mov [address], the `size` bytes at `from` */
static void append_store(struct cpu_case *to, uint64_t address, const uint8_t *from, unsigned size)
{
    struct draft draft = { .n = 0 };
    uint32_t disp = (uint32_t)address;
    const unsigned length = (size == 2 ? 3 : 2) + 4 + size;

    if (to->code_size == EMU_CODE64)
        disp -= (uint32_t)(to->state.rip + to->n_bytes + length);
    if (size == 2)
        draft_byte(&draft, 0x66);
    draft_byte(&draft, size == 1 ? 0xc6 : 0xc7);
    draft_byte(&draft, 0x05);
    memcpy(draft.bytes + draft.n, &disp, 4);
    memcpy(draft.bytes + draft.n + 4, from, size);
    draft.insn.length = (uint8_t)length;
    append(to, &draft);
}

/* Stores that write bytes over what will stand at address; returns how long they are. */
static unsigned append_stores(struct random *random, struct cpu_case *to, uint64_t address,
                              const uint8_t *from, unsigned n)
{
    const unsigned before = to->n_bytes;
    unsigned size;

    for (unsigned at = 0; at < n; at += size) {
        size = 1u << random_below(random, 3);
        if (size > n - at)
            size = 1;
        append_store(to, address + at, from + at, size);
    }
    return to->n_bytes - before;
}

/* Two instructions of one length; false when no second one is found soon. */
static bool draft_pair(struct random *random, struct cpu_wish *wish, struct draft pair[2])
{
    draft_make(random, wish, &pair[0]);
    for (unsigned i = 0; i < 50; i++) {
        draft_make(random, wish, &pair[1]);
        if (pair[1].insn.length == pair[0].insn.length)
            return true;
    }
    return false;
}

/* An instruction, and before it the stores that make another one of it. How long they are must be
 * known before they can be made, so they are made twice with the same choices. */
static void append_patched(struct random *random, struct cpu_wish *wish, struct cpu_case *to)
{
    const struct random choices = *random;
    const struct cpu_case before = *to;
    struct random again = choices;
    struct draft pair[2];
    uint64_t address;
    unsigned length;

    if (!draft_pair(random, wish, pair))
        return;
    length = append_stores(&again, to, 0, pair[1].bytes, pair[1].insn.length);
    *to = before;
    address = to->state.rip + to->n_bytes + length;
    aim(random, &pair[1], &to->state, wish->code_size, address);
    again = choices;
    append_stores(&again, to, address, pair[1].bytes, pair[1].insn.length);
    append(to, &pair[0]);
}

static void append_plain(struct random *random, struct cpu_wish *wish, struct cpu_case *to)
{
    struct draft draft;

    draft_make(random, wish, &draft);
    if (to->n_insns == 0)
        to->state.rip = place(random, wish, &draft);
    aim(random, &draft, &to->state, wish->code_size, to->state.rip + to->n_bytes);
    append(to, &draft);
}

static void cut_to_32(struct cpu_state *state)
{
    for (unsigned i = 0; i < HV_N_GPRS; i++)
        state->gpr[i] = i < 8 ? (uint32_t)state->gpr[i] : 0;
}

void cpu_generate(struct random *random, struct cpu_wish *wish, struct cpu_case *ret)
{
    ret->code_size = wish->code_size;
    ret->cs = wish->code_size == EMU_CODE64 ? CPU_CS64 : CPU_CS32;
    ret->n_bytes = ret->n_insns = 0;
    pick_state(random, wish, &ret->state);
    while (ret->n_insns < wish->n_insns) {
        if (wish->has_patches && ret->n_insns > 0 && chance(random, 40))
            append_patched(random, wish, ret);
        else
            append_plain(random, wish, ret);
    }
    if (wish->code_size == EMU_CODE32)
        cut_to_32(&ret->state);
}
