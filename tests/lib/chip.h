/* SPDX-License-Identifier: Apache-2.0 */
/* What a chip needs around it in a test: a clock whose hands we hold, a timer, a line that counts,
 * and port access through the real router. */
#pragma once

#include "hvcore/io.h"
#include "vmwp/dev/clock.h"

struct fake_clock {
    uint64_t now_ns;
    uint64_t wall_ns;
    uint64_t deadline_ns; /* UINT64_MAX: not armed */
    unsigned n_arms, n_fired;
    void (*fire)(void *opaque);
    void *opaque;
};

static inline uint64_t fake_now(void *opaque)
{
    return ((struct fake_clock *)opaque)->now_ns;
}

static inline uint64_t fake_wall(void *opaque)
{
    return ((struct fake_clock *)opaque)->wall_ns;
}

static inline void fake_arm(void *opaque, uint64_t deadline_ns)
{
    struct fake_clock *clock = opaque;

    clock->deadline_ns = deadline_ns;
    clock->n_arms++;
}

static inline void fake_disarm(void *opaque)
{
    ((struct fake_clock *)opaque)->deadline_ns = UINT64_MAX;
}

static inline struct dev_clock fake_dev_clock(struct fake_clock *clock)
{
    return (struct dev_clock){ .now_ns = fake_now, .wall_ns = fake_wall, .opaque = clock };
}

static inline struct dev_timer fake_dev_timer(struct fake_clock *clock)
{
    return (struct dev_timer){ .arm = fake_arm, .disarm = fake_disarm, .opaque = clock };
}

static inline void fake_step(struct fake_clock *clock, uint64_t ns)
{
    clock->now_ns += ns;
    clock->wall_ns += ns;
}

/* Let time pass, and the timer fire whenever it is due. */
static inline void fake_advance(struct fake_clock *clock, uint64_t ns)
{
    uint64_t end = clock->now_ns + ns;

    while (clock->deadline_ns <= end) {
        if (clock->deadline_ns > clock->now_ns)
            fake_step(clock, clock->deadline_ns - clock->now_ns);
        clock->deadline_ns = UINT64_MAX;
        clock->n_fired++;
        clock->fire(clock->opaque);
    }
    fake_step(clock, end - clock->now_ns);
}

struct fake_line {
    bool level;
    unsigned n_rises;
};

static inline void fake_line_set(void *opaque, unsigned number, bool level)
{
    struct fake_line *line = opaque;

    line->n_rises += level && !line->level;
    line->level = level;
}

static inline struct hv_irq_line fake_irq_line(struct fake_line *line)
{
    return (struct hv_irq_line){ .set = fake_line_set, .opaque = line };
}

static inline uint8_t in8(struct hv_io_space *io, uint64_t port)
{
    return (uint8_t)hv_io_space_read(io, port, 1);
}

static inline void out8(struct hv_io_space *io, uint64_t port, uint8_t value)
{
    hv_io_space_write(io, port, 1, value);
}

/* A linear congruential sequence, the same in every run. */
static inline uint32_t fake_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 32);
}

/* Hit a range of ports with random reads and writes of all sizes, in a repeatable order. */
static inline void fake_hammer(struct hv_io_space *io, uint64_t first, uint64_t count,
                               unsigned n_accesses)
{
    static const unsigned sizes[] = { 1, 2, 4, 1, 1, 1, 8, 1 };
    uint64_t seed = 1;

    for (unsigned i = 0; i < n_accesses; i++) {
        uint32_t dice = fake_random(&seed);
        uint64_t port = first + fake_random(&seed) % count;
        uint64_t value = (uint64_t)fake_random(&seed) << 32 | fake_random(&seed);

        if (dice & 1)
            hv_io_space_write(io, port, sizes[dice >> 1 & 7], value);
        else
            (void)hv_io_space_read(io, port, sizes[dice >> 1 & 7]);
    }
}
