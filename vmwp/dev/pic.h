/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two cascaded 8259A interrupt controllers of a PC with their edge/level registers.
 *
 * source: Intel 8259A data sheet; ELCR as in the 82371SB
 */
#pragma once

#include "hvcore/io.h"

#include <pthread.h>

enum { DEV_PIC_LINES = 16 };

struct dev_pic_config {
    /* public */
    void (*set_output)(void *opaque, bool level); /* INTR; called under the chip's lock */
    void *opaque;
};

struct dev_pic_chip_state {
    uint8_t irr, isr, imr, lines, elcr;
    uint8_t icw_vector;  /* ICW2, bits 3-7 */
    uint8_t icw_cascade; /* ICW3 */
    uint8_t icw4;        /* as written; 0 when ICW1 said there is none */
    uint8_t next_icw;    /* 0: initialised, 2 to 4: that ICW comes next */
    uint8_t expects_icw4, is_single, is_level;
    uint8_t lowest; /* the line of lowest priority, 7 after ICW1 */
    uint8_t rotates_on_aeoi, special_mask, polled, reads_isr;
};

struct dev_pic_state {
    struct dev_pic_chip_state chip[2]; /* master, slave */
    uint8_t output;
};

struct dev_pic {
    /* private */
    pthread_mutex_t lock;
    struct dev_pic_config config;
    struct dev_pic_state state;
};

/* The config is copied. Mapping adds the addresses; 0 or an errno of hv_io_space_add. No VP runs.
 */
void dev_pic_init(struct dev_pic *pic, const struct dev_pic_config *config);
void dev_pic_fini(struct dev_pic *pic);
int dev_pic_map(struct dev_pic *pic, struct hv_io_space *ports);

/* An ISA interrupt line, 0 to 15 (2 is the cascade: ignored). Form of hv_irq_line's set. */
void dev_pic_set_line(void *pic, unsigned number, bool level);

/* The processor acknowledges INTR: returns the vector; the spurious one (line 7 or 15) when the
 * request has gone. -1 while the guest has not initialised the pair. */
int dev_pic_acknowledge(struct dev_pic *pic);

/* A hard reset of the machine; and the whole state, out and in, while no VP runs. set returns 0, or
 * -EINVAL when a chip cannot be in that state. */
void dev_pic_reset(struct dev_pic *pic);
void dev_pic_get_state(struct dev_pic *pic, struct dev_pic_state *ret);
int dev_pic_set_state(struct dev_pic *pic, const struct dev_pic_state *state);
