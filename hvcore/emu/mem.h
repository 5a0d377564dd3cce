/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access to guest memory by linear address: the one place where it becomes a host pointer.
 *
 * Fast: emu_tlb_read/write, one compare, for handlers. Complete: emu_mem_*, which cross pages,
 * reach MMIO, keep decoded code true, and raise precise faults. All on the VP's own thread.
 * spec: AMD64 vol. 2 chapter 5; software TLB layout in cpu.h
 */
#pragma once

#include "hvcore/emu/cpu.h"

/* An operand in guest memory, by host pointer: one host access wherever it lies, since alignment is
 * the guest's business. */
#define EMU_AT(type, p)                                                                            \
    (((volatile struct { type value; } __attribute__((packed, may_alias)) *)(uintptr_t)(p))->value)

/* Slow halves of the fast path: look further, walk, fill the entry. Return a host pointer when the
 * access lies in one page of RAM and may be done plainly (for writes: no code in the page, or none
 * in the lines touched), else NULL: then do it with emu_mem_*, which finds out why. Raise nothing.
 */
void *emu_fill_read(struct emu_cpu *cpu, uint64_t linear, unsigned size);
void *emu_fill_write(struct emu_cpu *cpu, uint64_t linear, unsigned size);

/* A host pointer for a plain read of size (1 to 64) bytes, or NULL. */
static inline const void *emu_tlb_read(struct emu_cpu *cpu, uint64_t linear, unsigned size)
{
    const struct emu_tlb_entry *e = &cpu->tlb[linear >> HV_PAGE_SHIFT & (EMU_TLB_ENTRIES - 1)];

    if (HV_LIKELY(linear - e->read_tag <= HV_PAGE_BYTES - size))
        return (const void *)(uintptr_t)(linear + e->addend);
    return emu_fill_read(cpu, linear, size);
}

/* A host pointer for a plain write or read-modify-write, or NULL. */
static inline void *emu_tlb_write(struct emu_cpu *cpu, uint64_t linear, unsigned size)
{
    const struct emu_tlb_entry *e = &cpu->tlb[linear >> HV_PAGE_SHIFT & (EMU_TLB_ENTRIES - 1)];

    if (HV_LIKELY(linear - e->write_tag <= HV_PAGE_BYTES - size))
        return (void *)(uintptr_t)(linear + e->addend);
    return emu_fill_write(cpu, linear, size);
}

/* The same through the stack window (for push, pop, call, ret, [rsp+x]); write permission. */
void *emu_stack_fill(struct emu_cpu *cpu, uint64_t linear, unsigned size);

static inline void *emu_stack_access(struct emu_cpu *cpu, uint64_t linear, unsigned size)
{
    if (HV_LIKELY(linear - cpu->stack_page <= HV_PAGE_BYTES - size))
        return (void *)(uintptr_t)(linear + cpu->stack_addend);
    return emu_stack_fill(cpu, linear, size);
}

/*
 * Complete accesses of 1 to 512 bytes with the current privilege. Aligned 1, 2, 4, 8 and 16 byte
 * accesses are single host accesses. Return true, or false with cpu->fault set (#PF, or #GP/#SS(0)
 * for a non-canonical address: pass is_stack for SS-based ones) and nothing changed.
 * A crossing access checks both pages first. A write that hits decoded code sets EMU_REQ_BREAK.
 */
bool emu_mem_read(struct emu_cpu *cpu, uint64_t linear, void *ret, unsigned size, bool is_stack);
bool emu_mem_write(struct emu_cpu *cpu, uint64_t linear, const void *from, unsigned size,
                   bool is_stack);
/* Would a write (read) of all these bytes be allowed? Sets A and D bits like the access itself. */
bool emu_mem_probe(struct emu_cpu *cpu, uint64_t linear, unsigned size, bool is_write,
                   bool is_stack);

/* The same with supervisor privilege whatever the CPL is: descriptor tables, TSS, delivery. */
bool emu_sys_read(struct emu_cpu *cpu, uint64_t linear, void *ret, unsigned size);
bool emu_sys_write(struct emu_cpu *cpu, uint64_t linear, const void *from, unsigned size);

/*
 * Read-modify-write: begin gives a pointer to the operand (guest memory itself where that can be,
 * else a buffer), end puts a buffer back. With is_locked and several VPs an operand that isn't one
 * aligned piece of RAM is handled with the machine stopped, from begin to end.
 * begin returns false with cpu->fault set; then there is no end.
 */
struct emu_rmw {
    void *host; /* read only: the operand */
    /* private */
    uint64_t linear;
    unsigned size;
    bool is_buffered, is_stopped;
    _Alignas(16) uint8_t buffer[16];
};

/* See above; linear, size (1 to 16), is_stack as with emu_mem_read. */
bool emu_rmw_begin(struct emu_cpu *cpu, struct emu_rmw *rmw, uint64_t linear, unsigned size,
                   bool is_locked, bool is_stack);
void emu_rmw_end(struct emu_cpu *cpu, struct emu_rmw *rmw);

/* For bulk string work: a host pointer to `linear` and how many bytes from there on lie in the same
 * page, for plain access; NULL when it needs emu_mem_* (MMIO, code, fault). Raises nothing. */
void *emu_mem_span(struct emu_cpu *cpu, uint64_t linear, bool is_write, unsigned *ret_bytes);

/*
 * Translation with explicit rights, for those who need the walk itself.
 * access: bits of X86_PF_W, X86_PF_U, X86_PF_I. Returns true with *ret_gpa, or false with
 * cpu->fault set to the #PF.
 */
bool emu_translate(struct emu_cpu *cpu, uint64_t linear, unsigned access, hv_gpa_t *ret_gpa);

/* ---- Dropping translations; own VP only ---- */
void emu_tlb_flush_all(struct emu_cpu *cpu);                   /* global ones too */
void emu_tlb_flush_non_global(struct emu_cpu *cpu);            /* CR3 write */
void emu_tlb_flush_page(struct emu_cpu *cpu, uint64_t linear); /* INVLPG */
/* Recompute cpu->class, tlb, code_size, is_stack32, fp_trap, simd_trap, avx_trap after CR0, CR4,
 * EFER, XCR0, CS, SS, CPL or RFLAGS.AC changed; flushes nothing. Callers return EMU_LEAVE/BRANCH.
 */
void emu_mode_changed(struct emu_cpu *cpu);
/* The same where nothing but the CPL (to this one) and SS change, in 64-bit code without AC or
 * cpu->debug. */
void emu_ring_changed(struct emu_cpu *cpu, uint8_t cpl);

/* ---- The machine ---- */
/* Stop all other VPs of the machine at their next block end (or wherever they wait); until
 * emu_machine_resume they run no guest code. May serve others' stops meanwhile: after it returns,
 * host pointers got before are stale. */
void emu_machine_stop(struct emu_cpu *cpu);
void emu_machine_resume(struct emu_cpu *cpu);

/* pause: who spins waits for another VP, which may have no processor of the host to run on. */
void emu_machine_pause(struct emu_cpu *cpu);
