/* SPDX-License-Identifier: Apache-2.0 */
#include "hvcore/io.h"

#include "hvcore/base/arith.h"

#include <errno.h>
#include <string.h>

/* Index of the first range that begins above address. */
static unsigned ranges_up_to(const struct hv_io_space *space, uint64_t address)
{
    unsigned low = 0, high = space->n_ranges;

    while (low < high) {
        unsigned mid = (low + high) / 2;

        if (space->ranges[mid].first <= address)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

int hv_io_space_add(struct hv_io_space *space, uint64_t first, uint64_t count,
                    const struct hv_io_ops *ops, void *opaque)
{
    unsigned at = ranges_up_to(space, first);
    struct hv_io_range *ranges = space->ranges;
    uint64_t end;

    if (count == 0 || !hv_add_u64(first, count, &end))
        return -EINVAL;
    if ((at > 0 && first - ranges[at - 1].first < ranges[at - 1].count) ||
        (at < space->n_ranges && ranges[at].first < end))
        return -EEXIST;
    if (space->n_ranges == HV_IO_MAX_RANGES)
        return -ENOSPC;
    memmove(&ranges[at + 1], &ranges[at], (space->n_ranges - at) * sizeof(ranges[0]));
    ranges[at] =
        (struct hv_io_range){ .first = first, .count = count, .ops = ops, .opaque = opaque };
    space->n_ranges++;
    return 0;
}

static const struct hv_io_range *range_of(const struct hv_io_space *space, uint64_t address)
{
    unsigned at = ranges_up_to(space, address);

    if (at == 0 || address - space->ranges[at - 1].first >= space->ranges[at - 1].count)
        return NULL;
    return &space->ranges[at - 1];
}

/* Does one range answer all bytes, or nobody any of them? */
static bool is_one_access(const struct hv_io_space *space, const struct hv_io_range *range,
                          uint64_t address, unsigned size)
{
    unsigned next;

    if (range)
        return range->count - (address - range->first) >= size;
    next = ranges_up_to(space, address);
    return next == space->n_ranges || space->ranges[next].first - address >= size;
}

static uint64_t size_mask(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (UINT64_C(1) << size * 8) - 1;
}

uint64_t hv_io_space_read(struct hv_io_space *space, uint64_t address, unsigned size)
{
    const struct hv_io_range *range = range_of(space, address);
    uint64_t value = 0;

    if (is_one_access(space, range, address, size)) {
        if (!range || !range->ops->read)
            return size_mask(size);
        return range->ops->read(range->opaque, address - range->first, size) & size_mask(size);
    }
    for (unsigned i = 0; i < size; i++)
        value |= hv_io_space_read(space, address + i, 1) << i * 8;
    return value;
}

void hv_io_space_write(struct hv_io_space *space, uint64_t address, unsigned size, uint64_t value)
{
    const struct hv_io_range *range = range_of(space, address);

    if (is_one_access(space, range, address, size)) {
        if (range && range->ops->write)
            range->ops->write(range->opaque, address - range->first, size, value & size_mask(size));
        return;
    }
    for (unsigned i = 0; i < size; i++)
        hv_io_space_write(space, address + i, 1, value >> i * 8 & 0xff);
}
