/* SPDX-License-Identifier: Apache-2.0 */
/* in, out, ins, outs. */
#include "hvcore/emu/exec/system/system_priv.h"

/* Bits of the TSS's I/O map: 0 allows. spec: AMD64 vol. 2, 12.2.4 */
static bool is_allowed_by_map(struct emu_cpu *cpu, uint16_t port, unsigned size)
{
    unsigned type = cpu->tr.attributes & HV_SEG_TYPE;
    uint16_t map, bits;

    if ((type != SYS_TSS && type != SYS_TSS_BUSY) || cpu->tr.limit < 0x67)
        return emu_fail(cpu, X86_GP, 0);
    if (!emu_sys_read(cpu, cpu->tr.base + 0x66, &map, 2))
        return false;
    if ((uint32_t)map + port / 8 + 1 > cpu->tr.limit)
        return emu_fail(cpu, X86_GP, 0);
    if (!emu_sys_read(cpu, cpu->tr.base + map + port / 8, &bits, 2))
        return false;
    if (bits >> (port & 7) & ((1u << size) - 1))
        return emu_fail(cpu, X86_GP, 0);
    return true;
}

static bool may_use_port(struct emu_cpu *cpu, uint16_t port, unsigned size)
{
    if (cpu->cr0 & X86_CR0_PE && (emu_is_v86(cpu) || cpu->cpl > emu_iopl(cpu)))
        return is_allowed_by_map(cpu, port, size);
    return true;
}

static uint32_t read_port(struct emu_cpu *cpu, uint16_t port, unsigned size)
{
    const struct emu_bus *bus = emu_bus_of(cpu);

    cpu->counters_ports++;
    if (HV_UNLIKELY(cpu->debug & EMU_DEBUG_PORT))
        emu_debug_port(cpu, port, size);
    return bus->port_read(bus->opaque, port, size);
}

static void write_port(struct emu_cpu *cpu, uint16_t port, unsigned size, uint32_t value)
{
    const struct emu_bus *bus = emu_bus_of(cpu);

    cpu->counters_ports++;
    if (HV_UNLIKELY(cpu->debug & EMU_DEBUG_PORT))
        emu_debug_port(cpu, port, size);
    bus->port_write(bus->opaque, port, size, value);
}

/* The port of operand n: an immediate or dx. */
static uint16_t port_of(const struct emu_cpu *cpu, const struct emu_insn *insn, unsigned n)
{
    return insn->op[n].kind == EMU_OPD_IMM ? (uint8_t)insn->imm : (uint16_t)cpu->regs[HV_RDX];
}

/* Operand size by the accumulator's operand. */
static unsigned port_size(const struct emu_insn *insn, unsigned n)
{
    return insn->op[n].size > 4 ? 4 : insn->op[n].size;
}

enum emu_result emu_exec_in(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned size = port_size(insn, 0);
    uint16_t port = port_of(cpu, insn, 1);

    if (!may_use_port(cpu, port, size))
        return EMU_FAULT;
    emu_gpr_set(cpu, HV_RAX, size, read_port(cpu, port, size));
    return EMU_NEXT;
}

enum emu_result emu_exec_out(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned size = port_size(insn, 1);
    uint16_t port = port_of(cpu, insn, 0);

    if (!may_use_port(cpu, port, size))
        return EMU_FAULT;
    write_port(cpu, port, size, (uint32_t)emu_gpr_get(cpu, HV_RAX, size));
    return EMU_NEXT;
}

/* ---- String I/O ---- */

static unsigned element_size(const struct emu_insn *insn)
{
    switch (insn->mnemonic) {
    case EMU_MN_INSB:
    case EMU_MN_OUTSB: return 1;
    case EMU_MN_INSW:
    case EMU_MN_OUTSW: return 2;
    default: return 4;
    }
}

static uint64_t address_mask(const struct emu_insn *insn)
{
    return insn->addr_size == 8 ? UINT64_MAX : insn->addr_size == 4 ? UINT32_MAX : UINT16_MAX;
}

static void advance(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned reg, unsigned size)
{
    emu_gpr_set(cpu, reg, insn->addr_size, cpu->regs[reg] + cpu->df_step * size);
}

/* One element. Memory is checked before the port is read, whose value can't be put back. */
static bool ins_once(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned size)
{
    uint16_t port = (uint16_t)cpu->regs[HV_RDX];
    uint32_t value;
    uint64_t linear;

    if (!emu_linear(cpu, HV_ES, cpu->regs[HV_RDI] & address_mask(insn), size, true, &linear) ||
        !emu_mem_probe(cpu, linear, size, true, false))
        return false;
    value = read_port(cpu, port, size);
    if (!emu_mem_write(cpu, linear, &value, size, false))
        return false;
    advance(cpu, insn, HV_RDI, size);
    return true;
}

static bool outs_once(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned size)
{
    uint32_t value = 0;
    uint64_t linear;

    if (!emu_linear(cpu, insn->seg, cpu->regs[HV_RSI] & address_mask(insn), size, false, &linear) ||
        !emu_mem_read(cpu, linear, &value, size, insn->seg == HV_SS))
        return false;
    write_port(cpu, (uint16_t)cpu->regs[HV_RDX], size, value);
    advance(cpu, insn, HV_RSI, size);
    return true;
}

/* Element by element, so that a request or a fault finds whole ones done and the rest to do. */
static enum emu_result repeat(struct emu_cpu *cpu, const struct emu_insn *insn,
                              bool (*once)(struct emu_cpu *, const struct emu_insn *, unsigned))
{
    unsigned size = element_size(insn);
    uint64_t count;

    if (!may_use_port(cpu, (uint16_t)cpu->regs[HV_RDX], size))
        return EMU_FAULT;
    if (!(insn->prefixes & (EMU_PFX_REP | EMU_PFX_REPNE)))
        return once(cpu, insn, size) ? EMU_NEXT : EMU_FAULT;
    for (;;) {
        count = cpu->regs[HV_RCX] & address_mask(insn);
        if (count == 0)
            return EMU_NEXT;
        if (!once(cpu, insn, size))
            return EMU_FAULT;
        emu_gpr_set(cpu, HV_RCX, insn->addr_size, count - 1);
        if (count > 1 &&
            (cpu->sys_flags & X86_TF || atomic_load_explicit(&cpu->request, memory_order_relaxed)))
            return EMU_REPEAT;
    }
}

enum emu_result emu_exec_ins(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return repeat(cpu, insn, ins_once);
}

enum emu_result emu_exec_outs(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return repeat(cpu, insn, outs_once);
}
