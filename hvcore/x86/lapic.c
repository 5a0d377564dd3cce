/* SPDX-License-Identifier: Apache-2.0 */
/* Acceptance, priority and end of interrupts (AMD64 vol. 2, 16.6). */
#include "hvcore/x86/lapic_priv.h"

#include <string.h>

void x86_lapic_bus_init(struct x86_lapic_bus *bus, uint64_t tsc_hz)
{
    const __uint128_t one = (__uint128_t)1 << 32;

    hv_assert(tsc_hz > 0);
    *bus = (struct x86_lapic_bus){
        .tsc_hz = tsc_hz,
        .max_gpa = UINT64_C(1) << 40,
        .ticks_per_ns_q32 = (uint64_t)(one * tsc_hz / X86_LAPIC_HZ),
        .ns_per_tick_q32 = (uint64_t)(one * X86_LAPIC_HZ / tsc_hz),
    };
}

void x86_lapic_init(struct x86_lapic *lapic, struct x86_lapic_bus *bus,
                    const struct x86_lapic_ops *ops, void *opaque)
{
    hv_assert(bus->n_lapics < X86_LAPIC_MAX);
    memset(lapic, 0, sizeof(*lapic));
    lapic->bus = bus;
    lapic->ops = ops;
    lapic->opaque = opaque;
    lapic->id = bus->n_lapics;
    bus->lapics[bus->n_lapics++] = lapic;
    x86_lapic_reset(lapic, false);
}

static void clear_interrupts(struct x86_lapic *lapic)
{
    for (unsigned i = 0; i < 4; i++) {
        atomic_store(&lapic->irr[i], 0);
        atomic_store(&lapic->tmr[i], 0);
        atomic_store(&lapic->eoi_watch[i], 0);
        lapic->isr[i] = 0;
    }
}

void x86_lapic_reset(struct x86_lapic *lapic, bool is_init)
{
    lapic_timer_stop(lapic);
    clear_interrupts(lapic);
    if (!is_init) {
        atomic_store(&lapic->events, 0);
        atomic_store(&lapic->lines, 0);
        atomic_store(&lapic->apic_base, UINT64_C(0xfee00000) | X86_APIC_BASE_ENABLE |
                                            (lapic->id == 0 ? X86_APIC_BASE_BSP : 0));
    }
    atomic_fetch_and(&lapic->lines, ~(uint32_t)X86_LAPIC_EXTINT_MESSAGE);
    atomic_store(&lapic->esr_pending, 0);
    /* In x2APIC mode the logical ID is derived from the physical one, and survives INIT. */
    if (!lapic_is_x2apic(lapic))
        atomic_store(&lapic->ldr, 0);
    atomic_store(&lapic->dfr, LAPIC_DFR_FLAT);
    atomic_store(&lapic->svr, LAPIC_SVR_RESET);
    for (unsigned i = 0; i < X86_LAPIC_N_LVTS; i++)
        atomic_store(&lapic->lvt[i], LAPIC_LVT_MASKED);
    atomic_store(&lapic->tpr, 0);
    atomic_store(&lapic->ppr, 0);
    lapic->icr = 0;
    lapic->esr = 0;
    lapic->timer_divide = 0;
    lapic->timer_initial = 0;
}

void lapic_set_bit(_Atomic uint64_t reg[static 4], uint8_t vector)
{
    atomic_fetch_or(&reg[vector / 64], UINT64_C(1) << vector % 64);
}

static void clear_bit(_Atomic uint64_t reg[static 4], uint8_t vector)
{
    atomic_fetch_and(&reg[vector / 64], ~(UINT64_C(1) << vector % 64));
}

static bool test_bit(const _Atomic uint64_t reg[static 4], uint8_t vector)
{
    return atomic_load(&reg[vector / 64]) >> vector % 64 & 1;
}

static int highest_in_service(const struct x86_lapic *lapic)
{
    for (int i = 3; i >= 0; i--)
        if (lapic->isr[i] != 0)
            return i * 64 + 63 - __builtin_clzll(lapic->isr[i]);
    return -1;
}

/* The trigger mode stands in TMR before the request is seen in IRR. */
static void accept_fixed(struct x86_lapic *lapic, uint8_t vector, bool is_level)
{
    uint64_t bit = UINT64_C(1) << vector % 64;

    if (!lapic_is_enabled(lapic) || !lapic_is_software_enabled(lapic))
        return;
    if (vector < LAPIC_FIRST_VECTOR) {
        lapic_error(lapic, LAPIC_ERROR_RECEIVE_VECTOR);
        return;
    }
    if (is_level)
        lapic_set_bit(lapic->tmr, vector);
    else if (test_bit(lapic->tmr, vector))
        clear_bit(lapic->tmr, vector);
    /* A request that already stands was kicked by whom made it. */
    if (!(atomic_fetch_or(&lapic->irr[vector / 64], bit) & bit))
        lapic->ops->kick(lapic->opaque);
}

/* INIT withdraws an earlier SIPI; a later SIPI stands beside it. */
static void raise_init(struct x86_lapic *lapic)
{
    uint32_t old = atomic_load(&lapic->events);

    while (!atomic_compare_exchange_weak(
        &lapic->events, &old, (old & ~(uint32_t)X86_LAPIC_EVENT_SIPI) | X86_LAPIC_EVENT_INIT)) {
    }
    lapic->ops->kick(lapic->opaque);
}

void x86_lapic_raise(struct x86_lapic *lapic, enum x86_lapic_event event)
{
    atomic_fetch_or(&lapic->events, event);
    lapic->ops->kick(lapic->opaque);
}

void x86_lapic_post(struct x86_lapic *lapic, const struct hv_interrupt *interrupt)
{
    switch (interrupt->delivery_mode) {
    case HV_DELIVER_FIXED:
    case HV_DELIVER_LOWEST: accept_fixed(lapic, interrupt->vector, interrupt->is_level); break;
    case HV_DELIVER_NMI: x86_lapic_raise(lapic, X86_LAPIC_EVENT_NMI); break;
    case HV_DELIVER_INIT: raise_init(lapic); break;
    case HV_DELIVER_SIPI:
        atomic_store(&lapic->sipi_vector, interrupt->vector);
        x86_lapic_raise(lapic, X86_LAPIC_EVENT_SIPI);
        break;
    case HV_DELIVER_EXTINT:
        atomic_fetch_or(&lapic->lines, X86_LAPIC_EXTINT_MESSAGE);
        lapic->ops->kick(lapic->opaque);
        break;
    default: break; /* SMI: there is no system management mode; reserved: dropped */
    }
}

void lapic_post_lvt(struct x86_lapic *lapic, enum lapic_lvt index)
{
    uint32_t lvt = atomic_load(&lapic->lvt[index]);
    struct hv_interrupt interrupt = { .vector = (uint8_t)lvt };

    if (lvt & LAPIC_LVT_MASKED)
        return;
    if (index == LAPIC_LVT_LINT0 || index == LAPIC_LVT_LINT1) {
        interrupt.delivery_mode = lvt >> LAPIC_LVT_MODE_SHIFT & 7;
        interrupt.is_level = lvt & LAPIC_LVT_LEVEL;
    }
    if (interrupt.is_level && interrupt.delivery_mode == HV_DELIVER_FIXED)
        atomic_fetch_or(&lapic->lvt[index], LAPIC_LVT_REMOTE_IRR);
    x86_lapic_post(lapic, &interrupt);
}

void lapic_error(struct x86_lapic *lapic, uint32_t bits)
{
    uint32_t old = atomic_fetch_or(&lapic->esr_pending, bits);
    uint8_t vector = (uint8_t)atomic_load(&lapic->lvt[LAPIC_LVT_ERROR]);

    /* An illegal error vector would be an error again. */
    if ((old & bits) != bits && vector >= LAPIC_FIRST_VECTOR)
        lapic_post_lvt(lapic, LAPIC_LVT_ERROR);
}

void x86_lapic_set_lint(struct x86_lapic *lapic, unsigned pin, bool level)
{
    uint32_t bit = pin == 0 ? X86_LAPIC_LINT0 : X86_LAPIC_LINT1;
    enum lapic_lvt index = pin == 0 ? LAPIC_LVT_LINT0 : LAPIC_LVT_LINT1;

    if (!level) {
        atomic_fetch_and(&lapic->lines, ~bit);
        return;
    }
    if (atomic_fetch_or(&lapic->lines, bit) & bit)
        return;
    /* ExtINT follows the level by itself; other modes take the edge as a message. */
    if ((atomic_load(&lapic->lvt[index]) >> LAPIC_LVT_MODE_SHIFT & 7) != HV_DELIVER_EXTINT &&
        lapic_is_enabled(lapic))
        lapic_post_lvt(lapic, index);
    else if (pin == 0)
        lapic->ops->kick(lapic->opaque);
}

void lapic_update_ppr(struct x86_lapic *lapic)
{
    uint8_t tpr = atomic_load_explicit(&lapic->tpr, memory_order_relaxed);
    int in_service = highest_in_service(lapic);
    uint8_t ppr = tpr;

    if (in_service >> 4 > tpr >> 4)
        ppr = (uint8_t)(in_service & 0xf0);
    atomic_store_explicit(&lapic->ppr, ppr, memory_order_relaxed);
}

void lapic_kick_if_deliverable(struct x86_lapic *lapic)
{
    if (x86_lapic_is_deliverable(lapic))
        lapic->ops->kick(lapic->opaque);
}

uint32_t x86_lapic_take_events(struct x86_lapic *lapic)
{
    uint32_t events;

    if (!x86_lapic_has_events(lapic))
        return 0;
    events = atomic_exchange(&lapic->events, 0);
    if (events & X86_LAPIC_EVENT_TIMER)
        lapic_timer_expire(lapic);
    return events & ~(uint32_t)X86_LAPIC_EVENT_TIMER;
}

static int acknowledge_pic(struct x86_lapic *lapic)
{
    atomic_fetch_and(&lapic->lines, ~(uint32_t)X86_LAPIC_EXTINT_MESSAGE);
    return lapic->bus->pic_acknowledge ? lapic->bus->pic_acknowledge(lapic->bus->opaque) : -1;
}

int x86_lapic_acknowledge(struct x86_lapic *lapic)
{
    int vector;

    if (x86_lapic_wants_pic(lapic))
        return acknowledge_pic(lapic);
    vector = x86_lapic_highest(lapic->irr);
    if (vector < 0 || vector >> 4 <= lapic->ppr >> 4)
        return -1;
    lapic->isr[vector / 64] |= UINT64_C(1) << vector % 64;
    clear_bit(lapic->irr, (uint8_t)vector);
    lapic_update_ppr(lapic);
    return vector;
}

bool x86_lapic_requeue(struct x86_lapic *lapic, uint8_t vector)
{
    uint64_t bit = UINT64_C(1) << vector % 64;

    if (!(lapic->isr[vector / 64] & bit))
        return false;
    lapic->isr[vector / 64] &= ~bit;
    lapic_set_bit(lapic->irr, vector);
    lapic_update_ppr(lapic);
    lapic_kick_if_deliverable(lapic);
    return true;
}

void x86_lapic_set_tpr(struct x86_lapic *lapic, uint8_t tpr)
{
    atomic_store_explicit(&lapic->tpr, tpr, memory_order_relaxed);
    lapic_update_ppr(lapic);
    lapic_kick_if_deliverable(lapic);
}

/* A level-triggered LINT pin that is still asserted asks again. */
static void end_of_level(struct x86_lapic *lapic, uint8_t vector)
{
    for (unsigned pin = 0; pin < 2; pin++) {
        enum lapic_lvt index = pin == 0 ? LAPIC_LVT_LINT0 : LAPIC_LVT_LINT1;
        uint32_t lvt = atomic_load(&lapic->lvt[index]);

        if (!(lvt & LAPIC_LVT_REMOTE_IRR) || (uint8_t)lvt != vector)
            continue;
        atomic_fetch_and(&lapic->lvt[index], ~(uint32_t)LAPIC_LVT_REMOTE_IRR);
        if (atomic_load(&lapic->lines) & (pin == 0 ? X86_LAPIC_LINT0 : X86_LAPIC_LINT1))
            lapic_post_lvt(lapic, index);
    }
    if (lapic->bus->end_of_interrupt)
        lapic->bus->end_of_interrupt(lapic->bus->opaque, vector);
}

void x86_lapic_watch_eoi(struct x86_lapic *lapic, uint8_t vector)
{
    lapic_set_bit(lapic->eoi_watch, vector);
}

void x86_lapic_eoi(struct x86_lapic *lapic)
{
    int vector = highest_in_service(lapic);

    if (vector < 0)
        return;
    lapic->isr[vector / 64] &= ~(UINT64_C(1) << vector % 64);
    lapic_update_ppr(lapic);
    if (test_bit(lapic->tmr, (uint8_t)vector))
        end_of_level(lapic, (uint8_t)vector);
    if (test_bit(lapic->eoi_watch, (uint8_t)vector)) {
        clear_bit(lapic->eoi_watch, (uint8_t)vector);
        if (lapic->bus->watched_eoi)
            lapic->bus->watched_eoi(lapic->bus->opaque, lapic->id, (uint8_t)vector);
    }
    lapic_kick_if_deliverable(lapic);
}
