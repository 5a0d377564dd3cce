/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory that code under test sees, at the same linear addresses on both sides. All else is
 * absent. It lies below 2 GiB, so that 32-bit code and short displacements reach it.
 */
#pragma once

#include "hvcore/gpa.h"

enum {
    CPU_CODE = 0x10000000, /* two pages, execute, read and write */
    CPU_CODE_BYTES = 0x2000,
    CPU_EDGE = 0x10010000, /* one page, execute and read; the next is absent */
    CPU_EDGE_BYTES = 0x1000,
    CPU_DATA = 0x20000000, /* four pages, read and write */
    CPU_DATA_BYTES = 0x4000,
    CPU_CONST = 0x20008000, /* one page, read only */
    CPU_CONST_BYTES = 0x1000,
};
