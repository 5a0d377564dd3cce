/* SPDX-License-Identifier: Apache-2.0 */
/* Who an interrupt message is for, and the interrupt command register that makes such messages
 * (AMD64 vol. 2, 16.5 and 16.6.1; Intel SDM vol. 3 "Determining IPI Destination", "ICR operation in
 * x2APIC mode"). */
#include "hvcore/x86/lapic_priv.h"

enum {
    ICR_MODE_SHIFT = 8,
    ICR_LOGICAL = 1 << 11,
    ICR_ASSERT = 1 << 14,
    ICR_LEVEL = 1 << 15,
    ICR_SHORTHAND_SHIFT = 18
};

enum shorthand { TO_DESTINATION, TO_SELF, TO_ALL, TO_OTHERS };

/* Message destination address, after the width of its source has been accounted for. */
struct destination {
    uint32_t address;
    bool is_logical;
    bool is_everyone;
};

/* xAPIC: an 8-bit address against the LAPIC's logical ID, flat or by clusters. */
static bool matches_xapic_logical(const struct x86_lapic *lapic, uint32_t address)
{
    uint32_t id = atomic_load_explicit(&lapic->ldr, memory_order_relaxed) >> 24;

    if (address > 0xff)
        return false;
    if (atomic_load_explicit(&lapic->dfr, memory_order_relaxed) == LAPIC_DFR_FLAT)
        return (id & address) != 0;
    if (address == 0xff)
        return true;
    return id >> 4 == address >> 4 && (id & address & 0xf) != 0;
}

static bool matches(const struct x86_lapic *lapic, const struct destination *to)
{
    uint32_t ldr;

    if (!lapic_is_enabled(lapic))
        return false;
    if (to->is_everyone)
        return true;
    if (!to->is_logical)
        return lapic->id == to->address;
    if (!lapic_is_x2apic(lapic))
        return matches_xapic_logical(lapic, to->address);
    ldr = atomic_load_explicit(&lapic->ldr, memory_order_relaxed);
    return ldr >> 16 == to->address >> 16 && (ldr & to->address & 0xffff) != 0;
}

/* Of those addressed and able, one with the lowest task priority, in turn among equals. */
static struct x86_lapic *lowest_priority(struct x86_lapic_bus *bus, const struct destination *to)
{
    unsigned first = atomic_fetch_add_explicit(&bus->arbiter, 1, memory_order_relaxed);
    struct x86_lapic *best = NULL;

    for (unsigned i = 0; i < bus->n_lapics; i++) {
        struct x86_lapic *lapic = bus->lapics[(first + i) % bus->n_lapics];

        if (matches(lapic, to) && lapic_is_software_enabled(lapic) &&
            (!best || lapic->ppr >> 4 < best->ppr >> 4))
            best = lapic;
    }
    return best;
}

static void deliver(struct x86_lapic_bus *bus, const struct destination *to,
                    const struct hv_interrupt *interrupt, const struct x86_lapic *except)
{
    if (interrupt->delivery_mode == HV_DELIVER_LOWEST) {
        struct x86_lapic *lapic = lowest_priority(bus, to);

        if (lapic)
            x86_lapic_post(lapic, interrupt);
        return;
    }
    if (!to->is_logical && !to->is_everyone) {
        if (to->address < bus->n_lapics && lapic_is_enabled(bus->lapics[to->address]))
            x86_lapic_post(bus->lapics[to->address], interrupt);
        return;
    }
    for (unsigned i = 0; i < bus->n_lapics; i++)
        if (bus->lapics[i] != except && matches(bus->lapics[i], to))
            x86_lapic_post(bus->lapics[i], interrupt);
}

void x86_lapic_bus_deliver(struct x86_lapic_bus *bus, const struct hv_interrupt *interrupt)
{
    struct destination to = {
        .address = interrupt->destination,
        .is_logical = interrupt->is_logical,
        .is_everyone = !interrupt->is_logical && interrupt->destination == 0xff,
    };

    deliver(bus, &to, interrupt, NULL);
}

static struct destination destination_of(const struct x86_lapic *lapic, uint64_t icr)
{
    struct destination to = { .is_logical = icr & ICR_LOGICAL };

    if (lapic_is_x2apic(lapic)) {
        to.address = (uint32_t)(icr >> 32);
        to.is_everyone = to.address == UINT32_MAX;
    } else {
        to.address = (uint32_t)(icr >> 56);
        to.is_everyone = !to.is_logical && to.address == 0xff;
    }
    return to;
}

void lapic_self_ipi(struct x86_lapic *lapic, uint8_t vector)
{
    struct hv_interrupt interrupt = { .vector = vector };

    if (vector < LAPIC_FIRST_VECTOR)
        lapic_error(lapic, LAPIC_ERROR_SEND_VECTOR);
    x86_lapic_post(lapic, &interrupt);
}

void lapic_write_icr(struct x86_lapic *lapic, uint64_t icr)
{
    unsigned shorthand = icr >> ICR_SHORTHAND_SHIFT & 3;
    struct destination to = destination_of(lapic, icr);
    /* IPIs are edge-triggered whatever the level bit says, but for the INIT de-assert. */
    struct hv_interrupt interrupt = { .vector = (uint8_t)icr,
                                      .delivery_mode = icr >> ICR_MODE_SHIFT & 7 };

    lapic->icr = icr;
    if (interrupt.delivery_mode == HV_DELIVER_INIT && icr & ICR_LEVEL && !(icr & ICR_ASSERT))
        return;
    if (interrupt.delivery_mode <= HV_DELIVER_LOWEST && interrupt.vector < LAPIC_FIRST_VECTOR)
        lapic_error(lapic, LAPIC_ERROR_SEND_VECTOR);
    if (shorthand == TO_SELF) {
        if (interrupt.delivery_mode == HV_DELIVER_FIXED)
            x86_lapic_post(lapic, &interrupt);
        return;
    }
    if (shorthand != TO_DESTINATION)
        to = (struct destination){ .is_everyone = true };
    deliver(lapic->bus, &to, &interrupt, shorthand == TO_OTHERS ? lapic : NULL);
}
