/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An MC146818 real-time clock with CMOS memory at ports 0x70 and 0x71.
 *
 * Time is the host's UTC plus an offset that follows when the guest sets the clock.
 *
 * source: Motorola MC146818A data sheet; CMOS bytes as PC firmware fills them
 */
#pragma once

#include "hvcore/io.h"
#include "vmwp/dev/clock.h"

#include <pthread.h>

enum { DEV_RTC_CMOS_BYTES = 128, DEV_RTC_CENTURY = 0x32 };

struct dev_rtc_config {
    /* public */
    struct hv_irq_line irq; /* ISA IRQ 8 */
    struct dev_clock clock;
    struct dev_timer timer;
    uint64_t ram_low_bytes;  /* RAM below 4 GiB */
    uint64_t ram_high_bytes; /* RAM from 4 GiB on */
};

struct dev_rtc_state {
    int64_t offset_s;          /* guest's time minus the host's UTC: whole seconds ... */
    uint32_t offset_ns;        /* ... and the rest, 0 to 999999999 */
    uint8_t is_held;           /* SET or the divider stops time; it stands in cmos[] */
    uint8_t divider_held;      /* the divider was reset meanwhile */
    uint8_t index;             /* last byte written to port 0x70, NMI mask in bit 7 */
    int64_t update_done;       /* last second for which update and alarm were judged */
    uint64_t periodic_from_ns; /* clock time from which periodic ticks count */
    uint64_t periodic_done;    /* ticks already shown since then */
    uint8_t cmos[DEV_RTC_CMOS_BYTES];
};

struct dev_rtc {
    /* private */
    pthread_mutex_t lock;
    struct dev_rtc_config config;
    struct dev_rtc_state state;
};

/* The config is copied. Mapping adds the addresses; 0 or an errno of hv_io_space_add. No VP runs.
 */
void dev_rtc_init(struct dev_rtc *rtc, const struct dev_rtc_config *config);
void dev_rtc_fini(struct dev_rtc *rtc);
int dev_rtc_map(struct dev_rtc *rtc, struct hv_io_space *ports);
/* config.timer is due; opaque is the struct dev_rtc. */
void dev_rtc_timer(void *rtc);
/* Did the guest mask NMIs through port 0x70? */
bool dev_rtc_is_nmi_masked(struct dev_rtc *rtc);

/* A hard reset of the machine; and the whole state, out and in, while no VP runs. set returns 0, or
 * -EINVAL when a chip cannot be in that state. */
void dev_rtc_reset(struct dev_rtc *rtc);
void dev_rtc_get_state(struct dev_rtc *rtc, struct dev_rtc_state *ret);
int dev_rtc_set_state(struct dev_rtc *rtc, const struct dev_rtc_state *state);
