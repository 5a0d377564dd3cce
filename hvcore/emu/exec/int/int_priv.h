/* SPDX-License-Identifier: Apache-2.0 */
/* Generic integer instructions by name; table.c says which mnemonic is which. */
#pragma once

#include "hvcore/emu/cpu.h"

/* clang-format off */
#define EMU_INT_FORMS(X) \
    X(aaa) X(aad) X(aam) X(aas) X(adc) X(adcx) X(add) X(adox) X(and) X(andn) X(bextr) X(blsi) \
    X(blsmsk) X(blsr) X(bound) X(bsf) X(bsr) X(bswap) X(bt) X(btc) X(btr) X(bts) X(bzhi) X(call) \
    X(cbw) X(cdq) X(cdqe) X(clc) X(cld) X(clflush) X(clzero) X(cmc) X(cmov) X(cmp) X(cmpxchg) \
    X(cmpxchg8b) X(cqo) X(crc32) X(cwd) X(cwde) X(daa) X(das) X(dec) X(div) X(enter) X(idiv) \
    X(imul) X(inc) X(jcc) X(jcxz) X(jmp) X(lahf) X(lea) X(leave) X(lfence) X(loop) X(lzcnt) \
    X(mfence) X(mov) X(movbe) X(movsx) X(movzx) X(mul) X(mulx) X(neg) X(nop) X(not) X(or) \
    X(pause) X(pdep) X(pext) X(pop) X(popa) X(popcnt) X(push) X(pusha) X(random) X(rcl) X(rcr) \
    X(ret) X(rol) X(ror) X(rorx) X(sahf) X(salc) X(sar) X(sarx) X(sbb) X(set) X(sfence) X(shl) \
    X(shld) X(shlx) X(shr) X(shrd) X(shrx) X(stc) X(std) X(sub) X(test) X(tzcnt) X(ud) X(xadd) \
    X(xchg) X(xlat) X(xor)
/* clang-format on */

#define X(name) emu_exec_fn emu_int_##name;
EMU_INT_FORMS(X)
#undef X

/* What the system family does under the same mnemonic. */
emu_exec_fn emu_int_by_system;

/* Would the quotient of n / d, with a divisor of size bytes, fit? n holds 2 * size bytes. */
bool emu_int_div_fits(unsigned __int128 n, uint64_t d, unsigned size);
bool emu_int_idiv_fits(unsigned __int128 n, uint64_t d, unsigned size);

bool emu_int_host_has_adx(void);
bool emu_int_host_random(void *ret, size_t bytes);
