/* SPDX-License-Identifier: Apache-2.0 */
/* Loading and inspecting data segment registers; mov, push and pop of them; lds and kin. */
#include "hvcore/emu/exec/system/system_priv.h"

/* ---- Loading ---- */

static bool load_null(struct emu_cpu *cpu, enum hv_segment seg, uint16_t selector)
{
    bool is_code64 = cpu->code_size == EMU_CODE64;

    if (seg == HV_SS) {
        if (!is_code64 || cpu->cpl == 3 || (selector & 3) != cpu->cpl)
            return emu_fail(cpu, X86_GP, 0);
        cpu->segment[HV_SS] = emu_null_ss(cpu->cpl);
        cpu->segment[HV_SS].selector = selector;
        return true;
    }
    /* Base and limit are cleared as well: CPUID says NullSelectorClearsBase. */
    cpu->segment[seg] = (struct hv_segment_register){ .selector = selector };
    emu_set_segment_base(cpu, seg, 0);
    return true;
}

static bool check_ss(struct emu_cpu *cpu, const struct emu_descriptor *d, uint16_t selector)
{
    uint16_t code = selector & SEL_INDEX_TI;

    if ((selector & 3) != cpu->cpl || desc_dpl(d) != cpu->cpl || !desc_is_writable_data(d))
        return emu_fail(cpu, X86_GP, code);
    return desc_is_present(d) || emu_fail(cpu, X86_SS, code);
}

static bool check_data(struct emu_cpu *cpu, const struct emu_descriptor *d, uint16_t selector)
{
    uint16_t code = selector & SEL_INDEX_TI;
    uint8_t rpl = selector & 3, dpl = desc_dpl(d);

    if (desc_is_system(d) || (desc_is_code(d) && !(desc_type(d) & TYPE_READABLE)))
        return emu_fail(cpu, X86_GP, code);
    if (!desc_is_conforming(d) && (rpl > dpl || cpu->cpl > dpl))
        return emu_fail(cpu, X86_GP, code);
    return desc_is_present(d) || emu_fail(cpu, X86_NP, code);
}

bool emu_load_segment(struct emu_cpu *cpu, enum hv_segment seg, uint16_t selector)
{
    struct emu_descriptor d;

    if (!emu_is_protected(cpu)) {
        emu_set_real_segment(cpu, seg, selector);
        return true;
    }
    if (emu_is_null(selector))
        return load_null(cpu, seg, selector);
    if (!emu_descriptor_read(cpu, selector, X86_GP, &d))
        return false;
    if (!(seg == HV_SS ? check_ss(cpu, &d, selector) : check_data(cpu, &d, selector)) ||
        !emu_descriptor_mark(cpu, &d, TYPE_ACCESSED))
        return false;

    cpu->segment[seg] = emu_segment_of(&d, selector);
    emu_set_segment_base(cpu, seg, cpu->segment[seg].base);
    if (seg == HV_SS)
        emu_mode_changed(cpu);
    return true;
}

/* mov ss and pop ss hold off interrupts and debug traps for one instruction. */
static enum emu_result loaded(struct emu_cpu *cpu, enum hv_segment seg)
{
    if (seg != HV_SS)
        return EMU_NEXT;
    cpu->shadow = 1;
    cpu->no_step = 1;
    return EMU_LEAVE;
}

/* ---- mov, push, pop ---- */

static enum emu_result mov_to_segment(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    enum hv_segment seg = insn->op[0].reg;
    uint64_t selector;

    if (seg == HV_CS || seg >= HV_N_SEGMENTS)
        return emu_ud(cpu);
    if (insn->op[1].kind == EMU_OPD_MEM) {
        uint64_t linear;
        uint16_t word;

        if (!emu_operand_linear(cpu, insn, 2, false, &linear) ||
            !emu_mem_read(cpu, linear, &word, 2, insn->seg == HV_SS))
            return EMU_FAULT;
        selector = word;
    } else {
        selector = cpu->regs[insn->op[1].reg];
    }
    if (!emu_load_segment(cpu, seg, (uint16_t)selector))
        return EMU_FAULT;
    return loaded(cpu, seg);
}

/* Store a 16-bit system value as mov, sldt, str and smsw do: registers by operand size, memory
 * always 16 bits. */
static enum emu_result store_word(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t value)
{
    uint16_t word = (uint16_t)value;
    uint64_t linear;

    if (insn->op[0].kind != EMU_OPD_MEM) {
        emu_gpr_set(cpu, insn->op[0].reg, insn->op_size, value);
        return EMU_NEXT;
    }
    if (!emu_operand_linear(cpu, insn, 2, true, &linear) ||
        !emu_mem_write(cpu, linear, &word, 2, insn->seg == HV_SS))
        return EMU_FAULT;
    return EMU_NEXT;
}

enum emu_result emu_exec_mov_system(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    for (unsigned i = 0; i < 2; i++) {
        switch (insn->op[i].kind) {
        case EMU_OPD_CR: return emu_mov_control(cpu, insn);
        case EMU_OPD_DR: return emu_mov_debug(cpu, insn);
        case EMU_OPD_SEG:
            if (i == 0)
                return mov_to_segment(cpu, insn);
            if (insn->op[1].reg >= HV_N_SEGMENTS)
                return emu_ud(cpu);
            return store_word(cpu, insn, cpu->segment[insn->op[1].reg].selector);
        default: break;
        }
    }
    return emu_ud(cpu);
}

enum emu_result emu_exec_push_seg(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (insn->op[0].kind != EMU_OPD_SEG || insn->op[0].reg >= HV_N_SEGMENTS)
        return emu_ud(cpu);
    if (!emu_push(cpu, insn->stack_size, cpu->segment[insn->op[0].reg].selector))
        return EMU_FAULT;
    return EMU_NEXT;
}

enum emu_result emu_exec_pop_seg(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    enum hv_segment seg = insn->op[0].reg;
    uint64_t rsp = cpu->regs[HV_RSP], value;

    if (insn->op[0].kind != EMU_OPD_SEG || seg == HV_CS || seg >= HV_N_SEGMENTS)
        return emu_ud(cpu);
    if (!emu_pop(cpu, insn->stack_size, &value))
        return EMU_FAULT;
    if (!emu_load_segment(cpu, seg, (uint16_t)value)) {
        cpu->regs[HV_RSP] = rsp;
        return EMU_FAULT;
    }
    return loaded(cpu, seg);
}

/* lds les lss lfs lgs: the register operand is 16, 32 or 64 bits, the selector follows. */
enum emu_result emu_exec_load_far_pointer(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    static const struct {
        uint16_t mnemonic;
        uint8_t seg;
    } rows[] = { { EMU_MN_LDS, HV_DS },
                 { EMU_MN_LES, HV_ES },
                 { EMU_MN_LSS, HV_SS },
                 { EMU_MN_LFS, HV_FS },
                 { EMU_MN_LGS, HV_GS } };
    unsigned size = insn->op_size;
    uint64_t linear, offset = 0;
    enum hv_segment seg = HV_DS;
    uint8_t bytes[10];
    uint16_t selector;

    if (insn->op[1].kind != EMU_OPD_MEM)
        return emu_ud(cpu);
    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++)
        if (rows[i].mnemonic == insn->mnemonic)
            seg = rows[i].seg;
    if (!emu_operand_linear(cpu, insn, size + 2, false, &linear) ||
        !emu_mem_read(cpu, linear, bytes, size + 2, insn->seg == HV_SS))
        return EMU_FAULT;
    memcpy(&offset, bytes, size);
    memcpy(&selector, bytes + size, 2);
    if (!emu_load_segment(cpu, seg, selector))
        return EMU_FAULT;
    emu_gpr_set(cpu, insn->op[0].reg, size, offset);
    return seg == HV_SS ? EMU_LEAVE : EMU_NEXT;
}

/* ---- Looking without loading ---- */

static void set_zf(struct emu_cpu *cpu, bool value)
{
    emu_set_arith_flags(cpu, (emu_arith_flags(cpu) & ~(uint32_t)EMU_ZF) | (value ? EMU_ZF : 0));
}

/* Read the descriptor behind operand n if it is there and CPL and RPL may see it. Returns false on
 * a fault; *ret_is_visible tells the rest. */
static bool inspect(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned n,
                    struct emu_descriptor *d, bool *ret_is_visible)
{
    uint64_t selector, linear;

    *ret_is_visible = false;
    if (insn->op[n].kind == EMU_OPD_MEM) {
        uint16_t word;

        if (!emu_operand_linear(cpu, insn, 2, false, &linear) ||
            !emu_mem_read(cpu, linear, &word, 2, insn->seg == HV_SS))
            return false;
        selector = word;
    } else {
        selector = cpu->regs[insn->op[n].reg];
    }
    if (emu_is_null((uint16_t)selector) ||
        !emu_descriptor_find(cpu, (uint16_t)selector, 8, &linear))
        return true;
    *d = (struct emu_descriptor){ .selector = (uint16_t)selector, .linear = linear };
    if (!emu_sys_read(cpu, linear, &d->low, 8))
        return false;
    *ret_is_visible =
        desc_is_conforming(d) || ((selector & 3) <= desc_dpl(d) && cpu->cpl <= desc_dpl(d));
    return true;
}

/* Types of system descriptors, as bits, that lar and lsl see. */
enum {
    LAR_LEGACY = 1 << SYS_TSS16 | 1 << SYS_LDT | 1 << SYS_TSS16_BUSY | 1 << SYS_CALL_GATE16 |
                 1 << SYS_TASK_GATE | 1 << SYS_TSS | 1 << SYS_TSS_BUSY | 1 << SYS_CALL_GATE,
    LAR_LONG = 1 << SYS_LDT | 1 << SYS_TSS | 1 << SYS_TSS_BUSY | 1 << SYS_CALL_GATE,
    LSL_LEGACY =
        1 << SYS_TSS16 | 1 << SYS_LDT | 1 << SYS_TSS16_BUSY | 1 << SYS_TSS | 1 << SYS_TSS_BUSY,
    LSL_LONG = 1 << SYS_LDT | 1 << SYS_TSS | 1 << SYS_TSS_BUSY,
};

static bool is_type_in(struct emu_cpu *cpu, const struct emu_descriptor *d, unsigned legacy,
                       unsigned in_long)
{
    return !desc_is_system(d) || (emu_is_long(cpu) ? in_long : legacy) >> desc_type(d) & 1;
}

enum emu_result emu_exec_lar(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct emu_descriptor d;
    bool is_visible;

    if (!emu_is_protected(cpu))
        return emu_ud(cpu);
    if (!inspect(cpu, insn, 1, &d, &is_visible))
        return EMU_FAULT;
    is_visible = is_visible && is_type_in(cpu, &d, LAR_LEGACY, LAR_LONG);
    if (is_visible)
        emu_gpr_set(cpu, insn->op[0].reg, insn->op_size, d.low >> 32 & 0xf0ff00);
    set_zf(cpu, is_visible);
    return EMU_NEXT;
}

enum emu_result emu_exec_lsl(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct emu_descriptor d;
    bool is_visible;

    if (!emu_is_protected(cpu))
        return emu_ud(cpu);
    if (!inspect(cpu, insn, 1, &d, &is_visible))
        return EMU_FAULT;
    is_visible = is_visible && is_type_in(cpu, &d, LSL_LEGACY, LSL_LONG);
    if (is_visible)
        emu_gpr_set(cpu, insn->op[0].reg, insn->op_size, desc_limit(&d));
    set_zf(cpu, is_visible);
    return EMU_NEXT;
}

enum emu_result emu_exec_verr(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct emu_descriptor d;
    bool is_visible;

    if (!emu_is_protected(cpu))
        return emu_ud(cpu);
    if (!inspect(cpu, insn, 0, &d, &is_visible))
        return EMU_FAULT;
    set_zf(cpu, is_visible && !desc_is_system(&d) &&
                    (!desc_is_code(&d) || desc_type(&d) & TYPE_READABLE));
    return EMU_NEXT;
}

enum emu_result emu_exec_verw(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct emu_descriptor d;
    bool is_visible;

    if (!emu_is_protected(cpu))
        return emu_ud(cpu);
    if (!inspect(cpu, insn, 0, &d, &is_visible))
        return EMU_FAULT;
    set_zf(cpu, is_visible && desc_is_writable_data(&d));
    return EMU_NEXT;
}

enum emu_result emu_exec_arpl(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t dst, src;
    bool is_lower;

    if (!emu_is_protected(cpu))
        return emu_ud(cpu);
    if (!emu_load(cpu, insn, 0, &dst) || !emu_load(cpu, insn, 1, &src))
        return EMU_FAULT;
    is_lower = (dst & 3) < (src & 3);
    if (is_lower && !emu_store(cpu, insn, 0, (dst & ~UINT64_C(3)) | (src & 3)))
        return EMU_FAULT;
    set_zf(cpu, is_lower);
    return EMU_NEXT;
}
