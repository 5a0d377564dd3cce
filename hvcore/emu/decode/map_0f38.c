/* SPDX-License-Identifier: Apache-2.0 */
/* Opcodes behind 0F 38 and 0F 3A. */
#include "hvcore/emu/decode/row_priv.h"

/* clang-format off */

#define MMX(name)       MODRM(V(name, NP, Pq, Qq), V(name, P66, Vdq, Wdq))
#define SSE(name, ...)  MODRM(V(name, P66, Vdq, __VA_ARGS__))
#define SHA(name)       MODRM(V(name, NP, Vdq, Wdq))
#define COMPARE(name)   MODRM(R(name, P66, 0, 0, ALL, Vdq, Wdq, Ib))

const struct emu_opcode emu_map_0f38[256] = {
    [0x00] = MMX(PSHUFB), [0x01] = MMX(PHADDW), [0x02] = MMX(PHADDD), [0x03] = MMX(PHADDSW),
    [0x04] = MMX(PMADDUBSW), [0x05] = MMX(PHSUBW), [0x06] = MMX(PHSUBD), [0x07] = MMX(PHSUBSW),
    [0x08] = MMX(PSIGNB), [0x09] = MMX(PSIGNW), [0x0a] = MMX(PSIGND), [0x0b] = MMX(PMULHRSW),
    [0x10] = SSE(PBLENDVB, Wdq), [0x14] = SSE(BLENDVPS, Wdq), [0x15] = SSE(BLENDVPD, Wdq),
    [0x17] = MODRM(R(PTEST, P66, 0, 0, ALL, Vdq, Wdq)),
    [0x1c] = MMX(PABSB), [0x1d] = MMX(PABSW), [0x1e] = MMX(PABSD),
    [0x20] = SSE(PMOVSXBW, Wq), [0x21] = SSE(PMOVSXBD, Wd), [0x22] = SSE(PMOVSXBQ, Ww),
    [0x23] = SSE(PMOVSXWD, Wq), [0x24] = SSE(PMOVSXWQ, Wd), [0x25] = SSE(PMOVSXDQ, Wq),
    [0x28] = SSE(PMULDQ, Wdq), [0x29] = SSE(PCMPEQQ, Wdq),
    [0x2a] = MODRM(V(MOVNTDQA, P66 | MEM, Vdq, Mdq)),
    [0x2b] = SSE(PACKUSDW, Wdq),
    [0x30] = SSE(PMOVZXBW, Wq), [0x31] = SSE(PMOVZXBD, Wd), [0x32] = SSE(PMOVZXBQ, Ww),
    [0x33] = SSE(PMOVZXWD, Wq), [0x34] = SSE(PMOVZXWQ, Wd), [0x35] = SSE(PMOVZXDQ, Wq),
    [0x37] = SSE(PCMPGTQ, Wdq),
    [0x38] = SSE(PMINSB, Wdq), [0x39] = SSE(PMINSD, Wdq), [0x3a] = SSE(PMINUW, Wdq),
    [0x3b] = SSE(PMINUD, Wdq), [0x3c] = SSE(PMAXSB, Wdq), [0x3d] = SSE(PMAXSD, Wdq),
    [0x3e] = SSE(PMAXUW, Wdq), [0x3f] = SSE(PMAXUD, Wdq), [0x40] = SSE(PMULLD, Wdq),
    [0x41] = SSE(PHMINPOSUW, Wdq),
    [0x82] = MODRM(R(INVPCID, P66 | MEM, NOREX, 0, 0, Gn, Mdq)),
    [0xc8] = SHA(SHA1NEXTE), [0xc9] = SHA(SHA1MSG1), [0xca] = SHA(SHA1MSG2),
    [0xcb] = SHA(SHA256RNDS2), [0xcc] = SHA(SHA256MSG1), [0xcd] = SHA(SHA256MSG2),
    [0xdb] = SSE(AESIMC, Wdq), [0xdc] = SSE(AESENC, Wdq), [0xdd] = SSE(AESENCLAST, Wdq),
    [0xde] = SSE(AESDEC, Wdq), [0xdf] = SSE(AESDECLAST, Wdq),
    [0xf0] = MODRM(V(MOVBE, NOREP | MEM, Gv, Mv), V(CRC32, PF2, Gy, Eb)),
    [0xf1] = MODRM(V(MOVBE, NOREP | MEM, Mv, Gv), V(CRC32, PF2, Gy, Ev)),
    [0xf6] = MODRM(R(ADCX, P66, MIN4, FC, FC, Gy, Ey), R(ADOX, PF3, MIN4, FO, FO, Gy, Ey)),
};

const struct emu_opcode emu_map_0f3a[256] = {
    [0x08] = SSE(ROUNDPS, Wdq, Ib), [0x09] = SSE(ROUNDPD, Wdq, Ib),
    [0x0a] = SSE(ROUNDSS, Wd, Ib), [0x0b] = SSE(ROUNDSD, Wq, Ib),
    [0x0c] = SSE(BLENDPS, Wdq, Ib), [0x0d] = SSE(BLENDPD, Wdq, Ib),
    [0x0e] = SSE(PBLENDW, Wdq, Ib),
    [0x0f] = MODRM(V(PALIGNR, NP, Pq, Qq, Ib), V(PALIGNR, P66, Vdq, Wdq, Ib)),
    [0x14] = MODRM(V(PEXTRB, P66, RdMb, Vdq, Ib)),
    [0x15] = MODRM(V(PEXTRW, P66, RdMw, Vdq, Ib)),
    [0x16] = MODRM(V(PEXTRQ, P66 | W1, Ey, Vdq, Ib), V(PEXTRD, P66, Ey, Vdq, Ib)),
    [0x17] = MODRM(V(EXTRACTPS, P66, Ed, Vdq, Ib)),
    [0x20] = SSE(PINSRB, RdMb, Ib), [0x21] = SSE(INSERTPS, Wd, Ib),
    [0x22] = MODRM(V(PINSRQ, P66 | W1, Vdq, Ey, Ib), V(PINSRD, P66, Vdq, Ey, Ib)),
    [0x40] = SSE(DPPS, Wdq, Ib), [0x41] = SSE(DPPD, Wdq, Ib), [0x42] = SSE(MPSADBW, Wdq, Ib),
    [0x44] = SSE(PCLMULQDQ, Wdq, Ib),
    [0x60] = COMPARE(PCMPESTRM), [0x61] = COMPARE(PCMPESTRI),
    [0x62] = COMPARE(PCMPISTRM), [0x63] = COMPARE(PCMPISTRI),
    [0xcc] = MODRM(V(SHA1RNDS4, NP, Vdq, Wdq, Ib)),
    [0xdf] = SSE(AESKEYGENASSIST, Wdq, Ib),
};
