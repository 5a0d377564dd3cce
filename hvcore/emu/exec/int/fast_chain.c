/* SPDX-License-Identifier: Apache-2.0 */
/* Fast handlers: pairs of which the second finds memory by what the first has made. */
#include "hvcore/emu/exec/int/duo_priv.h"

/* The value needn't go through the register in memory, which takes several cycles. */
EMU_INLINE const struct emu_op *chain(EMU_PARAMS, enum kind first, enum kind second,
                                      emu_handler *likely)
{
    uint64_t linear = address_of(cpu, op, first, sp), value;
    void *p = NULL;

    if (size_of(first)) {
        p = host_of(cpu, first, linear);
        if (HV_UNLIKELY(!p))
            return miss(cpu, op, linear, first, sp);
    }
    value = value_of(cpu, op, first, p);
    emu_reg_set_8(cpu, op->dst, value);
    p = host_of(cpu, second, value + (uint64_t)(int64_t)op[1].disp);
    if (HV_UNLIKELY(!p))
        EMU_GO(cpu, op + 1);
    emu_reg_set_8(cpu, op[1].dst, value_of(cpu, op + 1, second, p));
    EMU_GO_LIKELY(cpu, op + 2, likely);
}

/* The same where it is the index. */
EMU_INLINE const struct emu_op *chain_index(EMU_PARAMS, enum kind first, enum kind second,
                                            emu_handler *likely)
{
    uint64_t linear = address_of(cpu, op, first, sp), value;
    void *p = NULL;

    if (size_of(first)) {
        p = host_of(cpu, first, linear);
        if (HV_UNLIKELY(!p))
            return miss(cpu, op, linear, first, sp);
    }
    value = value_of(cpu, op, first, p);
    emu_reg_set_8(cpu, op->dst, value);
    p = host_of(cpu, second, emu_ea_base(cpu, op + 1) + (value << op[1].scale));
    if (HV_UNLIKELY(!p))
        EMU_GO(cpu, op + 1);
    emu_reg_set_8(cpu, op[1].dst, value_of(cpu, op + 1, second, p));
    EMU_GO_LIKELY(cpu, op + 2, likely);
}

#define CHAIN(first, second)                                                                       \
    EMU_HANDLER h_chain_##first##_##second(EMU_PARAMS)                                             \
    {                                                                                              \
        return chain(EMU_PASS, KIND_##first, KIND_##second, EMU_NEXT(h_chain_##first##_##second)); \
    }
#define INDEX_CHAIN(first, second)                                                                 \
    EMU_HANDLER h_index_chain_##first##_##second(EMU_PARAMS)                                       \
    {                                                                                              \
        return chain_index(EMU_PASS, KIND_##first, KIND_##second,                                  \
                           EMU_NEXT(h_index_chain_##first##_##second));                            \
    }
#define INDEX_CHAIN_ENTRY(first, second)                                                           \
    [KIND_##first][KIND_##second] = h_index_chain_##first##_##second,
#define CHAIN_ENTRY(first, second) [KIND_##first][KIND_##second] = h_chain_##first##_##second,
#define CHAIN_FIRSTS(X, second)                                                                    \
    X(LOAD8B, second)                                                                              \
    X(LOAD8S, second)                                                                              \
    X(LOAD8X, second)                                                                              \
    X(LOAD4B, second)                                                                              \
    X(MOV8, second)                                                                                \
    X(LEA8, second)                                                                                \
    X(LEA8X, second)                                                                               \
    X(ADD8, second)                                                                                \
    X(ADDI8, second)
#define CHAINS(X)                                                                                  \
    CHAIN_FIRSTS(X, LOAD8B)                                                                        \
    CHAIN_FIRSTS(X, LOAD4B)                                                                        \
    CHAIN_FIRSTS(X, ZX1B)                                                                          \
    CHAIN_FIRSTS(X, SX2B)
#define INDEX_CHAIN_FIRSTS(X, second)                                                              \
    X(LOAD4B, second)                                                                              \
    X(ZX1B, second)                                                                                \
    X(MOV4, second)                                                                                \
    X(LEA8X, second)                                                                               \
    X(SX8, second)                                                                                 \
    X(ADDI8, second)                                                                               \
    X(ANDI4, second)
#define INDEX_CHAINS(X)                                                                            \
    INDEX_CHAIN_FIRSTS(X, LOAD8X)                                                                  \
    INDEX_CHAIN_FIRSTS(X, LOAD4X)                                                                  \
    INDEX_CHAIN_FIRSTS(X, ZX1X)

CHAINS(CHAIN)
INDEX_CHAINS(INDEX_CHAIN)
emu_handler *const emu_chains[N_STEPS][N_STEPS] = { CHAINS(CHAIN_ENTRY)
                                                        INDEX_CHAINS(INDEX_CHAIN_ENTRY) };
