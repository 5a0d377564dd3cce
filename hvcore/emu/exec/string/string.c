/* SPDX-License-Identifier: Apache-2.0 */
/*
 * movs, stos, lods, scas, cmps, repeated or not, in every mode.
 *
 * Upwards, elements are done in bulk as far as both operands stay in their pages; else one by one
 * through the complete accesses. Registers are committed after each step, so a fault leaves what
 * the elements before it did; between steps requests are answered with EMU_REPEAT. spec: AMD64 vol.
 * 3, 1.2.6 (repeat prefixes) and the instructions by name
 */
#include "hvcore/emu/exec/string/string_priv.h"
#include "hvcore/emu/op.h"
#include "hvcore/emu/operand.h"

#include <string.h>

static uint64_t address_mask(const struct emu_string *s)
{
    return s->addr_size == 8 ? UINT64_MAX : (UINT64_C(1) << s->addr_size * 8) - 1;
}

static uint64_t element(const void *from, unsigned size)
{
    switch (size) {
    case 1: return EMU_AT(const uint8_t, from);
    case 2: return EMU_AT(const uint16_t, from);
    case 4: return EMU_AT(const uint32_t, from);
    default: return EMU_AT(const uint64_t, from);
    }
}

/* ---- Flags of cmp ---- */

#define COMPARE(size, suffix, modifier)                                                            \
    case size:                                                                                     \
        __asm__("cmp" suffix " %" modifier "[b], %" modifier "[a]\n\tlahf\n\tseto %%al"            \
                : "=&a"(ax)                                                                        \
                : [a] "r"(a), [b] "r"(b), "0"(0)                                                   \
                : "cc");                                                                           \
        break;

static uint32_t compare(uint64_t a, uint64_t b, unsigned size)
{
    uint32_t ax;

    switch (size) {
        COMPARE(1, "b", "b")
        COMPARE(2, "w", "w")
        COMPARE(4, "l", "k")
    default: COMPARE(8, "q", "q")
    }
    return ax;
}

/* ---- Bulk: pieces of host memory ---- */

/* dst lies behind src inside the piece: what is copied is copied again, element by element. */
static void propagate(uint8_t *dst, const uint8_t *src, uint64_t bytes, unsigned size)
{
    for (uint64_t i = 0; i < bytes; i += size) {
        switch (size) {
        case 1: dst[i] = src[i]; break;
        case 2: EMU_AT(uint16_t, dst + i) = EMU_AT(const uint16_t, src + i); break;
        case 4: EMU_AT(uint32_t, dst + i) = EMU_AT(const uint32_t, src + i); break;
        default: EMU_AT(uint64_t, dst + i) = EMU_AT(const uint64_t, src + i); break;
        }
    }
}

static void copy(uint8_t *dst, const uint8_t *src, uint64_t bytes, unsigned size)
{
    if ((uintptr_t)dst - (uintptr_t)src < bytes && dst != src)
        propagate(dst, src, bytes, size);
    else
        memmove(dst, src, bytes);
}

static void fill(uint8_t *dst, uint64_t value, uint64_t bytes, unsigned size)
{
    uint64_t all = (value & 0xff) * UINT64_C(0x0101010101010101);

    if (!((value ^ all) << (64 - size * 8))) {
        memset(dst, (int)(value & 0xff), bytes);
        return;
    }
    for (uint64_t i = 0; i < bytes; i += size) {
        switch (size) {
        case 2: EMU_AT(uint16_t, dst + i) = (uint16_t)value; break;
        case 4: EMU_AT(uint32_t, dst + i) = (uint32_t)value; break;
        default: EMU_AT(uint64_t, dst + i) = value; break;
        }
    }
}

/* How many elements scas or cmps looks at: up to and with the one that ends it. src is NULL for
 * scas, which compares with value. */
static uint64_t look(const struct emu_string *s, const uint8_t *src, const uint8_t *dst,
                     uint64_t value, uint64_t n)
{
    unsigned size = s->size;
    bool stops_at_equal = s->repeat == EMU_STRING_REPNE;
    uint64_t i;

    if (!src && size == 1 && stops_at_equal) {
        const uint8_t *found = memchr(dst, (int)(value & 0xff), n);

        return found ? (uint64_t)(found - dst) + 1 : n;
    }
    value &= size == 8 ? UINT64_MAX : (UINT64_C(1) << size * 8) - 1;
    for (i = 0; i < n; i++) {
        uint64_t a = src ? element(src + i * size, size) : value;

        if ((a == element(dst + i * size, size)) == stops_at_equal)
            return i + 1;
    }
    return n;
}

/* ---- Steps ---- */

static bool uses_source(const struct emu_string *s)
{
    return s->kind == EMU_STRING_MOVS || s->kind == EMU_STRING_LODS || s->kind == EMU_STRING_CMPS;
}

static bool uses_destination(const struct emu_string *s)
{
    return s->kind != EMU_STRING_LODS;
}

static bool writes(const struct emu_string *s)
{
    return s->kind == EMU_STRING_MOVS || s->kind == EMU_STRING_STOS;
}

/* Move the registers past n elements. */
static void commit(struct emu_cpu *cpu, const struct emu_string *s, uint64_t n)
{
    uint64_t step = cpu->df_step * n * s->size;

    if (uses_source(s))
        emu_gpr_set(cpu, HV_RSI, s->addr_size, cpu->regs[HV_RSI] + step);
    if (uses_destination(s))
        emu_gpr_set(cpu, HV_RDI, s->addr_size, cpu->regs[HV_RDI] + step);
    if (s->repeat)
        emu_gpr_set(cpu, HV_RCX, s->addr_size, cpu->regs[HV_RCX] - n);
}

/* A piece of one operand that can be touched directly: *bytes is cut to it. NULL when there is not
 * even one element, or when the rest of the check is better left to single accesses. */
static void *piece(struct emu_cpu *cpu, const struct emu_string *s, uint8_t seg, unsigned reg,
                   bool is_write, uint64_t *bytes)
{
    uint64_t offset = cpu->regs[reg] & address_mask(s), linear;
    unsigned span;
    uint8_t *host;

    if (!emu_linear(cpu, seg, offset, s->size, is_write, &linear))
        return NULL;
    host = emu_mem_span(cpu, linear, is_write, &span);
    if (!host)
        return NULL;
    if (*bytes > span)
        *bytes = span & ~(s->size - 1);
    if (*bytes - 1 > address_mask(s) - offset || *bytes == 0)
        return NULL;
    if (!emu_linear(cpu, seg, offset, (unsigned)*bytes, is_write, &linear))
        return NULL;
    return host;
}

/* movs and stos of 64-bit code, whose segments but FS and GS begin at 0 and have no end. */
static bool is_flat(const struct emu_cpu *cpu, const struct emu_string *s)
{
    return s->addr_size == 8 && cpu->code_size == EMU_CODE64 && writes(s) && s->seg != HV_FS &&
           s->seg != HV_GS;
}

static uint64_t bulk_flat(struct emu_cpu *cpu, const struct emu_string *s, uint64_t count)
{
    uint64_t bytes = (count < HV_PAGE_BYTES ? count : HV_PAGE_BYTES) * s->size;
    uint8_t *dst, *src = NULL;
    unsigned span;

    if (s->kind == EMU_STRING_MOVS) {
        src = emu_mem_span(cpu, cpu->regs[HV_RSI], false, &span);
        if (!src)
            return 0;
        bytes = bytes < span ? bytes : span;
    }
    dst = emu_mem_span(cpu, cpu->regs[HV_RDI], true, &span);
    if (!dst)
        return 0;
    bytes = bytes < span ? bytes : span;
    bytes &= ~(uint64_t)(s->size - 1);
    if (bytes == 0)
        return 0;
    if (src) {
        copy(dst, src, bytes, s->size);
        cpu->regs[HV_RSI] += bytes;
    } else {
        fill(dst, cpu->regs[HV_RAX], bytes, s->size);
    }
    cpu->regs[HV_RDI] += bytes;
    cpu->regs[HV_RCX] -= bytes / s->size;
    return bytes / s->size;
}

static uint64_t bulk(struct emu_cpu *cpu, const struct emu_string *s, uint64_t count,
                     bool *ret_stops)
{
    uint64_t bytes = (count < HV_PAGE_BYTES ? count : HV_PAGE_BYTES) * s->size, n;
    uint64_t value = cpu->regs[HV_RAX];
    uint8_t *src = NULL, *dst = NULL;

    if (is_flat(cpu, s))
        return bulk_flat(cpu, s, count);
    if (uses_source(s) && !(src = piece(cpu, s, s->seg, HV_RSI, false, &bytes)))
        return 0;
    if (uses_destination(s) && !(dst = piece(cpu, s, HV_ES, HV_RDI, writes(s), &bytes)))
        return 0;
    n = bytes / s->size;
    switch (s->kind) {
    case EMU_STRING_MOVS: copy(dst, src, bytes, s->size); break;
    case EMU_STRING_STOS: fill(dst, value, bytes, s->size); break;
    case EMU_STRING_LODS:
        emu_gpr_set(cpu, HV_RAX, s->size, element(src + bytes - s->size, s->size));
        break;
    default:
        n = look(s, src, dst, value, n);
        dst += (n - 1) * s->size;
        if (src)
            value = element(src + (n - 1) * s->size, s->size);
        cpu->aflags = compare(value, element(dst, s->size), s->size);
        *ret_stops = !(cpu->aflags & 0x4000) == (s->repeat == EMU_STRING_REP);
        break;
    }
    commit(cpu, s, n);
    return n;
}

static bool read_one(struct emu_cpu *cpu, const struct emu_string *s, uint8_t seg, unsigned reg,
                     uint64_t *ret)
{
    uint64_t linear, value = 0;

    if (!emu_linear(cpu, seg, cpu->regs[reg] & address_mask(s), s->size, false, &linear) ||
        !emu_mem_read(cpu, linear, &value, s->size, seg == HV_SS))
        return false;
    *ret = value;
    return true;
}

static bool write_one(struct emu_cpu *cpu, const struct emu_string *s, uint64_t value)
{
    uint64_t linear;

    return emu_linear(cpu, HV_ES, cpu->regs[HV_RDI] & address_mask(s), s->size, true, &linear) &&
           emu_mem_write(cpu, linear, &value, s->size, false);
}

static bool single(struct emu_cpu *cpu, const struct emu_string *s, bool *ret_stops)
{
    uint64_t a = cpu->regs[HV_RAX], b = 0;
    bool compares = s->kind == EMU_STRING_CMPS || s->kind == EMU_STRING_SCAS;

    /* When both operands of cmps fault, AMD processors tell rdi's, or rsi's when repeated. */
    if (compares && !s->repeat && !read_one(cpu, s, HV_ES, HV_RDI, &b))
        return false;
    if (uses_source(s) && !read_one(cpu, s, s->seg, HV_RSI, &a))
        return false;
    if (compares && s->repeat && !read_one(cpu, s, HV_ES, HV_RDI, &b))
        return false;
    switch (s->kind) {
    case EMU_STRING_MOVS:
    case EMU_STRING_STOS:
        if (!write_one(cpu, s, a))
            return false;
        break;
    case EMU_STRING_LODS: emu_gpr_set(cpu, HV_RAX, s->size, a); break;
    default:
        cpu->aflags = compare(a, b, s->size);
        *ret_stops = !(cpu->aflags & 0x4000) == (s->repeat == EMU_STRING_REP);
        break;
    }
    commit(cpu, s, 1);
    return true;
}

/* ---- Whole instructions ---- */

enum emu_result emu_string_run(struct emu_cpu *cpu, const struct emu_string *s)
{
    bool stops = false, is_traced = cpu->sys_flags & X86_TF;
    uint64_t count, n;

    if (!s->repeat)
        return single(cpu, s, &stops) ? EMU_NEXT : EMU_FAULT;

    count = cpu->regs[HV_RCX] & address_mask(s);
    while (count) {
        n = cpu->df_step == 1 && !is_traced ? bulk(cpu, s, count, &stops) : 0;
        if (!n && !single(cpu, s, &stops))
            return EMU_FAULT;
        count -= n ? n : 1;
        if (stops)
            break;
        /* Under TF each element is a step of its own. */
        if (count && (is_traced || atomic_load_explicit(&cpu->request, memory_order_relaxed)))
            return EMU_REPEAT;
    }
    return EMU_NEXT;
}

void emu_string_of(const struct emu_insn *insn, enum emu_string_kind kind, unsigned size,
                   struct emu_string *ret)
{
    *ret = (struct emu_string){
        .kind = kind,
        .size = size,
        .addr_size = insn->addr_size,
        .seg = insn->seg,
        .repeat = insn->prefixes & EMU_PFX_REPNE ? EMU_STRING_REPNE
                  : insn->prefixes & EMU_PFX_REP ? EMU_STRING_REP
                                                 : EMU_STRING_ONCE,
    };
}

#define EXEC(name, kind, size)                                                                     \
    static enum emu_result name(struct emu_cpu *cpu, const struct emu_insn *insn)                  \
    {                                                                                              \
        struct emu_string s;                                                                       \
                                                                                                   \
        emu_string_of(insn, kind, size, &s);                                                       \
        return emu_string_run(cpu, &s);                                                            \
    }

#define EXEC_SIZES(name, kind)                                                                     \
    EXEC(name##b, kind, 1) EXEC(name##w, kind, 2) EXEC(name##d, kind, 4) EXEC(name##q, kind, 8)

EXEC_SIZES(movs, EMU_STRING_MOVS)
EXEC_SIZES(stos, EMU_STRING_STOS)
EXEC_SIZES(lods, EMU_STRING_LODS)
EXEC_SIZES(scas, EMU_STRING_SCAS)
EXEC_SIZES(cmps, EMU_STRING_CMPS)

emu_exec_fn *const emu_exec_string[EMU_N_MNEMONICS] = {
    [EMU_MN_MOVSB] = movsb, [EMU_MN_MOVSW] = movsw, [EMU_MN_MOVSD] = movsd, [EMU_MN_MOVSQ] = movsq,
    [EMU_MN_STOSB] = stosb, [EMU_MN_STOSW] = stosw, [EMU_MN_STOSD] = stosd, [EMU_MN_STOSQ] = stosq,
    [EMU_MN_LODSB] = lodsb, [EMU_MN_LODSW] = lodsw, [EMU_MN_LODSD] = lodsd, [EMU_MN_LODSQ] = lodsq,
    [EMU_MN_SCASB] = scasb, [EMU_MN_SCASW] = scasw, [EMU_MN_SCASD] = scasd, [EMU_MN_SCASQ] = scasq,
    [EMU_MN_CMPSB] = cmpsb, [EMU_MN_CMPSW] = cmpsw, [EMU_MN_CMPSD] = cmpsd, [EMU_MN_CMPSQ] = cmpsq,
};
