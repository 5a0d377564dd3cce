/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generic near branches, calls and the stack.
 * spec: AMD64 vol. 1, 3.7; vol. 3, the instructions by name
 */
#include "hvcore/emu/exec/int/flags_priv.h"
#include "hvcore/emu/exec/int/int_priv.h"
#include "hvcore/emu/op.h"
#include "hvcore/emu/operand.h"

/* ---- Targets ---- */

static uint64_t cut_target(const struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t target)
{
    if (insn->op_size == 2) /* AMD: in 64-bit mode too */
        return target & UINT16_MAX;
    return cpu->code_size == EMU_CODE64 ? target : target & UINT32_MAX;
}

static bool is_target_good(struct emu_cpu *cpu, uint64_t target)
{
    if (cpu->code_size == EMU_CODE64 ? emu_is_canonical(target)
                                     : target <= cpu->segment[HV_CS].limit)
        return true;
    emu_raise_code(cpu, X86_GP, 0);
    return false;
}

/* Where operand 0 leads: relative, register or memory. Not checked. */
static bool load_target(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t *ret)
{
    uint64_t target;

    if (insn->op[0].kind == EMU_OPD_REL)
        target = cpu->rip + insn->length + insn->imm;
    else if (!emu_load(cpu, insn, 0, &target))
        return false;
    *ret = cut_target(cpu, insn, target);
    return true;
}

static bool find_target(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t *ret)
{
    return load_target(cpu, insn, ret) && is_target_good(cpu, *ret);
}

enum emu_result emu_int_jmp(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t target;

    if (!find_target(cpu, insn, &target))
        return EMU_FAULT;
    cpu->rip = target;
    return EMU_BRANCH;
}

enum emu_result emu_int_jcc(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (!emu_condition(cpu->aflags, insn->opcode & 15))
        return EMU_NEXT;
    return emu_int_jmp(cpu, insn);
}

enum emu_result emu_int_jcxz(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (emu_gpr_get(cpu, HV_RCX, insn->addr_size))
        return EMU_NEXT;
    return emu_int_jmp(cpu, insn);
}

/* E0 loopne, E1 loope, E2 loop; the count is as wide as an address. */
enum emu_result emu_int_loop(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t count = cpu->regs[HV_RCX] - 1, target;
    bool is_zero = cpu->aflags & AFLAGS_ZF;
    bool takes = insn->addr_size == 8   ? count
                 : insn->addr_size == 4 ? (uint32_t)count
                                        : (uint16_t)count;

    if (insn->mnemonic != EMU_MN_LOOP)
        takes = takes && is_zero == (insn->mnemonic == EMU_MN_LOOPE);
    if (takes && !find_target(cpu, insn, &target))
        return EMU_FAULT;
    emu_gpr_set(cpu, HV_RCX, insn->addr_size, count);
    if (!takes)
        return EMU_NEXT;
    cpu->rip = target;
    return EMU_BRANCH;
}

/* A stack that can't take the return address faults before a target that can't be. */
static bool probe_push(struct emu_cpu *cpu, unsigned size)
{
    uint64_t sp = cpu->regs[HV_RSP] - size, linear;

    sp &= cpu->code_size == EMU_CODE64 ? UINT64_MAX : cpu->is_stack32 ? UINT32_MAX : UINT16_MAX;
    return emu_linear(cpu, HV_SS, sp, size, true, &linear) &&
           emu_mem_probe(cpu, linear, size, true, true);
}

enum emu_result emu_int_call(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t target;

    if (!load_target(cpu, insn, &target) || !probe_push(cpu, insn->stack_size) ||
        !is_target_good(cpu, target) || !emu_push(cpu, insn->stack_size, emu_next_rip(cpu, insn)))
        return EMU_FAULT;
    cpu->rip = target;
    return EMU_BRANCH;
}

/* The part of rsp or rbp that the stack uses. */
static unsigned stack_width(const struct emu_cpu *cpu)
{
    return cpu->code_size == EMU_CODE64 ? 8 : cpu->is_stack32 ? 4 : 2;
}

enum emu_result emu_int_ret(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t rsp = cpu->regs[HV_RSP], target;

    if (!emu_pop(cpu, insn->stack_size, &target))
        return EMU_FAULT;
    target = cut_target(cpu, insn, target);
    if (!is_target_good(cpu, target)) {
        cpu->regs[HV_RSP] = rsp;
        return EMU_FAULT;
    }
    if (insn->n_operands)
        emu_gpr_set(cpu, HV_RSP, stack_width(cpu), cpu->regs[HV_RSP] + (insn->imm & 0xffff));
    cpu->rip = target;
    return EMU_BRANCH;
}

/* ---- Stack ---- */

enum emu_result emu_int_push(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t value;

    if (!emu_load(cpu, insn, 0, &value) || !emu_push(cpu, insn->stack_size, value))
        return EMU_FAULT;
    return EMU_NEXT;
}

/* A memory destination is addressed with the rsp that the pop leaves. */
enum emu_result emu_int_pop(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t rsp = cpu->regs[HV_RSP], value;

    if (insn->op[0].kind == EMU_OPD_SEG)
        return emu_int_by_system(cpu, insn);
    if (!emu_pop(cpu, insn->stack_size, &value))
        return EMU_FAULT;
    if (!emu_store(cpu, insn, 0, value)) {
        cpu->regs[HV_RSP] = rsp;
        return EMU_FAULT;
    }
    return EMU_NEXT;
}

enum { N_LEGACY_REGS = 8 };

/* A fault on the way leaves rsp; what was written lies below it and is written again. */
enum emu_result emu_int_pusha(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned size = insn->mnemonic == EMU_MN_PUSHA ? 2 : 4;
    uint64_t rsp = cpu->regs[HV_RSP];

    for (unsigned reg = HV_RAX; reg < N_LEGACY_REGS; reg++) {
        if (!emu_push(cpu, size, reg == HV_RSP ? rsp : cpu->regs[reg])) {
            cpu->regs[HV_RSP] = rsp;
            return EMU_FAULT;
        }
    }
    return EMU_NEXT;
}

enum emu_result emu_int_popa(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned size = insn->mnemonic == EMU_MN_POPA ? 2 : 4;
    uint64_t rsp = cpu->regs[HV_RSP], value[N_LEGACY_REGS];

    for (unsigned reg = N_LEGACY_REGS; reg-- > 0;) {
        if (!emu_pop(cpu, size, &value[reg])) {
            cpu->regs[HV_RSP] = rsp;
            return EMU_FAULT;
        }
    }
    for (unsigned reg = 0; reg < N_LEGACY_REGS; reg++) {
        if (reg != HV_RSP)
            emu_gpr_set(cpu, reg, size, value[reg]);
    }
    return EMU_NEXT;
}

/* Copy the frame pointers of the enclosing levels, and add the new one. */
static bool push_frames(struct emu_cpu *cpu, unsigned size, unsigned level, uint64_t frame)
{
    unsigned width = stack_width(cpu);
    uint64_t rbp = emu_gpr_get(cpu, HV_RBP, width), linear, value;

    for (unsigned i = 1; i < level; i++) {
        rbp -= size;
        value = 0;
        if (width < 8)
            rbp &= (UINT64_C(1) << width * 8) - 1;
        if (!emu_linear(cpu, HV_SS, rbp, size, false, &linear) ||
            !emu_mem_read(cpu, linear, &value, size, true) || !emu_push(cpu, size, value))
            return false;
    }
    return !level || emu_push(cpu, size, frame);
}

static bool is_stack_top_writable(struct emu_cpu *cpu, unsigned size)
{
    uint64_t linear;

    return emu_linear(cpu, HV_SS, emu_gpr_get(cpu, HV_RSP, stack_width(cpu)), size, true,
                      &linear) &&
           emu_mem_probe(cpu, linear, size, true, true);
}

enum emu_result emu_int_enter(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned size = insn->stack_size, width = stack_width(cpu), level = insn->imm2 & 31;
    uint64_t rsp = cpu->regs[HV_RSP], frame;

    if (!emu_push(cpu, size, cpu->regs[HV_RBP]))
        return EMU_FAULT;
    frame = cpu->regs[HV_RSP];
    if (push_frames(cpu, size, level, frame)) {
        emu_gpr_set(cpu, HV_RSP, width, cpu->regs[HV_RSP] - (insn->imm & 0xffff));
        if (is_stack_top_writable(cpu, size)) {
            emu_gpr_set(cpu, HV_RBP, size, frame);
            return EMU_NEXT;
        }
    }
    cpu->regs[HV_RSP] = rsp;
    return EMU_FAULT;
}

enum emu_result emu_int_leave(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t rsp = cpu->regs[HV_RSP], value;

    emu_gpr_set(cpu, HV_RSP, stack_width(cpu), cpu->regs[HV_RBP]);
    if (!emu_pop(cpu, insn->stack_size, &value)) {
        cpu->regs[HV_RSP] = rsp;
        return EMU_FAULT;
    }
    emu_gpr_set(cpu, HV_RBP, insn->stack_size, value);
    return EMU_NEXT;
}

/* ---- Traps by design ---- */

static int64_t sign_extended(uint64_t value, unsigned size)
{
    return (int64_t)(value << (64 - size * 8)) >> (64 - size * 8);
}

enum emu_result emu_int_bound(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned size = insn->op[0].size;
    int64_t index = sign_extended(cpu->regs[insn->op[0].reg], size);
    uint64_t linear, lower = 0, upper = 0;

    if (!emu_operand_linear(cpu, insn, size, false, &linear) ||
        !emu_mem_read(cpu, linear, &lower, size, insn->seg == HV_SS) ||
        !emu_operand_linear(cpu, insn, size * 2, false, &linear) ||
        !emu_mem_read(cpu, (uint32_t)(linear + size), &upper, size, insn->seg == HV_SS))
        return EMU_FAULT;
    if (index < sign_extended(lower, size) || index > sign_extended(upper, size))
        return emu_raise(cpu, X86_BR);
    return EMU_NEXT;
}

enum emu_result emu_int_ud(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return emu_raise(cpu, X86_UD);
}
