/* SPDX-License-Identifier: Apache-2.0 */
/* What the LAPIC's files share: registers as numbers (offset in the page >> 4, which is also the
 * low byte of the x2APIC MSR), and the steps between them. */
#pragma once

#include "hvcore/x86/lapic.h"

enum lapic_register {
    LAPIC_ID = 0x02,
    LAPIC_VERSION = 0x03,
    LAPIC_TPR = 0x08,
    LAPIC_APR = 0x09,
    LAPIC_PPR = 0x0a,
    LAPIC_EOI = 0x0b,
    LAPIC_RRR = 0x0c,
    LAPIC_LDR = 0x0d,
    LAPIC_DFR = 0x0e,
    LAPIC_SVR = 0x0f,
    LAPIC_ISR = 0x10,
    LAPIC_TMR = 0x18,
    LAPIC_IRR = 0x20,
    LAPIC_ESR = 0x28,
    LAPIC_ICR = 0x30,
    LAPIC_ICR_HIGH = 0x31,
    LAPIC_LVT = 0x32,
    LAPIC_TIMER_INITIAL = 0x38,
    LAPIC_TIMER_CURRENT = 0x39,
    LAPIC_TIMER_DIVIDE = 0x3e,
    LAPIC_SELF_IPI = 0x3f
};

enum lapic_lvt {
    LAPIC_LVT_TIMER,
    LAPIC_LVT_THERMAL,
    LAPIC_LVT_PERFORMANCE,
    LAPIC_LVT_LINT0,
    LAPIC_LVT_LINT1,
    LAPIC_LVT_ERROR
};

enum {
    LAPIC_LVT_MODE_SHIFT = 8,
    LAPIC_LVT_REMOTE_IRR = 1 << 14,
    LAPIC_LVT_LEVEL = 1 << 15,
    LAPIC_LVT_MASKED = 1 << 16,
    LAPIC_TIMER_MODE = 3 << 17,
    LAPIC_TIMER_ONE_SHOT = 0 << 17,
    LAPIC_TIMER_PERIODIC = 1 << 17,
    LAPIC_TIMER_TSC_DEADLINE = 2 << 17,
    LAPIC_SVR_ENABLE = 1 << 8,
    LAPIC_SVR_RESET = 0xff,
    LAPIC_VERSION_VALUE = 0x14 | (X86_LAPIC_N_LVTS - 1) << 16,
    LAPIC_ERROR_SEND_VECTOR = 1 << 5,
    LAPIC_ERROR_RECEIVE_VECTOR = 1 << 6,
    LAPIC_ERROR_REGISTER = 1 << 7,
    LAPIC_FIRST_VECTOR = 16
};

#define LAPIC_DFR_FLAT UINT32_C(0xffffffff)

static inline bool lapic_is_x2apic(const struct x86_lapic *lapic)
{
    return atomic_load_explicit(&lapic->apic_base, memory_order_relaxed) & X86_APIC_BASE_X2APIC;
}

static inline bool lapic_is_enabled(const struct x86_lapic *lapic)
{
    return atomic_load_explicit(&lapic->apic_base, memory_order_relaxed) & X86_APIC_BASE_ENABLE;
}

static inline bool lapic_is_software_enabled(const struct x86_lapic *lapic)
{
    return atomic_load_explicit(&lapic->svr, memory_order_relaxed) & LAPIC_SVR_ENABLE;
}

static inline uint64_t lapic_host_tsc(const struct x86_lapic_bus *bus)
{
    return bus->host_tsc ? bus->host_tsc() : __builtin_ia32_rdtsc();
}

/* lapic.c */
void lapic_update_ppr(struct x86_lapic *lapic);
void lapic_kick_if_deliverable(struct x86_lapic *lapic);
void lapic_post_lvt(struct x86_lapic *lapic, enum lapic_lvt index);
void lapic_error(struct x86_lapic *lapic, uint32_t bits);
void lapic_set_bit(_Atomic uint64_t reg[static 4], uint8_t vector);

/* lapic_icr.c */
void lapic_write_icr(struct x86_lapic *lapic, uint64_t icr);
void lapic_self_ipi(struct x86_lapic *lapic, uint8_t vector);

/* lapic_timer.c */
void lapic_timer_expire(struct x86_lapic *lapic);
/* Tell ops when the timer is due next, or that it isn't. */
void lapic_timer_rearm(struct x86_lapic *lapic);
void lapic_timer_stop(struct x86_lapic *lapic);
void lapic_timer_write_initial(struct x86_lapic *lapic, uint32_t count);
void lapic_timer_write_divide(struct x86_lapic *lapic, uint32_t divide);
void lapic_timer_write_lvt(struct x86_lapic *lapic, uint32_t lvt);
void lapic_timer_write_deadline(struct x86_lapic *lapic, uint64_t deadline);
uint32_t lapic_timer_current(const struct x86_lapic *lapic);
/* Count down from `current` as if the timer had been running. */
void lapic_timer_restore(struct x86_lapic *lapic, uint32_t initial, uint32_t current);

/* lapic_regs.c */
uint32_t lapic_lvt_writable(enum lapic_lvt index);
bool lapic_apic_base_is_valid(const struct x86_lapic *lapic, uint64_t value);
