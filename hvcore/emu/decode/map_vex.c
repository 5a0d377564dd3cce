/* SPDX-License-Identifier: Apache-2.0 */
/* Opcodes behind VEX prefixes. Rows without an H or B operand need VEX.vvvv = 1111. */
#include "hvcore/emu/decode/row_priv.h"

/* clang-format off */

/* two sources, vector length by VEX.L */
#define PS_PD(name) MODRM(V(name##PS, NP, Vx, Hx, Wx), V(name##PD, P66, Vx, Hx, Wx))
#define ARITH(name)                                                \
    MODRM(V(name##PS, NP, Vx, Hx, Wx), V(name##PD, P66, Vx, Hx, Wx), \
          V(name##SS, PF3, Vdq, Hdq, Wd), V(name##SD, PF2, Vdq, Hdq, Wq))
#define INT(name)      MODRM(V(name, P66, Vx, Hx, Wx))
/* the last source is an xmm register or 16 bytes: shift counts */
#define COUNT(name)    MODRM(V(name, P66, Vx, Hx, Wdq))
#define SHIFT_IMM(name, n) V(name, P66 | REG | S(n), Hx, Wx, Ib)
#define UNARY(name)    MODRM(V(name, P66, Vx, Wx))
#define EXTEND(name, type) MODRM(V(name, P66, Vx, type))

const struct emu_opcode emu_map_vex_0f[256] = {
    [0x10] = MODRM(V(VMOVUPS, NP, Vx, Wx), V(VMOVUPD, P66, Vx, Wx), V(VMOVSS, PF3 | MEM, Vdq, Md),
                   V(VMOVSS, PF3 | REG, Vdq, Hdq, Wdq), V(VMOVSD, PF2 | MEM, Vdq, Mq),
                   V(VMOVSD, PF2 | REG, Vdq, Hdq, Wdq)),
    [0x11] = MODRM(V(VMOVUPS, NP, Wx, Vx), V(VMOVUPD, P66, Wx, Vx), V(VMOVSS, PF3 | MEM, Md, Vdq),
                   V(VMOVSS, PF3 | REG, Wdq, Hdq, Vdq), V(VMOVSD, PF2 | MEM, Mq, Vdq),
                   V(VMOVSD, PF2 | REG, Wdq, Hdq, Vdq)),
    [0x12] = MODRM(V(VMOVLPS, NP | MEM | L0, Vdq, Hdq, Mq), V(VMOVHLPS, NP | REG | L0, Vdq, Hdq, Wdq),
                   V(VMOVLPD, P66 | MEM | L0, Vdq, Hdq, Mq), V(VMOVSLDUP, PF3, Vx, Wx),
                   V(VMOVDDUP, PF2 | L0, Vdq, Wq), V(VMOVDDUP, PF2 | L1, Vqq, Wqq)),
    [0x13] = MODRM(V(VMOVLPS, NP | MEM | L0, Mq, Vdq), V(VMOVLPD, P66 | MEM | L0, Mq, Vdq)),
    [0x14] = PS_PD(VUNPCKL), [0x15] = PS_PD(VUNPCKH),
    [0x16] = MODRM(V(VMOVHPS, NP | MEM | L0, Vdq, Hdq, Mq), V(VMOVLHPS, NP | REG | L0, Vdq, Hdq, Wdq),
                   V(VMOVHPD, P66 | MEM | L0, Vdq, Hdq, Mq), V(VMOVSHDUP, PF3, Vx, Wx)),
    [0x17] = MODRM(V(VMOVHPS, NP | MEM | L0, Mq, Vdq), V(VMOVHPD, P66 | MEM | L0, Mq, Vdq)),
    [0x28] = MODRM(V(VMOVAPS, NP, Vx, Wx), V(VMOVAPD, P66, Vx, Wx)),
    [0x29] = MODRM(V(VMOVAPS, NP, Wx, Vx), V(VMOVAPD, P66, Wx, Vx)),
    [0x2a] = MODRM(V(VCVTSI2SS, PF3, Vdq, Hdq, Ey), V(VCVTSI2SD, PF2, Vdq, Hdq, Ey)),
    [0x2b] = MODRM(V(VMOVNTPS, NP | MEM, Mx, Vx), V(VMOVNTPD, P66 | MEM, Mx, Vx)),
    [0x2c] = MODRM(V(VCVTTSS2SI, PF3, Gy, Wd), V(VCVTTSD2SI, PF2, Gy, Wq)),
    [0x2d] = MODRM(V(VCVTSS2SI, PF3, Gy, Wd), V(VCVTSD2SI, PF2, Gy, Wq)),
    [0x2e] = MODRM(R(VUCOMISS, NP, 0, 0, ALL, Vdq, Wd), R(VUCOMISD, P66, 0, 0, ALL, Vdq, Wq)),
    [0x2f] = MODRM(R(VCOMISS, NP, 0, 0, ALL, Vdq, Wd), R(VCOMISD, P66, 0, 0, ALL, Vdq, Wq)),
    [0x50] = MODRM(V(VMOVMSKPS, NP | REG, Gd, Wx), V(VMOVMSKPD, P66 | REG, Gd, Wx)),
    [0x51] = MODRM(V(VSQRTPS, NP, Vx, Wx), V(VSQRTPD, P66, Vx, Wx), V(VSQRTSS, PF3, Vdq, Hdq, Wd),
                   V(VSQRTSD, PF2, Vdq, Hdq, Wq)),
    [0x52] = MODRM(V(VRSQRTPS, NP, Vx, Wx), V(VRSQRTSS, PF3, Vdq, Hdq, Wd)),
    [0x53] = MODRM(V(VRCPPS, NP, Vx, Wx), V(VRCPSS, PF3, Vdq, Hdq, Wd)),
    [0x54] = PS_PD(VAND), [0x55] = PS_PD(VANDN), [0x56] = PS_PD(VOR), [0x57] = PS_PD(VXOR),
    [0x58] = ARITH(VADD), [0x59] = ARITH(VMUL),
    [0x5a] = MODRM(V(VCVTPS2PD, NP, Vx, Whalf), V(VCVTPD2PS, P66, Vdq, Wx),
                   V(VCVTSS2SD, PF3, Vdq, Hdq, Wd), V(VCVTSD2SS, PF2, Vdq, Hdq, Wq)),
    [0x5b] = MODRM(V(VCVTDQ2PS, NP, Vx, Wx), V(VCVTPS2DQ, P66, Vx, Wx), V(VCVTTPS2DQ, PF3, Vx, Wx)),
    [0x5c] = ARITH(VSUB), [0x5d] = ARITH(VMIN), [0x5e] = ARITH(VDIV), [0x5f] = ARITH(VMAX),
    [0x60] = INT(VPUNPCKLBW), [0x61] = INT(VPUNPCKLWD), [0x62] = INT(VPUNPCKLDQ),
    [0x63] = INT(VPACKSSWB), [0x64] = INT(VPCMPGTB), [0x65] = INT(VPCMPGTW), [0x66] = INT(VPCMPGTD),
    [0x67] = INT(VPACKUSWB), [0x68] = INT(VPUNPCKHBW), [0x69] = INT(VPUNPCKHWD),
    [0x6a] = INT(VPUNPCKHDQ), [0x6b] = INT(VPACKSSDW), [0x6c] = INT(VPUNPCKLQDQ),
    [0x6d] = INT(VPUNPCKHQDQ),
    [0x6e] = MODRM(V(VMOVQ, P66 | L0 | W1 | M64, Vdq, Ey), V(VMOVD, P66 | L0, Vdq, Ey)),
    [0x6f] = MODRM(V(VMOVDQA, P66, Vx, Wx), V(VMOVDQU, PF3, Vx, Wx)),
    [0x70] = MODRM(V(VPSHUFD, P66, Vx, Wx, Ib), V(VPSHUFHW, PF3, Vx, Wx, Ib),
                   V(VPSHUFLW, PF2, Vx, Wx, Ib)),
    [0x71] = MODRM(SHIFT_IMM(VPSRLW, 2), SHIFT_IMM(VPSRAW, 4), SHIFT_IMM(VPSLLW, 6)),
    [0x72] = MODRM(SHIFT_IMM(VPSRLD, 2), SHIFT_IMM(VPSRAD, 4), SHIFT_IMM(VPSLLD, 6)),
    [0x73] = MODRM(SHIFT_IMM(VPSRLQ, 2), SHIFT_IMM(VPSRLDQ, 3), SHIFT_IMM(VPSLLQ, 6),
                   SHIFT_IMM(VPSLLDQ, 7)),
    [0x74] = INT(VPCMPEQB), [0x75] = INT(VPCMPEQW), [0x76] = INT(VPCMPEQD),
    [0x77] = PLAIN(V(VZEROUPPER, NP | L0, NONE), V(VZEROALL, NP | L1, NONE)),
    [0x7c] = MODRM(V(VHADDPD, P66, Vx, Hx, Wx), V(VHADDPS, PF2, Vx, Hx, Wx)),
    [0x7d] = MODRM(V(VHSUBPD, P66, Vx, Hx, Wx), V(VHSUBPS, PF2, Vx, Hx, Wx)),
    [0x7e] = MODRM(V(VMOVQ, P66 | L0 | W1 | M64, Ey, Vdq), V(VMOVD, P66 | L0, Ey, Vdq),
                   V(VMOVQ, PF3 | L0, Vdq, Wq)),
    [0x7f] = MODRM(V(VMOVDQA, P66, Wx, Vx), V(VMOVDQU, PF3, Wx, Vx)),
    [0xae] = MODRM(V(VLDMXCSR, NP | MEM | L0 | S(2), Md), V(VSTMXCSR, NP | MEM | L0 | S(3), Md)),
    [0xc2] = MODRM(V(VCMPPS, NP, Vx, Hx, Wx, Ib), V(VCMPPD, P66, Vx, Hx, Wx, Ib),
                   V(VCMPSS, PF3, Vdq, Hdq, Wd, Ib), V(VCMPSD, PF2, Vdq, Hdq, Wq, Ib)),
    [0xc4] = MODRM(V(VPINSRW, P66 | L0, Vdq, Hdq, RdMw, Ib)),
    [0xc5] = MODRM(V(VPEXTRW, P66 | L0 | REG, Gd, Wdq, Ib)),
    [0xc6] = MODRM(V(VSHUFPS, NP, Vx, Hx, Wx, Ib), V(VSHUFPD, P66, Vx, Hx, Wx, Ib)),
    [0xd0] = MODRM(V(VADDSUBPD, P66, Vx, Hx, Wx), V(VADDSUBPS, PF2, Vx, Hx, Wx)),
    [0xd1] = COUNT(VPSRLW), [0xd2] = COUNT(VPSRLD), [0xd3] = COUNT(VPSRLQ), [0xd4] = INT(VPADDQ),
    [0xd5] = INT(VPMULLW),
    [0xd6] = MODRM(V(VMOVQ, P66 | L0, Wq, Vdq)),
    [0xd7] = MODRM(V(VPMOVMSKB, P66 | REG, Gd, Wx)),
    [0xd8] = INT(VPSUBUSB), [0xd9] = INT(VPSUBUSW), [0xda] = INT(VPMINUB), [0xdb] = INT(VPAND),
    [0xdc] = INT(VPADDUSB), [0xdd] = INT(VPADDUSW), [0xde] = INT(VPMAXUB), [0xdf] = INT(VPANDN),
    [0xe0] = INT(VPAVGB), [0xe1] = COUNT(VPSRAW), [0xe2] = COUNT(VPSRAD), [0xe3] = INT(VPAVGW),
    [0xe4] = INT(VPMULHUW), [0xe5] = INT(VPMULHW),
    [0xe6] = MODRM(V(VCVTTPD2DQ, P66, Vdq, Wx), V(VCVTDQ2PD, PF3, Vx, Whalf),
                   V(VCVTPD2DQ, PF2, Vdq, Wx)),
    [0xe7] = MODRM(V(VMOVNTDQ, P66 | MEM, Mx, Vx)),
    [0xe8] = INT(VPSUBSB), [0xe9] = INT(VPSUBSW), [0xea] = INT(VPMINSW), [0xeb] = INT(VPOR),
    [0xec] = INT(VPADDSB), [0xed] = INT(VPADDSW), [0xee] = INT(VPMAXSW), [0xef] = INT(VPXOR),
    [0xf0] = MODRM(V(VLDDQU, PF2 | MEM, Vx, Mx)),
    [0xf1] = COUNT(VPSLLW), [0xf2] = COUNT(VPSLLD), [0xf3] = COUNT(VPSLLQ), [0xf4] = INT(VPMULUDQ),
    [0xf5] = INT(VPMADDWD), [0xf6] = INT(VPSADBW),
    [0xf7] = MODRM(V(VMASKMOVDQU, P66 | REG | L0, Vdq, Wdq)),
    [0xf8] = INT(VPSUBB), [0xf9] = INT(VPSUBW), [0xfa] = INT(VPSUBD), [0xfb] = INT(VPSUBQ),
    [0xfc] = INT(VPADDB), [0xfd] = INT(VPADDW), [0xfe] = INT(VPADDD),
};

/* Fused multiply-add: packed and scalar, single with W0, double with W1. */
#define FMA_PACKED(base, order, n, name)                                            \
    [(base) + (n)] = MODRM(V(name##order##PS, P66 | W0, Vx, Hx, Wx),                \
                           V(name##order##PD, P66 | W1, Vx, Hx, Wx))
#define FMA_SCALAR(base, order, n, name)                                            \
    [(base) + (n)] = MODRM(V(name##order##SS, P66 | W0, Vdq, Hdq, Wd),              \
                           V(name##order##SD, P66 | W1, Vdq, Hdq, Wq))
#define FMA(base, order)                                                            \
    FMA_PACKED(base, order, 0x6, VFMADDSUB), FMA_PACKED(base, order, 0x7, VFMSUBADD), \
    FMA_PACKED(base, order, 0x8, VFMADD), FMA_SCALAR(base, order, 0x9, VFMADD),     \
    FMA_PACKED(base, order, 0xa, VFMSUB), FMA_SCALAR(base, order, 0xb, VFMSUB),     \
    FMA_PACKED(base, order, 0xc, VFNMADD), FMA_SCALAR(base, order, 0xd, VFNMADD),   \
    FMA_PACKED(base, order, 0xe, VFNMSUB), FMA_SCALAR(base, order, 0xf, VFNMSUB)

/* A gather: data and mask registers of their own lengths, element size by W. */
#define GATHER(name, when, data, memory) R(name, P66 | MEM | (when), VSIB, 0, 0, V##data, memory, H##data)

const struct emu_opcode emu_map_vex_0f38[256] = {
    [0x00] = INT(VPSHUFB), [0x01] = INT(VPHADDW), [0x02] = INT(VPHADDD), [0x03] = INT(VPHADDSW),
    [0x04] = INT(VPMADDUBSW), [0x05] = INT(VPHSUBW), [0x06] = INT(VPHSUBD), [0x07] = INT(VPHSUBSW),
    [0x08] = INT(VPSIGNB), [0x09] = INT(VPSIGNW), [0x0a] = INT(VPSIGND), [0x0b] = INT(VPMULHRSW),
    [0x0c] = MODRM(V(VPERMILPS, P66 | W0, Vx, Hx, Wx)),
    [0x0d] = MODRM(V(VPERMILPD, P66 | W0, Vx, Hx, Wx)),
    [0x0e] = MODRM(R(VTESTPS, P66 | W0, 0, 0, ALL, Vx, Wx)),
    [0x0f] = MODRM(R(VTESTPD, P66 | W0, 0, 0, ALL, Vx, Wx)),
    [0x13] = MODRM(V(VCVTPH2PS, P66 | W0, Vx, Whalf)),
    [0x16] = MODRM(V(VPERMPS, P66 | W0 | L1, Vx, Hx, Wx)),
    [0x17] = MODRM(R(VPTEST, P66, 0, 0, ALL, Vx, Wx)),
    [0x18] = MODRM(V(VBROADCASTSS, P66 | W0, Vx, Wd)),
    [0x19] = MODRM(V(VBROADCASTSD, P66 | W0 | L1, Vx, Wq)),
    [0x1a] = MODRM(V(VBROADCASTF128, P66 | W0 | L1 | MEM, Vx, Mdq)),
    [0x1c] = UNARY(VPABSB), [0x1d] = UNARY(VPABSW), [0x1e] = UNARY(VPABSD),
    [0x20] = EXTEND(VPMOVSXBW, Whalf), [0x21] = EXTEND(VPMOVSXBD, Wquarter),
    [0x22] = EXTEND(VPMOVSXBQ, Weighth), [0x23] = EXTEND(VPMOVSXWD, Whalf),
    [0x24] = EXTEND(VPMOVSXWQ, Wquarter), [0x25] = EXTEND(VPMOVSXDQ, Whalf),
    [0x28] = INT(VPMULDQ), [0x29] = INT(VPCMPEQQ),
    [0x2a] = MODRM(V(VMOVNTDQA, P66 | MEM, Vx, Mx)),
    [0x2b] = INT(VPACKUSDW),
    [0x2c] = MODRM(V(VMASKMOVPS, P66 | W0 | MEM, Vx, Hx, Mx)),
    [0x2d] = MODRM(V(VMASKMOVPD, P66 | W0 | MEM, Vx, Hx, Mx)),
    [0x2e] = MODRM(V(VMASKMOVPS, P66 | W0 | MEM, Mx, Hx, Vx)),
    [0x2f] = MODRM(V(VMASKMOVPD, P66 | W0 | MEM, Mx, Hx, Vx)),
    [0x30] = EXTEND(VPMOVZXBW, Whalf), [0x31] = EXTEND(VPMOVZXBD, Wquarter),
    [0x32] = EXTEND(VPMOVZXBQ, Weighth), [0x33] = EXTEND(VPMOVZXWD, Whalf),
    [0x34] = EXTEND(VPMOVZXWQ, Wquarter), [0x35] = EXTEND(VPMOVZXDQ, Whalf),
    [0x36] = MODRM(V(VPERMD, P66 | W0 | L1, Vx, Hx, Wx)),
    [0x37] = INT(VPCMPGTQ), [0x38] = INT(VPMINSB), [0x39] = INT(VPMINSD), [0x3a] = INT(VPMINUW),
    [0x3b] = INT(VPMINUD), [0x3c] = INT(VPMAXSB), [0x3d] = INT(VPMAXSD), [0x3e] = INT(VPMAXUW),
    [0x3f] = INT(VPMAXUD), [0x40] = INT(VPMULLD),
    [0x41] = MODRM(V(VPHMINPOSUW, P66 | L0, Vx, Wx)),
    [0x45] = MODRM(V(VPSRLVD, P66 | W0, Vx, Hx, Wx), V(VPSRLVQ, P66 | W1, Vx, Hx, Wx)),
    [0x46] = MODRM(V(VPSRAVD, P66 | W0, Vx, Hx, Wx)),
    [0x47] = MODRM(V(VPSLLVD, P66 | W0, Vx, Hx, Wx), V(VPSLLVQ, P66 | W1, Vx, Hx, Wx)),
    [0x58] = MODRM(V(VPBROADCASTD, P66 | W0, Vx, Wd)),
    [0x59] = MODRM(V(VPBROADCASTQ, P66 | W0, Vx, Wq)),
    [0x5a] = MODRM(V(VBROADCASTI128, P66 | W0 | L1 | MEM, Vx, Mdq)),
    [0x78] = MODRM(V(VPBROADCASTB, P66 | W0, Vx, Wb)),
    [0x79] = MODRM(V(VPBROADCASTW, P66 | W0, Vx, Ww)),
    [0x8c] = MODRM(V(VPMASKMOVD, P66 | W0 | MEM, Vx, Hx, Mx), V(VPMASKMOVQ, P66 | W1 | MEM, Vx, Hx, Mx)),
    [0x8e] = MODRM(V(VPMASKMOVD, P66 | W0 | MEM, Mx, Hx, Vx), V(VPMASKMOVQ, P66 | W1 | MEM, Mx, Hx, Vx)),
    [0x90] = MODRM(GATHER(VPGATHERDD, W0, x, Md), GATHER(VPGATHERDQ, W1, x, Mq)),
    [0x91] = MODRM(GATHER(VPGATHERQD, W0, dq, Md), GATHER(VPGATHERQQ, W1, x, Mq)),
    [0x92] = MODRM(GATHER(VGATHERDPS, W0, x, Md), GATHER(VGATHERDPD, W1, x, Mq)),
    [0x93] = MODRM(GATHER(VGATHERQPS, W0, dq, Md), GATHER(VGATHERQPD, W1, x, Mq)),
    FMA(0x90, 132), FMA(0xa0, 213), FMA(0xb0, 231),
    [0xdb] = MODRM(V(VAESIMC, P66 | L0, Vdq, Wdq)),
    [0xdc] = INT(VAESENC), [0xdd] = INT(VAESENCLAST), [0xde] = INT(VAESDEC),
    [0xdf] = INT(VAESDECLAST),
    [0xf2] = MODRM(R(ANDN, NP | L0, 0, 0, ALL, Gy, By, Ey)),
    [0xf3] = MODRM(R(BLSR, NP | L0 | S(1), 0, 0, ALL, By, Ey),
                   R(BLSMSK, NP | L0 | S(2), 0, 0, ALL, By, Ey),
                   R(BLSI, NP | L0 | S(3), 0, 0, ALL, By, Ey)),
    [0xf5] = MODRM(R(BZHI, NP | L0, 0, 0, ALL, Gy, Ey, By), V(PEXT, PF3 | L0, Gy, By, Ey),
                   V(PDEP, PF2 | L0, Gy, By, Ey)),
    [0xf6] = MODRM(V(MULX, PF2 | L0, Gy, By, Ey)),
    [0xf7] = MODRM(R(BEXTR, NP | L0, 0, 0, ALL, Gy, Ey, By), V(SHLX, P66 | L0, Gy, Ey, By),
                   V(SARX, PF3 | L0, Gy, Ey, By), V(SHRX, PF2 | L0, Gy, Ey, By)),
};

#define IMM(name)      MODRM(V(name, P66, Vx, Hx, Wx, Ib))
#define COMPARE(name)  MODRM(R(name, P66 | L0, 0, 0, ALL, Vdq, Wdq, Ib))

const struct emu_opcode emu_map_vex_0f3a[256] = {
    [0x00] = MODRM(V(VPERMQ, P66 | W1 | L1, Vx, Wx, Ib)),
    [0x01] = MODRM(V(VPERMPD, P66 | W1 | L1, Vx, Wx, Ib)),
    [0x02] = MODRM(V(VPBLENDD, P66 | W0, Vx, Hx, Wx, Ib)),
    [0x04] = MODRM(V(VPERMILPS, P66 | W0, Vx, Wx, Ib)),
    [0x05] = MODRM(V(VPERMILPD, P66 | W0, Vx, Wx, Ib)),
    [0x06] = MODRM(V(VPERM2F128, P66 | W0 | L1, Vx, Hx, Wx, Ib)),
    [0x08] = MODRM(V(VROUNDPS, P66, Vx, Wx, Ib)), [0x09] = MODRM(V(VROUNDPD, P66, Vx, Wx, Ib)),
    [0x0a] = MODRM(V(VROUNDSS, P66, Vdq, Hdq, Wd, Ib)),
    [0x0b] = MODRM(V(VROUNDSD, P66, Vdq, Hdq, Wq, Ib)),
    [0x0c] = IMM(VBLENDPS), [0x0d] = IMM(VBLENDPD), [0x0e] = IMM(VPBLENDW), [0x0f] = IMM(VPALIGNR),
    [0x14] = MODRM(V(VPEXTRB, P66 | L0, RdMb, Vdq, Ib)),
    [0x15] = MODRM(V(VPEXTRW, P66 | L0, RdMw, Vdq, Ib)),
    [0x16] = MODRM(V(VPEXTRQ, P66 | L0 | W1 | M64, Ey, Vdq, Ib), V(VPEXTRD, P66 | L0 | W0, Ey, Vdq, Ib)),
    [0x17] = MODRM(V(VEXTRACTPS, P66 | L0, Ed, Vdq, Ib)),
    [0x18] = MODRM(V(VINSERTF128, P66 | W0 | L1, Vqq, Hqq, Wdq, Ib)),
    [0x19] = MODRM(V(VEXTRACTF128, P66 | W0 | L1, Wdq, Vqq, Ib)),
    [0x1d] = MODRM(V(VCVTPS2PH, P66 | W0, Whalf, Vx, Ib)),
    [0x20] = MODRM(V(VPINSRB, P66 | L0, Vdq, Hdq, RdMb, Ib)),
    [0x21] = MODRM(V(VINSERTPS, P66 | L0, Vdq, Hdq, Wd, Ib)),
    [0x22] = MODRM(V(VPINSRQ, P66 | L0 | W1 | M64, Vdq, Hdq, Ey, Ib),
                   V(VPINSRD, P66 | L0 | W0, Vdq, Hdq, Ey, Ib)),
    [0x38] = MODRM(V(VINSERTI128, P66 | W0 | L1, Vqq, Hqq, Wdq, Ib)),
    [0x39] = MODRM(V(VEXTRACTI128, P66 | W0 | L1, Wdq, Vqq, Ib)),
    [0x40] = IMM(VDPPS),
    [0x41] = MODRM(V(VDPPD, P66 | L0, Vx, Hx, Wx, Ib)),
    [0x42] = IMM(VMPSADBW), [0x44] = IMM(VPCLMULQDQ),
    [0x46] = MODRM(V(VPERM2I128, P66 | W0 | L1, Vx, Hx, Wx, Ib)),
    [0x4a] = MODRM(V(VBLENDVPS, P66 | W0, Vx, Hx, Wx, Lx)),
    [0x4b] = MODRM(V(VBLENDVPD, P66 | W0, Vx, Hx, Wx, Lx)),
    [0x4c] = MODRM(V(VPBLENDVB, P66 | W0, Vx, Hx, Wx, Lx)),
    [0x60] = COMPARE(VPCMPESTRM), [0x61] = COMPARE(VPCMPESTRI),
    [0x62] = COMPARE(VPCMPISTRM), [0x63] = COMPARE(VPCMPISTRI),
    [0xdf] = MODRM(V(VAESKEYGENASSIST, P66 | L0, Vdq, Wdq, Ib)),
    [0xf0] = MODRM(V(RORX, PF2 | L0, Gy, Ey, Ib)),
};
