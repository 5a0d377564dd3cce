/* SPDX-License-Identifier: Apache-2.0 */
/* Fast handlers: every kind of step with every step or end behind it. */
#include "hvcore/emu/exec/int/duo_priv.h"

/* A write that misses in a page with code is done slowly: the way around the cache looks at one
 * record only. */
const struct emu_op *emu_duo_miss_write(struct emu_cpu *cpu, const struct emu_op *op,
                                        uint64_t linear, uint64_t size, uint64_t sp)
{
    if (!emu_fill_write(cpu, linear, (unsigned)size))
        return emu_miss_slowly(cpu, op, size);
    if (!emu_hits(linear, emu_tlb_slot(cpu, linear)->write_tag, size))
        return emu_op_slow(cpu, op);
    EMU_GO_WITH(cpu, op, sp);
}

/* ---- Pairs ---- */

EMU_INLINE const struct emu_op *duo(EMU_PARAMS, enum kind first, enum kind second,
                                    emu_handler *likely)
{
    uint64_t linear = address_of(cpu, op, first, sp);
    void *p = NULL;

    if (size_of(first)) {
        p = host_of(cpu, first, linear);
        if (HV_UNLIKELY(!p))
            return miss(cpu, op, linear, first, sp);
    }
    sp = do_step(cpu, op, first, p, sp);
    if (second >= N_STEPS)
        return end(cpu, op + 1, x, y, sp, second);
    if (size_of(second)) {
        p = host_of(cpu, second, address_of(cpu, op + 1, second, sp));
        if (HV_UNLIKELY(!p))
            EMU_GO(cpu, op + 1);
    }
    sp = do_step(cpu, op + 1, second, p, sp);
    EMU_GO_LIKELY(cpu, op + 2, likely);
}

#define DUO(second, first)                                                                         \
    EMU_HANDLER h_duo_##first##_##second(EMU_PARAMS)                                               \
    {                                                                                              \
        return duo(EMU_PASS, KIND_##first, KIND_##second, EMU_NEXT(h_duo_##first##_##second));     \
    }
#define ENTRY(second, first) [KIND_##second] = h_duo_##first##_##second,

/* A macro doesn't expand within itself: the outer list is written out once more. */
#define FIRSTS(X)                                                                                  \
    X(LOAD8B)                                                                                      \
    X(LOAD8S)                                                                                      \
    X(LOAD8X)                                                                                      \
    X(LOAD4B)                                                                                      \
    X(LOAD4S)                                                                                      \
    X(LOAD4X)                                                                                      \
    X(ZX1B)                                                                                        \
    X(ZX1X)                                                                                        \
    X(STORE8B)                                                                                     \
    X(STORE8S)                                                                                     \
    X(STORE4B)                                                                                     \
    X(STORE4S)                                                                                     \
    X(IMM8B)                                                                                       \
    X(IMM8S)                                                                                       \
    X(IMM4B)                                                                                       \
    X(PUSH)                                                                                        \
    X(POP)                                                                                         \
    X(MOV8)                                                                                        \
    X(MOV4)                                                                                        \
    X(MOVI)                                                                                        \
    X(XOR4)                                                                                        \
    X(ZERO)                                                                                        \
    X(LEA8)                                                                                        \
    X(LEA8X)                                                                                       \
    X(SX8)                                                                                         \
    X(ADD8)                                                                                        \
    X(ADDI8)                                                                                       \
    X(ADDI4)                                                                                       \
    X(AND8)                                                                                        \
    X(ANDI4)                                                                                       \
    X(SHLI8)                                                                                       \
    X(SHRI8)                                                                                       \
    X(LEA4)                                                                                        \
    X(LEA4X)                                                                                       \
    X(SX2B)                                                                                        \
    X(SPADD)                                                                                       \
    X(SPADDF)
#define ALL_DUOS(first)    STEPS(DUO, first) ENDS(DUO, first)
#define ALL_ENTRIES(first) [KIND_##first] = { STEPS(ENTRY, first) ENDS(ENTRY, first) },

FIRSTS(ALL_DUOS)
emu_handler *const emu_duos[N_STEPS][N_KINDS] = { FIRSTS(ALL_ENTRIES) };
