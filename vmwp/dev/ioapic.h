/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An I/O APIC with 24 pins at its usual address, version 0x20 (with an EOI register).
 *
 * source: Intel 82093AA data sheet; EOI register as in later I/O controller hubs
 */
#pragma once

#include "hvcore/io.h"

#include <pthread.h>

struct hv_interrupt;

enum { DEV_IOAPIC_PINS = 24, DEV_IOAPIC_BYTES = 0x1000 };

#define DEV_IOAPIC_BASE UINT64_C(0xfec00000)

struct dev_ioapic_config {
    /* public; called under the chip's lock */
    void (*deliver)(void *opaque, const struct hv_interrupt *interrupt);
    void *opaque;
};

struct dev_ioapic_state {
    uint64_t entry[DEV_IOAPIC_PINS]; /* redirection table, with delivery status and remote IRR */
    uint32_t lines;                  /* asserted inputs */
    uint32_t select;                 /* IOREGSEL */
    uint8_t id;
};

struct dev_ioapic {
    /* private */
    pthread_mutex_t lock;
    struct dev_ioapic_config config;
    struct dev_ioapic_state state;
};

/* The config is copied. Mapping adds the addresses; 0 or an errno of hv_io_space_add. No VP runs.
 */
void dev_ioapic_init(struct dev_ioapic *ioapic, const struct dev_ioapic_config *config);
void dev_ioapic_fini(struct dev_ioapic *ioapic);
int dev_ioapic_map(struct dev_ioapic *ioapic, struct hv_io_space *mmio);

/* A pin's input, 0 to 23; true is asserted, whatever polarity is programmed. */
void dev_ioapic_set_line(void *ioapic, unsigned pin, bool level);

/* A LAPIC ended the level-triggered interrupt with this vector. Any thread. */
void dev_ioapic_end_of_interrupt(struct dev_ioapic *ioapic, uint8_t vector);

/* A hard reset of the machine; and the whole state, out and in, while no VP runs. set returns 0, or
 * -EINVAL when a chip cannot be in that state. */
void dev_ioapic_reset(struct dev_ioapic *ioapic);
void dev_ioapic_get_state(struct dev_ioapic *ioapic, struct dev_ioapic_state *ret);
int dev_ioapic_set_state(struct dev_ioapic *ioapic, const struct dev_ioapic_state *state);
