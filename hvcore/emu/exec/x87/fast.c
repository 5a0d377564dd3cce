/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fast handlers of x87 instructions for guests that mask all exceptions: imm64 is the thunk, imm
 * the opcode for the instruction pointer's sake, aux the bytes of a memory operand.
 */
#include "hvcore/emu/exec/x87/x87_priv.h"

typedef void x87_fn(const void *memory);

static inline bool must_be_slow(const struct emu_cpu *cpu)
{
    return HV_UNLIKELY(cpu->fp_trap) || HV_UNLIKELY(x87_unmasked(cpu));
}

static inline void run(struct emu_cpu *cpu, const struct emu_op *op, const void *memory)
{
    cpu->fpu->fip = emu_op_rip(cpu, op);
    cpu->fpu->fop = (uint16_t)op->imm;
    ((x87_fn *)(uintptr_t)op->imm64)(memory);
}

static const struct emu_op *x87_registers(EMU_PARAMS)
{
    if (must_be_slow(cpu))
        return emu_op_slow(cpu, op);
    run(cpu, op, NULL);
    EMU_DONE_ANEW(cpu, op);
}

/* fcomi and kin clear OF, so lahf says all. */
static const struct emu_op *x87_flags(EMU_PARAMS)
{
    if (must_be_slow(cpu))
        return emu_op_slow(cpu, op);
    cpu->fpu->fip = emu_op_rip(cpu, op);
    cpu->fpu->fop = (uint16_t)op->imm;
    cpu->aflags = x87_call(NULL, (const void *)(uintptr_t)op->imm64, 0);
    EMU_DONE_ANEW(cpu, op);
}

static const struct emu_op *x87_condition(EMU_PARAMS)
{
    if (must_be_slow(cpu))
        return emu_op_slow(cpu, op);
    cpu->fpu->fip = emu_op_rip(cpu, op);
    cpu->fpu->fop = (uint16_t)op->imm;
    (void)x87_call(NULL, (const void *)(uintptr_t)op->imm64, cpu->aflags);
    EMU_DONE_ANEW(cpu, op);
}

/* Guest memory is the operand itself. */
#define MEMORY(name, address, host)                                                                \
    static const struct emu_op *name(EMU_PARAMS)                                                   \
    {                                                                                              \
        uint64_t ea = address(cpu, op);                                                            \
        const void *p = host(cpu, ea, op->aux);                                                    \
        if (HV_UNLIKELY(!p) || must_be_slow(cpu))                                                  \
            return emu_op_slow(cpu, op);                                                           \
        cpu->fpu->fdp = ea;                                                                        \
        run(cpu, op, p);                                                                           \
        EMU_DONE_ANEW(cpu, op);                                                                    \
    }
MEMORY(load_base, emu_ea_base, emu_tlb_read)
MEMORY(load_index, emu_ea_index, emu_tlb_read)
MEMORY(load_stack, emu_ea_base, emu_stack_access)
MEMORY(store_base, emu_ea_base, emu_tlb_write)
MEMORY(store_index, emu_ea_index, emu_tlb_write)

static bool has_memory(const struct emu_insn *insn, unsigned *ret_bytes)
{
    for (unsigned i = 0; i < insn->n_operands; i++)
        if (insn->op[i].kind == EMU_OPD_MEM) {
            *ret_bytes = insn->op[i].size;
            return true;
        }
    return false;
}

bool x87_pick(const struct emu_pick *pick, struct emu_op *op)
{
    static emu_handler *const loads[3] = { load_base, load_index, load_stack };
    static emu_handler *const stores[3] = { store_base, store_index, load_stack };
    const struct x87_row *row = &x87_rows[pick->insn->mnemonic];
    struct x87_form form;
    enum emu_ea_form ea;
    unsigned bytes;

    if (row->kind == X87_KIND_NONE)
        return false;
    form = x87_form_of(pick->insn);
    op->imm64 = (uintptr_t)form.thunk;
    op->imm = form.fop;
    if (!has_memory(pick->insn, &bytes)) {
        op->fn = row->kind == X87_KIND_FLAGS_OUT  ? x87_flags
                 : row->kind == X87_KIND_FLAGS_IN ? x87_condition
                                                  : x87_registers;
        return true;
    }
    ea = emu_pick_ea(pick, op);
    if (ea == EMU_EA_GENERAL || bytes > 10)
        return false;
    op->aux = (uint8_t)bytes;
    op->fn = row->kind == X87_KIND_STORE ? stores[ea] : loads[ea];
    return true;
}
