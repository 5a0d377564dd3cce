/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of opcodes D8 to DF: with memory by ModRM.reg, with registers by the whole ModRM. */
#pragma once

#include "hvcore/emu/decode/row_priv.h"

/* clang-format off */

#define EMU_X87_MEM(n, name, type) V(name, MEM | S(n), type)
#define EMU_X87_ST0_STI(n, name)   V(name, REG | S(n), ST0, STi)
#define EMU_X87_STI_ST0(n, name)   V(name, REG | S(n), STi, ST0)
#define EMU_X87_STI(n, name)       V(name, REG | S(n), STi)
#define EMU_X87_ONE(n, m, name)    V(name, REG | S(n) | RM(m), NONE)

#define EMU_X87_ARITH_MEM(add, mul, com, comp, sub, subr, div, divr, type)   \
    EMU_X87_MEM(0, add, type), EMU_X87_MEM(1, mul, type),                    \
    EMU_X87_MEM(2, com, type), EMU_X87_MEM(3, comp, type),                   \
    EMU_X87_MEM(4, sub, type), EMU_X87_MEM(5, subr, type),                   \
    EMU_X87_MEM(6, div, type), EMU_X87_MEM(7, divr, type)
#define EMU_X87_REAL_MEM(type) \
    EMU_X87_ARITH_MEM(FADD, FMUL, FCOM, FCOMP, FSUB, FSUBR, FDIV, FDIVR, type)
#define EMU_X87_INT_MEM(type) \
    EMU_X87_ARITH_MEM(FIADD, FIMUL, FICOM, FICOMP, FISUB, FISUBR, FIDIV, FIDIVR, type)

#define EMU_X87_D8 MODRM(EMU_X87_REAL_MEM(Md),                              \
    EMU_X87_ST0_STI(0, FADD), EMU_X87_ST0_STI(1, FMUL),                     \
    EMU_X87_STI(2, FCOM), EMU_X87_STI(3, FCOMP),                            \
    EMU_X87_ST0_STI(4, FSUB), EMU_X87_ST0_STI(5, FSUBR),                    \
    EMU_X87_ST0_STI(6, FDIV), EMU_X87_ST0_STI(7, FDIVR))

#define EMU_X87_D9 MODRM(                                                   \
    EMU_X87_MEM(0, FLD, Md), EMU_X87_MEM(2, FST, Md), EMU_X87_MEM(3, FSTP, Md), \
    EMU_X87_MEM(4, FLDENV, Menv), EMU_X87_MEM(5, FLDCW, Mw),                \
    EMU_X87_MEM(6, FNSTENV, Menv), EMU_X87_MEM(7, FNSTCW, Mw),              \
    EMU_X87_STI(0, FLD), EMU_X87_STI(1, FXCH), EMU_X87_ONE(2, 0, FNOP),     \
    EMU_X87_STI(3, FSTPNCE),                                                \
    EMU_X87_ONE(4, 0, FCHS), EMU_X87_ONE(4, 1, FABS),                       \
    EMU_X87_ONE(4, 4, FTST), EMU_X87_ONE(4, 5, FXAM),                       \
    EMU_X87_ONE(5, 0, FLD1), EMU_X87_ONE(5, 1, FLDL2T),                     \
    EMU_X87_ONE(5, 2, FLDL2E), EMU_X87_ONE(5, 3, FLDPI),                    \
    EMU_X87_ONE(5, 4, FLDLG2), EMU_X87_ONE(5, 5, FLDLN2),                   \
    EMU_X87_ONE(5, 6, FLDZ),                                                \
    EMU_X87_ONE(6, 0, F2XM1), EMU_X87_ONE(6, 1, FYL2X),                     \
    EMU_X87_ONE(6, 2, FPTAN), EMU_X87_ONE(6, 3, FPATAN),                    \
    EMU_X87_ONE(6, 4, FXTRACT), EMU_X87_ONE(6, 5, FPREM1),                  \
    EMU_X87_ONE(6, 6, FDECSTP), EMU_X87_ONE(6, 7, FINCSTP),                 \
    EMU_X87_ONE(7, 0, FPREM), EMU_X87_ONE(7, 1, FYL2XP1),                   \
    EMU_X87_ONE(7, 2, FSQRT), EMU_X87_ONE(7, 3, FSINCOS),                   \
    EMU_X87_ONE(7, 4, FRNDINT), EMU_X87_ONE(7, 5, FSCALE),                  \
    EMU_X87_ONE(7, 6, FSIN), EMU_X87_ONE(7, 7, FCOS))

#define EMU_X87_CMOV(n, name, in) R(name, REG | S(n), 0, in, 0, ST0, STi)
#define EMU_X87_COMI(n, name)     R(name, REG | S(n), 0, 0, ALL, ST0, STi)

#define EMU_X87_DA MODRM(EMU_X87_INT_MEM(Md),                               \
    EMU_X87_CMOV(0, FCMOVB, FC), EMU_X87_CMOV(1, FCMOVE, FZ),               \
    EMU_X87_CMOV(2, FCMOVBE, FCZ), EMU_X87_CMOV(3, FCMOVU, FP),             \
    EMU_X87_ONE(5, 1, FUCOMPP))

#define EMU_X87_DB MODRM(                                                   \
    EMU_X87_MEM(0, FILD, Md), EMU_X87_MEM(1, FISTTP, Md),                   \
    EMU_X87_MEM(2, FIST, Md), EMU_X87_MEM(3, FISTP, Md),                    \
    EMU_X87_MEM(5, FLD, Mt), EMU_X87_MEM(7, FSTP, Mt),                      \
    EMU_X87_CMOV(0, FCMOVNB, FC), EMU_X87_CMOV(1, FCMOVNE, FZ),             \
    EMU_X87_CMOV(2, FCMOVNBE, FCZ), EMU_X87_CMOV(3, FCMOVNU, FP),           \
    EMU_X87_ONE(4, 0, FENI8087_NOP), EMU_X87_ONE(4, 1, FDISI8087_NOP),      \
    EMU_X87_ONE(4, 2, FNCLEX), EMU_X87_ONE(4, 3, FNINIT),                   \
    EMU_X87_ONE(4, 4, FSETPM287_NOP),                                       \
    EMU_X87_COMI(5, FUCOMI), EMU_X87_COMI(6, FCOMI))

#define EMU_X87_DC MODRM(EMU_X87_REAL_MEM(Mq),                              \
    EMU_X87_STI_ST0(0, FADD), EMU_X87_STI_ST0(1, FMUL),                     \
    EMU_X87_STI(2, FCOM), EMU_X87_STI(3, FCOMP),                            \
    EMU_X87_STI_ST0(4, FSUBR), EMU_X87_STI_ST0(5, FSUB),                    \
    EMU_X87_STI_ST0(6, FDIVR), EMU_X87_STI_ST0(7, FDIV))

#define EMU_X87_DD MODRM(                                                   \
    EMU_X87_MEM(0, FLD, Mq), EMU_X87_MEM(1, FISTTP, Mq),                    \
    EMU_X87_MEM(2, FST, Mq), EMU_X87_MEM(3, FSTP, Mq),                      \
    EMU_X87_MEM(4, FRSTOR, Mfpu), EMU_X87_MEM(6, FNSAVE, Mfpu),             \
    EMU_X87_MEM(7, FNSTSW, Mw),                                             \
    EMU_X87_STI(0, FFREE), EMU_X87_STI(1, FXCH), EMU_X87_STI(2, FST),       \
    EMU_X87_STI(3, FSTP), EMU_X87_STI(4, FUCOM), EMU_X87_STI(5, FUCOMP))

#define EMU_X87_DE MODRM(EMU_X87_INT_MEM(Mw),                               \
    EMU_X87_STI_ST0(0, FADDP), EMU_X87_STI_ST0(1, FMULP),                   \
    EMU_X87_STI(2, FCOMP), EMU_X87_ONE(3, 1, FCOMPP),                       \
    EMU_X87_STI_ST0(4, FSUBRP), EMU_X87_STI_ST0(5, FSUBP),                  \
    EMU_X87_STI_ST0(6, FDIVRP), EMU_X87_STI_ST0(7, FDIVP))

#define EMU_X87_DF MODRM(                                                   \
    EMU_X87_MEM(0, FILD, Mw), EMU_X87_MEM(1, FISTTP, Mw),                   \
    EMU_X87_MEM(2, FIST, Mw), EMU_X87_MEM(3, FISTP, Mw),                    \
    EMU_X87_MEM(4, FBLD, Mt), EMU_X87_MEM(5, FILD, Mq),                     \
    EMU_X87_MEM(6, FBSTP, Mt), EMU_X87_MEM(7, FISTP, Mq),                   \
    EMU_X87_STI(0, FFREEP), EMU_X87_STI(1, FXCH),                           \
    EMU_X87_STI(2, FSTP), EMU_X87_STI(3, FSTP),                             \
    V(FNSTSW, REG | S(4) | RM(0), AX),                                      \
    EMU_X87_COMI(5, FUCOMIP), EMU_X87_COMI(6, FCOMIP))

/* clang-format on */
