/* SPDX-License-Identifier: Apache-2.0 */
/* Floating point and SIMD: SSE matrices, integer vectors, scalar double, x87. */
#include "bench.h"

#include <emmintrin.h>
#include <math.h>
#include <string.h>

enum { N = 64 };

static uint64_t sse_matmul(uint64_t units)
{
    static float a[N][N], b[N][N], c[N][N];
    uint64_t seed = 3, sum = 0;

    for (unsigned i = 0; i < N * N; i++) {
        a[i / N][i % N] = (float)(bench_next(&seed) & 0xffff) / 7.0f;
        b[i / N][i % N] = (float)(bench_next(&seed) & 0xffff) / 3.0f;
    }
    for (uint64_t u = 0; u < units; u++) {
        for (unsigned i = 0; i < N; i++)
            for (unsigned j = 0; j < N; j += 4) {
                __m128 s = _mm_setzero_ps();

                for (unsigned k = 0; k < N; k++)
                    s = _mm_add_ps(s, _mm_mul_ps(_mm_set1_ps(a[i][k]), _mm_loadu_ps(&b[k][j])));
                _mm_storeu_ps(&c[i][j], s);
            }
        a[u % N][0] += 1.0f;
        sum += (uint64_t)c[u % N][5];
    }
    return sum;
}

static uint64_t simd_int(uint64_t units)
{
    static uint8_t v[4096], w[4096];
    uint64_t seed = 11, sum = 0;

    for (unsigned i = 0; i < sizeof(v); i++) {
        v[i] = (uint8_t)bench_next(&seed);
        w[i] = (uint8_t)(bench_next(&seed) >> 9);
    }
    for (uint64_t u = 0; u < units; u++) {
        __m128i acc = _mm_setzero_si128();

        for (unsigned i = 0; i < sizeof(v); i += 16) {
            __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(v + i));
            __m128i y = _mm_loadu_si128((const __m128i *)(const void *)(w + i));
            __m128i m = _mm_cmpgt_epi8(x, y);

            x = _mm_or_si128(_mm_and_si128(m, x), _mm_andnot_si128(m, y));
            acc = _mm_add_epi64(acc, _mm_sad_epu8(_mm_avg_epu8(x, y), _mm_setzero_si128()));
            sum += (unsigned)_mm_movemask_epi8(m);
        }
        sum += (uint64_t)_mm_cvtsi128_si64(acc);
        v[u & 4095]++;
    }
    return sum;
}

struct body {
    double x, y, z, vx, vy, vz, mass;
};

static uint64_t dbl_nbody(uint64_t units)
{
    struct body b[5];
    uint64_t seed = 17, bits;
    double energy = 0;

    for (unsigned i = 0; i < 5; i++) {
        double *f = &b[i].x;

        for (unsigned k = 0; k < 7; k++)
            f[k] = 0.5 + (double)(bench_next(&seed) & 0xfffff) / (double)0x100000;
    }
    for (uint64_t u = 0; u < units; u++) {
        for (unsigned i = 0; i < 5; i++)
            for (unsigned j = i + 1; j < 5; j++) {
                double dx = b[i].x - b[j].x, dy = b[i].y - b[j].y, dz = b[i].z - b[j].z;
                double d2 = dx * dx + dy * dy + dz * dz + 0.01, m = 0.001 / (d2 * sqrt(d2));

                b[i].vx -= dx * b[j].mass * m;
                b[i].vy -= dy * b[j].mass * m;
                b[i].vz -= dz * b[j].mass * m;
                b[j].vx += dx * b[i].mass * m;
                b[j].vy += dy * b[i].mass * m;
                b[j].vz += dz * b[i].mass * m;
            }
        for (unsigned i = 0; i < 5; i++) {
            b[i].x += 0.001 * b[i].vx;
            b[i].y += 0.001 * b[i].vy;
            b[i].z += 0.001 * b[i].vz;
        }
    }
    for (unsigned i = 0; i < 5; i++)
        energy += b[i].mass * (b[i].vx * b[i].vx + b[i].vy * b[i].vy + b[i].vz * b[i].vz);
    memcpy(&bits, &energy, sizeof(bits));
    return bits;
}

static uint64_t x87_poly(uint64_t units)
{
    volatile long double seed = 1.000001L;
    long double x = seed, sum = 0;
    double out;
    uint64_t bits;

    for (uint64_t u = 0; u < units; u++) {
        sum += ((0.5L * x + 0.25L) * x - 0.125L) * x + 1.0L;
        x = x * 0.99999L + 0.00001L;
    }
    out = (double)sum;
    memcpy(&bits, &out, sizeof(bits));
    return bits;
}

const struct bench bench_vector[] = {
    { "sse_matmul", "matrix", 8, sse_matmul },
    { "simd_int", "pass", 3000, simd_int },
    { "dbl_nbody", "step", 60000, dbl_nbody },
    { "x87_poly", "iteration", 400000, x87_poly },
};
const unsigned bench_n_vector = sizeof(bench_vector) / sizeof(bench_vector[0]);
