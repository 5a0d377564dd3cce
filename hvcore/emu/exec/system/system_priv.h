/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the system family share: descriptors, stacks, transfers of control.
 *
 * Functions that can fault return false with cpu->fault set; the exec_* ones are the generic forms
 * of the table in table.c.
 * spec: AMD64 vol. 2 chapters 4 (segments), 8 (exceptions), 12 (tasks); vol. 3 chapter 4
 */
#pragma once

#include "hvcore/emu/operand.h"
#include "hvcore/emu/system.h"

#include <string.h>

static inline bool emu_fail(struct emu_cpu *cpu, uint8_t vector, uint32_t code)
{
    (void)emu_raise_code(cpu, vector, code);
    return false;
}

static inline enum emu_result emu_gp0(struct emu_cpu *cpu)
{
    return emu_raise_code(cpu, X86_GP, 0);
}

static inline enum emu_result emu_ud(struct emu_cpu *cpu)
{
    return emu_raise(cpu, X86_UD);
}

static inline bool emu_is_v86(const struct emu_cpu *cpu)
{
    return cpu->sys_flags & X86_VM;
}

static inline unsigned emu_iopl(const struct emu_cpu *cpu)
{
    return (unsigned)(cpu->sys_flags >> 12 & 3);
}

/* Has the processor a bit in a CPUID leaf (subleaf 0)? reg: 0 to 3 for eax ebx ecx edx. */
bool emu_has_feature(struct emu_cpu *cpu, uint32_t leaf, unsigned reg, unsigned bit);
const struct emu_bus *emu_bus_of(const struct emu_cpu *cpu);
struct hv_gpa_space *emu_space_of(const struct emu_cpu *cpu);

/* ---- descriptor.c ---- */

enum { SEL_TI = 4, SEL_INDEX_TI = 0xfffc };

/* Types of system descriptors; in long mode only LDT, the "32" TSS and gates exist, 64 bits wide.
 */
enum {
    SYS_TSS16 = 1,
    SYS_LDT = 2,
    SYS_TSS16_BUSY = 3,
    SYS_CALL_GATE16 = 4,
    SYS_TASK_GATE = 5,
    SYS_INT_GATE16 = 6,
    SYS_TRAP_GATE16 = 7,
    SYS_TSS = 9,
    SYS_TSS_BUSY = 11,
    SYS_CALL_GATE = 12,
    SYS_INT_GATE = 14,
    SYS_TRAP_GATE = 15
};

/* Type bits of code and data descriptors. */
enum {
    TYPE_ACCESSED = 1,
    TYPE_WRITABLE = 2,    /* data */
    TYPE_READABLE = 2,    /* code */
    TYPE_EXPAND_DOWN = 4, /* data */
    TYPE_CONFORMING = 4,  /* code */
    TYPE_CODE = 8,
    TYPE_BUSY = 2 /* of a TSS */
};

struct emu_descriptor {
    uint64_t low;
    uint64_t high;   /* of 16-byte ones, else 0 */
    uint64_t linear; /* where it stands */
    uint16_t selector;
};

static inline bool emu_is_null(uint16_t selector)
{
    return !(selector & SEL_INDEX_TI);
}

static inline unsigned desc_type(const struct emu_descriptor *d)
{
    return (unsigned)(d->low >> 40 & 0xf);
}

static inline bool desc_is_system(const struct emu_descriptor *d)
{
    return !(d->low >> 44 & 1);
}

static inline bool desc_is_code(const struct emu_descriptor *d)
{
    return (d->low >> 43 & 3) == 3;
}

static inline bool desc_is_writable_data(const struct emu_descriptor *d)
{
    return (d->low >> 41 & 0xd) == 9;
}

static inline bool desc_is_conforming(const struct emu_descriptor *d)
{
    return desc_is_code(d) && desc_type(d) & TYPE_CONFORMING;
}

static inline uint8_t desc_dpl(const struct emu_descriptor *d)
{
    return (uint8_t)(d->low >> 45 & 3);
}

static inline bool desc_is_present(const struct emu_descriptor *d)
{
    return d->low >> 47 & 1;
}

static inline bool desc_is_long(const struct emu_descriptor *d)
{
    return d->low >> 53 & 1;
}

static inline bool desc_is_big(const struct emu_descriptor *d)
{
    return d->low >> 54 & 1;
}

static inline uint32_t desc_limit(const struct emu_descriptor *d)
{
    uint32_t limit = (uint32_t)((d->low & 0xffff) | (d->low >> 32 & 0xf0000));

    return d->low >> 55 & 1 ? limit << 12 | 0xfff : limit;
}

/* The base of a segment; of system segments in long mode all 64 bits. */
static inline uint64_t desc_base(const struct emu_descriptor *d)
{
    return (d->low >> 16 & 0xffffff) | (d->low >> 32 & 0xff000000) | d->high << 32;
}

/* Gates: target selector, offset, parameter count or IST. */
static inline uint16_t gate_selector(const struct emu_descriptor *d)
{
    return (uint16_t)(d->low >> 16);
}

static inline uint64_t gate_offset(const struct emu_descriptor *d)
{
    return (d->low & 0xffff) | (d->low >> 32 & 0xffff0000) | d->high << 32;
}

/* Read a descriptor from the GDT or LDT (16 bytes for a system descriptor in long mode). Beyond the
 * table: `vector` with the selector. The caller has dealt with null selectors. */
bool emu_descriptor_read(struct emu_cpu *cpu, uint16_t selector, uint8_t vector,
                         struct emu_descriptor *ret);

/* Is there a descriptor of `bytes` bytes in the table at all? Raises nothing. */
bool emu_descriptor_find(const struct emu_cpu *cpu, uint16_t selector, unsigned bytes,
                         uint64_t *ret_linear);

/* Set bits of the type field in memory and in *d, where they aren't set. */
bool emu_descriptor_mark(struct emu_cpu *cpu, struct emu_descriptor *d, unsigned type_bits);

/* The segment register with visible part `selector` and d as its hidden part. */
struct hv_segment_register emu_segment_of(const struct emu_descriptor *d, uint16_t selector);

/* CS for real and virtual-8086 mode. */
void emu_set_real_cs(struct emu_cpu *cpu, uint16_t selector);
void emu_set_real_segment(struct emu_cpu *cpu, enum hv_segment seg, uint16_t selector);

/* Load CS from a marked code descriptor with the new CPL, and rip; recomputes the mode. */
void emu_set_code(struct emu_cpu *cpu, const struct emu_descriptor *d, uint8_t cpl, uint64_t rip);
void emu_set_stack_segment(struct emu_cpu *cpu, const struct hv_segment_register *ss);

/* A null SS with RPL and DPL = cpl, as 64-bit stack switches load. */
struct hv_segment_register emu_null_ss(uint8_t cpl);

/* Is `rip` a place where the code segment d may run? Else #GP(0). */
bool emu_check_target(struct emu_cpu *cpu, const struct emu_descriptor *d, uint64_t rip);

/* L and D together mean nothing in long mode. */
static inline bool emu_is_code_size_bad(const struct emu_cpu *cpu, const struct emu_descriptor *d)
{
    return emu_is_long(cpu) && desc_is_long(d) && desc_is_big(d);
}

/* ---- stack.c ---- */

/* A stack that isn't in SS:rSP yet, or is. */
struct emu_stack {
    struct hv_segment_register ss;
    uint64_t sp;
    uint64_t mask;  /* of its address size: bits of sp that count */
    bool is_flat;   /* 64-bit mode: no limit, canonical check */
    bool is_user;   /* access with the rights of CPL 3 */
    uint8_t vector; /* on a limit or canonical violation: #SS (or #TS) .. */
    uint32_t code;  /* .. with this code */
};

/* The current stack. */
void emu_stack_current(const struct emu_cpu *cpu, struct emu_stack *ret);
/* A stack made of ss and sp, as code at `cpl` (64-bit or not) will use it. */
void emu_stack_of(const struct hv_segment_register *ss, uint64_t sp, uint8_t cpl, bool is_long,
                  struct emu_stack *ret);
/* Push n values of `size` bytes, the first one first, all or none; moves stack->sp alone. n <= 16.
 */
bool emu_stack_push(struct emu_cpu *cpu, struct emu_stack *stack, const uint64_t *values,
                    unsigned n, unsigned size);
/* Read n values of `size` bytes upwards from `skip` bytes above the top, without moving. */
bool emu_stack_peek(struct emu_cpu *cpu, const struct emu_stack *stack, unsigned skip,
                    uint64_t *ret, unsigned n, unsigned size);
/* Make it the current one: SS (when `with_ss`) and rSP. Before emu_mode_changed. */
void emu_stack_commit(struct emu_cpu *cpu, const struct emu_stack *stack, bool with_ss);
/* rSP of the current stack := sp, in its width. */
void emu_set_sp(struct emu_cpu *cpu, uint64_t sp, uint64_t mask);

/* SS selector and rSP for an inner ring from the TSS (legacy), or rSP alone (long mode). */
bool emu_tss_stack(struct emu_cpu *cpu, uint8_t cpl, uint16_t *ret_ss, uint64_t *ret_sp);
/* 64-bit TSS: IST slot 1 to 7. */
bool emu_tss_ist(struct emu_cpu *cpu, unsigned ist, uint64_t *ret_sp);
/* The whole inner stack, legacy or long, checked: #TS, #SS as the manuals say. */
bool emu_inner_stack(struct emu_cpu *cpu, uint8_t cpl, struct emu_stack *ret);

/* ---- task.c ---- */

enum emu_task_cause { EMU_TASK_JUMP, EMU_TASK_CALL, EMU_TASK_INTERRUPT, EMU_TASK_RETURN };

struct emu_task_why {
    enum emu_task_cause cause;
    bool has_error; /* push error on the new task's stack */
    uint32_t error;
    uint64_t resume_rip; /* where the outgoing task goes on */
};

/* Hardware task switch to the TSS described by d (legacy modes). On success and on a fault in the
 * incoming task cpu->rip is that task's; on any other fault it is unchanged. */
bool emu_task_switch(struct emu_cpu *cpu, struct emu_descriptor *d, const struct emu_task_why *why);
/* The same by the TSS's selector. */
bool emu_task_gate(struct emu_cpu *cpu, uint16_t selector, const struct emu_task_why *why);

/* ---- return.c, deliver.c ---- */

/* Segment registers that the outer ring may not keep become null. */
void emu_drop_inner_segments(struct emu_cpu *cpu);

/* Deliver an event; false with cpu->fault set when that faults itself. */
struct emu_event {
    uint8_t vector;
    bool has_error;
    bool is_software; /* int n, int3, into: gate DPL counts, and EXT stays clear */
    bool is_fault;    /* the saved flags image has RF set */
    uint32_t error;
};
bool emu_deliver(struct emu_cpu *cpu, const struct emu_event *event, uint64_t return_rip);

/* ---- ring.c ---- */

/* The short ways of emu_deliver and iretq. False: nothing has happened, take the long way. */
bool emu_ring_deliver(struct emu_cpu *cpu, const struct emu_event *event, uint64_t return_rip);
bool emu_ring_return(struct emu_cpu *cpu);

/* ---- flags.c ---- */
/* An interrupt may be taken now that IF was set. */
bool emu_has_interrupt(struct emu_cpu *cpu);
/* Replace the flags that `mask` names. Returns true when the run loop should look. */
bool emu_change_rflags(struct emu_cpu *cpu, uint64_t value, uint64_t mask);
/* The flags that popf of `size` bytes may change at the present privilege. */
uint64_t emu_popf_mask(const struct emu_cpu *cpu, unsigned size);
bool emu_may_change_if(const struct emu_cpu *cpu);
/* Make the run loop look when something may be taken, or TF wants single steps. */
void emu_look_at_interrupts(struct emu_cpu *cpu);

/* ---- the generic forms ---- */
emu_exec_fn emu_exec_mov_system, emu_exec_push_seg, emu_exec_pop_seg;
emu_exec_fn emu_exec_load_far_pointer, emu_exec_lar, emu_exec_lsl, emu_exec_verr, emu_exec_verw;
emu_exec_fn emu_exec_arpl, emu_exec_lldt, emu_exec_ltr, emu_exec_sldt, emu_exec_str;
emu_exec_fn emu_exec_lgdt, emu_exec_lidt, emu_exec_sgdt, emu_exec_sidt, emu_exec_smsw;
emu_exec_fn emu_exec_lmsw, emu_exec_clts;
emu_exec_fn emu_exec_call_far, emu_exec_jmp_far, emu_exec_ret_far, emu_exec_iret;
emu_exec_fn emu_exec_int_n, emu_exec_int1, emu_exec_int3, emu_exec_into;
emu_exec_fn emu_exec_syscall, emu_exec_sysret, emu_exec_sysenter, emu_exec_sysexit;
emu_exec_fn emu_exec_swapgs, emu_exec_rdfsgsbase, emu_exec_wrfsgsbase;
emu_exec_fn emu_exec_cli, emu_exec_sti, emu_exec_pushf, emu_exec_popf, emu_exec_clac, emu_exec_stac,
    emu_exec_hlt;
emu_exec_fn emu_exec_rdtsc, emu_exec_rdtscp, emu_exec_rdpmc, emu_exec_rdpid;
emu_exec_fn emu_exec_rdmsr, emu_exec_wrmsr, emu_exec_cpuid, emu_exec_xgetbv, emu_exec_xsetbv;
emu_exec_fn emu_exec_invlpg, emu_exec_invpcid, emu_exec_wbinvd, emu_exec_hypercall,
    emu_exec_serialize, emu_exec_undefined;
emu_exec_fn emu_exec_in, emu_exec_out, emu_exec_ins, emu_exec_outs;

/* mov to and from control and debug registers, the halves of emu_exec_mov_system. */
enum emu_result emu_mov_control(struct emu_cpu *cpu, const struct emu_insn *insn);
enum emu_result emu_mov_debug(struct emu_cpu *cpu, const struct emu_insn *insn);
