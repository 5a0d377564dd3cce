/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control registers, EFER and debug registers: what may be written, and what follows from it.
 *
 * spec: AMD64 vol. 2, 3.1 (control registers), 13.1 (debug registers), 14.6 (long mode activation)
 */
#include "hvcore/emu/exec/system/system_priv.h"

static bool is_pae_paging(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    return cr0 & X86_CR0_PG && cr4 & X86_CR4_PAE && !(efer & X86_EFER_LMA);
}

/* Entering PAE paging, or loading CR3 in it, looks at the four page directory pointers: reserved
 * bits raise #GP. Walks read them from memory again. */
static bool check_pdptes(struct emu_cpu *cpu, uint64_t cr3)
{
    uint64_t reserved = ~cpu->phys_mask | 0x1e6;
    hv_gpa_t table = cr3 & 0xffffffe0;
    uint64_t entries[4];

    if (hv_gpa_read(emu_space_of(cpu), table, entries, sizeof(entries)) < 0)
        return true; /* no memory there: not present */
    for (unsigned i = 0; i < 4; i++)
        if (entries[i] & 1 && entries[i] & reserved)
            return emu_fail(cpu, X86_GP, 0);
    return true;
}

/* ---- CR0 ---- */

enum {
    CR0_DEFINED = X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE |
                  X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD
};

static bool is_cr0_valid(const struct emu_cpu *cpu, uint64_t value)
{
    bool is_paging = value & X86_CR0_PG, was_paging = cpu->cr0 & X86_CR0_PG;

    if (value >> 32 || (is_paging && !(value & X86_CR0_PE)) ||
        (value & X86_CR0_NW && !(value & X86_CR0_CD)))
        return false;
    if (is_paging && !was_paging && cpu->efer & X86_EFER_LME)
        return cpu->cr4 & X86_CR4_PAE && !(cpu->segment[HV_CS].attributes & HV_SEG_L);
    if (!is_paging && was_paging)
        return cpu->code_size != EMU_CODE64 && !(cpu->cr4 & X86_CR4_PCIDE);
    return true;
}

bool emu_write_cr0(struct emu_cpu *cpu, uint64_t value)
{
    uint64_t changed, efer = cpu->efer;

    if (!is_cr0_valid(cpu, value))
        return emu_fail(cpu, X86_GP, 0);
    value = (value & (CR0_DEFINED | X86_CR0_PG)) | X86_CR0_ET;
    changed = value ^ cpu->cr0;
    if (changed & X86_CR0_PG) {
        if (value & X86_CR0_PG && efer & X86_EFER_LME)
            efer |= X86_EFER_LMA;
        else
            efer &= ~(uint64_t)X86_EFER_LMA;
        if (is_pae_paging(value, cpu->cr4, efer) && !check_pdptes(cpu, cpu->cr3))
            return false;
    }
    cpu->cr0 = value;
    cpu->efer = efer;
    if (changed & (X86_CR0_PG | X86_CR0_WP | X86_CR0_PE))
        emu_tlb_flush_all(cpu);
    emu_mode_changed(cpu);
    return true;
}

/* ---- CR3 ---- */

#define CR3_NO_FLUSH UINT64_C(0x8000000000000000)

bool emu_write_cr3(struct emu_cpu *cpu, uint64_t value)
{
    if (emu_is_long(cpu)) {
        /* With PCIDs bit 63 allows to keep translations, which need not be made use of. */
        if (cpu->cr4 & X86_CR4_PCIDE)
            value &= ~CR3_NO_FLUSH;
        if (value & ~(cpu->phys_mask | 0xfff))
            return emu_fail(cpu, X86_GP, 0);
    } else {
        value &= UINT32_MAX;
        if (is_pae_paging(cpu->cr0, cpu->cr4, cpu->efer) && !check_pdptes(cpu, value))
            return false;
    }
    cpu->cr3 = value;
    emu_tlb_flush_non_global(cpu);
    return true;
}

/* ---- CR4 ---- */

/* Bits that are there when CPUID says so. */
static const struct {
    uint32_t bit;
    uint32_t leaf;
    uint8_t reg, feature;
} cr4_features[] = {
    { X86_CR4_OSFXSR, 1, 3, 24 },  { X86_CR4_OSXMMEXCPT, 1, 3, 25 }, { X86_CR4_PCIDE, 1, 2, 17 },
    { X86_CR4_OSXSAVE, 1, 2, 26 }, { X86_CR4_FSGSBASE, 7, 1, 0 },    { X86_CR4_SMEP, 7, 1, 7 },
    { X86_CR4_SMAP, 7, 1, 20 },    { X86_CR4_UMIP, 7, 2, 2 },
};

enum {
    CR4_ALWAYS = X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE | X86_CR4_PAE | X86_CR4_MCE | X86_CR4_PGE |
                 X86_CR4_PCE,
    CR4_TRANSLATION =
        X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PCIDE | X86_CR4_SMEP | X86_CR4_SMAP,
};

/* Bits newly set must be offered; what is set already has been asked for. */
static bool is_cr4_offered(struct emu_cpu *cpu, uint64_t value)
{
    uint64_t asked = value & ~cpu->cr4 & ~(uint64_t)CR4_ALWAYS;

    for (unsigned i = 0; i < HV_ARRAY_SIZE(cr4_features) && asked; i++)
        if (asked & cr4_features[i].bit &&
            emu_has_feature(cpu, cr4_features[i].leaf, cr4_features[i].reg,
                            cr4_features[i].feature))
            asked &= ~(uint64_t)cr4_features[i].bit;
    return asked == 0;
}

bool emu_write_cr4(struct emu_cpu *cpu, uint64_t value)
{
    uint64_t changed = value ^ cpu->cr4;
    bool is_bad = (emu_is_long(cpu) && !(value & X86_CR4_PAE)) ||
                  (changed & value & X86_CR4_PCIDE && (!emu_is_long(cpu) || cpu->cr3 & 0xfff));

    if (is_bad || !is_cr4_offered(cpu, value))
        return emu_fail(cpu, X86_GP, 0);
    if (changed & (X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PSE) &&
        is_pae_paging(cpu->cr0, value, cpu->efer) && !check_pdptes(cpu, cpu->cr3))
        return false;
    /* Flushed before and after: SMAP decides which translations exist. */
    if (changed & CR4_TRANSLATION)
        emu_tlb_flush_all(cpu);
    cpu->cr4 = value;
    if (changed & CR4_TRANSLATION)
        emu_tlb_flush_all(cpu);
    emu_mode_changed(cpu);
    return true;
}

/* ---- EFER ---- */

bool emu_write_efer(struct emu_cpu *cpu, uint64_t value)
{
    static const struct {
        uint32_t bits, leaf;
        uint8_t reg, feature;
    } rows[] = { { X86_EFER_SCE, 0x80000001, 3, 11 },
                 { X86_EFER_NXE, 0x80000001, 3, 20 },
                 { X86_EFER_FFXSR, 0x80000001, 3, 25 },
                 { X86_EFER_LME | X86_EFER_LMA, 0x80000001, 3, 29 },
                 { X86_EFER_AIBRSE, 0x80000021, 0, 8 } };
    uint64_t changed, asked = value & ~cpu->efer;

    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows) && asked; i++)
        if (asked & rows[i].bits &&
            emu_has_feature(cpu, rows[i].leaf, rows[i].reg, rows[i].feature))
            asked &= ~(uint64_t)rows[i].bits;
    if (asked)
        return emu_fail(cpu, X86_GP, 0);
    value = (value & ~(uint64_t)X86_EFER_LMA) | (cpu->efer & X86_EFER_LMA);
    changed = value ^ cpu->efer;
    if (changed & X86_EFER_LME && cpu->cr0 & X86_CR0_PG)
        return emu_fail(cpu, X86_GP, 0);
    cpu->efer = value;
    if (changed & X86_EFER_NXE)
        emu_tlb_flush_all(cpu);
    emu_mode_changed(cpu);
    return true;
}

/* ---- mov to and from control registers ---- */

static bool write_cr8(struct emu_cpu *cpu, uint64_t value)
{
    if (value > 15)
        return emu_fail(cpu, X86_GP, 0);
    if (cpu->lapic)
        x86_lapic_set_tpr(cpu->lapic, (uint8_t)(value << 4));
    return true;
}

static enum emu_result read_control(struct emu_cpu *cpu, unsigned number, unsigned reg,
                                    unsigned size)
{
    uint64_t value;

    switch (number) {
    case 0: value = cpu->cr0; break;
    case 2: value = cpu->cr2; break;
    case 3: value = cpu->cr3; break;
    case 4: value = cpu->cr4; break;
    case 8: value = cpu->lapic ? x86_lapic_cr8(cpu->lapic) : 0; break;
    default: return emu_ud(cpu);
    }
    emu_gpr_set(cpu, reg, size, value);
    return EMU_NEXT;
}

static enum emu_result write_control(struct emu_cpu *cpu, unsigned number, uint64_t value)
{
    bool is_done = true;

    switch (number) {
    case 0: is_done = emu_write_cr0(cpu, value); break;
    case 2: cpu->cr2 = value; return EMU_NEXT;
    case 3: is_done = emu_write_cr3(cpu, value); break;
    case 4: is_done = emu_write_cr4(cpu, value); break;
    case 8: is_done = write_cr8(cpu, value); break;
    default: return emu_ud(cpu);
    }
    return is_done ? EMU_LEAVE : EMU_FAULT;
}

static bool is_control_register(unsigned number)
{
    return number == 0 || (number >= 2 && number <= 4) || number == 8;
}

enum emu_result emu_mov_control(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned size = cpu->code_size == EMU_CODE64 ? 8 : 4;
    bool is_write = insn->op[0].kind == EMU_OPD_CR;
    unsigned number = insn->op[is_write ? 0 : 1].reg, reg = insn->op[is_write ? 1 : 0].reg;

    if (!is_control_register(number))
        return emu_ud(cpu);
    if (cpu->cpl != 0)
        return emu_gp0(cpu);
    if (!is_write)
        return read_control(cpu, number, reg, size);
    return write_control(cpu, number, emu_gpr_get(cpu, reg, size));
}

/* ---- Debug registers ---- */

#define DR6_FIXED UINT64_C(0xffff0ff0)

enum {
    DR6_WRITABLE = 0xe00f,
    DR6_BD = 0x2000,
    DR7_FIXED = 0x400,
    DR7_GD = 0x2000,
};
#define DR7_WRITABLE UINT64_C(0xffff23ff)

static enum emu_result write_debug(struct emu_cpu *cpu, unsigned number, uint64_t value)
{
    if (number < 4) {
        cpu->dr[number] = value;
        return EMU_NEXT;
    }
    if (value >> 32)
        return emu_gp0(cpu);
    if (number == 6)
        cpu->dr6 = (value & DR6_WRITABLE) | DR6_FIXED;
    else
        cpu->dr7 = (value & DR7_WRITABLE) | DR7_FIXED;
    emu_mode_changed(cpu);
    return EMU_LEAVE;
}

enum emu_result emu_mov_debug(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned size = cpu->code_size == EMU_CODE64 ? 8 : 4;
    bool is_write = insn->op[0].kind == EMU_OPD_DR;
    unsigned number = insn->op[is_write ? 0 : 1].reg, reg = insn->op[is_write ? 1 : 0].reg;

    if (number > 7 || ((number == 4 || number == 5) && cpu->cr4 & X86_CR4_DE))
        return emu_ud(cpu);
    if (cpu->cpl != 0)
        return emu_gp0(cpu);
    if (cpu->dr7 & DR7_GD) {
        cpu->dr6 |= DR6_BD;
        return emu_raise(cpu, X86_DB);
    }
    if (number == 4 || number == 5)
        number += 2;
    if (is_write)
        return write_debug(cpu, number, emu_gpr_get(cpu, reg, size));
    emu_gpr_set(cpu, reg, size, number < 4 ? cpu->dr[number] : number == 6 ? cpu->dr6 : cpu->dr7);
    return EMU_NEXT;
}
