/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 16550A serial port over a console. Transmission takes no time; reception has back-pressure:
 * bytes stay in the console's queue until the receive FIFO has room.
 */
#pragma once

#include "hvcore/io.h"

#include <pthread.h>

struct con;

enum {
    DEV_UART_COM1 = 0x3f8, /* IRQ 4 */
    DEV_UART_COM2 = 0x2f8, /* IRQ 3 */
    DEV_UART_PORTS = 8,
    DEV_UART_FIFO_BYTES = 16
};

struct dev_uart_config {
    /* public */
    struct hv_irq_line irq;
    struct con *con; /* borrowed; NULL: output is dropped, no input comes */
};

struct dev_uart_state {
    uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
    uint8_t lsr_errors;  /* LSR bits 1-4, cleared by reading LSR */
    uint8_t msr;         /* modem inputs (bits 4-7) and deltas (bits 0-3) */
    uint8_t thre_raised; /* the THRE interrupt is pending */
    uint8_t rx[DEV_UART_FIFO_BYTES];
    uint8_t rx_first, rx_count;
    uint8_t lsr_polls; /* LSR reads in a row that found nothing received */
};

struct dev_uart {
    /* private */
    pthread_mutex_t lock;
    struct dev_uart_config config;
    struct dev_uart_state state;
    bool line; /* as last driven */
};

/* Also makes the console tell this port of input. */
void dev_uart_init(struct dev_uart *uart, const struct dev_uart_config *config);
void dev_uart_fini(struct dev_uart *uart);
int dev_uart_map(struct dev_uart *uart, struct hv_io_space *ports, uint16_t base);

/* A hard reset of the machine; and the whole state, out and in, while no VP runs. set returns 0, or
 * -EINVAL when a chip cannot be in that state. */
void dev_uart_reset(struct dev_uart *uart);
void dev_uart_get_state(struct dev_uart *uart, struct dev_uart_state *ret);
int dev_uart_set_state(struct dev_uart *uart, const struct dev_uart_state *state);
