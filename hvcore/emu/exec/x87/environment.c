/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FNSTENV, FLDENV, FNSAVE, FRSTOR in their 14 and 28 byte forms, protected and real.
 *
 * The host's own instructions read and write tags and registers; control and status word and the
 * pointers are put together from the guest's.
 * spec: AMD64 vol. 2, 11.4.2, figures 11-1 to 11-4
 */
#include "hvcore/emu/exec/x87/x87_priv.h"

#include <string.h>

/* The host's format: 32-bit protected. */
struct environment {
    uint32_t cw, sw, tag, fip, fcs_fop, fdp, fds;
};

struct whole {
    struct environment environment;
    uint8_t st[80];
};
_Static_assert(sizeof(struct whole) == 108, "AMD64 vol. 2, figure 11-1");

/* What travels, in no particular format. */
struct view {
    uint16_t cw, sw, tag, fop;
    uint32_t fip, fdp;
};

static bool is_real_format(const struct emu_cpu *cpu)
{
    return !emu_is_protected(cpu);
}

static unsigned environment_bytes(const struct emu_insn *insn)
{
    return insn->op_size == 2 ? 14 : 28;
}

static struct view guest_view(const struct emu_cpu *cpu, uint16_t tag)
{
    const struct emu_fpu *fpu = cpu->fpu;

    return (struct view){ .cw = fpu->cw,
                          .sw = fpu_status(cpu),
                          .tag = tag,
                          .fop = fpu->fop,
                          .fip = (uint32_t)fpu->fip,
                          .fdp = (uint32_t)fpu->fdp };
}

static void pack16(uint8_t *to, const struct view *v, bool is_real)
{
    uint16_t words[7] = { v->cw, v->sw, v->tag, (uint16_t)v->fip, 0, (uint16_t)v->fdp, 0 };

    if (is_real) {
        words[4] = (uint16_t)((v->fip >> 16 & 15) << 12 | v->fop);
        words[6] = (uint16_t)((v->fdp >> 16 & 15) << 12);
    }
    memcpy(to, words, sizeof(words));
}

static void pack32(uint8_t *to, const struct view *v, bool is_real)
{
    const uint32_t ones = 0xffff0000;
    uint32_t words[7] = { ones | v->cw,           ones | v->sw, ones | v->tag, v->fip,
                          (uint32_t)v->fop << 16, v->fdp,       ones };

    if (is_real) {
        words[3] = ones | (v->fip & 0xffff);
        words[4] = v->fip >> 16 << 12 | v->fop;
        words[5] = ones | (v->fdp & 0xffff);
        words[6] = v->fdp >> 16 << 12;
    }
    memcpy(to, words, sizeof(words));
}

static struct view unpack16(const uint8_t *from, bool is_real)
{
    struct view v = { 0 };
    uint16_t words[7];

    memcpy(words, from, sizeof(words));
    v = (struct view){
        .cw = words[0], .sw = words[1], .tag = words[2], .fip = words[3], .fdp = words[5]
    };
    if (is_real) {
        v.fop = words[4] & 0x7ff;
        v.fip |= (uint32_t)(words[4] >> 12) << 16;
        v.fdp |= (uint32_t)(words[6] >> 12) << 16;
    }
    return v;
}

static struct view unpack32(const uint8_t *from, bool is_real)
{
    struct view v = { 0 };
    uint32_t words[7];

    memcpy(words, from, sizeof(words));
    v = (struct view){ .cw = (uint16_t)words[0],
                       .sw = (uint16_t)words[1],
                       .tag = (uint16_t)words[2],
                       .fip = words[3],
                       .fop = words[4] >> 16 & 0x7ff,
                       .fdp = words[5] };
    if (is_real) {
        v.fop = words[4] & 0x7ff;
        v.fip = (words[3] & 0xffff) | (words[4] >> 12 & 0xffff) << 16;
        v.fdp = (words[5] & 0xffff) | (words[6] >> 12 & 0xffff) << 16;
    }
    return v;
}

static void pack(const struct emu_cpu *cpu, const struct emu_insn *insn, uint8_t *to,
                 const struct view *v)
{
    if (insn->op_size == 2)
        pack16(to, v, is_real_format(cpu));
    else
        pack32(to, v, is_real_format(cpu));
}

static struct view unpack(const struct emu_cpu *cpu, const struct emu_insn *insn,
                          const uint8_t *from)
{
    if (insn->op_size == 2)
        return unpack16(from, is_real_format(cpu));
    return unpack32(from, is_real_format(cpu));
}

/* The guest's part of a view, and the host's environment that goes with it. */
static struct environment take_view(struct emu_cpu *cpu, const struct view *v)
{
    struct emu_fpu *fpu = cpu->fpu;

    fpu->cw = (v->cw & X87_CW_WRITABLE) | X87_CW_FIXED;
    fpu->pending = 0;
    fpu->fip = v->fip;
    fpu->fdp = v->fdp;
    fpu->fop = v->fop;
    return (struct environment){ .cw = 0xffff0000 | fpu->cw | X87_EXCEPTIONS,
                                 .sw = 0xffff0000 | (v->sw & ~(X87_ES | X87_BUSY)),
                                 .tag = 0xffff0000 | v->tag };
}

enum emu_result x87_exec_stenv(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct environment host;
    struct view v;
    uint8_t image[28];

    if (!x87_ready(cpu, false))
        return EMU_FAULT;
    __asm__ volatile("fnstenv %0" : "=m"(host));
    v = guest_view(cpu, (uint16_t)host.tag);
    pack(cpu, insn, image, &v);
    if (!emu_store_bytes(cpu, insn, image, environment_bytes(insn), 0))
        return EMU_FAULT;
    cpu->fpu->cw |= X87_EXCEPTIONS;
    return EMU_NEXT;
}

enum emu_result x87_exec_ldenv(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct environment host;
    struct view v;
    uint8_t image[28];

    if (!x87_ready(cpu, true) || !emu_load_bytes(cpu, insn, image, environment_bytes(insn), 0))
        return EMU_FAULT;
    v = unpack(cpu, insn, image);
    host = take_view(cpu, &v);
    __asm__ volatile("fldenv %0" : : "m"(host));
    return EMU_NEXT;
}

enum emu_result x87_exec_save(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned bytes = environment_bytes(insn);
    uint8_t image[sizeof(struct whole)];
    struct whole host;
    struct view v;

    if (!x87_ready(cpu, false))
        return EMU_FAULT;
    v = guest_view(cpu, 0);
    /* fnsave empties the host's registers: they come back until the store is done */
    __asm__ volatile("fnsave %0\n\tfrstor %0" : "+m"(host));
    v.tag = (uint16_t)host.environment.tag;
    pack(cpu, insn, image, &v);
    memcpy(image + bytes, host.st, sizeof(host.st));
    if (!emu_store_bytes(cpu, insn, image, bytes + sizeof(host.st), 0))
        return EMU_FAULT;
    fpu_init(cpu);
    return EMU_NEXT;
}

enum emu_result x87_exec_restore(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned bytes = environment_bytes(insn);
    uint8_t image[sizeof(struct whole)];
    struct whole host;
    struct view v;

    if (!x87_ready(cpu, true) || !emu_load_bytes(cpu, insn, image, bytes + sizeof(host.st), 0))
        return EMU_FAULT;
    v = unpack(cpu, insn, image);
    host.environment = take_view(cpu, &v);
    memcpy(host.st, image + bytes, sizeof(host.st));
    __asm__ volatile("frstor %0" : : "m"(host));
    return EMU_NEXT;
}
