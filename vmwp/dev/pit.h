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
    uint64_t start_ns;      /* while counting: when the count was `reload` */
    uint64_t frozen;        /* while not counting: PIT clocks run so far */
    uint32_t reload;        /* 1 to 65536; 0 before a count was written */
    uint32_t next_reload;   /* modes 2 and 3: takes over at the end of this period; 0: none */
    uint16_t latched;       /* value held for reading */
    uint8_t latched_status; /* status byte held for reading */
    uint8_t mode;           /* 0 to 5 */
    uint8_t access;         /* 1 low byte, 2 high byte, 3 both; 0 before a control word */
    uint8_t is_bcd;
    uint8_t has_latch, has_status_latch;
    uint8_t reads_high, writes_high; /* the second byte comes next */
    uint8_t low_written;             /* the first byte */
    uint8_t gate, is_counting;
};

struct dev_pit_state {
    struct dev_pit_counter_state counter[DEV_PIT_COUNTERS];
    uint64_t ticks_done; /* counter 0's ticks already shown since start_ns */
    uint8_t control_b;   /* port 0x61, bits 0-3 as written */
    uint8_t irq_level;
};

struct dev_pit {
    /* private */
    pthread_mutex_t lock;
    struct dev_pit_config config;
    struct dev_pit_state state;
};

/* The config is copied. Mapping adds the addresses; 0 or an errno of hv_io_space_add. No VP runs.
 */
void dev_pit_init(struct dev_pit *pit, const struct dev_pit_config *config);
void dev_pit_fini(struct dev_pit *pit);
int dev_pit_map(struct dev_pit *pit, struct hv_io_space *ports);
/* config.timer is due; opaque is the struct dev_pit. */
void dev_pit_timer(void *pit);

/* A hard reset of the machine; and the whole state, out and in, while no VP runs. set returns 0, or
 * -EINVAL when a chip cannot be in that state. */
void dev_pit_reset(struct dev_pit *pit);
void dev_pit_get_state(struct dev_pit *pit, struct dev_pit_state *ret);
int dev_pit_set_state(struct dev_pit *pit, const struct dev_pit_state *state);
