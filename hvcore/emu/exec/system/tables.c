/* SPDX-License-Identifier: Apache-2.0 */
/* GDTR, IDTR, LDTR and TR: loading and storing them. */
#include "hvcore/emu/exec/system/system_priv.h"

/* User mode instruction prevention: the s* instructions are the kernel's alone. */
static bool is_umip_barred(const struct emu_cpu *cpu)
{
    return cpu->cr4 & X86_CR4_UMIP && cpu->cpl > 0;
}

static enum emu_result store_table(struct emu_cpu *cpu, const struct emu_insn *insn,
                                   const struct hv_table_register *table)
{
    unsigned size = cpu->code_size == EMU_CODE64 ? 10 : 6;
    uint8_t image[10];
    uint64_t linear;

    if (insn->op[0].kind != EMU_OPD_MEM)
        return emu_ud(cpu);
    if (is_umip_barred(cpu))
        return emu_gp0(cpu);
    memcpy(image, &table->limit, 2);
    memcpy(image + 2, &table->base, 8);
    if (!emu_operand_linear(cpu, insn, size, true, &linear) ||
        !emu_mem_write(cpu, linear, image, size, insn->seg == HV_SS))
        return EMU_FAULT;
    return EMU_NEXT;
}

enum emu_result emu_exec_sgdt(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return store_table(cpu, insn, &cpu->gdtr);
}

enum emu_result emu_exec_sidt(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return store_table(cpu, insn, &cpu->idtr);
}

static enum emu_result load_table(struct emu_cpu *cpu, const struct emu_insn *insn,
                                  struct hv_table_register *table)
{
    bool is_64bit = cpu->code_size == EMU_CODE64;
    unsigned size = is_64bit ? 10 : 6;
    struct hv_table_register loaded = { 0 };
    uint8_t image[10];
    uint64_t linear;

    if (insn->op[0].kind != EMU_OPD_MEM)
        return emu_ud(cpu);
    if (cpu->cpl != 0)
        return emu_gp0(cpu);
    if (!emu_operand_linear(cpu, insn, size, false, &linear) ||
        !emu_mem_read(cpu, linear, image, size, insn->seg == HV_SS))
        return EMU_FAULT;
    memcpy(&loaded.limit, image, 2);
    memcpy(&loaded.base, image + 2, size - 2);
    if (!is_64bit && insn->op_size == 2)
        loaded.base &= 0xffffff;
    if (!emu_is_canonical(loaded.base))
        return emu_gp0(cpu);
    *table = loaded;
    return EMU_NEXT;
}

enum emu_result emu_exec_lgdt(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return load_table(cpu, insn, &cpu->gdtr);
}

enum emu_result emu_exec_lidt(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return load_table(cpu, insn, &cpu->idtr);
}

/* ---- LDTR and TR ---- */

static enum emu_result store_selector(struct emu_cpu *cpu, const struct emu_insn *insn,
                                      uint16_t selector)
{
    uint64_t linear;

    if (!emu_is_protected(cpu))
        return emu_ud(cpu);
    if (is_umip_barred(cpu))
        return emu_gp0(cpu);
    if (insn->op[0].kind != EMU_OPD_MEM) {
        emu_gpr_set(cpu, insn->op[0].reg, insn->op_size, selector);
        return EMU_NEXT;
    }
    if (!emu_operand_linear(cpu, insn, 2, true, &linear) ||
        !emu_mem_write(cpu, linear, &selector, 2, insn->seg == HV_SS))
        return EMU_FAULT;
    return EMU_NEXT;
}

enum emu_result emu_exec_sldt(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return store_selector(cpu, insn, cpu->ldtr.selector);
}

enum emu_result emu_exec_str(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return store_selector(cpu, insn, cpu->tr.selector);
}

/* The operand of lldt, ltr and lmsw: 16 bits. */
static bool load_word(struct emu_cpu *cpu, const struct emu_insn *insn, uint16_t *ret)
{
    uint64_t linear;

    if (insn->op[0].kind != EMU_OPD_MEM) {
        *ret = (uint16_t)cpu->regs[insn->op[0].reg];
        return true;
    }
    return emu_operand_linear(cpu, insn, 2, false, &linear) &&
           emu_mem_read(cpu, linear, ret, 2, insn->seg == HV_SS);
}

/* A system descriptor from the GDT of one of the types given as bits. */
static bool read_system(struct emu_cpu *cpu, uint16_t selector, unsigned types,
                        struct emu_descriptor *ret)
{
    uint16_t code = selector & SEL_INDEX_TI;

    if (selector & SEL_TI)
        return emu_fail(cpu, X86_GP, code);
    if (!emu_descriptor_read(cpu, selector, X86_GP, ret))
        return false;
    if (!desc_is_system(ret) || !(types >> desc_type(ret) & 1) || !emu_is_canonical(desc_base(ret)))
        return emu_fail(cpu, X86_GP, code);
    return desc_is_present(ret) || emu_fail(cpu, X86_NP, code);
}

enum emu_result emu_exec_lldt(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct emu_descriptor d;
    uint16_t selector;

    if (!emu_is_protected(cpu))
        return emu_ud(cpu);
    if (cpu->cpl != 0)
        return emu_gp0(cpu);
    if (!load_word(cpu, insn, &selector))
        return EMU_FAULT;
    if (emu_is_null(selector)) {
        cpu->ldtr = (struct hv_segment_register){ .selector = selector };
        return EMU_NEXT;
    }
    if (!read_system(cpu, selector, 1 << SYS_LDT, &d))
        return EMU_FAULT;
    cpu->ldtr = emu_segment_of(&d, selector);
    return EMU_NEXT;
}

enum emu_result emu_exec_ltr(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned types = emu_is_long(cpu) ? 1 << SYS_TSS : 1 << SYS_TSS | 1 << SYS_TSS16;
    struct emu_descriptor d;
    uint16_t selector;

    if (!emu_is_protected(cpu))
        return emu_ud(cpu);
    if (cpu->cpl != 0)
        return emu_gp0(cpu);
    if (!load_word(cpu, insn, &selector))
        return EMU_FAULT;
    if (emu_is_null(selector))
        return emu_gp0(cpu);
    if (!read_system(cpu, selector, types, &d) || !emu_descriptor_mark(cpu, &d, TYPE_BUSY))
        return EMU_FAULT;
    cpu->tr = emu_segment_of(&d, selector);
    return EMU_NEXT;
}

/* ---- The machine status word: CR0 as the 80286 had it ---- */

enum emu_result emu_exec_smsw(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint16_t word = (uint16_t)cpu->cr0;
    uint64_t linear;

    if (is_umip_barred(cpu))
        return emu_gp0(cpu);
    if (insn->op[0].kind != EMU_OPD_MEM) {
        emu_gpr_set(cpu, insn->op[0].reg, insn->op_size, cpu->cr0);
        return EMU_NEXT;
    }
    if (!emu_operand_linear(cpu, insn, 2, true, &linear) ||
        !emu_mem_write(cpu, linear, &word, 2, insn->seg == HV_SS))
        return EMU_FAULT;
    return EMU_NEXT;
}

enum emu_result emu_exec_lmsw(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint16_t word;

    if (cpu->cpl != 0)
        return emu_gp0(cpu);
    if (!load_word(cpu, insn, &word))
        return EMU_FAULT;
    word = (word & 0xf) | (cpu->cr0 & X86_CR0_PE); /* PE can be set, not cleared */
    if (!emu_write_cr0(cpu, (cpu->cr0 & ~UINT64_C(0xe)) | word))
        return EMU_FAULT;
    return EMU_LEAVE;
}

enum emu_result emu_exec_clts(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (cpu->cpl != 0)
        return emu_gp0(cpu);
    if (!(cpu->cr0 & X86_CR0_TS))
        return EMU_NEXT;
    cpu->cr0 &= ~(uint64_t)X86_CR0_TS;
    emu_mode_changed(cpu);
    return EMU_LEAVE;
}
