/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI fixed hardware: PM1a event and control blocks, PM timer, GPE block, reset register.
 *
 * source: ACPI 6.x, chapter 4.8 (fixed hardware registers)
 */
#pragma once

#include "hvcore/io.h"
#include "vmwp/dev/clock.h"

#include <pthread.h>

enum {
    DEV_PM_BASE = 0x600,
    DEV_PM_PORTS = 0x20,
    DEV_PM1_EVT = 0x00, /* 4 bytes: status, enable */
    DEV_PM1_CNT = 0x04, /* 2 bytes */
    DEV_PM_TMR = 0x08,  /* 4 bytes, 32 bits of counter */
    DEV_PM_GPE0 = 0x10, /* 4 bytes: status, enable; 16 events */
    DEV_PM_GPE0_BYTES = 4,
    DEV_PM_SCI_IRQ = 9,
    DEV_PM_RESET_PORT = 0xcf9,
    DEV_PM_RESET_VALUE = 0x06,
    DEV_PM_S5_TYPE = 5, /* SLP_TYP of \_S5 */
    DEV_PM_TMR_HZ = 3579545
};

struct dev_pm_config {
    /* public; power_off and reset are called on the VP's thread without the chip's lock and only
     * ask for it: the VP goes on until the owner stops it */
    struct hv_irq_line sci;
    struct dev_clock clock;
    struct dev_timer timer;
    void (*power_off)(void *opaque);
    void (*reset)(void *opaque);
    void *opaque;
};

struct dev_pm_state {
    uint64_t timer_from_ns; /* clock time at which the PM timer was 0 */
    uint64_t timer_carries; /* changes of the PM timer's top bit already shown in TMR_STS */
    uint16_t pm1_status, pm1_enable, pm1_control;
    uint16_t gpe_status, gpe_enable;
    uint8_t reset_control; /* port 0xcf9 as written */
};

struct dev_pm {
    /* private */
    pthread_mutex_t lock;
    struct dev_pm_config config;
    struct dev_pm_state state;
};

/* The reset register's port alone (1 byte at offset 0), for the bridge that owns 0xcf8-0xcfb;
 * opaque is the struct dev_pm. */
extern const struct hv_io_ops dev_pm_reset_ops;

/* The config is copied. Mapping adds the addresses; 0 or an errno of hv_io_space_add. No VP runs.
 */
void dev_pm_init(struct dev_pm *pm, const struct dev_pm_config *config);
void dev_pm_fini(struct dev_pm *pm);
/* Maps DEV_PM_BASE; not 0xcf9, which comes through dev_pm_reset_ops. */
int dev_pm_map(struct dev_pm *pm, struct hv_io_space *ports);
/* config.timer is due; opaque is the struct dev_pm. */
void dev_pm_timer(void *pm);

/* Press and release the power button: the guest gets an SCI if it listens. Any thread. */
void dev_pm_press_power_button(struct dev_pm *pm);
/* Raise general-purpose event 0 to 15. Any thread. */
void dev_pm_raise_gpe(struct dev_pm *pm, unsigned number);

/* A hard reset of the machine; and the whole state, out and in, while no VP runs. set returns 0, or
 * -EINVAL when a chip cannot be in that state. */
void dev_pm_reset(struct dev_pm *pm);
void dev_pm_get_state(struct dev_pm *pm, struct dev_pm_state *ret);
int dev_pm_set_state(struct dev_pm *pm, const struct dev_pm_state *state);
