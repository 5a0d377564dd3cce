/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's TSC as a clock, and the guest's time made from it.
 *
 * Guest TSC = host TSC + offset; guest time in ns and the reference time in 100 ns are the guest
 * TSC by a constant factor. While paused, time stands still; skipping the pause moves the offset.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The host TSC's frequency: the kernel's own figure where it tells it, else measured (4 ms, to some
 * millionths). */
uint64_t hv_tsc_hz(void);
/* Does it count at one rate, in all power states, alike on all processors? The processor says so,
 * or the host's kernel keeps its own time by it. */
bool hv_tsc_is_invariant(void);

/* Both, for who must ask before the files are out of reach that tell them. */
struct hv_tsc_facts {
    /* read only */
    uint64_t hz; /* 0: not known yet */
    bool is_invariant;
    /* private */
    uint64_t from_tsc, from_ns; /* what is measured began here; 0: nothing is */
};
/* Look at what the kernel tells. Where the frequency must be measured that has begun, and hz is 0
 * until hv_tsc_finish: whoever has something else to do meanwhile doesn't wait. */
void hv_tsc_begin(struct hv_tsc_facts *ret);
/* Waits for what is missing of the measurement. All zero: begins here. */
void hv_tsc_finish(struct hv_tsc_facts *facts);

static inline uint64_t hv_tsc_read(void)
{
    return __builtin_ia32_rdtsc();
}

/* CLOCK_MONOTONIC for a moment given as host TSC, without a system call each time. */
struct hv_tsc_anchor {
    /* private; owner: one thread at a time */
    uint64_t tsc_hz;
    uint64_t ns_per_tick_q32;
    uint64_t tsc;
    uint64_t ns;
};

/* tsc_hz: as hv_tsc_hz tells it. */
void hv_tsc_anchor_init(struct hv_tsc_anchor *anchor, uint64_t tsc_hz);
/* When the host's TSC will read host_tsc, in ns; at once for what is past. */
uint64_t hv_tsc_anchor_to_ns(struct hv_tsc_anchor *anchor, uint64_t host_tsc);

struct hv_guest_clock {
    /* read only */
    uint64_t tsc_hz;
    uint64_t reference_scale; /* 100 ns per tick, 64 fractional bits */
    /* private */
    uint64_t ns_per_tick_q32;
    _Atomic uint64_t offset;
    _Atomic uint64_t stopped_at; /* guest TSC while time is stopped; 0: it runs */
};

/* Guest time 0 is now, and running. */
void hv_guest_clock_init(struct hv_guest_clock *clock, uint64_t tsc_hz);

/* Any thread. */
uint64_t hv_guest_clock_tsc(const struct hv_guest_clock *clock);
uint64_t hv_guest_clock_ns(const struct hv_guest_clock *clock);
uint64_t hv_guest_clock_reference(const struct hv_guest_clock *clock);
/* The guest TSC at which the reference time will be reached; what is a century away is no more. */
uint64_t hv_guest_clock_tsc_at(const struct hv_guest_clock *clock, uint64_t reference);

static inline uint64_t hv_guest_clock_offset(const struct hv_guest_clock *clock)
{
    return atomic_load_explicit(&clock->offset, memory_order_relaxed);
}

/* Guest time is this now, whether it runs or stands still. No VP runs. */
void hv_guest_clock_set_tsc(struct hv_guest_clock *clock, uint64_t tsc);

void hv_guest_clock_stop(struct hv_guest_clock *clock);
/* Let time go on; returns the TSC ticks that passed meanwhile (0 when it wasn't stopped). */
uint64_t hv_guest_clock_start(struct hv_guest_clock *clock);
