/* SPDX-License-Identifier: Apache-2.0 */
/* Memory: copies of all sizes, string instructions, pointer chasing, the C library's strings. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

static uint64_t memcpy_big(uint64_t units)
{
    enum { BYTES = 16 << 20 };
    uint8_t *a = malloc(BYTES), *b = malloc(BYTES);
    uint64_t sum = 0;

    memset(a, 3, BYTES);
    for (uint64_t done = 0; done < units; done += BYTES) {
        a[done >> 12 & 0xffff] = (uint8_t)(done >> 20);
        memcpy(b, a, BYTES);
        sum += b[done >> 13 & 0xffff];
        BENCH_OPAQUE(sum);
    }
    free(a);
    free(b);
    return sum;
}

static uint64_t memcpy_small(uint64_t units)
{
    static uint8_t a[512], b[512];
    uint64_t seed = 23, sum = 0;

    for (uint64_t u = 0; u < units; u++) {
        size_t n = bench_next(&seed) & 255;

        BENCH_OPAQUE(n);
        memcpy(b + (u & 31), a + (u >> 5 & 31), n);
        a[u & 255] = (uint8_t)u;
        sum += b[n];
    }
    return sum;
}

static uint64_t rep_movsb(uint64_t units)
{
    enum { BYTES = 64 << 10 };
    static uint8_t a[BYTES], b[BYTES];
    uint64_t sum = 0;

    for (uint64_t done = 0; done < units; done += BYTES) {
        void *to = b, *from = a;
        uint64_t n = BYTES;

        a[done >> 16 & 0xffff] = (uint8_t)(done >> 16);
        __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
        sum += b[done >> 16 & 0xffff];
    }
    return sum;
}

static uint64_t rep_stosq(uint64_t units)
{
    static uint64_t page[512];
    uint64_t sum = 0;

    for (uint64_t done = 0; done < units; done += 4096) {
        void *to = page;
        uint64_t n = 512;

        __asm__ volatile("rep stosq" : "+D"(to), "+c"(n) : "a"(done) : "memory");
        sum += page[done >> 12 & 511];
    }
    return sum;
}

static uint64_t ptr_chase(uint64_t units)
{
    enum { PAGES = 16384 };
    uint8_t *area = malloc((size_t)PAGES * 4096);
    uint64_t at = 0, sum = 0;

    /* A full-period generator over the pages makes one cycle through all of them. */
    for (uint64_t i = 0; i < PAGES; i++) {
        uint64_t next = (i * 5 + 3) & (PAGES - 1);

        memcpy(area + i * 4096 + (i & 63) * 64, &next, sizeof(next));
    }
    for (uint64_t u = 0; u < units; u++) {
        memcpy(&at, area + at * 4096 + (at & 63) * 64, sizeof(at));
        sum += at;
    }
    free(area);
    return sum;
}

static uint64_t strings(uint64_t units)
{
    static char a[1200], b[1200];
    uint64_t sum = 0;

    memset(a, 'x', 1000);
    memset(b, 'x', 1000);
    memcpy(a + 700, "needle", 6);
    memcpy(b + 700, "needle", 6);
    b[999] = 'y';
    for (uint64_t u = 0; u < units; u++) {
        char *p = a, *q = b;

        a[u % 600] = (char)('a' + u % 20);
        b[u % 600] = a[u % 600];
        BENCH_OPAQUE(p);
        BENCH_OPAQUE(q);
        sum += strlen(p) + (strcmp(p, q) < 0) + (uint64_t)((char *)memchr(p, 'n', 1000) - p) +
               (uint64_t)(strstr(p, "needle") - p) + (memcmp(p, q, 1000) < 0);
        a[u % 600] = b[u % 600] = 'x';
    }
    return sum;
}

const struct bench bench_memory[] = {
    { "memcpy_big", "byte", 512 << 20, memcpy_big },
    { "memcpy_small", "call", 2000000, memcpy_small },
    { "rep_movsb", "byte", 64 << 20, rep_movsb },
    { "rep_stosq", "byte", 512 << 20, rep_stosq },
    { "ptr_chase", "load", 2000000, ptr_chase },
    { "strings", "iteration", 8000, strings },
};
const unsigned bench_n_memory = sizeof(bench_memory) / sizeof(bench_memory[0]);
