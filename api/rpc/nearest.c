/* SPDX-License-Identifier: Apache-2.0 */
#include "api/rpc/nearest.h"

#include <ctype.h>
#include <string.h>

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static unsigned char fold(char c)
{
    return (unsigned char)tolower((unsigned char)c);
}

/* Optimal string alignment distance, in three rolling rows. */
static unsigned distance(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    unsigned rows[3][NEAREST_NAME_BYTES + 1];
    unsigned *before = rows[0], *last = rows[1], *row = rows[2], *spare;

    for (unsigned j = 0; j <= b_bytes; j++)
        last[j] = j;
    for (unsigned i = 1; i <= a_bytes; i++) {
        row[0] = i;
        for (unsigned j = 1; j <= b_bytes; j++) {
            unsigned differs = fold(a[i - 1]) != fold(b[j - 1]);

            row[j] = least(least(row[j - 1], last[j]) + 1, last[j - 1] + differs);
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) &&
                fold(a[i - 2]) == fold(b[j - 1]))
                row[j] = least(row[j], before[j - 2] + 1);
        }
        spare = before;
        before = last;
        last = row;
        row = spare;
    }
    return last[b_bytes];
}

void nearest_init(struct nearest *nearest, const char *wanted)
{
    *nearest = (struct nearest){ .wanted = wanted };
}

void nearest_offer(struct nearest *nearest, const char *name)
{
    size_t wanted_bytes = strlen(nearest->wanted), name_bytes = strlen(name), at;
    unsigned d;

    if (wanted_bytes > NEAREST_NAME_BYTES || name_bytes > NEAREST_NAME_BYTES)
        return;
    d = distance(nearest->wanted, wanted_bytes, name, name_bytes);
    if (d > 1 + wanted_bytes / 3)
        return;
    for (at = 0; at < nearest->count && nearest->distances[at] <= d; at++)
        ;
    if (at == NEAREST_MAX)
        return;
    if (nearest->count < NEAREST_MAX)
        nearest->count++;
    for (size_t i = nearest->count - 1; i > at; i--) {
        nearest->names[i] = nearest->names[i - 1];
        nearest->distances[i] = nearest->distances[i - 1];
    }
    nearest->names[at] = name;
    nearest->distances[at] = d;
}
