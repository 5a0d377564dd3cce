/* SPDX-License-Identifier: Apache-2.0 */
/* Sums and products of foreign numbers: each returns false and leaves *ret alone on overflow. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

static inline bool hv_add_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
    uint64_t sum;

    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *ret = sum;
    return true;
}

static inline bool hv_mul_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
    uint64_t product;

    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *ret = product;
    return true;
}

/* Is [first, first + length) inside [0, limit)? An empty range is inside when first <= limit. */
static inline bool hv_range_within(uint64_t first, uint64_t length, uint64_t limit)
{
    return length <= limit && first <= limit - length;
}

static inline uint64_t hv_align_down(uint64_t value, uint64_t power_of_two)
{
    return value & ~(power_of_two - 1);
}

/* value must be at most UINT64_MAX - (power_of_two - 1). */
static inline uint64_t hv_align_up(uint64_t value, uint64_t power_of_two)
{
    return (value + power_of_two - 1) & ~(power_of_two - 1);
}
