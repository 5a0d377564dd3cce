/* SPDX-License-Identifier: Apache-2.0 */
#include "hvcore/emu/operand.h"

#include <string.h>

static uint64_t size_mask(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (UINT64_C(1) << size * 8) - 1;
}

uint64_t emu_offset(const struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t offset = (uint64_t)insn->disp;

    if (insn->is_rip_relative)
        offset += cpu->rip + insn->length;
    if (insn->base != EMU_NO_REG)
        offset += cpu->regs[insn->base];
    if (insn->index != EMU_NO_REG)
        offset += cpu->regs[insn->index] << insn->scale;
    return offset & size_mask(insn->addr_size);
}

/* ---- Segments ---- */

enum { TYPE_CODE = 8, TYPE_EXPAND_DOWN = 4, TYPE_WRITABLE = 2 /* of data */, TYPE_READABLE = 2 };

static bool is_expand_down(const struct hv_segment_register *s)
{
    return (s->attributes & (TYPE_CODE | TYPE_EXPAND_DOWN)) == TYPE_EXPAND_DOWN;
}

static bool is_within_limit(const struct hv_segment_register *s, uint64_t offset, unsigned size)
{
    uint64_t last = offset + (size ? size - 1 : 0);

    if (!is_expand_down(s))
        return last <= s->limit;
    return offset > s->limit && last <= (s->attributes & HV_SEG_DB ? UINT32_MAX : UINT16_MAX);
}

/* Type and presence as protected mode checks them at each access. A register that was loaded with a
 * null selector is not present. */
static bool allows(const struct hv_segment_register *s, bool is_write)
{
    unsigned type = s->attributes & HV_SEG_TYPE;

    if (!(s->attributes & HV_SEG_P))
        return false;
    if (type & TYPE_CODE)
        return !is_write && (type & TYPE_READABLE);
    return !is_write || (type & TYPE_WRITABLE);
}

/* spec: AMD64 vol. 2, 4.12 (limits), 4.7 and 4.8 (types); real mode checks the limits alone */
bool emu_linear(struct emu_cpu *cpu, uint8_t seg, uint64_t offset, unsigned size, bool is_write,
                uint64_t *ret)
{
    const struct hv_segment_register *s = &cpu->segment[seg];

    if (cpu->code_size == EMU_CODE64) {
        *ret = offset + (seg == HV_FS || seg == HV_GS ? s->base : 0);
        return true;
    }
    if ((emu_is_protected(cpu) && !allows(s, is_write)) || !is_within_limit(s, offset, size)) {
        emu_raise_code(cpu, seg == HV_SS ? X86_SS : X86_GP, 0);
        return false;
    }
    *ret = (uint32_t)(s->base + offset);
    return true;
}

bool emu_operand_linear(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned size,
                        bool is_write, uint64_t *ret)
{
    return emu_linear(cpu, insn->seg, emu_offset(cpu, insn), size, is_write, ret);
}

/* ---- Registers ---- */

uint64_t emu_gpr_get(const struct emu_cpu *cpu, unsigned reg, unsigned size)
{
    return cpu->regs[reg] & size_mask(size);
}

void emu_gpr_set(struct emu_cpu *cpu, unsigned reg, unsigned size, uint64_t value)
{
    uint64_t *p = &cpu->regs[reg];

    if (size >= 4)
        *p = value & size_mask(size);
    else
        *p = (*p & ~size_mask(size)) | (value & size_mask(size));
}

static void set_high(struct emu_cpu *cpu, unsigned reg, uint64_t value)
{
    cpu->regs[reg] = (cpu->regs[reg] & ~UINT64_C(0xff00)) | (value & 0xff) << 8;
}

/* ---- Operands ---- */

static bool is_stack_based(const struct emu_insn *insn)
{
    return insn->seg == HV_SS;
}

bool emu_load(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned n, uint64_t *ret)
{
    const struct emu_operand *o = &insn->op[n];
    uint64_t linear, value = 0;

    switch (o->kind) {
    case EMU_OPD_GPR: *ret = emu_gpr_get(cpu, o->reg, o->size); return true;
    case EMU_OPD_GPR_HIGH: *ret = cpu->regs[o->reg] >> 8 & 0xff; return true;
    case EMU_OPD_IMM: *ret = insn->imm; return true;
    case EMU_OPD_IMM2: *ret = insn->imm2; return true;
    case EMU_OPD_SEG: *ret = cpu->segment[o->reg].selector; return true;
    default: break;
    }
    hv_assert(o->kind == EMU_OPD_MEM);
    if (!emu_operand_linear(cpu, insn, o->size, false, &linear) ||
        !emu_mem_read(cpu, linear, &value, o->size, is_stack_based(insn)))
        return false;
    *ret = value;
    return true;
}

bool emu_store(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned n, uint64_t value)
{
    const struct emu_operand *o = &insn->op[n];
    uint64_t linear;

    switch (o->kind) {
    case EMU_OPD_GPR: emu_gpr_set(cpu, o->reg, o->size, value); return true;
    case EMU_OPD_GPR_HIGH: set_high(cpu, o->reg, value); return true;
    default: break;
    }
    hv_assert(o->kind == EMU_OPD_MEM);
    return emu_operand_linear(cpu, insn, o->size, true, &linear) &&
           emu_mem_write(cpu, linear, &value, o->size, is_stack_based(insn));
}

/* xchg with memory is locked without being told. */
static bool is_locked(const struct emu_insn *insn)
{
    return (insn->prefixes & EMU_PFX_LOCK) || insn->mnemonic == EMU_MN_XCHG;
}

bool emu_operand_rmw_begin(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned n,
                           struct emu_rmw *rmw)
{
    const struct emu_operand *o = &insn->op[n];
    uint64_t linear, value;

    if (o->kind == EMU_OPD_MEM)
        return emu_operand_linear(cpu, insn, o->size, true, &linear) &&
               emu_rmw_begin(cpu, rmw, linear, o->size, is_locked(insn), is_stack_based(insn));

    emu_load(cpu, insn, n, &value);
    memcpy(rmw->buffer, &value, sizeof(value));
    rmw->host = rmw->buffer;
    return true;
}

void emu_operand_rmw_end(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned n,
                         struct emu_rmw *rmw)
{
    uint64_t value;

    if (insn->op[n].kind == EMU_OPD_MEM) {
        emu_rmw_end(cpu, rmw);
        return;
    }
    memcpy(&value, rmw->buffer, sizeof(value));
    emu_store(cpu, insn, n, value);
}

/* ---- Stack ---- */

/* The part of rsp that pushes and pops move. */
static unsigned stack_address_size(const struct emu_cpu *cpu)
{
    return cpu->code_size == EMU_CODE64 ? 8 : cpu->is_stack32 ? 4 : 2;
}

/* Outside 64-bit mode the upper half of rsp doesn't exist for the program, but a 16-bit stack
 * keeps bits 16 to 31. */
static void set_rsp(struct emu_cpu *cpu, uint64_t value)
{
    emu_gpr_set(cpu, HV_RSP, stack_address_size(cpu), value);
}

bool emu_push(struct emu_cpu *cpu, unsigned size, uint64_t value)
{
    uint64_t sp = (cpu->regs[HV_RSP] - size) & size_mask(stack_address_size(cpu)), linear;

    if (!emu_linear(cpu, HV_SS, sp, size, true, &linear) ||
        !emu_mem_write(cpu, linear, &value, size, true))
        return false;
    set_rsp(cpu, sp);
    return true;
}

bool emu_pop(struct emu_cpu *cpu, unsigned size, uint64_t *ret)
{
    uint64_t sp = cpu->regs[HV_RSP] & size_mask(stack_address_size(cpu)), linear, value = 0;

    if (!emu_linear(cpu, HV_SS, sp, size, false, &linear) ||
        !emu_mem_read(cpu, linear, &value, size, true))
        return false;
    set_rsp(cpu, sp + size);
    *ret = value;
    return true;
}

/* ---- Bytes ---- */

/* Misalignment comes before what is wrong with the last byte. */
static bool bytes_linear(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned size,
                         unsigned align, bool is_write, uint64_t *ret)
{
    if (align && !emu_operand_linear(cpu, insn, 1, is_write, ret))
        return false;
    if (align && (*ret & (align - 1))) {
        emu_raise_code(cpu, X86_GP, 0);
        return false;
    }
    return emu_operand_linear(cpu, insn, size, is_write, ret);
}

bool emu_load_bytes(struct emu_cpu *cpu, const struct emu_insn *insn, void *ret, unsigned size,
                    unsigned align)
{
    uint64_t linear;

    return bytes_linear(cpu, insn, size, align, false, &linear) &&
           emu_mem_read(cpu, linear, ret, size, is_stack_based(insn));
}

bool emu_store_bytes(struct emu_cpu *cpu, const struct emu_insn *insn, const void *from,
                     unsigned size, unsigned align)
{
    uint64_t linear;

    return bytes_linear(cpu, insn, size, align, true, &linear) &&
           emu_mem_write(cpu, linear, from, size, is_stack_based(insn));
}
