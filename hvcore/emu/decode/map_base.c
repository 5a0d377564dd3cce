/* SPDX-License-Identifier: Apache-2.0 */
/* One-byte opcodes. */
#include "hvcore/emu/decode/row_priv.h"
#include "hvcore/emu/decode/x87_priv.h"

/* clang-format off */

/* The eight forms of a two-operand arithmetic instruction. */
#define ALU(base, name, lock, in)                                       \
    [(base) + 0] = MODRM(R(name, ANY, BYTE | (lock), in, ALL, Eb, Gb)), \
    [(base) + 1] = MODRM(R(name, ANY, (lock), in, ALL, Ev, Gv)),        \
    [(base) + 2] = MODRM(R(name, ANY, BYTE, in, ALL, Gb, Eb)),          \
    [(base) + 3] = MODRM(R(name, ANY, 0, in, ALL, Gv, Ev)),             \
    [(base) + 4] = PLAIN(R(name, ANY, BYTE, in, ALL, AL, Is)),          \
    [(base) + 5] = PLAIN(R(name, ANY, 0, in, ALL, rAX, Iz))

#define ALU_GROUP(when, attr, to, from)                         \
    MODRM(R(ADD, (when) | S(0), (attr) | LOCK, 0, ALL, to, from),  \
          R(OR, (when) | S(1), (attr) | LOCK, 0, ALL, to, from),   \
          R(ADC, (when) | S(2), (attr) | LOCK, FC, ALL, to, from), \
          R(SBB, (when) | S(3), (attr) | LOCK, FC, ALL, to, from), \
          R(AND, (when) | S(4), (attr) | LOCK, 0, ALL, to, from),  \
          R(SUB, (when) | S(5), (attr) | LOCK, 0, ALL, to, from),  \
          R(XOR, (when) | S(6), (attr) | LOCK, 0, ALL, to, from),  \
          R(CMP, (when) | S(7), (attr), 0, ALL, to, from))

#define SHIFT_GROUP(attr, to, count)                            \
    MODRM(R(ROL, S(0), SHIFT | (attr), 0, FCO, to, count),      \
          R(ROR, S(1), SHIFT | (attr), 0, FCO, to, count),      \
          R(RCL, S(2), SHIFT | (attr), FC, FCO, to, count),     \
          R(RCR, S(3), SHIFT | (attr), FC, FCO, to, count),     \
          R(SHL, S(4), SHIFT | (attr), 0, ALL, to, count),      \
          R(SHR, S(5), SHIFT | (attr), 0, ALL, to, count),      \
          R(SHL, S(6), SHIFT | (attr), 0, ALL, to, count),      \
          R(SAR, S(7), SHIFT | (attr), 0, ALL, to, count))

#define EIGHT(base, row)                                                            \
    [(base) + 0] = PLAIN(row), [(base) + 1] = PLAIN(row), [(base) + 2] = PLAIN(row), \
    [(base) + 3] = PLAIN(row), [(base) + 4] = PLAIN(row), [(base) + 5] = PLAIN(row), \
    [(base) + 6] = PLAIN(row), [(base) + 7] = PLAIN(row)

#define JCC(n, name, in) [0x70 + (n)] = PLAIN(R(name, ANY, D64, in, 0, Jb))

#define XCHG_RAX R(XCHG, ANY, 0, 0, 0, Zv, rAX)

/* A string instruction by operand size. */
#define STRINGS(name, out)                        \
    PLAIN(R(name##W, OS16, STRING, 0, out, NONE), \
          R(name##D, OS32, STRING, 0, out, NONE), \
          R(name##Q, OS64, STRING, 0, out, NONE))

const struct emu_opcode emu_map_base[256] = {
    ALU(0x00, ADD, LOCK, 0),
    [0x06] = PLAIN(R(PUSH, N64, 0, 0, 0, ES)),
    [0x07] = PLAIN(R(POP, N64, 0, 0, 0, ES)),
    ALU(0x08, OR, LOCK, 0),
    [0x0e] = PLAIN(R(PUSH, N64, 0, 0, 0, CS)),
    ALU(0x10, ADC, LOCK, FC),
    [0x16] = PLAIN(R(PUSH, N64, 0, 0, 0, SS)),
    [0x17] = PLAIN(R(POP, N64, 0, 0, 0, SS)),
    ALU(0x18, SBB, LOCK, FC),
    [0x1e] = PLAIN(R(PUSH, N64, 0, 0, 0, DS)),
    [0x1f] = PLAIN(R(POP, N64, 0, 0, 0, DS)),
    ALU(0x20, AND, LOCK, 0),
    [0x27] = PLAIN(R(DAA, N64, 0, FCA, ALL, NONE)),
    ALU(0x28, SUB, LOCK, 0),
    [0x2f] = PLAIN(R(DAS, N64, 0, FCA, ALL, NONE)),
    ALU(0x30, XOR, LOCK, 0),
    [0x37] = PLAIN(R(AAA, N64, 0, FA, ALL, NONE)),
    ALU(0x38, CMP, 0, 0),
    [0x3f] = PLAIN(R(AAS, N64, 0, FA, ALL, NONE)),
    EIGHT(0x40, R(INC, N64, 0, 0, FNC, Zv)),
    EIGHT(0x48, R(DEC, N64, 0, 0, FNC, Zv)),
    EIGHT(0x50, R(PUSH, ANY, D64, 0, 0, Zv)),
    EIGHT(0x58, R(POP, ANY, D64, 0, 0, Zv)),
    [0x60] = PLAIN(R(PUSHA, N64 | OS16, 0, 0, 0, NONE), R(PUSHAD, N64, 0, 0, 0, NONE)),
    [0x61] = PLAIN(R(POPA, N64 | OS16, 0, 0, 0, NONE), R(POPAD, N64, 0, 0, 0, NONE)),
    [0x62] = MODRM(R(BOUND, N64 | MEM, 0, 0, 0, Gv, Ma)),
    [0x63] = MODRM(R(ARPL, N64, 0, 0, FZ, Ew, Gw), R(MOVSXD, M64, 0, 0, 0, Gv, RzMd)),
    [0x68] = PLAIN(R(PUSH, ANY, D64, 0, 0, Iz)),
    [0x69] = MODRM(R(IMUL, ANY, 0, 0, ALL, Gv, Ev, Iz)),
    [0x6a] = PLAIN(R(PUSH, ANY, D64, 0, 0, Is)),
    [0x6b] = MODRM(R(IMUL, ANY, 0, 0, ALL, Gv, Ev, Is)),
    [0x6c] = PLAIN(R(INSB, ANY, BYTE | STRING, 0, 0, NONE)),
    [0x6d] = PLAIN(R(INSW, OS16, STRING, 0, 0, NONE), R(INSD, ANY, MAX4 | STRING, 0, 0, NONE)),
    [0x6e] = PLAIN(R(OUTSB, ANY, BYTE | STRING, 0, 0, NONE)),
    [0x6f] = PLAIN(R(OUTSW, OS16, STRING, 0, 0, NONE), R(OUTSD, ANY, MAX4 | STRING, 0, 0, NONE)),
    JCC(0x0, JO, FO), JCC(0x1, JNO, FO), JCC(0x2, JB, FC), JCC(0x3, JNB, FC),
    JCC(0x4, JZ, FZ), JCC(0x5, JNZ, FZ), JCC(0x6, JBE, FCZ), JCC(0x7, JNBE, FCZ),
    JCC(0x8, JS, FS_), JCC(0x9, JNS, FS_), JCC(0xa, JP, FP), JCC(0xb, JNP, FP),
    JCC(0xc, JL, FSO), JCC(0xd, JNL, FSO), JCC(0xe, JLE, FSOZ), JCC(0xf, JNLE, FSOZ),
    [0x80] = ALU_GROUP(ANY, BYTE, Eb, Is),
    [0x81] = ALU_GROUP(ANY, 0, Ev, Iz),
    [0x82] = ALU_GROUP(N64, BYTE, Eb, Is),
    [0x83] = ALU_GROUP(ANY, 0, Ev, Is),
    [0x84] = MODRM(R(TEST, ANY, BYTE, 0, ALL, Eb, Gb)),
    [0x85] = MODRM(R(TEST, ANY, 0, 0, ALL, Ev, Gv)),
    [0x86] = MODRM(R(XCHG, ANY, BYTE | LOCK, 0, 0, Eb, Gb)),
    [0x87] = MODRM(R(XCHG, ANY, LOCK, 0, 0, Ev, Gv)),
    [0x88] = MODRM(R(MOV, ANY, BYTE, 0, 0, Eb, Gb)),
    [0x89] = MODRM(R(MOV, ANY, 0, 0, 0, Ev, Gv)),
    [0x8a] = MODRM(R(MOV, ANY, BYTE, 0, 0, Gb, Eb)),
    [0x8b] = MODRM(R(MOV, ANY, 0, 0, 0, Gv, Ev)),
    [0x8c] = MODRM(V(MOV, S(0), RvMw, Sw), V(MOV, S(1), RvMw, Sw), V(MOV, S(2), RvMw, Sw),
                   V(MOV, S(3), RvMw, Sw), V(MOV, S(4), RvMw, Sw), V(MOV, S(5), RvMw, Sw)),
    [0x8d] = MODRM(V(LEA, MEM, Gv, M)),
    [0x8e] = MODRM(V(MOV, S(0), Sw, Ew), V(MOV, S(2), Sw, Ew), V(MOV, S(3), Sw, Ew),
                   V(MOV, S(4), Sw, Ew), V(MOV, S(5), Sw, Ew)),
    [0x8f] = MODRM(R(POP, S(0), D64, 0, 0, Ev)),
    [0x90] = PLAIN(V(PAUSE, PF3 | B0, NONE), V(NOP, B0, NONE), XCHG_RAX),
    [0x91] = PLAIN(XCHG_RAX), [0x92] = PLAIN(XCHG_RAX), [0x93] = PLAIN(XCHG_RAX),
    [0x94] = PLAIN(XCHG_RAX), [0x95] = PLAIN(XCHG_RAX), [0x96] = PLAIN(XCHG_RAX),
    [0x97] = PLAIN(XCHG_RAX),
    [0x98] = PLAIN(V(CBW, OS16, NONE), V(CWDE, OS32, NONE), V(CDQE, OS64, NONE)),
    [0x99] = PLAIN(V(CWD, OS16, NONE), V(CDQ, OS32, NONE), V(CQO, OS64, NONE)),
    [0x9a] = PLAIN(R(CALL_FAR, N64, FAR, 0, 0, Ap)),
    [0x9b] = PLAIN(V(FWAIT, ANY, NONE)),
    [0x9c] = PLAIN(R(PUSHF, OS16, D64, ALL, 0, NONE), R(PUSHFQ, M64, D64, ALL, 0, NONE),
                   R(PUSHFD, ANY, 0, ALL, 0, NONE)),
    [0x9d] = PLAIN(R(POPF, OS16, D64, 0, ALL, NONE), R(POPFQ, M64, D64, 0, ALL, NONE),
                   R(POPFD, ANY, 0, 0, ALL, NONE)),
    [0x9e] = PLAIN(R(SAHF, ANY, 0, 0, FAH, NONE)),
    [0x9f] = PLAIN(R(LAHF, ANY, 0, FAH, 0, NONE)),
    [0xa0] = PLAIN(R(MOV, ANY, BYTE, 0, 0, AL, Ob)),
    [0xa1] = PLAIN(R(MOV, ANY, 0, 0, 0, rAX, Ov)),
    [0xa2] = PLAIN(R(MOV, ANY, BYTE, 0, 0, Ob, AL)),
    [0xa3] = PLAIN(R(MOV, ANY, 0, 0, 0, Ov, rAX)),
    [0xa4] = PLAIN(R(MOVSB, ANY, BYTE | STRING, 0, 0, NONE)),
    [0xa5] = STRINGS(MOVS, 0),
    [0xa6] = PLAIN(R(CMPSB, ANY, BYTE | STRING, 0, ALL, NONE)),
    [0xa7] = STRINGS(CMPS, ALL),
    [0xa8] = PLAIN(R(TEST, ANY, BYTE, 0, ALL, AL, Is)),
    [0xa9] = PLAIN(R(TEST, ANY, 0, 0, ALL, rAX, Iz)),
    [0xaa] = PLAIN(R(STOSB, ANY, BYTE | STRING, 0, 0, NONE)),
    [0xab] = STRINGS(STOS, 0),
    [0xac] = PLAIN(R(LODSB, ANY, BYTE | STRING, 0, 0, NONE)),
    [0xad] = STRINGS(LODS, 0),
    [0xae] = PLAIN(R(SCASB, ANY, BYTE | STRING, 0, ALL, NONE)),
    [0xaf] = STRINGS(SCAS, ALL),
    EIGHT(0xb0, R(MOV, ANY, BYTE, 0, 0, Zb, Is)),
    EIGHT(0xb8, R(MOV, ANY, 0, 0, 0, Zv, Iv)),
    [0xc0] = SHIFT_GROUP(BYTE, Eb, Ib),
    [0xc1] = SHIFT_GROUP(0, Ev, Ib),
    [0xc2] = PLAIN(R(RET, ANY, D64, 0, 0, Iw)),
    [0xc3] = PLAIN(R(RET, ANY, D64, 0, 0, NONE)),
    [0xc4] = MODRM(R(LES, N64 | MEM, 0, 0, 0, Gv, Mp)),
    [0xc5] = MODRM(R(LDS, N64 | MEM, 0, 0, 0, Gv, Mp)),
    [0xc6] = MODRM(R(MOV, S(0), BYTE, 0, 0, Eb, Is)),
    [0xc7] = MODRM(R(MOV, S(0), 0, 0, 0, Ev, Iz)),
    [0xc8] = PLAIN(R(ENTER, ANY, D64, 0, 0, Iw, Ib)),
    [0xc9] = PLAIN(R(LEAVE, ANY, D64, 0, 0, NONE)),
    [0xca] = PLAIN(R(RET_FAR, ANY, FAR, 0, 0, Iw)),
    [0xcb] = PLAIN(R(RET_FAR, ANY, FAR, 0, 0, NONE)),
    [0xcc] = PLAIN(R(INT3, ANY, 0, ALL, 0, NONE)),
    [0xcd] = PLAIN(R(INT, ANY, 0, ALL, 0, Ib)),
    [0xce] = PLAIN(R(INTO, N64, 0, ALL, 0, NONE)),
    [0xcf] = PLAIN(R(IRET, OS16, FAR, 0, ALL, NONE), R(IRETD, OS32, FAR, 0, ALL, NONE),
                   R(IRETQ, OS64, FAR, 0, ALL, NONE)),
    [0xd0] = SHIFT_GROUP(BYTE, Eb, One),
    [0xd1] = SHIFT_GROUP(0, Ev, One),
    [0xd2] = SHIFT_GROUP(BYTE, Eb, CL),
    [0xd3] = SHIFT_GROUP(0, Ev, CL),
    [0xd4] = PLAIN(R(AAM, N64, 0, 0, ALL, Ib)),
    [0xd5] = PLAIN(R(AAD, N64, 0, 0, ALL, Ib)),
    [0xd6] = PLAIN(R(SALC, N64, 0, FC, 0, NONE)),
    [0xd7] = PLAIN(R(XLAT, ANY, 0, 0, 0, NONE)),
    [0xd8] = EMU_X87_D8, [0xd9] = EMU_X87_D9, [0xda] = EMU_X87_DA, [0xdb] = EMU_X87_DB,
    [0xdc] = EMU_X87_DC, [0xdd] = EMU_X87_DD, [0xde] = EMU_X87_DE, [0xdf] = EMU_X87_DF,
    [0xe0] = PLAIN(R(LOOPNE, ANY, D64, FZ, 0, Jb)),
    [0xe1] = PLAIN(R(LOOPE, ANY, D64, FZ, 0, Jb)),
    [0xe2] = PLAIN(R(LOOP, ANY, D64, 0, 0, Jb)),
    [0xe3] = PLAIN(R(JCXZ, AS16, D64, 0, 0, Jb), R(JECXZ, AS32, D64, 0, 0, Jb),
                   R(JRCXZ, AS64, D64, 0, 0, Jb)),
    [0xe4] = PLAIN(R(IN, ANY, BYTE, 0, 0, AL, Ib)),
    [0xe5] = PLAIN(R(IN, ANY, MAX4, 0, 0, eAX, Ib)),
    [0xe6] = PLAIN(R(OUT, ANY, BYTE, 0, 0, Ib, AL)),
    [0xe7] = PLAIN(R(OUT, ANY, MAX4, 0, 0, Ib, eAX)),
    [0xe8] = PLAIN(R(CALL, ANY, D64, 0, 0, Jz)),
    [0xe9] = PLAIN(R(JMP, ANY, D64, 0, 0, Jz)),
    [0xea] = PLAIN(R(JMP_FAR, N64, FAR, 0, 0, Ap)),
    [0xeb] = PLAIN(R(JMP, ANY, D64, 0, 0, Jb)),
    [0xec] = PLAIN(R(IN, ANY, BYTE, 0, 0, AL, DX)),
    [0xed] = PLAIN(R(IN, ANY, MAX4, 0, 0, eAX, DX)),
    [0xee] = PLAIN(R(OUT, ANY, BYTE, 0, 0, DX, AL)),
    [0xef] = PLAIN(R(OUT, ANY, MAX4, 0, 0, DX, eAX)),
    [0xf1] = PLAIN(R(INT1, ANY, 0, ALL, 0, NONE)),
    [0xf4] = PLAIN(V(HLT, ANY, NONE)),
    [0xf5] = PLAIN(R(CMC, ANY, 0, FC, FC, NONE)),
    [0xf6] = MODRM(R(TEST, S(0), BYTE, 0, ALL, Eb, Is), R(TEST, S(1), BYTE, 0, ALL, Eb, Is),
                   R(NOT, S(2), BYTE | LOCK, 0, 0, Eb), R(NEG, S(3), BYTE | LOCK, 0, ALL, Eb),
                   R(MUL, S(4), BYTE, 0, ALL, Eb), R(IMUL, S(5), BYTE, 0, ALL, Eb),
                   R(DIV, S(6), BYTE, 0, ALL, Eb), R(IDIV, S(7), BYTE, 0, ALL, Eb)),
    [0xf7] = MODRM(R(TEST, S(0), 0, 0, ALL, Ev, Iz), R(TEST, S(1), 0, 0, ALL, Ev, Iz),
                   R(NOT, S(2), LOCK, 0, 0, Ev), R(NEG, S(3), LOCK, 0, ALL, Ev),
                   R(MUL, S(4), 0, 0, ALL, Ev), R(IMUL, S(5), 0, 0, ALL, Ev),
                   R(DIV, S(6), 0, 0, ALL, Ev), R(IDIV, S(7), 0, 0, ALL, Ev)),
    [0xf8] = PLAIN(R(CLC, ANY, 0, 0, FC, NONE)),
    [0xf9] = PLAIN(R(STC, ANY, 0, 0, FC, NONE)),
    [0xfa] = PLAIN(V(CLI, ANY, NONE)),
    [0xfb] = PLAIN(V(STI, ANY, NONE)),
    [0xfc] = PLAIN(V(CLD, ANY, NONE)),
    [0xfd] = PLAIN(V(STD, ANY, NONE)),
    [0xfe] = MODRM(R(INC, S(0), BYTE | LOCK, 0, FNC, Eb), R(DEC, S(1), BYTE | LOCK, 0, FNC, Eb)),
    [0xff] = MODRM(R(INC, S(0), LOCK, 0, FNC, Ev), R(DEC, S(1), LOCK, 0, FNC, Ev),
                   R(CALL, S(2), D64, 0, 0, Ev), R(CALL_FAR, S(3) | MEM, FAR | MAX4, 0, 0, Mp),
                   R(JMP, S(4), D64, 0, 0, Ev), R(JMP_FAR, S(5) | MEM, FAR | MAX4, 0, 0, Mp),
                   R(PUSH, S(6), D64, 0, 0, Ev)),
};
