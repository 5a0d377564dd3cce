/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8 as RFC 3629 has it: shortest form, no surrogates, nothing above U+10FFFF. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length in bytes (1 to 4) of the character at `at`, or 0 when what stands there is not one. */
size_t utf8_char_bytes(const char *at, size_t left);

/* Is all of it valid? An empty text is. */
bool utf8_is_valid(const char *text, size_t length);

/* Characters (code points) of a valid text. */
size_t utf8_count(const char *text, size_t length);

/* Write code point as 1 to 4 bytes; it must not be a surrogate. Returns the bytes written. */
size_t utf8_put(uint32_t code_point, char ret[static 4]);

/* A copy of the text up to the first byte that belongs to no character, of at most so many bytes
 * and no part of a character. NULL: out of memory. */
char *utf8_copy(const char *text, size_t max);
