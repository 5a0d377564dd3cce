/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/dev/pit.h"

#include <errno.h>

#define NS_PER_SEC UINT64_C(1000000000)

enum {
    PORT = 0x40,
    PORT_B = 0x61,

    REG_CONTROL = 3,
    CONTROL_READ_BACK = 3, /* in place of a counter's number */
    READ_BACK_NO_COUNT = 0x20,
    READ_BACK_NO_STATUS = 0x10,

    ACCESS_LATCH = 0,
    ACCESS_LOW = 1,
    ACCESS_HIGH = 2,
    ACCESS_BOTH = 3,

    MODE_TERMINAL = 0,
    MODE_ONE_SHOT = 1,
    MODE_RATE = 2,
    MODE_SQUARE = 3,
    MODE_STROBE = 4,
    MODE_TRIGGERED_STROBE = 5,

    STATUS_OUT = 0x80,
    STATUS_NULL = 0x40,

    B_GATE = 0x01,
    B_WRITABLE = 0x0f,
    B_REFRESH = 0x10,
    B_OUT = 0x20,
    REFRESH_NS = 15085,

    /* A guest may ask for a million ticks a second; it gets this many at most. */
    MIN_PERIOD_NS = 50000
};

static bool is_periodic(const struct dev_pit_counter_state *c)
{
    return c->mode == MODE_RATE || c->mode == MODE_SQUARE;
}

static bool is_triggered(const struct dev_pit_counter_state *c)
{
    return c->mode == MODE_ONE_SHOT || c->mode == MODE_TRIGGERED_STROBE;
}

/* The first nanosecond at which `clocks` PIT clocks have passed. */
static uint64_t ns_of(uint64_t clocks)
{
    unsigned __int128 ns = (unsigned __int128)clocks * NS_PER_SEC + (DEV_PIT_HZ - 1);

    return (uint64_t)(ns / DEV_PIT_HZ);
}

static uint64_t elapsed(const struct dev_pit_counter_state *c, uint64_t now)
{
    if (!c->is_counting)
        return c->frozen;
    return now > c->start_ns ? dev_scale(now - c->start_ns, DEV_PIT_HZ, NS_PER_SEC) : 0;
}

static bool output_of(const struct dev_pit_counter_state *c, uint64_t now)
{
    uint64_t run = elapsed(c, now);

    switch (c->mode) {
    case MODE_TERMINAL: return c->reload != 0 && run >= c->reload;
    case MODE_ONE_SHOT: return !c->is_counting || run >= c->reload;
    case MODE_RATE: return !c->is_counting || run % c->reload != c->reload - 1;
    case MODE_SQUARE: return !c->is_counting || run % c->reload < (c->reload + 1) / 2;
    default: return !c->is_counting || run != c->reload;
    }
}

static uint16_t to_bcd(unsigned value)
{
    return (uint16_t)(value / 1000 % 10 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 |
                      value % 10);
}

static unsigned from_bcd(unsigned value)
{
    return (value >> 12) * 1000 + (value >> 8 & 15) * 100 + (value >> 4 & 15) * 10 + (value & 15);
}

/* What the counting element shows; the highest count reads as 0. */
static uint16_t count_of(const struct dev_pit_counter_state *c, uint64_t now)
{
    uint64_t run = elapsed(c, now), range = c->is_bcd ? 10000 : 65536;
    unsigned count;

    if (c->reload == 0)
        return 0;
    if (c->mode == MODE_RATE)
        count = c->reload - (unsigned)(run % c->reload);
    else if (c->mode == MODE_SQUARE)
        count = (c->reload - (unsigned)(run % c->reload * 2 % c->reload)) & ~1U;
    else
        count = (unsigned)((c->reload + range - run % range) % range);
    return c->is_bcd ? to_bcd(count % 10000) : (uint16_t)count;
}

static uint64_t ticks_due(const struct dev_pit_counter_state *c, uint64_t now)
{
    if (!c->is_counting || c->reload == 0)
        return 0;
    if (is_periodic(c))
        return elapsed(c, now) / c->reload;
    return !is_triggered(c) && elapsed(c, now) >= c->reload ? 1 : 0;
}

/* Show the ticks of counter 0 that are due, as one: what a slow host missed stays missed. */
static void show_ticks(struct dev_pit *pit, uint64_t now)
{
    struct dev_pit_state *s = &pit->state;
    uint64_t due = ticks_due(&s->counter[0], now);

    if (due <= s->ticks_done)
        return;
    s->ticks_done = due;
    hv_irq_line_set(&pit->config.irq, true);
    s->irq_level = s->counter[0].mode == MODE_TERMINAL;
    if (!s->irq_level)
        hv_irq_line_set(&pit->config.irq, false);
}

/* Let a new count of a periodic mode take over when the old period is over. */
static void switch_reload(struct dev_pit *pit, struct dev_pit_counter_state *c, uint64_t now)
{
    if (c->next_reload == 0 || elapsed(c, now) < c->reload)
        return;
    c->start_ns += ns_of(c->reload);
    c->reload = c->next_reload;
    c->next_reload = 0;
    if (c == &pit->state.counter[0])
        pit->state.ticks_done = 0;
}

static void arm_timer(struct dev_pit *pit, uint64_t now)
{
    const struct dev_pit_counter_state *c = &pit->state.counter[0];
    uint64_t done = pit->state.ticks_done, deadline;

    if (!c->is_counting || is_triggered(c) || (done > 0 && !is_periodic(c))) {
        dev_timer_disarm(&pit->config.timer);
        return;
    }
    deadline = c->start_ns + ns_of((done + 1) * c->reload);
    if (is_periodic(c) && deadline < now + MIN_PERIOD_NS)
        deadline = now + MIN_PERIOD_NS;
    dev_timer_arm(&pit->config.timer, deadline);
}

/* Bring everything that depends on time up to now. */
static void sync_counters(struct dev_pit *pit, uint64_t now)
{
    show_ticks(pit, now);
    for (unsigned i = 0; i < DEV_PIT_COUNTERS; i++)
        switch_reload(pit, &pit->state.counter[i], now);
    show_ticks(pit, now);
}

void dev_pit_timer(void *opaque)
{
    struct dev_pit *pit = opaque;
    uint64_t now;

    pthread_mutex_lock(&pit->lock);
    now = dev_clock_now_ns(&pit->config.clock);
    sync_counters(pit, now);
    arm_timer(pit, now);
    pthread_mutex_unlock(&pit->lock);
}

static void irq_idle(struct dev_pit *pit)
{
    if (pit->state.irq_level)
        hv_irq_line_set(&pit->config.irq, false);
    pit->state.irq_level = 0;
}

/* Begin to count from `reload`, or wait for the gate. */
static void start(struct dev_pit *pit, struct dev_pit_counter_state *c, uint64_t now)
{
    c->start_ns = now;
    c->frozen = 0;
    c->is_counting = c->gate && !is_triggered(c);
    if (c == &pit->state.counter[0]) {
        pit->state.ticks_done = 0;
        irq_idle(pit);
        arm_timer(pit, now);
    }
}

static void load(struct dev_pit *pit, struct dev_pit_counter_state *c, unsigned value, uint64_t now)
{
    uint32_t reload = c->is_bcd ? from_bcd(value) : value;

    if (reload == 0)
        reload = c->is_bcd ? 10000 : 65536;
    if (is_periodic(c) && c->is_counting) {
        /* Keep the start of the running period, so that its end is elapsed == reload. */
        uint64_t periods = elapsed(c, now) / c->reload;

        c->start_ns += ns_of(periods * c->reload);
        if (c == &pit->state.counter[0])
            pit->state.ticks_done = 0;
        c->next_reload = reload;
        return;
    }
    c->reload = reload;
    if (is_triggered(c) && c->is_counting)
        return; /* counts from the next trigger on */
    start(pit, c, now);
}

static void write_counter(struct dev_pit *pit, struct dev_pit_counter_state *c, uint8_t value,
                          uint64_t now)
{
    switch (c->access) {
    case ACCESS_LOW: load(pit, c, value, now); break;
    case ACCESS_HIGH: load(pit, c, (unsigned)value << 8, now); break;
    case ACCESS_BOTH:
        c->writes_high = !c->writes_high;
        if (!c->writes_high) {
            load(pit, c, (unsigned)value << 8 | c->low_written, now);
            break;
        }
        c->low_written = value;
        if (c->mode == MODE_TERMINAL && c->is_counting) { /* the first byte stops it */
            c->frozen = 0;
            c->reload = 0;
            c->is_counting = 0;
            if (c == &pit->state.counter[0])
                irq_idle(pit);
        }
        break;
    default: break; /* no control word yet */
    }
}

static uint8_t status_of(const struct dev_pit_counter_state *c, uint64_t now)
{
    return (uint8_t)((output_of(c, now) ? STATUS_OUT : 0) |
                     (c->reload == 0 || c->next_reload != 0 ? STATUS_NULL : 0) | c->access << 4 |
                     c->mode << 1 | c->is_bcd);
}

static void latch_count(struct dev_pit_counter_state *c, uint64_t now)
{
    if (c->has_latch)
        return;
    c->latched = count_of(c, now);
    c->has_latch = 1;
}

static void read_back(struct dev_pit *pit, uint8_t value, uint64_t now)
{
    for (unsigned i = 0; i < DEV_PIT_COUNTERS; i++) {
        struct dev_pit_counter_state *c = &pit->state.counter[i];

        if (!(value & (2U << i)))
            continue;
        if (!(value & READ_BACK_NO_COUNT))
            latch_count(c, now);
        if (!(value & READ_BACK_NO_STATUS) && !c->has_status_latch) {
            c->latched_status = status_of(c, now);
            c->has_status_latch = 1;
        }
    }
}

static void write_control(struct dev_pit *pit, uint8_t value, uint64_t now)
{
    struct dev_pit_counter_state *c;
    uint8_t mode = (value >> 1) & 7;

    if (value >> 6 == CONTROL_READ_BACK) {
        read_back(pit, value, now);
        return;
    }
    c = &pit->state.counter[value >> 6];
    if (((value >> 4) & 3) == ACCESS_LATCH) {
        latch_count(c, now);
        return;
    }
    *c = (struct dev_pit_counter_state){
        .access = (value >> 4) & 3,
        .mode = mode > MODE_TRIGGERED_STROBE ? mode - 4 : mode,
        .is_bcd = value & 1,
        .gate = c->gate,
    };
    if (c == &pit->state.counter[0]) {
        pit->state.ticks_done = 0;
        irq_idle(pit);
        dev_timer_disarm(&pit->config.timer);
    }
}

/* One byte of the latch or of the running count, in the order the control word asked for. */
static uint8_t read_counter(struct dev_pit_counter_state *c, uint64_t now)
{
    uint16_t value = c->has_latch ? c->latched : count_of(c, now);
    bool high = c->access == ACCESS_HIGH || (c->access == ACCESS_BOTH && c->reads_high);

    if (c->has_status_latch) {
        c->has_status_latch = 0;
        return c->latched_status;
    }
    if (c->access == ACCESS_BOTH)
        c->reads_high = !c->reads_high;
    if (!c->reads_high)
        c->has_latch = 0;
    return (uint8_t)(high ? value >> 8 : value);
}

static uint64_t pit_read(void *opaque, uint64_t offset, unsigned size)
{
    struct dev_pit *pit = opaque;
    uint64_t value = 0, now;

    pthread_mutex_lock(&pit->lock);
    now = dev_clock_now_ns(&pit->config.clock);
    sync_counters(pit, now);
    for (unsigned i = 0; i < size; i++) {
        unsigned reg = (offset + i) & 3;
        uint8_t byte = reg == REG_CONTROL ? 0xff : read_counter(&pit->state.counter[reg], now);

        value |= (uint64_t)byte << (8 * i);
    }
    pthread_mutex_unlock(&pit->lock);
    return value;
}

static void pit_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct dev_pit *pit = opaque;
    uint64_t now;

    pthread_mutex_lock(&pit->lock);
    now = dev_clock_now_ns(&pit->config.clock);
    sync_counters(pit, now);
    for (unsigned i = 0; i < size; i++) {
        unsigned reg = (offset + i) & 3;
        uint8_t byte = (uint8_t)(value >> (8 * i));

        if (reg == REG_CONTROL)
            write_control(pit, byte, now);
        else
            write_counter(pit, &pit->state.counter[reg], byte, now);
    }
    pthread_mutex_unlock(&pit->lock);
}

/* Counter 2's gate: low stops, rising triggers or starts anew, by mode. */
static void set_gate(struct dev_pit_counter_state *c, bool gate, uint64_t now)
{
    if (gate == c->gate)
        return;
    c->gate = gate;
    if (c->reload == 0)
        return;
    if (gate && (is_periodic(c) || is_triggered(c))) {
        if (c->next_reload != 0)
            c->reload = c->next_reload;
        c->next_reload = 0;
        c->start_ns = now;
        c->is_counting = 1;
    } else if (gate) {
        uint64_t run_ns = ns_of(c->frozen);

        c->start_ns = now > run_ns ? now - run_ns : 0;
        c->is_counting = 1;
    } else if (!is_triggered(c)) {
        c->frozen = elapsed(c, now);
        c->is_counting = 0;
    }
}

static uint64_t port_b_read(void *opaque, uint64_t offset, unsigned size)
{
    struct dev_pit *pit = opaque;
    uint64_t value, now;

    pthread_mutex_lock(&pit->lock);
    now = dev_clock_now_ns(&pit->config.clock);
    sync_counters(pit, now);
    value = pit->state.control_b | (now / REFRESH_NS & 1 ? B_REFRESH : 0) |
            (output_of(&pit->state.counter[2], now) ? B_OUT : 0);
    pthread_mutex_unlock(&pit->lock);
    return value;
}

static void port_b_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct dev_pit *pit = opaque;
    uint64_t now;

    pthread_mutex_lock(&pit->lock);
    now = dev_clock_now_ns(&pit->config.clock);
    sync_counters(pit, now);
    pit->state.control_b = value & B_WRITABLE;
    set_gate(&pit->state.counter[2], value & B_GATE, now);
    pthread_mutex_unlock(&pit->lock);
}

static const struct hv_io_ops pit_ops = { .read = pit_read, .write = pit_write };
static const struct hv_io_ops port_b_ops = { .read = port_b_read, .write = port_b_write };

void dev_pit_init(struct dev_pit *pit, const struct dev_pit_config *config)
{
    *pit = (struct dev_pit){ .config = *config };
    pthread_mutex_init(&pit->lock, NULL);
    dev_pit_reset(pit);
}

void dev_pit_fini(struct dev_pit *pit)
{
    dev_timer_disarm(&pit->config.timer);
    pthread_mutex_destroy(&pit->lock);
}

int dev_pit_map(struct dev_pit *pit, struct hv_io_space *ports)
{
    int r;

    r = hv_io_space_add(ports, PORT, 4, &pit_ops, pit);
    if (r < 0)
        return r;
    return hv_io_space_add(ports, PORT_B, 1, &port_b_ops, pit);
}

void dev_pit_reset(struct dev_pit *pit)
{
    pthread_mutex_lock(&pit->lock);
    pit->state =
        (struct dev_pit_state){ .counter = { { .gate = 1 }, { .gate = 1 }, { .gate = 0 } } };
    dev_timer_disarm(&pit->config.timer);
    hv_irq_line_set(&pit->config.irq, false);
    pthread_mutex_unlock(&pit->lock);
}

void dev_pit_get_state(struct dev_pit *pit, struct dev_pit_state *ret)
{
    pthread_mutex_lock(&pit->lock);
    *ret = pit->state;
    pthread_mutex_unlock(&pit->lock);
}

static bool is_possible(const struct dev_pit_counter_state *c)
{
    return c->reload <= 65536 && c->next_reload <= 65536 && c->mode <= MODE_TRIGGERED_STROBE &&
           c->access <= ACCESS_BOTH && c->is_bcd <= 1 && c->has_latch <= 1 &&
           c->has_status_latch <= 1 && c->reads_high <= 1 && c->writes_high <= 1 && c->gate <= 1 &&
           c->is_counting <= 1 && (c->reload != 0 || (!c->is_counting && c->next_reload == 0)) &&
           (c->next_reload == 0 || is_periodic(c)) && c->frozen <= UINT64_MAX / NS_PER_SEC;
}

int dev_pit_set_state(struct dev_pit *pit, const struct dev_pit_state *state)
{
    for (unsigned i = 0; i < DEV_PIT_COUNTERS; i++)
        if (!is_possible(&state->counter[i]))
            return -EINVAL;
    if ((state->control_b & ~B_WRITABLE) || state->irq_level > 1 || !state->counter[0].gate)
        return -EINVAL;
    pthread_mutex_lock(&pit->lock);
    pit->state = *state;
    hv_irq_line_set(&pit->config.irq, state->irq_level);
    arm_timer(pit, dev_clock_now_ns(&pit->config.clock));
    pthread_mutex_unlock(&pit->lock);
    return 0;
}
