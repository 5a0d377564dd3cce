/* SPDX-License-Identifier: Apache-2.0 */
#include "hvcore/emu/insn.h"

static const char *const emu_mnemonic_names[EMU_N_MNEMONICS] = {
    [EMU_MN_INVALID] = "INVALID",
#define EMU_MNEMONIC(name) [EMU_MN_##name] = #name,
#include "hvcore/emu/mnemonics.def"
#undef EMU_MNEMONIC
};

const char *emu_mnemonic_name(enum emu_mnemonic mnemonic)
{
    return (unsigned)mnemonic < EMU_N_MNEMONICS ? emu_mnemonic_names[mnemonic] : "?";
}
