/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generic moves: whatever copies or converts without arithmetic flags, and the flags themselves.
 * spec: AMD64 vol. 3, the instructions by name
 */
#include "hvcore/emu/exec/int/flags_priv.h"
#include "hvcore/emu/exec/int/int_priv.h"
#include "hvcore/emu/op.h"
#include "hvcore/emu/operand.h"

static bool is_system_register(const struct emu_operand *o)
{
    return o->kind == EMU_OPD_SEG || o->kind == EMU_OPD_CR || o->kind == EMU_OPD_DR;
}

/* Segment, control and debug registers are the system family's; it has the same mnemonics. */
enum emu_result emu_int_by_system(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    emu_exec_fn *exec = emu_exec_system[insn->mnemonic];

    return exec ? exec(cpu, insn) : emu_raise(cpu, X86_UD);
}

static enum emu_result copy(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t value;

    if (!emu_load(cpu, insn, 1, &value) || !emu_store(cpu, insn, 0, value))
        return EMU_FAULT;
    return EMU_NEXT;
}

enum emu_result emu_int_mov(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (is_system_register(&insn->op[0]) || is_system_register(&insn->op[1]))
        return emu_int_by_system(cpu, insn);
    return copy(cpu, insn);
}

/* movzx, movnti */
enum emu_result emu_int_movzx(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return copy(cpu, insn);
}

enum emu_result emu_int_movsx(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned unused = 64 - insn->op[1].size * 8;
    uint64_t value;

    if (!emu_load(cpu, insn, 1, &value))
        return EMU_FAULT;
    emu_store(cpu, insn, 0, (uint64_t)((int64_t)(value << unused) >> unused));
    return EMU_NEXT;
}

static uint64_t byte_swap(uint64_t value, unsigned size)
{
    return __builtin_bswap64(value) >> (64 - size * 8);
}

enum emu_result emu_int_movbe(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t value;

    if (!emu_load(cpu, insn, 1, &value) ||
        !emu_store(cpu, insn, 0, byte_swap(value, insn->op[0].size)))
        return EMU_FAULT;
    return EMU_NEXT;
}

/* With a 16-bit operand the result is undefined; processors give 0. */
enum emu_result emu_int_bswap(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned reg = insn->op[0].reg, size = insn->op[0].size;

    emu_gpr_set(cpu, reg, size, size == 2 ? 0 : byte_swap(cpu->regs[reg], size));
    return EMU_NEXT;
}

enum emu_result emu_int_lea(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    emu_store(cpu, insn, 0, emu_offset(cpu, insn));
    return EMU_NEXT;
}

/* The source is read, and the upper half of a 32-bit destination cleared, even when cc is false. */
enum emu_result emu_int_cmov(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t value;

    if (!emu_load(cpu, insn, 1, &value))
        return EMU_FAULT;
    if (!emu_condition(cpu->aflags, insn->opcode & 15))
        value = cpu->regs[insn->op[0].reg];
    emu_store(cpu, insn, 0, value);
    return EMU_NEXT;
}

enum emu_result emu_int_set(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    bool holds = emu_condition(cpu->aflags, insn->opcode & 15);

    return emu_store(cpu, insn, 0, holds) ? EMU_NEXT : EMU_FAULT;
}

enum emu_result emu_int_xlat(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t offset = cpu->regs[HV_RBX] + (cpu->regs[HV_RAX] & 0xff), linear;
    uint8_t value;

    if (insn->addr_size < 8)
        offset &= (UINT64_C(1) << insn->addr_size * 8) - 1;
    if (!emu_linear(cpu, insn->seg, offset, 1, false, &linear) ||
        !emu_mem_read(cpu, linear, &value, 1, insn->seg == HV_SS))
        return EMU_FAULT;
    emu_gpr_set(cpu, HV_RAX, 1, value);
    return EMU_NEXT;
}

/* ---- Sign extension within rax, and into rdx ---- */

enum emu_result emu_int_cbw(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    emu_gpr_set(cpu, HV_RAX, 2, (uint64_t)(int8_t)cpu->regs[HV_RAX]);
    return EMU_NEXT;
}

enum emu_result emu_int_cwde(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    emu_gpr_set(cpu, HV_RAX, 4, (uint64_t)(int16_t)cpu->regs[HV_RAX]);
    return EMU_NEXT;
}

enum emu_result emu_int_cdqe(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    emu_gpr_set(cpu, HV_RAX, 8, (uint64_t)(int32_t)cpu->regs[HV_RAX]);
    return EMU_NEXT;
}

static enum emu_result sign_to_rdx(struct emu_cpu *cpu, unsigned size)
{
    uint64_t sign = cpu->regs[HV_RAX] >> (size * 8 - 1) & 1;

    emu_gpr_set(cpu, HV_RDX, size, -sign);
    return EMU_NEXT;
}

enum emu_result emu_int_cwd(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return sign_to_rdx(cpu, 2);
}

enum emu_result emu_int_cdq(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return sign_to_rdx(cpu, 4);
}

enum emu_result emu_int_cqo(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return sign_to_rdx(cpu, 8);
}

/* ---- Flags ---- */

enum emu_result emu_int_lahf(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t ah = (emu_arith_flags(cpu) & 0xd5) | 2;

    cpu->regs[HV_RAX] = (cpu->regs[HV_RAX] & ~UINT64_C(0xff00)) | ah << 8;
    return EMU_NEXT;
}

enum emu_result emu_int_sahf(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint32_t ah = cpu->regs[HV_RAX] >> 8 & 0xd5;

    emu_set_arith_flags(cpu, (emu_arith_flags(cpu) & EMU_OF) | ah);
    return EMU_NEXT;
}

enum emu_result emu_int_salc(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    emu_gpr_set(cpu, HV_RAX, 1, cpu->aflags & AFLAGS_CF ? 0xff : 0);
    return EMU_NEXT;
}

enum emu_result emu_int_clc(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    cpu->aflags &= ~(uint32_t)AFLAGS_CF;
    return EMU_NEXT;
}

enum emu_result emu_int_stc(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    cpu->aflags |= AFLAGS_CF;
    return EMU_NEXT;
}

enum emu_result emu_int_cmc(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    cpu->aflags ^= AFLAGS_CF;
    return EMU_NEXT;
}

enum emu_result emu_int_cld(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    cpu->df_step = 1;
    return EMU_NEXT;
}

enum emu_result emu_int_std(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    cpu->df_step = UINT64_MAX;
    return EMU_NEXT;
}
