/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x87 instructions in their generic form. The guest's stack is the host's; see emu/fpu.h.
 *
 * While the guest masks all exceptions, so does the host, and flags gather in the host's status
 * word. An instruction of a guest that unmasks one runs under the guest's control word; what it
 * leaves pending moves to fpu->pending before the host can trip over it.
 */
#include "hvcore/emu/exec/x87/x87_priv.h"

#include <string.h>

#define NONE        (-1)
#define FORM(value) ((value) == NONE ? X87_NO_FORM : (value))
const struct x87_row x87_rows[EMU_N_MNEMONICS] = {
#define X87_ROW(NAME, reg, escape, modrm, reversed, kind)                                          \
    [EMU_MN_##NAME] = { X87_KIND_##kind, FORM(reg), FORM(escape), FORM(modrm), FORM(reversed) },
#include "hvcore/emu/exec/x87/x87.def"
#undef X87_ROW
};

extern const char x87_reg[], x87_mem[];

struct x87_unmasked {
    uint16_t cw, masked, sw;
};
uint32_t x87_call_unmasked(void *memory, const void *thunk, uint32_t flags,
                           struct x87_unmasked *control);

/* st(i) of a register form: the operand that isn't st(0). */
static unsigned stack_index(const struct emu_insn *insn)
{
    unsigned i, index = 0;

    for (i = 0; i < insn->n_operands; i++)
        if (insn->op[i].kind == EMU_OPD_ST && (insn->op[i].reg & 7) > index)
            index = insn->op[i].reg & 7;
    return index;
}

static bool has_memory(const struct emu_insn *insn)
{
    for (unsigned i = 0; i < insn->n_operands; i++)
        if (insn->op[i].kind == EMU_OPD_MEM)
            return true;
    return false;
}

static unsigned memory_bytes(const struct emu_insn *insn)
{
    unsigned i, size;

    for (i = 0; i < insn->n_operands; i++) {
        size = insn->op[i].size;
        if (insn->op[i].kind == EMU_OPD_MEM && size <= 10)
            return size;
    }
    return 0;
}

/* The reg field of a memory form: the 64- and 80-bit forms of fild, fistp, fld, fstp lie apart. */
static unsigned memory_reg(const struct emu_insn *insn, const struct x87_row *row)
{
    unsigned size = memory_bytes(insn);

    switch (insn->mnemonic) {
    case EMU_MN_FILD: return size == 8 ? 5 : row->reg;
    case EMU_MN_FISTP: return size == 8 ? 7 : row->reg;
    case EMU_MN_FLD: return size == 10 ? 5 : row->reg;
    case EMU_MN_FSTP: return size == 10 ? 7 : row->reg;
    default: return row->reg;
    }
}

/* mod and rm as an assembler would choose them. */
static unsigned address_modrm(const struct emu_insn *insn)
{
    unsigned rm = insn->index != EMU_NO_REG || insn->base == EMU_NO_REG ? 4 : insn->base & 7;

    if (insn->is_rip_relative)
        return 5;
    if (insn->disp == 0 && rm != 5)
        return rm;
    return (insn->disp == (int8_t)insn->disp ? 0x40 : 0x80) | rm;
}

struct x87_form x87_form_of(const struct emu_insn *insn)
{
    const struct x87_row *row = &x87_rows[insn->mnemonic];
    unsigned escape = insn->opcode & 0xff, modrm;
    struct x87_form form = { .is_memory = has_memory(insn) };

    if (form.is_memory) {
        modrm = memory_reg(insn, row);
        form.thunk = x87_mem + ((escape & 7) * 8 + modrm) * X87_STRIDE;
        modrm = modrm << 3 | address_modrm(insn);
    } else {
        modrm = row->modrm;
        if (escape == 0xdc && row->reversed)
            modrm = row->reversed;
        else
            escape = row->escape;
        if (row->kind != X87_KIND_FIXED)
            modrm += stack_index(insn);
        form.thunk = x87_reg + ((escape & 7) * 64 + (modrm & 63)) * X87_STRIDE;
    }
    form.fop = (uint16_t)((escape & 7) << 8 | modrm);
    return form;
}

bool x87_ready(struct emu_cpu *cpu, bool is_waiting)
{
    if (cpu->fp_trap & FPU_TRAP) {
        emu_raise(cpu, X86_NM);
        return false;
    }
    cpu->fp_trap = 0;
    /* without CR0.NE the error goes to a pin that leads nowhere here, as if IGNNE# were asserted */
    if (!is_waiting || !x87_unmasked(cpu) || !(cpu->cr0 & X86_CR0_NE) ||
        !(fpu_status(cpu) & X87_ES))
        return true;
    emu_raise(cpu, X86_MF);
    return false;
}

/* Run it; returns unmasked exceptions that arose. */
static unsigned run(struct emu_cpu *cpu, const struct x87_form *form, void *memory, bool sets_flags)
{
    struct emu_fpu *fpu = cpu->fpu;
    struct x87_unmasked control = { .cw = fpu->cw, .masked = fpu->cw | X87_EXCEPTIONS };
    uint32_t flags;

    /* with an exception pending and CR0.NE clear, the host must not see the guest's masks */
    if (x87_unmasked(cpu) && !(fpu_status(cpu) & X87_ES)) {
        flags = x87_call_unmasked(memory, form->thunk, cpu->aflags, &control);
        if (control.sw & X87_ES)
            fpu->pending |= control.sw & (X87_EXCEPTIONS | X87_SF);
    } else {
        flags = x87_call(memory, form->thunk, cpu->aflags);
    }
    if (sets_flags)
        cpu->aflags = flags;
    return control.sw & X87_ES ? control.sw & ~fpu->cw & X87_EXCEPTIONS : 0;
}

static void note_pointers(struct emu_cpu *cpu, const struct emu_insn *insn,
                          const struct x87_form *form)
{
    cpu->fpu->fip = cpu->rip;
    cpu->fpu->fop = form->fop;
    if (form->is_memory)
        cpu->fpu->fdp = emu_offset(cpu, insn);
}

static enum emu_result exec_store(struct emu_cpu *cpu, const struct emu_insn *insn,
                                  const struct x87_form *form)
{
    unsigned size = memory_bytes(insn), raised;
    bool is_stack = insn->seg == HV_SS;
    uint8_t buffer[16] = { 0 };
    uint64_t linear;

    if (!emu_operand_linear(cpu, insn, size, true, &linear) ||
        !emu_mem_probe(cpu, linear, size, true, is_stack))
        return EMU_FAULT;
    note_pointers(cpu, insn, form);
    raised = run(cpu, form, buffer, false);
    /* only an inexact result is stored in spite of its exception */
    if (raised & ~X87_PE)
        return EMU_NEXT;
    return emu_mem_write(cpu, linear, buffer, size, is_stack) ? EMU_NEXT : EMU_FAULT;
}

static enum emu_result x87_exec(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    const struct x87_row *row = &x87_rows[insn->mnemonic];
    struct x87_form form = x87_form_of(insn);
    uint8_t buffer[16] = { 0 };

    if (!x87_ready(cpu, true))
        return EMU_FAULT;
    if (form.is_memory && row->kind == X87_KIND_STORE)
        return exec_store(cpu, insn, &form);
    if (form.is_memory && !emu_load_bytes(cpu, insn, buffer, memory_bytes(insn), 0))
        return EMU_FAULT;
    note_pointers(cpu, insn, &form);
    run(cpu, &form, buffer, row->kind == X87_KIND_FLAGS_OUT);
    return EMU_NEXT;
}

/* ---- Control instructions ---- */
static enum emu_result exec_fninit(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (!x87_ready(cpu, false))
        return EMU_FAULT;
    fpu_init(cpu);
    return EMU_NEXT;
}

static enum emu_result exec_fnclex(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (!x87_ready(cpu, false))
        return EMU_FAULT;
    cpu->fpu->pending = 0;
    __asm__ volatile("fnclex");
    return EMU_NEXT;
}

static enum emu_result exec_fldcw(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint16_t cw;

    if (!x87_ready(cpu, true) || !emu_load_bytes(cpu, insn, &cw, sizeof(cw), 0))
        return EMU_FAULT;
    fpu_set_cw(cpu, cw);
    return EMU_NEXT;
}

static enum emu_result exec_fnstcw(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (!x87_ready(cpu, false))
        return EMU_FAULT;
    return emu_store_bytes(cpu, insn, &cpu->fpu->cw, 2, 0) ? EMU_NEXT : EMU_FAULT;
}

static enum emu_result exec_fnstsw(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint16_t sw;

    if (!x87_ready(cpu, false))
        return EMU_FAULT;
    sw = fpu_status(cpu);
    if (has_memory(insn))
        return emu_store_bytes(cpu, insn, &sw, sizeof(sw), 0) ? EMU_NEXT : EMU_FAULT;
    emu_gpr_set(cpu, HV_RAX, 2, sw);
    return EMU_NEXT;
}

/* #NM needs both MP and TS; EM doesn't matter. */
static enum emu_result exec_fwait(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if ((cpu->cr0 & X86_CR0_MP) && (cpu->cr0 & X86_CR0_TS))
        return emu_raise(cpu, X86_NM);
    if (x87_unmasked(cpu) && (cpu->cr0 & X86_CR0_NE) && (fpu_status(cpu) & X87_ES))
        return emu_raise(cpu, X86_MF);
    return EMU_NEXT;
}

/* feni, fdisi, fsetpm: nothing since the 387 */
static enum emu_result exec_old_nop(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return x87_ready(cpu, false) ? EMU_NEXT : EMU_FAULT;
}

emu_exec_fn *const emu_exec_x87[EMU_N_MNEMONICS] = {
#define X87_ROW(NAME, ...) [EMU_MN_##NAME] = x87_exec,
#include "hvcore/emu/exec/x87/x87.def"
#undef X87_ROW
    [EMU_MN_FNINIT] = exec_fninit,         [EMU_MN_FNCLEX] = exec_fnclex,
    [EMU_MN_FLDCW] = exec_fldcw,           [EMU_MN_FNSTCW] = exec_fnstcw,
    [EMU_MN_FNSTSW] = exec_fnstsw,         [EMU_MN_FWAIT] = exec_fwait,
    [EMU_MN_FENI8087_NOP] = exec_old_nop,  [EMU_MN_FDISI8087_NOP] = exec_old_nop,
    [EMU_MN_FSETPM287_NOP] = exec_old_nop, [EMU_MN_FNSTENV] = x87_exec_stenv,
    [EMU_MN_FLDENV] = x87_exec_ldenv,      [EMU_MN_FNSAVE] = x87_exec_save,
    [EMU_MN_FRSTOR] = x87_exec_restore,
};
