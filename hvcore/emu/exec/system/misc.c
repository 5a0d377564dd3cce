/* SPDX-License-Identifier: Apache-2.0 */
/* Time, identification, caches and translations, hypercalls. */
#include "hvcore/emu/exec/system/system_priv.h"

#include "hvcore/emu/emu_priv.h"

const struct emu_bus *emu_bus_of(const struct emu_cpu *cpu)
{
    return &cpu->machine->bus;
}

struct hv_gpa_space *emu_space_of(const struct emu_cpu *cpu)
{
    return cpu->machine->gpa;
}

bool emu_has_feature(struct emu_cpu *cpu, uint32_t leaf, unsigned reg, unsigned bit)
{
    const struct emu_bus *bus = emu_bus_of(cpu);
    uint32_t regs[4] = { 0 };

    if (bus->cpuid)
        bus->cpuid(bus->opaque, cpu->index, leaf, 0, regs);
    return regs[reg] >> bit & 1;
}

/* ---- Time ---- */

uint64_t emu_tsc(const struct emu_cpu *cpu)
{
    return __builtin_ia32_rdtsc() + cpu->tsc_offset;
}

static bool is_tsc_barred(const struct emu_cpu *cpu)
{
    return cpu->cr4 & X86_CR4_TSD && cpu->cpl > 0;
}

enum emu_result emu_exec_rdtsc(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t now;

    (void)insn;
    if (is_tsc_barred(cpu))
        return emu_gp0(cpu);
    now = emu_tsc(cpu);
    cpu->regs[HV_RAX] = (uint32_t)now;
    cpu->regs[HV_RDX] = now >> 32;
    return EMU_NEXT;
}

enum emu_result emu_exec_rdtscp(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (emu_exec_rdtsc(cpu, insn) == EMU_FAULT)
        return EMU_FAULT;
    cpu->regs[HV_RCX] = (uint32_t)cpu->tsc_aux;
    return EMU_NEXT;
}

enum emu_result emu_exec_rdpid(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    cpu->regs[insn->op[0].reg] = (uint32_t)cpu->tsc_aux;
    return EMU_NEXT;
}

/* ---- Identification ---- */

/* Bytes of an XSAVE area with these components in its standard form, from the CPUID leaves that
 * describe them. */
static uint32_t xsave_bytes(struct emu_cpu *cpu, uint64_t components)
{
    const struct emu_bus *bus = emu_bus_of(cpu);
    uint32_t bytes = 512 + 64, regs[4];

    for (unsigned i = 2; i < 63; i++) {
        if (!(components >> i & 1))
            continue;
        bus->cpuid(bus->opaque, cpu->index, 0xd, i, regs);
        if (regs[1] + regs[0] > bytes)
            bytes = regs[1] + regs[0];
    }
    return bytes;
}

static uint32_t with_bit(uint32_t word, unsigned bit, bool value)
{
    return (word & ~(UINT32_C(1) << bit)) | (uint32_t)value << bit;
}

/* The bits of CPUID that follow the processor's state. */
static void add_dynamic_bits(struct emu_cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
    bool has_apic =
        !cpu->lapic ||
        atomic_load_explicit(&cpu->lapic->apic_base, memory_order_relaxed) & X86_APIC_BASE_ENABLE;

    switch (leaf) {
    case 1:
        regs[2] = with_bit(regs[2], 27, cpu->cr4 & X86_CR4_OSXSAVE);
        regs[3] = with_bit(regs[3], 9, regs[3] >> 9 & 1 && has_apic);
        break;
    case 7:
        if (subleaf == 0)
            regs[2] = with_bit(regs[2], 4, cpu->cr4 >> 22 & 1);
        break;
    case 0xd:
        if (subleaf <= 1 && regs[0] != 0)
            regs[1] = xsave_bytes(cpu, cpu->xcr0);
        break;
    case 0x80000001: regs[3] = with_bit(regs[3], 9, regs[3] >> 9 & 1 && has_apic); break;
    default: break;
    }
}

enum emu_result emu_exec_cpuid(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint32_t leaf = (uint32_t)cpu->regs[HV_RAX], subleaf = (uint32_t)cpu->regs[HV_RCX];
    const struct emu_bus *bus = emu_bus_of(cpu);
    uint32_t regs[4] = { 0 };

    (void)insn;
    if (bus->cpuid)
        bus->cpuid(bus->opaque, cpu->index, leaf, subleaf, regs);
    add_dynamic_bits(cpu, leaf, subleaf, regs);
    cpu->regs[HV_RAX] = regs[0];
    cpu->regs[HV_RBX] = regs[1];
    cpu->regs[HV_RCX] = regs[2];
    cpu->regs[HV_RDX] = regs[3];
    return EMU_NEXT;
}

/* ---- Extended control registers ---- */

enum { XCR0_X87 = 1, XCR0_SSE = 2, XCR0_AVX = 4 };

enum emu_result emu_exec_xgetbv(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    (void)insn;
    if (!(cpu->cr4 & X86_CR4_OSXSAVE))
        return emu_ud(cpu);
    if ((uint32_t)cpu->regs[HV_RCX] != 0)
        return emu_gp0(cpu);
    cpu->regs[HV_RAX] = (uint32_t)cpu->xcr0;
    cpu->regs[HV_RDX] = cpu->xcr0 >> 32;
    return EMU_NEXT;
}

enum emu_result emu_exec_xsetbv(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t value = (uint32_t)cpu->regs[HV_RAX] | cpu->regs[HV_RDX] << 32, offered;
    const struct emu_bus *bus = emu_bus_of(cpu);
    uint32_t regs[4] = { 0 };

    (void)insn;
    if (!(cpu->cr4 & X86_CR4_OSXSAVE))
        return emu_ud(cpu);
    bus->cpuid(bus->opaque, cpu->index, 0xd, 0, regs);
    offered = regs[0] | (uint64_t)regs[3] << 32;
    if (cpu->cpl != 0 || (uint32_t)cpu->regs[HV_RCX] != 0 || value & ~offered ||
        !(value & XCR0_X87) || (value & XCR0_AVX && !(value & XCR0_SSE)))
        return emu_gp0(cpu);
    cpu->xcr0 = value;
    emu_mode_changed(cpu);
    return EMU_LEAVE;
}

/* ---- Caches and translations ---- */

/* The caches are the host's and coherent: nothing to do but the privilege check. */
enum emu_result emu_exec_wbinvd(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    (void)insn;
    return cpu->cpl == 0 ? EMU_NEXT : emu_gp0(cpu);
}

enum emu_result emu_exec_invlpg(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t linear = emu_offset(cpu, insn);

    if (cpu->cpl != 0)
        return emu_gp0(cpu);
    if (cpu->code_size != EMU_CODE64)
        linear = (uint32_t)(linear + cpu->segment[insn->seg].base);
    else if (insn->seg == HV_FS || insn->seg == HV_GS)
        linear += cpu->segment[insn->seg].base;
    if (emu_is_canonical(linear))
        emu_tlb_flush_page(cpu, linear);
    return EMU_LEAVE;
}

enum { INVPCID_ADDRESS, INVPCID_CONTEXT, INVPCID_ALL, INVPCID_NON_GLOBAL };

/* Translations of other PCIDs aren't kept, so "of one context" is "of the current one". */
static enum emu_result invalidate(struct emu_cpu *cpu, uint64_t type, const uint64_t descriptor[2])
{
    bool is_pcid_bad = descriptor[0] >> 12 || (descriptor[0] && !(cpu->cr4 & X86_CR4_PCIDE));

    switch (type) {
    case INVPCID_ADDRESS:
        if (is_pcid_bad || !emu_is_canonical(descriptor[1]))
            return emu_gp0(cpu);
        emu_tlb_flush_page(cpu, descriptor[1]);
        return EMU_LEAVE;
    case INVPCID_CONTEXT:
        if (is_pcid_bad)
            return emu_gp0(cpu);
        emu_tlb_flush_non_global(cpu);
        return EMU_LEAVE;
    case INVPCID_ALL: emu_tlb_flush_all(cpu); return EMU_LEAVE;
    case INVPCID_NON_GLOBAL: emu_tlb_flush_non_global(cpu); return EMU_LEAVE;
    default: return emu_gp0(cpu);
    }
}

enum emu_result emu_exec_invpcid(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned size = cpu->code_size == EMU_CODE64 ? 8 : 4;
    uint64_t descriptor[2], linear;

    if (!emu_has_feature(cpu, 7, 1, 10) || insn->op[1].kind != EMU_OPD_MEM)
        return emu_ud(cpu);
    if (cpu->cpl != 0)
        return emu_gp0(cpu);
    if (!emu_operand_linear(cpu, insn, 16, false, &linear) ||
        !emu_mem_read(cpu, linear, descriptor, 16, insn->seg == HV_SS))
        return EMU_FAULT;
    return invalidate(cpu, emu_gpr_get(cpu, insn->op[0].reg, size), descriptor);
}

/* ---- Hypercalls ---- */

/* spec: TLFS "Hypercall Interface": #UD outside of protected mode and CPL 0 */
enum emu_result emu_exec_hypercall(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    const struct emu_bus *bus = emu_bus_of(cpu);

    (void)insn;
    if (!bus->hypercall || cpu->cpl != 0 || !emu_is_protected(cpu) ||
        !bus->hypercall(bus->opaque, cpu->index, cpu->regs, cpu->code_size == EMU_CODE64))
        return emu_ud(cpu);
    return EMU_LEAVE;
}

enum emu_result emu_exec_serialize(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    (void)insn;
    if (!emu_has_feature(cpu, 7, 3, 14))
        return emu_ud(cpu);
    atomic_thread_fence(memory_order_seq_cst);
    return EMU_LEAVE;
}

/* Known to the decoder, not offered to the guest. */
enum emu_result emu_exec_undefined(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    (void)insn;
    return emu_ud(cpu);
}
