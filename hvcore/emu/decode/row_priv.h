/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of the opcode tables: what an encoding means, when it means it, and what it touches.
 *
 * An opcode has a list of rows; the first whose conditions hold is the instruction. Operand types
 * and conditions are named as in the opcode maps of the manuals (AMD64 vol. 3 appendix A, Intel SDM
 * vol. 2 appendix A).
 */
#pragma once

#include "hvcore/emu/insn.h"

/* How an operand is encoded. */
enum emu_encoding {
    EMU_ENC_NONE,
    EMU_ENC_REG_GPR, /* ModRM.reg */
    EMU_ENC_REG_MM,
    EMU_ENC_REG_VEC,
    EMU_ENC_REG_SEG,
    EMU_ENC_REG_CR,
    EMU_ENC_REG_DR,
    EMU_ENC_RM_GPR, /* ModRM.rm with mod 3, or memory */
    EMU_ENC_RM_MM,
    EMU_ENC_RM_VEC,
    EMU_ENC_VVVV_GPR,
    EMU_ENC_VVVV_VEC,
    EMU_ENC_IS4,        /* vector register in the immediate */
    EMU_ENC_OPCODE_GPR, /* low bits of the opcode */
    EMU_ENC_GPR0,       /* EMU_ENC_GPR0 + n: register n */
    EMU_ENC_GPR1,
    EMU_ENC_GPR2,
    EMU_ENC_SEG0, /* EMU_ENC_SEG0 + n: segment register n */
    EMU_ENC_SEG1,
    EMU_ENC_SEG2,
    EMU_ENC_SEG3,
    EMU_ENC_SEG4,
    EMU_ENC_SEG5,
    EMU_ENC_ST0,
    EMU_ENC_RM_ST,
    EMU_ENC_ONE,
    EMU_ENC_IMM, /* zero-extended */
    EMU_ENC_IMM_SIGNED,
    EMU_ENC_REL,
    EMU_ENC_FAR,
    EMU_ENC_MOFFS,
};

/* Sizes that depend on prefixes and mode; smaller values are bytes, 255 is itself. */
enum emu_size {
    EMU_SIZE_V = 200, /* operand size */
    EMU_SIZE_Z,       /* operand size, at most 4 */
    EMU_SIZE_Y,       /* operand size, at least 4 */
    EMU_SIZE_N,       /* 8 in 64-bit mode, else 4 */
    EMU_SIZE_X,       /* vector length */
    EMU_SIZE_HALF,    /* a half, quarter, eighth of the vector length */
    EMU_SIZE_QUARTER,
    EMU_SIZE_EIGHTH,
    EMU_SIZE_PAIR,   /* two of operand size: bound */
    EMU_SIZE_FAR,    /* far pointer */
    EMU_SIZE_TABLE,  /* limit and base */
    EMU_SIZE_FPUENV, /* 14 or 28 */
    EMU_SIZE_FPU,    /* 94 or 108 */
    EMU_SIZE_FIRST = EMU_SIZE_V,
    EMU_SIZE_LAST = EMU_SIZE_FPU,
    EMU_SIZE_AREA = 255
};

/* name, encoding, size as a register (or of the immediate), size in memory */
/* clang-format off */
#define EMU_OPERAND_TYPES(X)                            \
    X(NONE, NONE, 0, 0)                                 \
    X(Gb, REG_GPR, 1, 0)                                \
    X(Gw, REG_GPR, 2, 0)                                \
    X(Gd, REG_GPR, 4, 0)                                \
    X(Gv, REG_GPR, SIZE(V), 0)                          \
    X(Gy, REG_GPR, SIZE(Y), 0)                          \
    X(Gn, REG_GPR, SIZE(N), 0)                          \
    X(Eb, RM_GPR, 1, 1)                                 \
    X(Ew, RM_GPR, 2, 2)                                 \
    X(Ed, RM_GPR, 4, 4)                                 \
    X(Ev, RM_GPR, SIZE(V), SIZE(V))                     \
    X(Ey, RM_GPR, SIZE(Y), SIZE(Y))                     \
    X(En, RM_GPR, SIZE(N), SIZE(N))                     \
    X(RdMb, RM_GPR, 4, 1)                               \
    X(RdMw, RM_GPR, 4, 2)                               \
    X(RvMw, RM_GPR, SIZE(V), 2)                         \
    X(RzMw, RM_GPR, SIZE(Z), 2)                         \
    X(RzMd, RM_GPR, SIZE(Z), 4)                         \
    X(By, VVVV_GPR, SIZE(Y), 0)                         \
    X(Zb, OPCODE_GPR, 1, 0)                             \
    X(Zv, OPCODE_GPR, SIZE(V), 0)                       \
    X(AL, GPR0, 1, 0)                                   \
    X(AX, GPR0, 2, 0)                                   \
    X(rAX, GPR0, SIZE(V), 0)                            \
    X(eAX, GPR0, SIZE(Z), 0)                            \
    X(CL, GPR1, 1, 0)                                   \
    X(DX, GPR2, 2, 0)                                   \
    X(ES, SEG0, 2, 0)                                   \
    X(CS, SEG1, 2, 0)                                   \
    X(SS, SEG2, 2, 0)                                   \
    X(DS, SEG3, 2, 0)                                   \
    X(FS, SEG4, 2, 0)                                   \
    X(GS, SEG5, 2, 0)                                   \
    X(Sw, REG_SEG, 2, 0)                                \
    X(Cn, REG_CR, SIZE(N), 0)                           \
    X(Dn, REG_DR, SIZE(N), 0)                           \
    X(One, ONE, 1, 0)                                   \
    X(Ib, IMM, 1, 0)                                    \
    X(Iw, IMM, 2, 0)                                    \
    X(Iv, IMM, SIZE(V), 0)                              \
    X(Is, IMM_SIGNED, 1, 0) /* imm8 to operand size */  \
    X(Iz, IMM_SIGNED, SIZE(Z), 0)                       \
    X(Jb, REL, 1, 0)                                    \
    X(Jz, REL, SIZE(Z), 0)                              \
    X(Ap, FAR, SIZE(FAR), 0)                            \
    X(Ob, MOFFS, 0, 1)                                  \
    X(Ov, MOFFS, 0, SIZE(V))                            \
    X(M, RM_GPR, 0, 0)                                  \
    X(Mw, RM_GPR, 0, 2)                                 \
    X(Md, RM_GPR, 0, 4)                                 \
    X(Mq, RM_GPR, 0, 8)                                 \
    X(Mdq, RM_GPR, 0, 16)                               \
    X(Mv, RM_GPR, 0, SIZE(V))                           \
    X(My, RM_GPR, 0, SIZE(Y))                           \
    X(Mx, RM_GPR, 0, SIZE(X))                           \
    X(Mt, RM_GPR, 0, 10)                                \
    X(Ma, RM_GPR, 0, SIZE(PAIR))                        \
    X(Mp, RM_GPR, 0, SIZE(FAR))                         \
    X(Ms, RM_GPR, 0, SIZE(TABLE))                       \
    X(Menv, RM_GPR, 0, SIZE(FPUENV))                    \
    X(Mfpu, RM_GPR, 0, SIZE(FPU))                       \
    X(Marea, RM_GPR, 0, SIZE(AREA))                     \
    X(Pq, REG_MM, 8, 0)                                 \
    X(Qq, RM_MM, 8, 8)                                  \
    X(Qd, RM_MM, 8, 4)                                  \
    X(Vdq, REG_VEC, 16, 0)                              \
    X(Vqq, REG_VEC, 32, 0)                              \
    X(Vx, REG_VEC, SIZE(X), 0)                          \
    X(Ww, RM_VEC, 16, 2)                                \
    X(Wb, RM_VEC, 16, 1)                                \
    X(Wd, RM_VEC, 16, 4)                                \
    X(Wq, RM_VEC, 16, 8)                                \
    X(Wdq, RM_VEC, 16, 16)                              \
    X(Wqq, RM_VEC, 32, 32)                              \
    X(Wx, RM_VEC, SIZE(X), SIZE(X))                     \
    X(Whalf, RM_VEC, 16, SIZE(HALF))                    \
    X(Wquarter, RM_VEC, 16, SIZE(QUARTER))              \
    X(Weighth, RM_VEC, 16, SIZE(EIGHTH))                \
    X(Hdq, VVVV_VEC, 16, 0)                             \
    X(Hqq, VVVV_VEC, 32, 0)                             \
    X(Hx, VVVV_VEC, SIZE(X), 0)                         \
    X(Lx, IS4, SIZE(X), 0)                              \
    X(ST0, ST0, 10, 0)                                  \
    X(STi, RM_ST, 10, 0)
/* clang-format on */

enum emu_operand_type {
#define X(name, encoding, size, memory) name,
    EMU_OPERAND_TYPES(X)
#undef X
        EMU_N_OPERAND_TYPES
};

/*
 * Conditions. What holds for an instruction is a set with one bit of each class; a row lists the
 * bits that must not be in it, so that the conditions of a row are joined with |.
 */
enum emu_fact {
    /* which of the prefixes that can be part of the opcode stands there: the last of F2 and F3,
     * else 66, else none */
    EMU_FACT_NP,
    EMU_FACT_66,
    EMU_FACT_F3,
    EMU_FACT_F2,
    EMU_FACT_MEM,
    EMU_FACT_REG,
    EMU_FACT_M64,
    EMU_FACT_N64,
    EMU_FACT_W0,
    EMU_FACT_W1,
    EMU_FACT_L0,
    EMU_FACT_L1,
    /* operand size as prefixes say, before the instruction's own default */
    EMU_FACT_OS16,
    EMU_FACT_OS32,
    EMU_FACT_OS64,
    EMU_FACT_AS16,
    EMU_FACT_AS32,
    EMU_FACT_AS64,
    EMU_FACT_REG0 = 24, /* ModRM.reg, without REX.R */
    EMU_FACT_RM0 = 32,  /* ModRM.rm, without REX.B */
    EMU_FACT_R0 = 40,   /* REX.B extends the opcode's register */
    EMU_FACT_R1,
};

#define EMU_FACT(name)        (UINT64_C(1) << EMU_FACT_##name)
#define EMU_NOT_REP           (EMU_FACT(F3) | EMU_FACT(F2))
#define EMU_ONLY_BYTE(low, n) ((UINT64_C(0xff) << (low)) & ~(UINT64_C(1) << ((low) + (n))))

/* The conditions as rows write them. */
#define ANY   UINT64_C(0)
#define NP    (EMU_FACT(66) | EMU_NOT_REP)
#define P66   (EMU_FACT(NP) | EMU_NOT_REP)
#define PF3   (EMU_FACT(NP) | EMU_FACT(66) | EMU_FACT(F2))
#define PF2   (EMU_FACT(NP) | EMU_FACT(66) | EMU_FACT(F3))
#define NOREP EMU_NOT_REP /* none or 66, where 66 is the operand size */
#define MEM   EMU_FACT(REG)
#define REG   EMU_FACT(MEM)
#define M64   EMU_FACT(N64)
#define N64   EMU_FACT(M64)
#define W0    EMU_FACT(W1)
#define W1    EMU_FACT(W0)
#define L0    EMU_FACT(L1)
#define L1    EMU_FACT(L0)
#define OS16  (EMU_FACT(OS32) | EMU_FACT(OS64))
#define OS32  (EMU_FACT(OS16) | EMU_FACT(OS64))
#define OS64  (EMU_FACT(OS16) | EMU_FACT(OS32))
#define AS16  (EMU_FACT(AS32) | EMU_FACT(AS64))
#define AS32  (EMU_FACT(AS16) | EMU_FACT(AS64))
#define AS64  (EMU_FACT(AS16) | EMU_FACT(AS32))
#define B0    EMU_FACT(R1)
#define S(n)  EMU_ONLY_BYTE(EMU_FACT_REG0, n) /* "/n" */
#define RM(n) EMU_ONLY_BYTE(EMU_FACT_RM0, n)

/* Attributes of rows. */
enum {
    LOCK = 1,     /* may be locked when its first operand is memory */
    BYTE = 2,     /* the operand size is 1 */
    D64 = 4,      /* 64-bit mode: operand size 8, or 2 with 66 */
    F64 = 8,      /* 64-bit mode: operand size 8 */
    STRING = 16,  /* with rep, flags may stay */
    SHIFT = 32,   /* with a count of 0, flags stay */
    FAR = 64,     /* stack_size is the operand size in 64-bit mode too */
    MOD3 = 128,   /* ModRM.mod is taken to be 3 */
    VSIB = 256,   /* the index is a vector register */
    MIN4 = 4096,  /* the operand size is never 2 */
    MAX4 = 2048,  /* the operand size is never 8 */
    NOREX = 1024, /* operand size 8 only in 64-bit mode, whatever the prefixes say; else 4 */
};

/* Flags as rows write them. */
enum {
    FC = EMU_CF,
    FZ = EMU_ZF,
    FO = EMU_OF,
    FCO = EMU_CF | EMU_OF,
    FCZ = EMU_CF | EMU_ZF,
    FSO = EMU_SF | EMU_OF,
    FSOZ = EMU_SF | EMU_OF | EMU_ZF,
    FP = EMU_PF,
    FS_ = EMU_SF,
    FCA = EMU_CF | EMU_AF,
    FA = EMU_AF,
    FNC = EMU_ARITH_FLAGS & ~EMU_CF,
    FNZ = EMU_ARITH_FLAGS & ~EMU_ZF,
    FAH = EMU_ARITH_FLAGS & ~EMU_OF,
    ALL = EMU_ARITH_FLAGS
};

struct emu_row {
    uint64_t not_with; /* facts that exclude this row */
    uint16_t mnemonic; /* EMU_MN_INVALID ends a list */
    uint16_t attributes;
    uint16_t reads, writes;
    uint8_t op[4]; /* enum emu_operand_type */
};

/* rows is NULL where the opcode doesn't exist */
struct emu_opcode {
    const struct emu_row *rows;
    bool has_modrm;
};

/* A row with attributes and flags, and one without. */
#define R(name, conditions, attr, flags_in, flags_out, ...)                                        \
    {                                                                                              \
        .not_with = (conditions), .mnemonic = EMU_MN_##name, .attributes = (attr),                 \
        .reads = (flags_in), .writes = (flags_out), .op = {                                        \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define V(name, conditions, ...) R(name, conditions, 0, 0, 0, __VA_ARGS__)

/* The rows of an opcode with ModRM, and of one without. */
#define MODRM(...)                                                                                 \
    {                                                                                              \
        (const struct emu_row[]){ __VA_ARGS__, { 0 } }, true                                       \
    }
#define PLAIN(...)                                                                                 \
    {                                                                                              \
        (const struct emu_row[]){ __VA_ARGS__, { 0 } }, false                                      \
    }

extern const struct emu_opcode emu_map_base[256];
extern const struct emu_opcode emu_map_0f[256];
extern const struct emu_opcode emu_map_0f38[256];
extern const struct emu_opcode emu_map_0f3a[256];
extern const struct emu_opcode emu_map_vex_0f[256];
extern const struct emu_opcode emu_map_vex_0f38[256];
extern const struct emu_opcode emu_map_vex_0f3a[256];
