/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/dev/uart.h"

#include "vmwp/con/con.h"

#include <string.h>

enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

enum {
    IER_RX = 0x01,
    IER_THRE = 0x02,
    IER_LINE = 0x04,
    IER_MODEM = 0x08,
    IER_MASK = 0x0f,

    IIR_NONE = 0x01,
    IIR_MODEM = 0x00,
    IIR_THRE = 0x02,
    IIR_RX = 0x04,
    IIR_LINE = 0x06,
    IIR_RX_TIMEOUT = 0x0c,
    IIR_FIFOS = 0xc0,

    FCR_ENABLE = 0x01,
    FCR_CLEAR_RX = 0x02,
    FCR_TRIGGER_SHIFT = 6,
    FCR_KEPT = 0xc9,

    LCR_DLAB = 0x80,

    MCR_DTR = 0x01,
    MCR_RTS = 0x02,
    MCR_OUT1 = 0x04,
    MCR_OUT2 = 0x08,
    MCR_LOOP = 0x10,
    MCR_MASK = 0x1f,

    LSR_DATA = 0x01,
    LSR_OVERRUN = 0x02,
    LSR_ERRORS = 0x1e,
    LSR_THRE = 0x20,
    LSR_TEMT = 0x40,

    MSR_DELTA_CTS = 0x01,
    MSR_DELTA_DSR = 0x02,
    MSR_TRAILING_RI = 0x04,
    MSR_DELTA_DCD = 0x08,
    MSR_CTS = 0x10,
    MSR_DSR = 0x20,
    MSR_RI = 0x40,
    MSR_DCD = 0x80,
    MSR_DELTAS = 0x0f,
    MSR_CONNECTED = MSR_CTS | MSR_DSR | MSR_DCD
};

static unsigned fifo_bytes(const struct dev_uart_state *s)
{
    return s->fcr & FCR_ENABLE ? DEV_UART_FIFO_BYTES : 1;
}

static unsigned trigger_level(const struct dev_uart_state *s)
{
    static const uint8_t levels[4] = { 1, 4, 8, 14 };

    return s->fcr & FCR_ENABLE ? levels[s->fcr >> FCR_TRIGGER_SHIFT] : 1;
}

/*
 * The pending interrupt of highest priority, as IIR shows it.
 *
 * A receive FIFO below its trigger level counts as timed out at once: what more the console had
 * would have filled it, so no further character is on its way.
 */
static uint8_t pending_iir(const struct dev_uart_state *s)
{
    if ((s->ier & IER_LINE) && (s->lsr_errors & LSR_ERRORS))
        return IIR_LINE;
    if ((s->ier & IER_RX) && s->rx_count > 0)
        return s->rx_count >= trigger_level(s) ? IIR_RX : IIR_RX_TIMEOUT;
    if ((s->ier & IER_THRE) && s->thre_raised)
        return IIR_THRE;
    if ((s->ier & IER_MODEM) && (s->msr & MSR_DELTAS))
        return IIR_MODEM;
    return IIR_NONE;
}

/* OUT2 gates the line on a PC; guests that forget it are served as other machines serve them. */
static void drive_line(struct dev_uart *uart)
{
    uart->line = pending_iir(&uart->state) != IIR_NONE;
    hv_irq_line_set(&uart->config.irq, uart->line);
}

static void update_line(struct dev_uart *uart)
{
    if (uart->line != (pending_iir(&uart->state) != IIR_NONE))
        drive_line(uart);
}

static void rx_push(struct dev_uart_state *s, uint8_t byte)
{
    if (s->rx_count == fifo_bytes(s)) {
        s->lsr_errors |= LSR_OVERRUN;
        if (s->fcr & FCR_ENABLE)
            return;
        s->rx_count--; /* without FIFO the new character replaces the old one */
    }
    s->rx[(s->rx_first + s->rx_count) % DEV_UART_FIFO_BYTES] = byte;
    s->rx_count++;
}

static uint8_t rx_pop(struct dev_uart_state *s)
{
    uint8_t byte = 0;

    if (s->rx_count == 0)
        return 0;
    byte = s->rx[s->rx_first];
    s->rx_first = (s->rx_first + 1) % DEV_UART_FIFO_BYTES;
    s->rx_count--;
    return byte;
}

/* Fill an empty receiver from the console. Only an empty one: so a driver that reads until there is
 * no more comes to an end, however fast somebody types. */
static void rx_pull(struct dev_uart *uart)
{
    struct dev_uart_state *s = &uart->state;

    if (!uart->config.con || s->rx_count > 0 || (s->mcr & MCR_LOOP))
        return;
    s->rx_first = 0;
    s->rx_count = (uint8_t)con_take_input(uart->config.con, s->rx, fifo_bytes(s));
}

static void on_input(void *opaque)
{
    struct dev_uart *uart = opaque;

    pthread_mutex_lock(&uart->lock);
    if (uart->state.ier & IER_RX) {
        rx_pull(uart);
        update_line(uart);
    }
    pthread_mutex_unlock(&uart->lock);
}

/* Modem inputs: a connected modem, or in loop-back the modem outputs. */
static void update_modem(struct dev_uart_state *s)
{
    uint8_t inputs = MSR_CONNECTED, changed;

    if (s->mcr & MCR_LOOP)
        inputs = (uint8_t)((s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
                           (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0));
    changed = (uint8_t)((s->msr ^ inputs) & ~MSR_DELTAS);
    if (changed & MSR_CTS)
        s->msr |= MSR_DELTA_CTS;
    if (changed & MSR_DSR)
        s->msr |= MSR_DELTA_DSR;
    if (changed & MSR_DCD)
        s->msr |= MSR_DELTA_DCD;
    if ((changed & MSR_RI) && !(inputs & MSR_RI))
        s->msr |= MSR_TRAILING_RI;
    s->msr = (uint8_t)((s->msr & MSR_DELTAS) | inputs);
}

/*
 * Send a byte, at once. The transmitter is empty again before the guest can look, which is an edge
 * of its own: a driver that clears the interrupt by writing (and not by reading IIR) waits for it.
 */
static void transmit(struct dev_uart *uart, uint8_t byte)
{
    struct dev_uart_state *s = &uart->state;

    s->thre_raised = 0;
    if (s->mcr & MCR_LOOP)
        rx_push(s, byte);
    else if (uart->config.con)
        con_write(uart->config.con, &byte, 1);
    if (s->ier & IER_THRE)
        update_line(uart);
    s->thre_raised = 1;
}

static void write_ier(struct dev_uart *uart, uint8_t value)
{
    struct dev_uart_state *s = &uart->state;

    if (value & ~s->ier & IER_THRE)
        s->thre_raised = 1; /* enabling it with an empty transmitter interrupts */
    s->ier = value & IER_MASK;
    if (s->ier & IER_RX)
        rx_pull(uart);
}

static void write_fcr(struct dev_uart_state *s, uint8_t value)
{
    bool toggles = (value ^ s->fcr) & FCR_ENABLE;

    if (toggles || ((value & FCR_ENABLE) && (value & FCR_CLEAR_RX)))
        s->rx_count = 0;
    s->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
}

static uint8_t read_iir(struct dev_uart *uart)
{
    struct dev_uart_state *s = &uart->state;
    uint8_t iir = pending_iir(s);

    if (iir == IIR_THRE)
        s->thre_raised = 0;
    if (iir == IIR_NONE && (s->ier & IER_RX))
        rx_pull(uart); /* shown from the next read on */
    return (uint8_t)(iir | (s->fcr & FCR_ENABLE ? IIR_FIFOS : 0));
}

/*
 * LSR. Input is pulled when an interrupt-driven receiver is found empty, or at the second look in a
 * row at an empty one: that is somebody polling for input, while a console that only waits for the
 * transmitter would lose in its driver's start-up what was typed ahead.
 */
static uint8_t read_lsr(struct dev_uart *uart)
{
    struct dev_uart_state *s = &uart->state;
    uint8_t lsr = (uint8_t)(LSR_THRE | LSR_TEMT | s->lsr_errors | (s->rx_count > 0 ? LSR_DATA : 0));

    s->lsr_errors = 0;
    if (s->rx_count > 0) {
        s->lsr_polls = 0;
    } else if ((s->ier & IER_RX) || s->lsr_polls > 0) {
        rx_pull(uart);
    } else {
        s->lsr_polls = 1;
    }
    return lsr;
}

static uint8_t read_register(struct dev_uart *uart, unsigned reg)
{
    struct dev_uart_state *s = &uart->state;
    uint8_t value;

    if (reg != REG_LSR)
        s->lsr_polls = 0;
    switch (reg) {
    case REG_DATA: return s->lcr & LCR_DLAB ? s->dll : rx_pop(s);
    case REG_IER: return s->lcr & LCR_DLAB ? s->dlm : s->ier;
    case REG_IIR_FCR: return read_iir(uart);
    case REG_LCR: return s->lcr;
    case REG_MCR: return s->mcr;
    case REG_LSR: return read_lsr(uart);
    case REG_MSR:
        value = s->msr;
        s->msr &= (uint8_t)~MSR_DELTAS;
        return value;
    default: return s->scr;
    }
}

static void write_register(struct dev_uart *uart, unsigned reg, uint8_t value)
{
    struct dev_uart_state *s = &uart->state;

    s->lsr_polls = 0;
    switch (reg) {
    case REG_DATA:
        if (s->lcr & LCR_DLAB)
            s->dll = value;
        else
            transmit(uart, value);
        break;
    case REG_IER:
        if (s->lcr & LCR_DLAB)
            s->dlm = value;
        else
            write_ier(uart, value);
        break;
    case REG_IIR_FCR: write_fcr(s, value); break;
    case REG_LCR: s->lcr = value; break;
    case REG_MCR:
        s->mcr = value & MCR_MASK;
        update_modem(s);
        break;
    case REG_SCR: s->scr = value; break;
    default: break; /* LSR and MSR are written in factory tests only */
    }
}

/* A wider access than a byte reaches the registers one after the other, as on an 8-bit bus. */
static uint64_t uart_read(void *opaque, uint64_t offset, unsigned size)
{
    struct dev_uart *uart = opaque;
    uint64_t value = 0;

    pthread_mutex_lock(&uart->lock);
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)read_register(uart, (offset + i) % DEV_UART_PORTS) << (8 * i);
    update_line(uart);
    pthread_mutex_unlock(&uart->lock);
    return value;
}

static void uart_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct dev_uart *uart = opaque;

    pthread_mutex_lock(&uart->lock);
    for (unsigned i = 0; i < size; i++)
        write_register(uart, (offset + i) % DEV_UART_PORTS, (uint8_t)(value >> (8 * i)));
    update_line(uart);
    pthread_mutex_unlock(&uart->lock);
}

static const struct hv_io_ops uart_ops = { .read = uart_read, .write = uart_write };

void dev_uart_init(struct dev_uart *uart, const struct dev_uart_config *config)
{
    *uart = (struct dev_uart){ .config = *config };
    pthread_mutex_init(&uart->lock, NULL);
    dev_uart_reset(uart);
    if (config->con)
        con_set_input_fn(config->con, on_input, uart);
}

void dev_uart_fini(struct dev_uart *uart)
{
    if (uart->config.con)
        con_set_input_fn(uart->config.con, NULL, NULL);
    pthread_mutex_destroy(&uart->lock);
}

int dev_uart_map(struct dev_uart *uart, struct hv_io_space *ports, uint16_t base)
{
    return hv_io_space_add(ports, base, DEV_UART_PORTS, &uart_ops, uart);
}

void dev_uart_reset(struct dev_uart *uart)
{
    pthread_mutex_lock(&uart->lock);
    uart->state = (struct dev_uart_state){ .msr = MSR_CONNECTED, .dll = 0x0c, .thre_raised = 1 };
    drive_line(uart);
    pthread_mutex_unlock(&uart->lock);
}

void dev_uart_get_state(struct dev_uart *uart, struct dev_uart_state *ret)
{
    pthread_mutex_lock(&uart->lock);
    *ret = uart->state;
    pthread_mutex_unlock(&uart->lock);
}

static bool is_possible(const struct dev_uart_state *s)
{
    return !(s->ier & ~IER_MASK) && !(s->fcr & ~FCR_KEPT) && !(s->mcr & ~MCR_MASK) &&
           !(s->lsr_errors & ~LSR_ERRORS) && s->thre_raised <= 1 && s->lsr_polls <= 1 &&
           s->rx_first < DEV_UART_FIFO_BYTES && s->rx_count <= fifo_bytes(s);
}

int dev_uart_set_state(struct dev_uart *uart, const struct dev_uart_state *state)
{
    if (!is_possible(state))
        return -EINVAL;
    pthread_mutex_lock(&uart->lock);
    uart->state = *state;
    drive_line(uart);
    pthread_mutex_unlock(&uart->lock);
    return 0;
}
