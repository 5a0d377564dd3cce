/* SPDX-License-Identifier: Apache-2.0 */
/* A second opinion on what bytes mean. */
#pragma once

#include "hvcore/emu/insn.h"

/* Like emu_decode, by libzydis; it knows some vendors' rules less well. */
enum emu_decode_result emu_zydis_decode(const uint8_t *bytes, size_t available,
                                        enum emu_code_size code_size, struct emu_insn *ret);

/* The instruction as text (Intel syntax), for messages. */
void emu_zydis_format(const uint8_t *bytes, size_t available, enum emu_code_size code_size,
                      char *ret, size_t ret_bytes);
