/* SPDX-License-Identifier: Apache-2.0 */
/* Runs benchmarks and prints a line each: name, unit, nanoseconds per unit, checksum.
 * bench [--scale DIVISOR] [NAME...]; --nothing ends at once (what fork_exec executes). */
#include "bench.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t now_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static bool is_wanted(const struct bench *bench, int n_names, char **names)
{
    for (int i = 0; i < n_names; i++)
        if (strcmp(names[i], bench->name) == 0)
            return true;
    return n_names == 0;
}

static void run(const struct bench *bench, uint64_t divisor)
{
    uint64_t units = bench->units / divisor > 0 ? bench->units / divisor : 1, start, sum, ns;

    start = now_ns();
    sum = bench->run(units);
    ns = now_ns() - start;
    printf("bench %-14s %-18s %14.3f %016llx\n", bench->name, bench->unit,
           (double)ns / (double)units, (unsigned long long)sum);
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    const struct {
        const struct bench *benches;
        unsigned n;
    } groups[] = { { bench_integer, bench_n_integer },
                   { bench_vector, bench_n_vector },
                   { bench_memory, bench_n_memory },
                   { bench_system, bench_n_system } };
    uint64_t divisor = 1;
    int first = 1;

    if (argc > 1 && strcmp(argv[1], "--nothing") == 0)
        return 0;
    if (argc > 2 && strcmp(argv[1], "--scale") == 0) {
        divisor = strtoull(argv[2], NULL, 10);
        first = 3;
        if (divisor == 0)
            return 2;
    }
    for (unsigned g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
        for (unsigned i = 0; i < groups[g].n; i++)
            if (is_wanted(&groups[g].benches[i], argc - first, argv + first))
                run(&groups[g].benches[i], divisor);
    printf("bench done\n");
    return 0;
}
