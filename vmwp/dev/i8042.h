/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 8042 keyboard controller, with nothing plugged in: commands work, a byte to the keyboard or
 * mouse is answered at once with a time-out, and pulsing output line 0 resets the machine.
 */
#pragma once

#include "hvcore/io.h"

#include <pthread.h>

struct dev_i8042_config {
    /* public */
    struct hv_irq_line keyboard; /* ISA IRQ 1 */
    struct hv_irq_line mouse;    /* ISA IRQ 12 */
    void (*reset)(void *opaque); /* as in dev_pm_config */
    void *opaque;
};

struct dev_i8042_state {
    uint8_t status;      /* as port 0x64 shows it */
    uint8_t data;        /* output buffer */
    uint8_t command;     /* command waiting for its data byte, or 0 */
    uint8_t mode;        /* the command byte */
    uint8_t output_port; /* bit 1 is A20 */
    uint8_t memory[32];  /* controller RAM, byte 0 unused: it is mode */
};

struct dev_i8042 {
    /* private */
    pthread_mutex_t lock;
    struct dev_i8042_config config;
    struct dev_i8042_state state;
};

/* The config is copied. Mapping adds the addresses; 0 or an errno of hv_io_space_add. No VP runs.
 */
void dev_i8042_init(struct dev_i8042 *chip, const struct dev_i8042_config *config);
void dev_i8042_fini(struct dev_i8042 *chip);
int dev_i8042_map(struct dev_i8042 *chip, struct hv_io_space *ports);

/* A hard reset of the machine; and the whole state, out and in, while no VP runs. set returns 0, or
 * -EINVAL when a chip cannot be in that state. */
void dev_i8042_reset(struct dev_i8042 *chip);
void dev_i8042_get_state(struct dev_i8042 *chip, struct dev_i8042_state *ret);
int dev_i8042_set_state(struct dev_i8042 *chip, const struct dev_i8042_state *state);
