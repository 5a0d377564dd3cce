/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generic hints, fences and cache control. Memory order is the host's: guest accesses are plain
 * host accesses, so fences are the host's, and caches are always coherent. spec: AMD64 vol. 2
 * chapter 7; vol. 3, the instructions by name
 */
#include "hvcore/emu/exec/int/int_priv.h"
#include "hvcore/emu/operand.h"

#include <sys/random.h>

enum emu_result emu_int_nop(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return EMU_NEXT;
}

enum emu_result emu_int_pause(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    emu_machine_pause(cpu);
    return EMU_NEXT;
}

enum emu_result emu_int_mfence(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    __asm__ volatile("mfence" ::: "memory");
    return EMU_NEXT;
}

enum emu_result emu_int_lfence(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    __asm__ volatile("lfence" ::: "memory");
    return EMU_NEXT;
}

enum emu_result emu_int_sfence(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    __asm__ volatile("sfence" ::: "memory");
    return EMU_NEXT;
}

/* clflush, clflushopt, clwb: nothing to do but to fault like a load. */
enum emu_result emu_int_clflush(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t linear;

    if (!emu_operand_linear(cpu, insn, 1, false, &linear) ||
        !emu_mem_probe(cpu, linear, 1, false, insn->seg == HV_SS))
        return EMU_FAULT;
    return EMU_NEXT;
}

/* The cache line that rax points into becomes zero. */
enum emu_result emu_int_clzero(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    static const uint8_t zero[64];
    uint64_t linear, offset = emu_gpr_get(cpu, HV_RAX, insn->addr_size) & ~UINT64_C(63);

    if (!emu_linear(cpu, insn->seg, offset, sizeof(zero), true, &linear) ||
        !emu_mem_write(cpu, linear, zero, sizeof(zero), insn->seg == HV_SS))
        return EMU_FAULT;
    return EMU_NEXT;
}

bool emu_int_host_random(void *ret, size_t bytes)
{
    return getrandom(ret, bytes, GRND_NONBLOCK) == (ssize_t)bytes;
}
