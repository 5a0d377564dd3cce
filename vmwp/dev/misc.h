/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports that PC software touches out of habit: DMA controllers and page registers (they keep what
 * is written, and no transfer ever happens), POST and delay ports, system control port A (fast A20
 * and reset), the coprocessor's error latch.
 */
#pragma once

#include "hvcore/io.h"

#include <pthread.h>

struct dev_misc_config {
    /* public */
    void (*reset)(void *opaque); /* as in dev_pm_config */
    void *opaque;
};

struct dev_misc_state {
    uint8_t dma[0x20];  /* 0x00-0x0f and 0xc0-0xdf (even ports) as written */
    uint8_t page[0x10]; /* 0x80-0x8f */
    uint8_t control_a;  /* 0x92 */
};

struct dev_misc {
    /* private */
    pthread_mutex_t lock;
    struct dev_misc_config config;
    struct dev_misc_state state;
};

/* The config is copied. Mapping adds the addresses; 0 or an errno of hv_io_space_add. No VP runs.
 */
void dev_misc_init(struct dev_misc *chip, const struct dev_misc_config *config);
void dev_misc_fini(struct dev_misc *chip);
int dev_misc_map(struct dev_misc *chip, struct hv_io_space *ports);

/* A hard reset of the machine; and the whole state, out and in, while no VP runs. set returns 0, or
 * -EINVAL when a chip cannot be in that state. */
void dev_misc_reset(struct dev_misc *chip);
void dev_misc_get_state(struct dev_misc *chip, struct dev_misc_state *ret);
int dev_misc_set_state(struct dev_misc *chip, const struct dev_misc_state *state);
