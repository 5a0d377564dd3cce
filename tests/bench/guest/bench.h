/* SPDX-License-Identifier: Apache-2.0 */
/* One benchmark: do `units` units of work and return a checksum that depends on nothing but units.
 */
#pragma once

#include <stdint.h>

typedef uint64_t bench_fn(uint64_t units);

struct bench {
    const char *name;
    const char *unit;
    uint64_t units; /* at scale 1 */
    bench_fn *run;
};

/* Next number of a xorshift generator; state is never 0. */
static inline uint64_t bench_next(uint64_t *state)
{
    uint64_t x = *state;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

/* Keep the compiler from seeing through a value. */
#define BENCH_OPAQUE(x) __asm__ volatile("" : "+r"(x) : : "memory")

extern const struct bench bench_integer[], bench_vector[], bench_memory[], bench_system[];
extern const unsigned bench_n_integer, bench_n_vector, bench_n_memory, bench_n_system;
