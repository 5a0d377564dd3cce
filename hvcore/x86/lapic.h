/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APIC as functions of state: xAPIC page and x2APIC registers, interrupt acceptance and
 * priority, inter-processor interrupts, timer. It starts no thread and owns no timer: what it needs
 * of the world it asks through struct x86_lapic_ops.
 *
 * Two kinds of callers. *Any thread* may post: x86_lapic_post, x86_lapic_raise, x86_lapic_set_lint,
 * x86_lapic_bus_deliver; they touch only atomics and end in ops->kick of the target. Everything
 * else belongs to the thread that runs the processor (or to whom stopped it).
 *
 * A processor's run loop looks at it so:
 *
 *     events = x86_lapic_take_events(lapic);              INIT, SIPI, NMI
 *     if (interrupts are open && x86_lapic_is_deliverable(lapic))
 *         vector = x86_lapic_acknowledge(lapic);          -1: went away
 *
 * spec: AMD64 vol. 2 chapter 16; Intel SDM vol. 3 chapter "APIC" for x2APIC and TSC deadline
 */
#pragma once

#include "hvcore/base/own.h"
#include "hvcore/interrupt.h"

#include <stdatomic.h>

enum {
    X86_LAPIC_MAX = 64,            /* of one bus */
    X86_LAPIC_HZ = 1000000000,     /* the timer's input clock */
    X86_LAPIC_PAGE_BYTES = 0x1000, /* of the xAPIC register page */
    X86_LAPIC_STATE_BYTES = 0x400, /* of its architectural part, as saved */
    X86_LAPIC_N_LVTS = 6
};

enum { X86_APIC_BASE_BSP = 1 << 8, X86_APIC_BASE_X2APIC = 1 << 10, X86_APIC_BASE_ENABLE = 1 << 11 };

/* What x86_lapic_take_events returns; handle INIT before SIPI, and NMI last. */
enum x86_lapic_event {
    X86_LAPIC_EVENT_NMI = 1,
    X86_LAPIC_EVENT_INIT = 2,  /* reset the processor; call x86_lapic_reset(lapic, true) */
    X86_LAPIC_EVENT_SIPI = 4,  /* matters only in wait-for-SIPI; lapic->sipi_vector */
    X86_LAPIC_EVENT_TIMER = 8, /* consumed by take_events, never returned */
};

/* Levels of the input pins, and an ExtINT message that waits to be taken. */
enum x86_lapic_line { X86_LAPIC_LINT0 = 1, X86_LAPIC_LINT1 = 2, X86_LAPIC_EXTINT_MESSAGE = 4 };

struct x86_lapic;

/* What a LAPIC asks of its processor; opaque is lapic->opaque. */
struct x86_lapic_ops {
    /* public */
    /* Look at the LAPIC soon: leave the running block, wake from HLT or wait-for-SIPI. Any thread;
     * also from the processor's own. */
    void (*kick)(void *opaque);
    /* Call x86_lapic_raise(lapic, X86_LAPIC_EVENT_TIMER) when the host's TSC has reached
     * host_tsc; replaces an earlier call. Too early is harmless. Processor's thread. */
    void (*timer_arm)(void *opaque, uint64_t host_tsc);
    void (*timer_disarm)(void *opaque);
};

/* What the LAPICs of a partition share. */
struct x86_lapic_bus {
    /* public; set before the LAPICs run */
    void (*end_of_interrupt)(void *opaque, uint8_t vector); /* of a level one; may be NULL */
    int (*pic_acknowledge)(void *opaque);                   /* vector or -1; may be NULL */
    /* An interrupt that x86_lapic_watch_eoi asked about has ended; may be NULL. */
    void (*watched_eoi)(void *opaque, uint32_t lapic_id, uint8_t vector);
    void *opaque;
    uint64_t (*host_tsc)(void); /* NULL: the TSC itself */
    uint64_t tsc_hz;            /* of host and guest TSC alike */
    uint64_t max_gpa;           /* one past the guest physical address space (power of two) */
    /* read only */
    struct x86_lapic *lapics[X86_LAPIC_MAX];
    unsigned n_lapics;
    /* private */
    uint64_t bus_offset;       /* LAPIC bus time in TSC ticks = host TSC + bus_offset */
    uint64_t ticks_per_ns_q32; /* both with 32 fractional bits */
    uint64_t ns_per_tick_q32;
    _Atomic unsigned arbiter; /* rotates lowest-priority delivery */
};

struct x86_lapic {
    /* private; atomic: any thread may write or read */
    _Atomic uint64_t irr[4];
    _Atomic uint64_t tmr[4];
    _Atomic uint64_t eoi_watch[4];
    _Atomic uint32_t events; /* enum x86_lapic_event */
    _Atomic uint8_t sipi_vector;
    _Atomic uint32_t lines; /* enum x86_lapic_line */
    _Atomic uint32_t esr_pending;
    /* private; written by the processor's thread, read by any */
    _Atomic uint64_t apic_base;
    _Atomic uint32_t ldr;
    _Atomic uint32_t dfr;
    _Atomic uint32_t svr;
    _Atomic uint32_t lvt[X86_LAPIC_N_LVTS]; /* timer, thermal, performance, LINT0, LINT1, error */
    _Atomic uint8_t tpr;
    /* private; the processor's thread */
    _Atomic uint8_t ppr;
    bool is_timer_armed;
    uint64_t isr[4];
    uint64_t icr;
    uint32_t esr;
    uint32_t timer_divide; /* the divide configuration register */
    uint32_t timer_initial;
    uint64_t timer_end; /* bus time when the count reaches 0; 0: stopped */
    uint64_t tsc_deadline;
    _Atomic uint64_t tsc_offset; /* guest TSC = host TSC + tsc_offset */
    /* read only */
    uint32_t id;
    struct x86_lapic_bus *bus;
    const struct x86_lapic_ops *ops;
    void *opaque;
};

/* A bus with guest TSC 0 now. The caller then fills its public fields. */
void x86_lapic_bus_init(struct x86_lapic_bus *bus, uint64_t tsc_hz);

/* Join the bus with the next free APIC ID, in the power-up state; the first one is the bootstrap
 * processor. At most X86_LAPIC_MAX, before any runs. */
void x86_lapic_init(struct x86_lapic *lapic, struct x86_lapic_bus *bus,
                    const struct x86_lapic_ops *ops, void *opaque);

/* Back to the power-up state; is_init keeps APIC_BASE, as the INIT signal does. Pending events
 * are dropped unless is_init. Timers are disarmed. */
void x86_lapic_reset(struct x86_lapic *lapic, bool is_init);

/* --- any thread --- */

/* Deliver a message to whom it addresses. */
void x86_lapic_bus_deliver(struct x86_lapic_bus *bus, const struct hv_interrupt *interrupt);
/* Post to this LAPIC, whatever the message's destination says. */
void x86_lapic_post(struct x86_lapic *lapic, const struct hv_interrupt *interrupt);
void x86_lapic_raise(struct x86_lapic *lapic, enum x86_lapic_event event);
/* Have bus->watched_eoi called at the next end of an interrupt of this vector, once. */
void x86_lapic_watch_eoi(struct x86_lapic *lapic, uint8_t vector);
/* Drive LINT0 (the 8259 pair, on the bootstrap processor) or LINT1 (NMI). */
void x86_lapic_set_lint(struct x86_lapic *lapic, unsigned pin, bool level);

/* --- the processor's thread --- */

/* The highest vector of a 256-bit register, or -1. */
static inline int x86_lapic_highest(const _Atomic uint64_t reg[static 4])
{
    for (int i = 3; i >= 0; i--) {
        uint64_t word = atomic_load_explicit(&reg[i], memory_order_acquire);

        if (word != 0)
            return i * 64 + 63 - __builtin_clzll(word);
    }
    return -1;
}

/* Is the processor to ask the 8259 pair for a vector? */
static inline bool x86_lapic_wants_pic(const struct x86_lapic *lapic)
{
    uint32_t lines = atomic_load_explicit(&lapic->lines, memory_order_acquire);

    if (lines & X86_LAPIC_EXTINT_MESSAGE)
        return true;
    if (!(lines & X86_LAPIC_LINT0))
        return false;
    if (!(atomic_load_explicit(&lapic->apic_base, memory_order_relaxed) & X86_APIC_BASE_ENABLE))
        return true;
    /* Unmasked, and delivery mode ExtINT. */
    return (atomic_load_explicit(&lapic->lvt[3], memory_order_relaxed) & 0x10700) == 0x700;
}

/* Would the processor take an external interrupt now, were RFLAGS.IF set and no shadow? */
static inline bool x86_lapic_is_deliverable(const struct x86_lapic *lapic)
{
    int vector = x86_lapic_highest(lapic->irr);

    return (vector >= 0 && vector >> 4 > lapic->ppr >> 4) || x86_lapic_wants_pic(lapic);
}

static inline bool x86_lapic_has_events(const struct x86_lapic *lapic)
{
    return atomic_load_explicit(&lapic->events, memory_order_acquire) != 0;
}

/* Handle timer expiry, and return and clear the other pending events. */
uint32_t x86_lapic_take_events(struct x86_lapic *lapic);

/* Begin service of the interrupt that x86_lapic_is_deliverable promised: its vector, or -1 when
 * it went away meanwhile. */
int x86_lapic_acknowledge(struct x86_lapic *lapic);

/* Take an acknowledged vector back into the requests, as if it hadn't been. False: it isn't in
 * service here (it came from the 8259 pair). */
bool x86_lapic_requeue(struct x86_lapic *lapic, uint8_t vector);

/* CR8 and the TPR are one register. */
static inline uint64_t x86_lapic_cr8(const struct x86_lapic *lapic)
{
    return lapic->tpr >> 4;
}
void x86_lapic_set_tpr(struct x86_lapic *lapic, uint8_t tpr);

/* The interrupt command register as one number, in the form of the mode; writing it sends. */
uint64_t x86_lapic_icr(const struct x86_lapic *lapic);
void x86_lapic_set_icr(struct x86_lapic *lapic, uint64_t icr);

/* End the interrupt of the highest vector in service; nothing when there is none. */
void x86_lapic_eoi(struct x86_lapic *lapic);

/* Does the register page answer at this guest physical address? */
static inline bool x86_lapic_owns(const struct x86_lapic *lapic, uint64_t gpa)
{
    uint64_t base = atomic_load_explicit(&lapic->apic_base, memory_order_relaxed);

    return (base & (X86_APIC_BASE_ENABLE | X86_APIC_BASE_X2APIC)) == X86_APIC_BASE_ENABLE &&
           gpa >> 12 == base >> 12;
}

/* The xAPIC page. offset is below X86_LAPIC_PAGE_BYTES; size 1, 2, 4 or 8. */
uint64_t x86_lapic_mmio_read(struct x86_lapic *lapic, uint32_t offset, unsigned size);
void x86_lapic_mmio_write(struct x86_lapic *lapic, uint32_t offset, unsigned size, uint64_t value);

/* The MSRs 0x1b (APIC_BASE), 0x6e0 (TSC deadline) and 0x800 to 0x8ff. False: raise #GP(0). */
bool x86_lapic_msr_read(struct x86_lapic *lapic, uint32_t msr, uint64_t *ret);
bool x86_lapic_msr_write(struct x86_lapic *lapic, uint32_t msr, uint64_t value);

static inline bool x86_lapic_owns_msr(uint32_t msr)
{
    return msr >> 8 == 8 || msr == 0x1b || msr == 0x6e0;
}

/* The guest's TSC moved against the host's (the guest wrote it, or time was stopped): the TSC
 * deadline is armed anew. */
void x86_lapic_set_tsc_offset(struct x86_lapic *lapic, uint64_t tsc_offset);

static inline uint64_t x86_lapic_tsc_offset(const struct x86_lapic *lapic)
{
    return atomic_load_explicit(&lapic->tsc_offset, memory_order_relaxed);
}

/* The processors stood still for this many TSC ticks: shift bus time and each LAPIC's TSC so that
 * the guest doesn't see them pass, and arm what was armed. No processor runs. */
void x86_lapic_bus_skip_time(struct x86_lapic_bus *bus, uint64_t ticks);

/* The register page as of AMD64 vol. 2 table 16-2 (IRR and ISR included), apart from APIC_BASE
 * and the TSC deadline, which the caller saves. The timer's current count is that of the moment. */
void x86_lapic_get_page(struct x86_lapic *lapic, uint8_t ret[static X86_LAPIC_STATE_BYTES]);
/* Replace all: the timer goes on from the page's current count. apic_base comes first because it
 * tells the page's mode. Returns 0, or -EINVAL when apic_base or a register has an invalid value.
 */
int x86_lapic_set_page(struct x86_lapic *lapic, uint64_t apic_base, uint64_t tsc_deadline,
                       const uint8_t page[static X86_LAPIC_STATE_BYTES]);
