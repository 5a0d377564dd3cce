/* SPDX-License-Identifier: Apache-2.0 */
/* A port by which a test kernel ends its VM with a status: writing v reports (v << 1) | 1. */
#pragma once

#include "hvcore/io.h"

enum { DEV_DEBUGEXIT_PORTS = 4 };

struct dev_debugexit {
    /* public; exit is called on the VP's thread and only asks for the end */
    void (*exit)(void *opaque, uint32_t status);
    void *opaque;
};

/* Answer at [base, base + 4); the chip has no state. */
int dev_debugexit_map(struct dev_debugexit *chip, struct hv_io_space *ports, uint16_t base);
