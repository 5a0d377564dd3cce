/* SPDX-License-Identifier: Apache-2.0 */
/* Text between hosts and guests: UTF-8 here, UTF-16LE in fixed fields there. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * Write UTF-8 text into a field of UTF-16LE units and fill the rest with zeroes; the last unit is
 * always zero.
 *
 * return: units written without the zero; -EILSEQ (not UTF-8, or holds a NUL) or -E2BIG, with the
 *         field zeroed
 */
int ic_text_put(const char *text, uint8_t *field, size_t field_bytes);

/*
 * Read UTF-16LE units up to a zero or the field's end, whichever is first; halves of pairs become
 * U+FFFD.
 *
 * return: a string of the caller's, valid UTF-8; NULL: out of memory
 */
char *ic_text_take(const uint8_t *field, size_t field_bytes);

/* One code point of UTF-8 text: bytes consumed (1 to 4), 0 at the end, -EILSEQ for what isn't
 * UTF-8. */
int ic_text_next(const char *text, uint32_t *ret_code_point);
