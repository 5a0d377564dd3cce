/* SPDX-License-Identifier: Apache-2.0 */
/* Reproducible randomness for tests. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct random {
    uint64_t s[2];
};

/* splitmix64, to spread a seed */
static inline uint64_t random_spread(uint64_t *x)
{
    uint64_t z = *x += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline struct random random_seeded(uint64_t seed)
{
    struct random random;

    random.s[0] = random_spread(&seed);
    random.s[1] = random_spread(&seed) | 1;
    return random;
}

/* xorshift128+ */
static inline uint64_t random_u64(struct random *random)
{
    uint64_t x = random->s[0];
    const uint64_t y = random->s[1];

    random->s[0] = y;
    x ^= x << 23;
    random->s[1] = x ^ y ^ x >> 17 ^ y >> 26;
    return random->s[1] + y;
}

/* 0 to n - 1 */
static inline unsigned random_below(struct random *random, unsigned n)
{
    return (unsigned)((random_u64(random) >> 32) * n >> 32);
}

static inline void random_bytes(struct random *random, void *ret, size_t bytes)
{
    uint8_t *to = ret;

    for (size_t i = 0; i < bytes; i += 8) {
        const uint64_t value = random_u64(random);

        memcpy(to + i, &value, bytes - i < 8 ? bytes - i : 8);
    }
}
