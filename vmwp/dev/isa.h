/* SPDX-License-Identifier: Apache-2.0 */
/* How ISA interrupt lines are wired: to both controllers; IRQ 0 to pin 2 of the I/O APIC, as the
 * MADT says. */
#pragma once

#include "hvcore/io.h"

struct dev_ioapic;
struct dev_pic;

struct dev_isa {
    /* public */
    struct dev_pic *pic;
    struct dev_ioapic *ioapic;
};

/* Drive ISA line 0 to 15; form of hv_irq_line's set. Line 2 doesn't exist. */
void dev_isa_set_line(void *isa, unsigned number, bool level);

static inline struct hv_irq_line dev_isa_line(struct dev_isa *isa, unsigned number)
{
    return (struct hv_irq_line){ .set = dev_isa_set_line, .opaque = isa, .number = number };
}
