/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The LAPIC's registers as the guest reaches them: the xAPIC page, and the x2APIC MSRs with their
 * stricter rules (reserved bits, read-only and missing registers raise #GP).
 *
 * spec: AMD64 vol. 2 table 16-2; Intel SDM vol. 3 "x2APIC Register Address Space"
 */
#include "hvcore/x86/lapic_priv.h"

#include <string.h>

enum {
    MSR_APIC_BASE = 0x1b,
    MSR_TSC_DEADLINE = 0x6e0,
    SVR_WRITABLE = 0x3ff,
    TIMER_DIVIDE_WRITABLE = 0xb,
    ICR_LOW_WRITABLE = 0xccfff, /* not the delivery status */
    X2APIC_LOGICAL_SHIFT = 4
};

uint32_t lapic_lvt_writable(enum lapic_lvt index)
{
    static const uint32_t writable[X86_LAPIC_N_LVTS] = {
        [LAPIC_LVT_TIMER] = 0x700ff,       [LAPIC_LVT_THERMAL] = 0x107ff,
        [LAPIC_LVT_PERFORMANCE] = 0x107ff, [LAPIC_LVT_LINT0] = 0x1a7ff,
        [LAPIC_LVT_LINT1] = 0x1a7ff,       [LAPIC_LVT_ERROR] = 0x100ff,
    };

    return writable[index];
}

static uint32_t read_256(const _Atomic uint64_t reg[static 4], unsigned word)
{
    return (uint32_t)(atomic_load(&reg[word / 2]) >> word % 2 * 32);
}

static uint32_t read_id(const struct x86_lapic *lapic)
{
    return lapic_is_x2apic(lapic) ? lapic->id : lapic->id << 24;
}

/* Registers that come in rows. */
static bool read_row(const struct x86_lapic *lapic, unsigned reg, uint32_t *ret)
{
    unsigned word = reg & 7;

    switch (reg & ~7U) {
    case LAPIC_ISR: *ret = (uint32_t)(lapic->isr[word / 2] >> word % 2 * 32); return true;
    case LAPIC_TMR: *ret = read_256(lapic->tmr, word); return true;
    case LAPIC_IRR: *ret = read_256(lapic->irr, word); return true;
    default: break;
    }
    if (reg < LAPIC_LVT || reg >= LAPIC_LVT + X86_LAPIC_N_LVTS)
        return false;
    *ret = atomic_load(&lapic->lvt[reg - LAPIC_LVT]);
    return true;
}

/* What both modes can read in 32 bits. */
static bool read_register(const struct x86_lapic *lapic, unsigned reg, uint32_t *ret)
{
    switch (reg) {
    case LAPIC_ID: *ret = read_id(lapic); return true;
    case LAPIC_VERSION: *ret = LAPIC_VERSION_VALUE; return true;
    case LAPIC_TPR: *ret = lapic->tpr; return true;
    case LAPIC_PPR: *ret = lapic->ppr; return true;
    case LAPIC_LDR: *ret = atomic_load(&lapic->ldr); return true;
    case LAPIC_SVR: *ret = atomic_load(&lapic->svr); return true;
    case LAPIC_ESR: *ret = lapic->esr; return true;
    case LAPIC_ICR: *ret = (uint32_t)lapic->icr; return true;
    case LAPIC_TIMER_INITIAL: *ret = lapic->timer_initial; return true;
    case LAPIC_TIMER_CURRENT: *ret = lapic_timer_current(lapic); return true;
    case LAPIC_TIMER_DIVIDE: *ret = lapic->timer_divide; return true;
    default: return read_row(lapic, reg, ret);
    }
}

/* While software-disabled all LVT entries are masked and stay so. */
static void write_svr(struct x86_lapic *lapic, uint32_t value)
{
    atomic_store(&lapic->svr, value & SVR_WRITABLE);
    if (value & LAPIC_SVR_ENABLE)
        return;
    for (unsigned i = 0; i < X86_LAPIC_N_LVTS; i++)
        atomic_fetch_or(&lapic->lvt[i], LAPIC_LVT_MASKED);
}

static void write_lvt(struct x86_lapic *lapic, enum lapic_lvt index, uint32_t value)
{
    value &= lapic_lvt_writable(index);
    if (!lapic_is_software_enabled(lapic))
        value |= LAPIC_LVT_MASKED;
    if (index == LAPIC_LVT_TIMER) {
        lapic_timer_write_lvt(lapic, value);
        return;
    }
    atomic_store(&lapic->lvt[index], value);
    lapic_kick_if_deliverable(lapic);
}

/* What both modes can write in 32 bits; false: no such register. */
static bool write_register(struct x86_lapic *lapic, unsigned reg, uint32_t value)
{
    switch (reg) {
    case LAPIC_TPR: x86_lapic_set_tpr(lapic, (uint8_t)value); return true;
    case LAPIC_EOI: x86_lapic_eoi(lapic); return true;
    case LAPIC_SVR: write_svr(lapic, value); return true;
    case LAPIC_ESR: lapic->esr = atomic_exchange(&lapic->esr_pending, 0); return true;
    case LAPIC_TIMER_INITIAL: lapic_timer_write_initial(lapic, value); return true;
    case LAPIC_TIMER_DIVIDE: lapic_timer_write_divide(lapic, value); return true;
    default: break;
    }
    if (reg < LAPIC_LVT || reg >= LAPIC_LVT + X86_LAPIC_N_LVTS)
        return false;
    write_lvt(lapic, reg - LAPIC_LVT, value);
    return true;
}

static bool read_xapic(const struct x86_lapic *lapic, unsigned reg, uint32_t *ret)
{
    switch (reg) {
    case LAPIC_APR:
    case LAPIC_RRR:
    case LAPIC_EOI: *ret = 0; return true;
    case LAPIC_DFR: *ret = atomic_load(&lapic->dfr); return true;
    case LAPIC_ICR_HIGH: *ret = (uint32_t)(lapic->icr >> 32); return true;
    default: return read_register(lapic, reg, ret);
    }
}

uint64_t x86_lapic_icr(const struct x86_lapic *lapic)
{
    return lapic->icr;
}

void x86_lapic_set_icr(struct x86_lapic *lapic, uint64_t icr)
{
    lapic_write_icr(lapic, icr & (UINT64_C(0xffffffff00000000) | ICR_LOW_WRITABLE));
}

static bool write_xapic(struct x86_lapic *lapic, unsigned reg, uint32_t value)
{
    switch (reg) {
    case LAPIC_LDR: atomic_store(&lapic->ldr, value & 0xff000000); return true;
    case LAPIC_DFR: atomic_store(&lapic->dfr, value | 0x0fffffff); return true;
    case LAPIC_ICR_HIGH:
        lapic->icr = (uint32_t)lapic->icr | (uint64_t)(value & 0xff000000) << 32;
        return true;
    case LAPIC_ICR:
        lapic_write_icr(lapic, (lapic->icr & ~(uint64_t)UINT32_MAX) | (value & ICR_LOW_WRITABLE));
        return true;
    case LAPIC_ID: /* fixed here, as the topology in CPUID says */
    case LAPIC_VERSION:
    case LAPIC_PPR:
    case LAPIC_TIMER_CURRENT: return true;
    default: return write_register(lapic, reg, value);
    }
}

/* Registers stand at multiples of 16 and are 4 bytes wide; beside them nothing is defined, and
 * reads as zero. */
uint64_t x86_lapic_mmio_read(struct x86_lapic *lapic, uint32_t offset, unsigned size)
{
    unsigned byte = offset & 15;
    uint32_t value;

    if (byte + size > 4 && !(byte == 0 && size == 8))
        return 0;
    if (!read_xapic(lapic, offset >> 4 & 0xff, &value)) {
        lapic_error(lapic, LAPIC_ERROR_REGISTER);
        return 0;
    }
    value >>= byte * 8;
    return size < 4 ? value & ((UINT32_C(1) << size * 8) - 1) : value;
}

void x86_lapic_mmio_write(struct x86_lapic *lapic, uint32_t offset, unsigned size, uint64_t value)
{
    if ((offset & 15) != 0 || size < 4)
        return;
    if (!write_xapic(lapic, offset >> 4 & 0xff, (uint32_t)value))
        lapic_error(lapic, LAPIC_ERROR_REGISTER);
}

/* Bits that may be set when writing an x2APIC register; 0 where the register can't be written. */
static uint64_t x2apic_writable(unsigned reg)
{
    if (reg >= LAPIC_LVT && reg < LAPIC_LVT + X86_LAPIC_N_LVTS)
        /* Delivery status and remote IRR are read-only, not reserved. */
        return lapic_lvt_writable(reg - LAPIC_LVT) | 0x5000;
    switch (reg) {
    case LAPIC_TPR: return 0xff;
    case LAPIC_SVR: return SVR_WRITABLE;
    case LAPIC_ICR: return UINT64_C(0xffffffff00000000) | ICR_LOW_WRITABLE;
    case LAPIC_TIMER_INITIAL: return UINT32_MAX;
    case LAPIC_TIMER_DIVIDE: return TIMER_DIVIDE_WRITABLE;
    case LAPIC_SELF_IPI: return 0xff;
    default: return 0; /* EOI and ESR take 0 alone */
    }
}

static bool write_x2apic(struct x86_lapic *lapic, unsigned reg, uint64_t value)
{
    if (value & ~x2apic_writable(reg))
        return false;
    switch (reg) {
    case LAPIC_ICR: lapic_write_icr(lapic, value); return true;
    case LAPIC_SELF_IPI: lapic_self_ipi(lapic, (uint8_t)value); return true;
    default: return write_register(lapic, reg, (uint32_t)value);
    }
}

static bool read_x2apic(const struct x86_lapic *lapic, unsigned reg, uint64_t *ret)
{
    uint32_t value;

    if (reg == LAPIC_ICR) {
        *ret = lapic->icr;
        return true;
    }
    if (!read_register(lapic, reg, &value))
        return false;
    *ret = value;
    return true;
}

/* Enable bits may go: off -> xAPIC -> x2APIC -> off (Intel SDM vol. 3 "x2APIC State
 * Transitions"). */
bool lapic_apic_base_is_valid(const struct x86_lapic *lapic, uint64_t value)
{
    uint64_t address = (lapic->bus->max_gpa - 1) & ~UINT64_C(0xfff);
    uint64_t mode = value & (X86_APIC_BASE_ENABLE | X86_APIC_BASE_X2APIC);

    if (value & ~(address | X86_APIC_BASE_BSP | X86_APIC_BASE_ENABLE | X86_APIC_BASE_X2APIC))
        return false;
    return mode != X86_APIC_BASE_X2APIC;
}

static void derive_logical_id(struct x86_lapic *lapic)
{
    atomic_store(&lapic->ldr, lapic->id >> X2APIC_LOGICAL_SHIFT << 16 | 1U << (lapic->id & 15));
}

static bool write_apic_base(struct x86_lapic *lapic, uint64_t value)
{
    uint64_t old = atomic_load(&lapic->apic_base);
    bool was_enabled = old & X86_APIC_BASE_ENABLE, was_x2 = old & X86_APIC_BASE_X2APIC;
    bool is_enabled = value & X86_APIC_BASE_ENABLE, is_x2 = value & X86_APIC_BASE_X2APIC;

    if (!lapic_apic_base_is_valid(lapic, value))
        return false;
    if ((was_x2 && is_enabled && !is_x2) || (!was_enabled && is_x2))
        return false;
    atomic_store(&lapic->apic_base, value);
    if (is_x2 && !was_x2) {
        derive_logical_id(lapic);
        /* xAPIC keeps the destination in the top byte, x2APIC in the top half. */
        lapic->icr = (uint32_t)lapic->icr;
    }
    if (was_enabled && !is_enabled)
        x86_lapic_reset(lapic, true);
    lapic_kick_if_deliverable(lapic);
    return true;
}

bool x86_lapic_msr_read(struct x86_lapic *lapic, uint32_t msr, uint64_t *ret)
{
    if (msr >> 8 == 8)
        return lapic_is_x2apic(lapic) && read_x2apic(lapic, msr & 0xff, ret);
    if (msr == MSR_APIC_BASE)
        *ret = atomic_load(&lapic->apic_base);
    else if (msr == MSR_TSC_DEADLINE)
        *ret = lapic->tsc_deadline;
    else
        return false;
    return true;
}

bool x86_lapic_msr_write(struct x86_lapic *lapic, uint32_t msr, uint64_t value)
{
    if (msr >> 8 == 8)
        return lapic_is_x2apic(lapic) && write_x2apic(lapic, msr & 0xff, value);
    if (msr == MSR_APIC_BASE)
        return write_apic_base(lapic, value);
    if (msr != MSR_TSC_DEADLINE)
        return false;
    lapic_timer_write_deadline(lapic, value);
    return true;
}

static void put_u32(uint8_t *page, unsigned reg, uint32_t value)
{
    memcpy(page + reg * 16, &value, sizeof(value));
}

static uint32_t get_u32(const uint8_t *page, unsigned reg)
{
    uint32_t value;

    memcpy(&value, page + reg * 16, sizeof(value));
    return value;
}

void x86_lapic_get_page(struct x86_lapic *lapic, uint8_t ret[static X86_LAPIC_STATE_BYTES])
{
    lapic_timer_expire(lapic);
    memset(ret, 0, X86_LAPIC_STATE_BYTES);
    for (unsigned reg = 0; reg < X86_LAPIC_STATE_BYTES / 16; reg++) {
        uint32_t value;

        if (read_xapic(lapic, reg, &value))
            put_u32(ret, reg, value);
    }
}

static uint64_t get_256(const uint8_t *page, unsigned reg, unsigned word)
{
    uint64_t bits = get_u32(page, reg + word * 2) | (uint64_t)get_u32(page, reg + word * 2 + 1)
                                                        << 32;

    return word == 0 ? bits & ~UINT64_C(0xffff) : bits;
}

static void set_interrupts(struct x86_lapic *lapic, const uint8_t *page)
{
    for (unsigned i = 0; i < 4; i++) {
        lapic->isr[i] = get_256(page, LAPIC_ISR, i);
        atomic_store(&lapic->tmr[i], get_256(page, LAPIC_TMR, i));
        atomic_store(&lapic->irr[i], get_256(page, LAPIC_IRR, i));
    }
    for (unsigned i = 0; i < X86_LAPIC_N_LVTS; i++)
        atomic_store(&lapic->lvt[i],
                     get_u32(page, LAPIC_LVT + i) & (lapic_lvt_writable(i) | LAPIC_LVT_REMOTE_IRR));
}

int x86_lapic_set_page(struct x86_lapic *lapic, uint64_t apic_base, uint64_t tsc_deadline,
                       const uint8_t page[static X86_LAPIC_STATE_BYTES])
{
    if (!lapic_apic_base_is_valid(lapic, apic_base))
        return -EINVAL;
    lapic_timer_stop(lapic);
    atomic_store(&lapic->apic_base, apic_base);
    set_interrupts(lapic, page);
    atomic_store(&lapic->tpr, (uint8_t)get_u32(page, LAPIC_TPR));
    atomic_store(&lapic->dfr, get_u32(page, LAPIC_DFR) | 0x0fffffff);
    atomic_store(&lapic->svr, get_u32(page, LAPIC_SVR) & SVR_WRITABLE);
    lapic->esr = get_u32(page, LAPIC_ESR);
    lapic->icr = get_u32(page, LAPIC_ICR) | (uint64_t)get_u32(page, LAPIC_ICR_HIGH) << 32;
    if (lapic_is_x2apic(lapic))
        derive_logical_id(lapic);
    else
        atomic_store(&lapic->ldr, get_u32(page, LAPIC_LDR) & 0xff000000);
    lapic_update_ppr(lapic);
    lapic->timer_divide = get_u32(page, LAPIC_TIMER_DIVIDE) & TIMER_DIVIDE_WRITABLE;
    lapic_timer_restore(lapic, get_u32(page, LAPIC_TIMER_INITIAL),
                        get_u32(page, LAPIC_TIMER_CURRENT));
    lapic_timer_write_deadline(lapic, tsc_deadline);
    return 0;
}
