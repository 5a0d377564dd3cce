/* SPDX-License-Identifier: Apache-2.0 */
/* Integer work: lists, matrices, an interpreter, calls, sorting, big numbers, hashing, packing. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

struct node {
    struct node *next;
    uint32_t value;
};

static uint64_t int_mix(uint64_t units)
{
    static struct node nodes[64];
    uint64_t seed = 88172645463325252u, sum = 0;
    int32_t a[8][8], b[8][8];

    for (unsigned i = 0; i < 64; i++)
        nodes[i] = (struct node){ &nodes[(i * 37 + 11) & 63], i * 2654435761u };
    for (uint64_t u = 0; u < units; u++) {
        const struct node *n = &nodes[u & 63];
        uint32_t crc = (uint32_t)u, state = 0;

        for (unsigned i = 0; i < 64; i++, n = n->next)
            sum += n->value ^ i;
        for (unsigned i = 0; i < 64; i++)
            a[i >> 3][i & 7] = (int32_t)(bench_next(&seed) & 0xff);
        for (unsigned i = 0; i < 8; i++)
            for (unsigned j = 0; j < 8; j++) {
                int32_t s = 0;

                for (unsigned k = 0; k < 8; k++)
                    s += a[i][k] * a[k][j];
                b[i][j] = s;
            }
        for (unsigned i = 0; i < 64; i++) {
            switch (state) {
            case 0: state = b[i >> 3][i & 7] & 1 ? 1 : 2; break;
            case 1: state = b[i >> 3][i & 7] & 2 ? 3 : 0; break;
            case 2: state = b[i >> 3][i & 7] & 4 ? 0 : 3; break;
            default: state = b[i >> 3][i & 7] & 8 ? 2 : 1; break;
            }
            crc ^= state + (uint32_t)b[i >> 3][i & 7];
            for (unsigned k = 0; k < 4; k++)
                crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
        }
        sum += crc;
    }
    return sum;
}

/* A byte-code machine that sieves primes below 512. */
enum { OP_SET, OP_ADD, OP_INC, OP_STORE, OP_LOAD, OP_JLT, OP_JZ, OP_MOV, OP_COUNT, OP_END };

struct code {
    uint8_t op, a, b;
    int16_t c;
};

static const struct code sieve[] = {
    { OP_SET, 0, 0, 2 },
    { OP_SET, 3, 0, 512 },
    /* 2 */ { OP_LOAD, 1, 0, 0 },
    { OP_JZ, 1, 0, 3 },
    { OP_INC, 0, 0, 0 },
    { OP_JLT, 0, 3, -3 },
    /* 6, a prime */ { OP_COUNT, 0, 0, 0 },
    { OP_MOV, 2, 0, 0 },
    /* 8 */ { OP_JLT, 2, 3, 4 },
    { OP_INC, 0, 0, 0 },
    { OP_JLT, 0, 3, -8 },
    { OP_END, 0, 0, 0 },
    /* 12 */ { OP_STORE, 2, 0, 1 },
    { OP_ADD, 2, 0, 0 },
    { OP_JZ, 4, 0, -6 },
};

static uint64_t vm_switch(uint64_t units)
{
    uint64_t total = 0;

    for (uint64_t u = 0; u < units; u++) {
        int64_t reg[5] = { 0 };
        uint8_t cells[512] = { 0 };
        unsigned pc = 0;
        int running = 1;

        while (running) {
            const struct code *i = &sieve[pc++];

            switch (i->op) {
            case OP_SET: reg[i->a] = i->c; break;
            case OP_ADD: reg[i->a] += reg[i->b]; break;
            case OP_INC: reg[i->a]++; break;
            case OP_STORE: cells[reg[i->a] & 511] = (uint8_t)i->c; break;
            case OP_LOAD: reg[i->a] = cells[reg[i->b] & 511]; break;
            case OP_JLT: pc += reg[i->a] < reg[i->b] ? (unsigned)(int)(i->c - 1) : 0; break;
            case OP_JZ: pc += reg[i->a] == 0 ? (unsigned)(int)(i->c - 1) : 0; break;
            case OP_MOV: reg[i->a] = reg[i->b]; break;
            case OP_COUNT: total += (uint64_t)reg[0]; break;
            default: running = 0; break;
            }
        }
        BENCH_OPAQUE(total);
    }
    return total;
}

static __attribute__((noinline, noclone)) uint64_t fib(unsigned n)
{
    uint64_t r;

    if (n < 2)
        return n;
    r = fib(n - 1);
    BENCH_OPAQUE(r);
    return r + fib(n - 2);
}

static uint64_t fib_call(uint64_t units)
{
    uint64_t sum = 0;

    while (units-- > 0)
        sum += fib(20);
    return sum;
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static uint64_t qsort_cb(uint64_t units)
{
    uint64_t seed = 42, sum = 0;
    uint32_t *v = malloc(units * sizeof(*v));

    for (uint64_t i = 0; i < units; i++)
        v[i] = (uint32_t)bench_next(&seed);
    qsort(v, units, sizeof(*v), compare_u32);
    for (uint64_t i = 0; i < units; i += 97)
        sum = sum * 31 + v[i];
    free(v);
    return sum;
}

static uint64_t bignum(uint64_t units)
{
    uint64_t a[32], b[32], product[64], seed = 7, sum = 0;

    for (unsigned i = 0; i < 32; i++) {
        a[i] = bench_next(&seed);
        b[i] = bench_next(&seed);
    }
    for (uint64_t u = 0; u < units; u++) {
        memset(product, 0, sizeof(product));
        for (unsigned i = 0; i < 32; i++) {
            uint64_t carry = 0;

            for (unsigned j = 0; j < 32; j++) {
                unsigned __int128 t = (unsigned __int128)a[i] * b[j] + product[i + j] + carry;

                product[i + j] = (uint64_t)t;
                carry = (uint64_t)(t >> 64);
            }
            product[i + 32] = carry;
        }
        a[u & 31] ^= product[40];
        sum += product[63];
    }
    return sum;
}

static uint64_t div64(uint64_t units)
{
    uint64_t seed = 99, sum = 0;

    for (uint64_t u = 0; u < units; u++) {
        uint64_t x = bench_next(&seed);

        sum += x / ((x >> 40) | 1) + x % ((sum & 0xffff) | 3);
    }
    return sum;
}

static const uint32_t sha_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t ror(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

static void sha256_block(uint32_t h[8], const uint8_t *p)
{
    uint32_t w[64], v[8];

    for (unsigned i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 |
               (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (unsigned i = 16; i < 64; i++)
        w[i] = w[i - 16] + w[i - 7] + (ror(w[i - 15], 7) ^ ror(w[i - 15], 18) ^ w[i - 15] >> 3) +
               (ror(w[i - 2], 17) ^ ror(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(v, h, sizeof(v));
    for (unsigned i = 0; i < 64; i++) {
        uint32_t t1 = v[7] + (ror(v[4], 6) ^ ror(v[4], 11) ^ ror(v[4], 25)) +
                      ((v[4] & v[5]) ^ (~v[4] & v[6])) + sha_k[i] + w[i];
        uint32_t t2 = (ror(v[0], 2) ^ ror(v[0], 13) ^ ror(v[0], 22)) +
                      ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));

        memmove(v + 1, v, 7 * sizeof(*v));
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (unsigned i = 0; i < 8; i++)
        h[i] += v[i];
}

static uint64_t sha256(uint64_t units)
{
    uint32_t h[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
    uint8_t block[64];

    for (uint64_t at = 0; at + 64 <= units; at += 64) {
        for (unsigned i = 0; i < 64; i++)
            block[i] = (uint8_t)(at >> 6) ^ (uint8_t)i;
        sha256_block(h, block);
    }
    return (uint64_t)h[0] << 32 | h[7];
}

/* A greedy LZ packer with a hash of three bytes: literal runs and (length, distance) pairs. */
enum { LZ_BYTES = 1 << 18, LZ_HASH = 1 << 13 };

static void lz_fill(uint8_t *text)
{
    static const char words[16][8] = { "the ",  "guest ", "of ",   "page ", "a ",    "and ",
                                       "host ", "call ",  "with ", "to ",   "time ", "run ",
                                       "loop ", "byte ",  "is ",   "in " };
    uint64_t seed = 5, at = 0;

    while (at + 8 < LZ_BYTES) {
        const char *word = words[bench_next(&seed) >> 7 & 15];
        size_t n = strlen(word);

        memcpy(text + at, word, n);
        at += n;
    }
    memset(text + at, '.', LZ_BYTES - at);
}

static size_t lz_pack_once(const uint8_t *in, uint8_t *out)
{
    static uint32_t table[LZ_HASH];
    size_t at = 0, n = 0;

    memset(table, 0, sizeof(table));
    while (at + 4 < LZ_BYTES) {
        uint32_t key = (in[at] | (uint32_t)in[at + 1] << 8 | (uint32_t)in[at + 2] << 16);
        uint32_t slot = key * 2654435761u >> 19;
        size_t from = table[slot], length = 0;

        table[slot] = (uint32_t)at;
        if (from < at && at - from < 65536)
            while (length < 127 && at + length < LZ_BYTES && in[from + length] == in[at + length])
                length++;
        if (length >= 4) {
            out[n++] = (uint8_t)(0x80 | length);
            out[n++] = (uint8_t)(at - from);
            out[n++] = (uint8_t)((at - from) >> 8);
            at += length;
        } else {
            out[n++] = in[at++] & 0x7f;
        }
    }
    while (at < LZ_BYTES)
        out[n++] = in[at++] & 0x7f;
    return n;
}

static uint8_t lz_in[LZ_BYTES], lz_out[LZ_BYTES * 2], lz_back[LZ_BYTES + 256];

static uint64_t lz_pack(uint64_t units)
{
    uint64_t sum = 0;

    lz_fill(lz_in);
    for (uint64_t done = 0; done < units; done += LZ_BYTES) {
        lz_in[done & 0xff] ^= 1;
        sum = sum * 31 + lz_pack_once(lz_in, lz_out);
    }
    return sum;
}

static uint64_t lz_unpack(uint64_t units)
{
    size_t packed;
    uint64_t sum = 0;

    lz_fill(lz_in);
    packed = lz_pack_once(lz_in, lz_out);
    for (uint64_t u = 0; u < units * 4; u++) {
        size_t at = 0, n = 0;

        while (at < packed && n < LZ_BYTES) {
            uint8_t c = lz_out[at++];

            if (c & 0x80) {
                size_t distance = lz_out[at] | (size_t)lz_out[at + 1] << 8;

                at += 2;
                for (unsigned i = c & 0x7f; i > 0; i--, n++)
                    lz_back[n] = lz_back[n - distance];
            } else {
                lz_back[n++] = c;
            }
        }
        sum += lz_back[u * 4099 % LZ_BYTES] + n;
        BENCH_OPAQUE(sum);
    }
    return sum;
}

const struct bench bench_integer[] = {
    { "int_mix", "iteration", 20000, int_mix },
    { "vm_switch", "sieve", 1000, vm_switch },
    { "fib_call", "fib(20)", 1000, fib_call },
    { "qsort_cb", "element", 200000, qsort_cb },
    { "bignum", "2048-bit product", 30000, bignum },
    { "div64", "iteration", 4000000, div64 },
    { "sha256", "byte", 4 << 20, sha256 },
    { "lz_pack", "byte", 4 << 20, lz_pack },
    { "lz_unpack", "MiB", 8, lz_unpack },
};
const unsigned bench_n_integer = sizeof(bench_integer) / sizeof(bench_integer[0]);
