/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/emu_flat.h"

#include "hvcore/emu/system.h"

#include <string.h>

static struct flat *flat_of(struct emu_cpu *cpu)
{
    return HV_CONTAINER_OF(cpu, struct flat, cpu);
}

/* ---- Memory ---- */

static void *host(struct emu_cpu *cpu, uint64_t linear, unsigned size, bool is_write)
{
    uint64_t first = linear - FLAT_BASE, last = first + size - 1;

    if (first >= FLAT_BYTES || last >= FLAT_BYTES)
        return NULL;
    if (is_write && last >> HV_PAGE_SHIFT >= FLAT_READ_ONLY)
        return NULL;
    return flat_of(cpu)->memory + first;
}

static bool fault(struct emu_cpu *cpu, uint64_t linear, bool is_write, bool is_stack)
{
    if (!emu_is_canonical(linear))
        (void)emu_raise_code(cpu, is_stack ? X86_SS : X86_GP, 0);
    else
        cpu->fault = (struct emu_fault){ X86_PF, true, is_write ? X86_PF_W : 0, linear };
    return false;
}

static bool crosses(uint64_t linear, unsigned size)
{
    return (linear & 0xfff) + size > HV_PAGE_BYTES;
}

/* A tag of another slot's page: no address that selects this slot has it. */
static uint64_t dead_tag(unsigned slot)
{
    return (uint64_t)(slot ^ 1) << HV_PAGE_SHIFT;
}

static void *fill(struct emu_cpu *cpu, uint64_t linear, unsigned size, bool is_write)
{
    unsigned slot = linear >> HV_PAGE_SHIFT & (EMU_TLB_ENTRIES - 1);
    struct emu_tlb_entry *e = &cpu->tlb[slot];
    void *p = crosses(linear, size) ? NULL : host(cpu, linear, size, is_write);

    if (!p)
        return NULL;
    e->read_tag = linear & ~UINT64_C(0xfff);
    e->write_tag = host(cpu, linear, 1, true) ? e->read_tag : dead_tag(slot);
    e->addend = (uint64_t)(uintptr_t)p - linear;
    return p;
}

void *emu_fill_read(struct emu_cpu *cpu, uint64_t linear, unsigned size)
{
    return fill(cpu, linear, size, false);
}

void *emu_fill_write(struct emu_cpu *cpu, uint64_t linear, unsigned size)
{
    return fill(cpu, linear, size, true);
}

/* Faults are left to the generic forms. */
bool emu_fill_faulted(struct emu_cpu *cpu)
{
    (void)cpu;
    return false;
}

void *emu_stack_fill(struct emu_cpu *cpu, uint64_t linear, unsigned size)
{
    void *p = fill(cpu, linear, size, true);

    if (p) {
        cpu->stack_page = linear & ~UINT64_C(0xfff);
        cpu->stack_addend = (uint64_t)(uintptr_t)p - linear;
    }
    return p;
}

bool emu_mem_read(struct emu_cpu *cpu, uint64_t linear, void *ret, unsigned size, bool is_stack)
{
    const void *p = host(cpu, linear, size, false);

    if (!p)
        return fault(cpu, linear, false, is_stack);
    memcpy(ret, p, size);
    return true;
}

bool emu_mem_write(struct emu_cpu *cpu, uint64_t linear, const void *from, unsigned size,
                   bool is_stack)
{
    void *p = host(cpu, linear, size, true);

    if (!p)
        return fault(cpu, linear, true, is_stack);
    memcpy(p, from, size);
    return true;
}

bool emu_mem_probe(struct emu_cpu *cpu, uint64_t linear, unsigned size, bool is_write,
                   bool is_stack)
{
    return host(cpu, linear, size, is_write) || fault(cpu, linear, is_write, is_stack);
}

bool emu_rmw_begin(struct emu_cpu *cpu, struct emu_rmw *rmw, uint64_t linear, unsigned size,
                   bool is_locked, bool is_stack)
{
    rmw->linear = linear;
    rmw->size = size;
    rmw->host = rmw->buffer;
    if (!host(cpu, linear, size, true))
        return fault(cpu, linear, true, is_stack);
    return emu_mem_read(cpu, linear, rmw->buffer, size, is_stack);
}

void emu_rmw_end(struct emu_cpu *cpu, struct emu_rmw *rmw)
{
    (void)emu_mem_write(cpu, rmw->linear, rmw->buffer, rmw->size, false);
}

void *emu_mem_span(struct emu_cpu *cpu, uint64_t linear, bool is_write, unsigned *ret_bytes)
{
    *ret_bytes = HV_PAGE_BYTES - (linear & 0xfff);
    return flat_of(cpu)->no_spans ? NULL : host(cpu, linear, 1, is_write);
}

/* ---- Endings ---- */

static const struct emu_op *end(struct emu_cpu *cpu, const struct emu_op *op, enum flat_end how,
                                uint64_t target)
{
    struct flat *flat = flat_of(cpu);

    flat->end = how;
    flat->at = op;
    flat->target = target;
    return NULL;
}

const struct emu_op *flat_stop(EMU_PARAMS)
{
    return end(cpu, op, FLAT_FELL_THROUGH, 0);
}

const struct emu_op *emu_op_slow(struct emu_cpu *cpu, const struct emu_op *op)
{
    return end(cpu, op, FLAT_SLOW, 0);
}

const struct emu_op *emu_op_fault(struct emu_cpu *cpu, const struct emu_op *op)
{
    return end(cpu, op, FLAT_SLOW, 0);
}

const struct emu_op *emu_op_leave(struct emu_cpu *cpu, uint64_t rip)
{
    return end(cpu, NULL, FLAT_LEFT, rip);
}

const struct emu_op *emu_op_jump(EMU_PARAMS)
{
    return end(cpu, op, FLAT_JUMPED, cpu->regs[EMU_REG_RIP_BASE] + (uint64_t)(int64_t)op->disp);
}

const struct emu_op *emu_op_indirect(EMU_PARAMS)
{
    return end(cpu, NULL, FLAT_INDIRECT, x);
}

const struct emu_op *emu_op_return(EMU_PARAMS)
{
    return end(cpu, NULL, FLAT_INDIRECT, x);
}

/* Handlers know it by name; it goes on with what follows, as everything does here. */
emu_handler emu_op_sync;

const struct emu_op *emu_op_sync(EMU_PARAMS)
{
    EMU_DONE_ANEW(cpu, op);
}

/* ---- Other families: none ---- */

emu_exec_fn *const emu_exec_system[EMU_N_MNEMONICS];

/* ---- The processor ---- */

/* Nobody's page, at an address that isn't canonical. */
#define NO_PAGE UINT64_C(0x7fff000000000000)

static void forget(struct emu_cpu *cpu)
{
    for (unsigned slot = 0; slot < EMU_TLB_ENTRIES; slot++)
        cpu->tlb[slot].read_tag = cpu->tlb[slot].write_tag = dead_tag(slot);
    cpu->stack_page = NO_PAGE;
}

void flat_reset(struct flat *flat)
{
    struct emu_cpu *cpu = &flat->cpu;

    memset(cpu, 0, offsetof(struct emu_cpu, tlbs));
    cpu->tlb = cpu->tlbs[EMU_SUPERVISOR];
    forget(cpu);
    cpu->df_step = 1;
    cpu->code_size = EMU_CODE64;
    cpu->cr0 = X86_CR0_PE | X86_CR0_PG;
    cpu->efer = X86_EFER_LMA | X86_EFER_LME;
    for (unsigned i = 0; i < HV_N_SEGMENTS; i++)
        cpu->segment[i] = (struct hv_segment_register){ .limit = UINT32_MAX, .attributes = 0xc93 };
}

struct flat *flat_new(void)
{
    struct flat *flat = aligned_alloc(64, (sizeof(*flat) + 63) / 64 * 64);

    if (flat) {
        memset(flat, 0, sizeof(*flat));
        flat_reset(flat);
    }
    return flat;
}

enum emu_result flat_exec(struct flat *flat, const struct emu_insn *insn)
{
    emu_exec_fn *exec = emu_exec_int[insn->mnemonic];

    if (!exec)
        exec = emu_exec_string[insn->mnemonic];
    if (!exec)
        exec = emu_exec_simd[insn->mnemonic];
    if (!exec)
        exec = emu_exec_x87[insn->mnemonic];
    return exec ? exec(&flat->cpu, insn) : emu_raise(&flat->cpu, X86_UD);
}

void flat_run(struct flat *flat, const struct emu_op *op)
{
    while (op)
        op = op->fn(&flat->cpu, op, 0, 0, flat->cpu.regs[HV_RSP]);
}

void emu_machine_pause(struct emu_cpu *cpu)
{
    (void)cpu;
}
