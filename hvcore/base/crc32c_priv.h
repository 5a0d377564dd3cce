/* SPDX-License-Identifier: Apache-2.0 */
/* The two ways to the same sum: hv_crc32c() picks one, the test tries both. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* On any processor. */
uint32_t hv_crc32c_plain(uint32_t crc, const void *bytes, size_t length);
/* With the instruction of SSE4.2, where hv_crc32c_has_instruction(). */
bool hv_crc32c_has_instruction(void);
uint32_t hv_crc32c_instruction(uint32_t crc, const void *bytes, size_t length);
