/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A decoded instruction, complete enough to execute it in any mode without the bytes.
 *
 * Decoding knows no guest state: bytes and the code size go in, a struct emu_insn comes out.
 */
#pragma once

#include "hvcore/state.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* EMU_MN_ADD, ...: the manuals' mnemonics; string forms by size (MOVSB...), SSE's MOVSD and CMPSD
 * are SSE_MOVSD and SSE_CMPSD; conditions spelled as JB JBE JL JLE JNB JNBE JNL JNLE JNO JNP JNS
 * JNZ JO JP JS JZ, likewise CMOVcc and SETcc; far forms CALL_FAR, JMP_FAR, RET_FAR. */
enum emu_mnemonic {
    EMU_MN_INVALID,
#define EMU_MNEMONIC(name) EMU_MN_##name,
#include "hvcore/emu/mnemonics.def"
#undef EMU_MNEMONIC
    EMU_N_MNEMONICS
};

enum emu_code_size { EMU_CODE16, EMU_CODE32, EMU_CODE64 };

enum emu_operand_kind {
    EMU_OPD_NONE,
    EMU_OPD_GPR,      /* reg 0-15 = enum hv_gpr, size 1 2 4 8 */
    EMU_OPD_GPR_HIGH, /* ah ch dh bh: reg 0-3, size 1 */
    EMU_OPD_MEM, /* insn->base, index, scale, disp, seg, addr_size; size may be 0 (lea, invlpg) */
    EMU_OPD_IMM, /* insn->imm (for a second immediate, of enter, extrq..: insn->imm2) */
    EMU_OPD_IMM2,
    EMU_OPD_REL, /* branch displacement in insn->imm, relative to the next instruction */
    EMU_OPD_FAR, /* ptr16:16/32: offset in insn->imm, selector in insn->imm2 */
    EMU_OPD_SEG, /* reg = enum hv_segment */
    EMU_OPD_CR,
    EMU_OPD_DR,
    EMU_OPD_VEC, /* xmm/ymm number in reg; size 16 or 32 (access size may be less) */
    EMU_OPD_MM,
    EMU_OPD_ST, /* st(reg), size 10 */
};

struct emu_operand {
    uint8_t kind; /* enum emu_operand_kind */
    uint8_t reg;
    uint8_t size; /* bytes; 0 where it has no meaning, 255 for 512-byte and larger areas */
};

enum { EMU_NO_REG = 0xff };

/* struct emu_insn prefixes */
enum {
    EMU_PFX_LOCK = 0x01,
    EMU_PFX_REP = 0x02,   /* F3, where it is a repeat prefix or is ignored; not where mandatory */
    EMU_PFX_REPNE = 0x04, /* F2, likewise */
    EMU_PFX_OPSIZE = 0x08,
    EMU_PFX_ADDRSIZE = 0x10,
    EMU_PFX_SEG = 0x20,   /* an override that counts */
    EMU_PFX_REX_W = 0x40, /* REX.W or VEX.W */
    EMU_PFX_VEX = 0x80,
};

/* Arithmetic flags as bits of RFLAGS. */
enum {
    EMU_CF = 0x0001,
    EMU_PF = 0x0004,
    EMU_AF = 0x0010,
    EMU_ZF = 0x0040,
    EMU_SF = 0x0080,
    EMU_OF = 0x0800,
    EMU_DF = 0x0400,
    EMU_ARITH_FLAGS = EMU_CF | EMU_PF | EMU_AF | EMU_ZF | EMU_SF | EMU_OF
};

struct emu_insn {
    uint16_t mnemonic;  /* enum emu_mnemonic */
    uint8_t length;     /* 1-15 */
    uint8_t op_size;    /* effective operand size in bytes: 2, 4, 8 (1 for byte forms) */
    uint8_t addr_size;  /* 2, 4, 8 */
    uint8_t stack_size; /* operand size of implicit stack accesses: 2, 4, 8 */
    uint8_t prefixes;
    uint8_t vex_l; /* 0: 128 bits, 1: 256 bits */
    /* memory operand */
    uint8_t seg;             /* effective segment, enum hv_segment */
    uint8_t base;            /* enum hv_gpr or EMU_NO_REG */
    uint8_t index;           /* for vsib forms a vector register */
    uint8_t scale;           /* log2 */
    uint8_t is_rip_relative; /* disp is relative to the next instruction */
    uint8_t n_operands;
    struct emu_operand
        op[4];           /* explicit operands, in the manuals' (Intel) order, VEX.vvvv included */
    uint16_t flags_read; /* of EMU_ARITH_FLAGS */
    uint16_t flags_written; /* including those left undefined; conditional writers (shift by cl,
                               rep cmps) count flags as read as well as written */
    uint16_t opcode;        /* map << 8 | byte: map 0 one-byte, 1 0F, 2 0F38, 3 0F3A */
    uint16_t imm2;
    int64_t disp;
    uint64_t imm; /* sign- or zero-extended as the instruction uses it */
};

enum emu_decode_result {
    EMU_DECODE_OK,
    EMU_DECODE_SHORT,    /* more bytes are needed than were given (at most 15 ever are) */
    EMU_DECODE_TOO_LONG, /* a 16th byte would be needed: #GP(0) */
    EMU_DECODE_INVALID,  /* #UD */
};

/*
 * Decode one instruction.
 *
 * Operands are those that the manuals' syntax writes out (cl of a shift, dx of in and out, the 1 of
 * d1 /4, st(0) of two-operand x87 arithmetic), but not <xmm0> of blendv and sha256rnds2. String
 * instructions and hint nops (nop r/m, endbr) have none. Where both F3 and F2 stand before an
 * instruction, the last one is reported.
 *
 * bytes, available: private copy of the code; code_size: of the current code segment.
 * return: enum emu_decode_result; *ret is filled with OK only. lock on an instruction that doesn't
 * allow it, or without a memory destination, is INVALID. Thread-safe, no allocation.
 * spec: AMD64 vol. 3 chapter 1 and appendix A; Intel SDM vol. 2 chapter 2
 */
enum emu_decode_result emu_decode(const uint8_t *bytes, size_t available,
                                  enum emu_code_size code_size, struct emu_insn *ret);

/* The name in mnemonics.def; static. */
const char *emu_mnemonic_name(enum emu_mnemonic mnemonic);
