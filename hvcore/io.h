/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a chip sees of the machine: port and MMIO ranges it answers, and interrupt lines it drives.
 *
 * Ranges are added while no VP runs. Handlers run on the accessing VP's thread, under no lock of
 * hvcore: a chip takes its own, doesn't block and doesn't allocate. Values are zero-extended;
 * size is 1, 2, 4 or 8 (8 only for MMIO). An access never straddles two ranges: the router splits
 * what crosses a range's edge into bytes. Nobody home reads all ones and ignores writes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct hv_io_ops {
    /* public; offset is relative to the range's first address */
    uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
    void (*write)(void *opaque, uint64_t offset, unsigned size, uint64_t value);
};

/* An interrupt line: set(opaque, number, level). Any thread; level true asserts. */
struct hv_irq_line {
    /* public */
    void (*set)(void *opaque, unsigned number, bool level);
    void *opaque;
    unsigned number;
};

static inline void hv_irq_line_set(const struct hv_irq_line *line, bool level)
{
    if (line->set)
        line->set(line->opaque, line->number, level);
}

enum { HV_IO_MAX_RANGES = 64 };

struct hv_io_range {
    /* private */
    uint64_t first;
    uint64_t count;
    const struct hv_io_ops *ops;
    void *opaque;
};

/* One address space: ports (64 Ki) or MMIO. */
struct hv_io_space {
    /* private; sorted by first */
    struct hv_io_range ranges[HV_IO_MAX_RANGES];
    unsigned n_ranges;
};

/* Answer [first, first + count) by ops. Returns 0, -EINVAL (empty or wrapping), -EEXIST (overlap)
 * or -ENOSPC. */
int hv_io_space_add(struct hv_io_space *space, uint64_t first, uint64_t count,
                    const struct hv_io_ops *ops, void *opaque);

/* Route an access of 1, 2, 4 or 8 bytes to who answers there. VP threads. */
uint64_t hv_io_space_read(struct hv_io_space *space, uint64_t address, unsigned size);
void hv_io_space_write(struct hv_io_space *space, uint64_t address, unsigned size, uint64_t value);
