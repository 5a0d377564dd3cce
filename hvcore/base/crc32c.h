/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C (Castagnoli), as VHDX and the status file use it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Continue `crc` (0 at the start) over `length` bytes. Any thread. RFC 3720 appendix B.4. */
uint32_t hv_crc32c(uint32_t crc, const void *bytes, size_t length);
