/* SPDX-License-Identifier: Apache-2.0 */
/* Between the tables and the DSDT's content. */
#pragma once

#include "vmwp/loader/acpi.h"

/* Write the DSDT's content (without its header). Returns its length, 0 when it doesn't fit. */
size_t ldr_dsdt_write(const struct ldr_layout *layout, const struct ldr_acpi_config *config,
                      void *ret, size_t bytes);
