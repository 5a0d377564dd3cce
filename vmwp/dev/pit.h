/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An 8254 interval timer and the system control port 0x61 (gate, speaker, refresh).
 *
 * Counters are computed from the clock; only counter 0 needs a timer, for its interrupt. Ticks
 * that a slow host missed are dropped, never made up for in a burst.
 *
 * source: Intel 8254 data sheet
 */
#pragma once

#include "hvcore/io.h"
#include "vmwp/dev/clock.h"

#include <pthread.h>

enum { DEV_PIT_HZ = 1193182, DEV_PIT_COUNTERS = 3 };

struct dev_pit_config {
    /* public */
    struct hv_irq_line irq; /* ISA IRQ 0 */
    struct dev_clock clock;
    struct dev_timer timer;
};

struct dev_pit_counter_state {
    uint64_t start_ns;    /* when the count was loaded or the gate triggered it */
    uint64_t frozen;      /* PIT clocks already run when the gate went low */
    uint32_t reload;      /* 1 to 65536 */
    uint16_t latched;     /* value held for reading */
    uint8_t latch_status; /* status byte held for reading */
    uint8_t control;      /* access, mode and BCD bits of the last control word */
    uint8_t mode;         /* 0 to 5 */
    uint8_t has_latch, has_status_latch;
    uint8_t read_high, write_high; /* the second byte comes next */
    uint8_t write_low;             /* the first byte written */
    uint8_t gate, is_loaded, is_counting;
};

struct dev_pit_state {
    struct dev_pit_counter_state counter[DEV_PIT_COUNTERS];
    uint64_t ticks_done; /* counter 0's rising edges already shown since start_ns */
    uint8_t control_61;  /* bits 0-3 of port 0x61 as written */
    uint8_t irq_level;
};

struct dev_pit {
    /* private */
    pthread_mutex_t lock;
    struct dev_pit_config config;
    struct dev_pit_state state;
};

void dev_pit_init(struct dev_pit *pit, const struct dev_pit_config *config);
void dev_pit_fini(struct dev_pit *pit);
int dev_pit_map(struct dev_pit *pit, struct hv_io_space *ports);
/* config.timer is due; opaque is the struct dev_pit. */
void dev_pit_timer(void *pit);

void dev_pit_reset(struct dev_pit *pit);
void dev_pit_get_state(struct dev_pit *pit, struct dev_pit_state *ret);
int dev_pit_set_state(struct dev_pit *pit, const struct dev_pit_state *state);
