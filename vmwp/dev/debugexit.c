/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/dev/debugexit.h"

static uint64_t debugexit_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

static void debugexit_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct dev_debugexit *chip = opaque;

    void (*report)(void *, uint32_t) = chip->exit;

    if (report)
        report(chip->opaque, (uint32_t)value << 1 | 1);
}

static const struct hv_io_ops debugexit_ops = { .read = debugexit_read, .write = debugexit_write };

int dev_debugexit_map(struct dev_debugexit *chip, struct hv_io_space *ports, uint16_t base)
{
    return hv_io_space_add(ports, base, DEV_DEBUGEXIT_PORTS, &debugexit_ops, chip);
}
