/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing fast handlers for vector and x87 instructions of 64-bit code. */
#include "hvcore/emu/exec/simd/simd_priv.h"

bool emu_pick_simd(const struct emu_pick *pick, struct emu_op *op)
{
    return false;
}
