/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run loop: interrupts and requests at boundaries, chains of handlers between them, and the
 * endings that handlers share.
 */
#include "hvcore/emu/emu_priv.h"
#include "hvcore/emu/fpu.h"
#include "hvcore/emu/system.h"

#include <string.h>

enum { JUMP_CACHE_MASK = EMU_JUMP_CACHE_ENTRIES - 1, INSN_MAX_BYTES = 15 };

static unsigned jump_slot(uint64_t linear)
{
    return (unsigned)(linear ^ linear >> 12) & JUMP_CACHE_MASK;
}

static uint64_t linear_of(const struct emu_cpu *cpu, uint64_t rip)
{
    return cpu->code_size == EMU_CODE64 ? rip : (cpu->segment[HV_CS].base + rip) & UINT32_MAX;
}

/* Who looks for 64-bit code finds no other. */
static uint64_t jump_key(const struct emu_cpu *cpu, uint64_t linear)
{
    return cpu->code_size == EMU_CODE64 ? linear : linear | UINT64_C(1) << 63;
}

/* ---- Leaving ---- */

static const struct emu_op *leave(struct emu_cpu *cpu, enum emu_result why)
{
    cpu->leave = why;
    return NULL;
}

const struct emu_op *emu_op_leave(struct emu_cpu *cpu, uint64_t rip)
{
    cpu->rip = rip & emu_ip_mask(cpu);
    return leave(cpu, EMU_LEAVE);
}

/* ---- Entering blocks ---- */

static const struct emu_op *enter_block(struct emu_cpu *cpu, const struct emu_block *block,
                                        uint64_t rip)
{
    cpu->regs[EMU_REG_RIP_BASE] = rip - (block->gpa & 0xfff);
    return block->ops;
}

/* In 64-bit code rip is linear. */
static inline const struct emu_op *enter_block64(struct emu_cpu *cpu, const struct emu_block *block,
                                                 uint64_t rip)
{
    cpu->regs[EMU_REG_RIP_BASE] = rip & ~UINT64_C(0xfff);
    return block->ops;
}

/* Outside 64-bit mode the code segment's limit holds for every byte. */
static bool is_within_limit(const struct emu_cpu *cpu, uint64_t rip, unsigned bytes)
{
    return cpu->code_size == EMU_CODE64 || rip + bytes - 1 <= cpu->segment[HV_CS].limit;
}

/* The block at the instruction pointer, from the jump cache, the block cache, or new. NULL: step
 * one instruction (which also finds out about faults). */
static const struct emu_op *find_block(struct emu_cpu *cpu, uint64_t rip)
{
    uint64_t linear = linear_of(cpu, rip), key = jump_key(cpu, linear);
    struct emu_jump_entry *cached = &cpu->jump_cache[jump_slot(linear)];
    const struct emu_fetch_entry *fetch = emu_fetch_cached(cpu, linear);
    struct emu_block *block;
    hv_gpa_t gpa;

    if (!fetch)
        fetch = emu_fetch(cpu, linear);
    if (!fetch)
        return NULL;
    gpa = fetch->gpa | (linear & 0xfff);
    block = cached->block;
    if (!block || cached->rip != key || block->gpa != gpa || block->code_size != cpu->code_size) {
        block = emu_block_find(cpu->machine, gpa, cpu->code_size);
        if (!block)
            block = emu_build(cpu, gpa, fetch->host);
        if (!block)
            return NULL;
        *cached = (struct emu_jump_entry){ .rip = key, .block = block };
    }
    if (!is_within_limit(cpu, rip, block->bytes))
        return NULL;
    return enter_block(cpu, block, rip);
}

/* Out of line, so that the way through the jump cache needs no stack. */
static __attribute__((noinline)) const struct emu_op *indirect_slowly(struct emu_cpu *cpu,
                                                                      uint64_t rip)
{
    const struct emu_op *op;

    if (atomic_load_explicit(&cpu->request, memory_order_relaxed))
        return emu_op_leave(cpu, rip);
    cpu->rip = rip;
    op = find_block(cpu, rip);
    if (!op)
        return emu_op_leave(cpu, rip);
    EMU_GO_ANEW(cpu, op);
}

const struct emu_op *emu_op_indirect(EMU_PARAMS)
{
    uint64_t rip = x;
    const struct emu_jump_entry *cached = &cpu->jump_cache[jump_slot(rip)];
    const struct emu_fetch_entry *fetch = emu_fetch_slot(cpu, rip);
    const struct emu_block *block = cached->block;

    if (HV_LIKELY(cached->rip == rip && block && fetch->tag == (rip & ~UINT64_C(0xfff)) &&
                  block->gpa == (fetch->gpa | (rip & 0xfff)) &&
                  !atomic_load_explicit(&cpu->request, memory_order_relaxed))) {
        EMU_GO(cpu, enter_block64(cpu, block, rip));
    }
    return indirect_slowly(cpu, rip);
}

/* Find where the call returned to, and have it at hand next time. */
static __attribute__((noinline)) const struct emu_op *return_slowly(struct emu_cpu *cpu,
                                                                    uint64_t rip,
                                                                    const struct emu_op *way_back)
{
    const struct emu_op *op;

    if (atomic_load_explicit(&cpu->request, memory_order_relaxed) || cpu->code_size != EMU_CODE64)
        return emu_op_leave(cpu, rip);
    cpu->rip = rip;
    op = find_block(cpu, rip);
    if (!op)
        return emu_op_leave(cpu, rip);
    __atomic_store_n(&((struct emu_op *)(uintptr_t)way_back)->link,
                     HV_CONTAINER_OF(op, struct emu_block, ops), __ATOMIC_RELEASE);
    EMU_GO_ANEW(cpu, op);
}

const struct emu_op *emu_op_return(EMU_PARAMS)
{
    uint64_t rip = x;
    const struct emu_return_entry *entry = emu_return_slot(cpu, sp - 8);
    const struct emu_fetch_entry *fetch = emu_fetch_slot(cpu, rip);
    const struct emu_op *way_back = entry->way_back;
    const struct emu_block *block;

    if (HV_UNLIKELY(entry->rip != rip || !way_back))
        return emu_op_indirect(cpu, op, rip, emu_any_y(), sp);
    block = way_back->link;
    if (HV_LIKELY(block && fetch->tag == (rip & ~UINT64_C(0xfff)) &&
                  block->gpa == (fetch->gpa | (rip & 0xfff)) &&
                  !atomic_load_explicit(&cpu->request, memory_order_relaxed))) {
        EMU_GO(cpu, enter_block64(cpu, block, rip));
    }
    return return_slowly(cpu, rip, way_back);
}

/* The block at rip, which is mapped by fetch. */
static struct emu_block *block_at(struct emu_cpu *cpu, uint64_t rip,
                                  const struct emu_fetch_entry *fetch)
{
    hv_gpa_t gpa = fetch->gpa | (rip & 0xfff);
    struct emu_block *block = emu_block_find(cpu->machine, gpa, EMU_CODE64);

    return block ? block : emu_build(cpu, gpa, fetch->host);
}

static __attribute__((noinline)) const struct emu_op *jump_slowly(struct emu_cpu *cpu,
                                                                  const struct emu_op *op)
{
    uint64_t rip = cpu->regs[EMU_REG_RIP_BASE] + (uint64_t)(int64_t)op->disp;
    const struct emu_fetch_entry *fetch;
    struct emu_block *block = op->link;

    if (atomic_load_explicit(&cpu->request, memory_order_relaxed) || cpu->code_size != EMU_CODE64)
        return emu_op_leave(cpu, rip);
    fetch = emu_fetch(cpu, rip);
    if (!fetch)
        return emu_op_leave(cpu, rip);
    if (!block || block->gpa != (fetch->gpa | (rip & 0xfff))) {
        block = block_at(cpu, rip, fetch);
        if (!block)
            return emu_op_leave(cpu, rip);
        __atomic_store_n(&((struct emu_op *)(uintptr_t)op)->link, block, __ATOMIC_RELEASE);
    }
    op = enter_block(cpu, block, rip);
    EMU_GO_ANEW(cpu, op);
}

/* Links are made in 64-bit code only. The block's page is compared with what the target's page is
 * mapped to now; a stale block is linked no longer. */
const struct emu_op *emu_op_jump(EMU_PARAMS)
{
    uint64_t rip = cpu->regs[EMU_REG_RIP_BASE] + (uint64_t)(int64_t)op->disp;
    const struct emu_fetch_entry *fetch = emu_fetch_slot(cpu, rip);
    const struct emu_block *block = op->link;

    if (HV_LIKELY(block && fetch->tag == (rip & ~UINT64_C(0xfff)) &&
                  block->gpa == (fetch->gpa | (rip & 0xfff)) &&
                  !atomic_load_explicit(&cpu->request, memory_order_relaxed))) {
        const struct emu_op *first = enter_block64(cpu, block, rip);

        EMU_GO(cpu, first);
    }
    return jump_slowly(cpu, op);
}

const struct emu_op *emu_op_fallthrough(EMU_PARAMS)
{
    return emu_op_branch(EMU_PASS);
}

/* In the place of a block's first record, which isn't that of its first instruction when that does
 * nothing. */
const struct emu_op *emu_op_stale(EMU_PARAMS)
{
    const struct emu_block *block = HV_CONTAINER_OF(op, struct emu_block, ops);

    return emu_op_leave(cpu, cpu->regs[EMU_REG_RIP_BASE] + (block->gpa & 0xfff));
}

/* ---- Generic instructions ---- */

/* What a generic instruction's end means to the chain; cpu->rip is still the instruction's unless
 * it branched. */
static const struct emu_op *end_generic(struct emu_cpu *cpu, const struct emu_op *op,
                                        const struct emu_insn *insn, enum emu_result result)
{
    switch (result) {
    case EMU_NEXT:
        if (HV_LIKELY(!atomic_load_explicit(&cpu->request, memory_order_relaxed)))
            EMU_DONE_ANEW(cpu, op);
        return emu_op_leave(cpu, cpu->rip + insn->length);
    case EMU_BRANCH:
        if (cpu->code_size == EMU_CODE64)
            return emu_op_indirect(cpu, op, cpu->rip, 0, cpu->regs[HV_RSP]);
        return leave(cpu, EMU_LEAVE);
    case EMU_LEAVE: return emu_op_leave(cpu, cpu->rip + insn->length);
    case EMU_REPEAT: return leave(cpu, EMU_LEAVE);
    case EMU_HALT: cpu->rip = emu_next_rip(cpu, insn); return leave(cpu, EMU_HALT);
    default: return leave(cpu, result);
    }
}

const struct emu_op *emu_op_generic(EMU_PARAMS)
{
    const struct emu_insn *insn = op->insn;

    cpu->rip = emu_op_rip(cpu, op) & emu_ip_mask(cpu);
    return end_generic(cpu, op, insn,
                       HV_CONTAINER_OF(insn, struct emu_generic, insn)->fn(cpu, insn));
}

/* Decode and execute outside the chain of handlers, whose tail calls allow no addresses of locals.
 */
static __attribute__((noinline)) enum emu_result execute_bytes(struct emu_cpu *cpu,
                                                               const struct emu_op *op,
                                                               unsigned *ret_length)
{
    const struct emu_fetch_entry *fetch = emu_fetch(cpu, emu_op_rip(cpu, op));
    uint8_t bytes[INSN_MAX_BYTES];
    struct emu_insn insn;

    if (!fetch)
        return EMU_FAULT;
    memcpy(bytes, fetch->host + emu_op_offset(op), emu_op_length(op));
    /* Another processor may have changed the code since: then look again. */
    if (emu_decode(bytes, emu_op_length(op), cpu->code_size, &insn) != EMU_DECODE_OK ||
        insn.length != emu_op_length(op))
        return EMU_REPEAT;
    *ret_length = insn.length;
    return emu_exec_of(insn.mnemonic)(cpu, &insn);
}

static enum emu_result step_cut(struct emu_cpu *cpu);

/* An instruction in two pages: not to be found behind the page's end. */
static const struct emu_op *slow_cut(struct emu_cpu *cpu)
{
    enum emu_result result = step_cut(cpu);

    if (result == EMU_NEXT || result == EMU_BRANCH || result == EMU_REPEAT)
        result = EMU_LEAVE;
    return leave(cpu, result);
}

static __attribute__((noinline)) const struct emu_op *slow_result(struct emu_cpu *cpu,
                                                                  const struct emu_op *op)
{
    unsigned length = 0;
    enum emu_result result;

    cpu->rip = emu_op_rip(cpu, op);
    if (HV_UNLIKELY(emu_op_offset(op) + emu_op_length(op) > HV_PAGE_BYTES))
        return slow_cut(cpu);
    result = execute_bytes(cpu, op, &length);
    switch (result) {
    case EMU_NEXT:
        if (!atomic_load_explicit(&cpu->request, memory_order_relaxed))
            return op + 1;
        return emu_op_leave(cpu, cpu->rip + length);
    case EMU_LEAVE: return emu_op_leave(cpu, cpu->rip + length);
    case EMU_BRANCH:
    case EMU_REPEAT: return leave(cpu, EMU_LEAVE);
    default: return leave(cpu, result);
    }
}

const struct emu_op *emu_op_slow(struct emu_cpu *cpu, const struct emu_op *op)
{
    const struct emu_op *next = slow_result(cpu, op);

    if (!next)
        return NULL;
    EMU_GO_ANEW(cpu, next);
}

/* Most are page faults, whose handler the chain can go on with. */
const struct emu_op *emu_op_fault(struct emu_cpu *cpu, const struct emu_op *op)
{
    enum emu_result result;

    cpu->rip = emu_op_rip(cpu, op);
    if (HV_UNLIKELY(cpu->debug))
        return leave(cpu, EMU_FAULT);
    result = emu_deliver_fault(cpu);
    if (HV_LIKELY(result == EMU_BRANCH && cpu->code_size == EMU_CODE64))
        return emu_op_indirect(cpu, op, cpu->rip, 0, cpu->regs[HV_RSP]);
    return leave(cpu, result == EMU_BRANCH ? EMU_LEAVE : result);
}

/* Behind an instruction that changes the stack pointer like any other register. */
const struct emu_op *emu_op_sync(EMU_PARAMS)
{
    EMU_DONE_ANEW(cpu, op);
}

/* ---- One instruction without a block: across pages, under TF, in an interrupt shadow ---- */

/* Copy the instruction's bytes, as far as its pages can be fetched. Returns how many, 0 with
 * cpu->fault set. */
static unsigned fetch_bytes(struct emu_cpu *cpu, uint64_t rip, uint8_t ret[static INSN_MAX_BYTES],
                            bool *ret_is_cut)
{
    unsigned have = 0;

    *ret_is_cut = false;
    while (have < INSN_MAX_BYTES) {
        uint64_t at = (rip + have) & emu_ip_mask(cpu);
        const struct emu_fetch_entry *fetch;
        uint64_t linear = linear_of(cpu, at);

        if (!is_within_limit(cpu, at, 1)) {
            (void)emu_raise_code(cpu, X86_GP, 0);
            *ret_is_cut = true;
            return have;
        }
        fetch = emu_fetch(cpu, linear);
        if (!fetch) {
            *ret_is_cut = true;
            return have;
        }
        do
            ret[have++] = fetch->host[linear++ & 0xfff];
        while (have < INSN_MAX_BYTES && cpu->code_size == EMU_CODE64 && (linear & 0xfff) != 0);
    }
    return have;
}

static enum emu_result execute(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    enum emu_result result = emu_exec_of(insn->mnemonic)(cpu, insn);

    if (result == EMU_NEXT || result == EMU_LEAVE || result == EMU_HALT)
        cpu->rip = emu_next_rip(cpu, insn);
    return result;
}

/* EMU_NEXT with the instruction, or what its bytes raise. */
static enum emu_result decode(struct emu_cpu *cpu, const uint8_t *bytes, unsigned have, bool is_cut,
                              struct emu_insn *ret)
{
    switch (emu_decode(bytes, have, cpu->code_size, ret)) {
    case EMU_DECODE_OK: return EMU_NEXT;
    case EMU_DECODE_INVALID: return emu_raise(cpu, X86_UD);
    case EMU_DECODE_SHORT:
        if (is_cut)
            return EMU_FAULT; /* raised by the fetch */
        break;
    case EMU_DECODE_TOO_LONG: break;
    }
    return emu_raise_code(cpu, X86_GP, 0);
}

static enum emu_result step(struct emu_cpu *cpu)
{
    uint8_t bytes[INSN_MAX_BYTES];
    struct emu_insn insn;
    bool is_cut;
    unsigned have = fetch_bytes(cpu, cpu->rip, bytes, &is_cut);
    enum emu_result result = decode(cpu, bytes, have, is_cut, &insn);

    return result == EMU_NEXT ? execute(cpu, &insn) : result;
}

/* Are the bytes of an instruction in two pages those that it was decoded of? */
static bool is_cut_known(const struct emu_cpu *cpu, const struct emu_cut *cut, uint64_t rip)
{
    const struct emu_fetch_entry *first = emu_fetch_cached(cpu, rip);
    const struct emu_fetch_entry *second = emu_fetch_cached(cpu, rip + INSN_MAX_BYTES);
    unsigned here = HV_PAGE_BYTES - (rip & 0xfff);

    return cut->is_valid && cut->code_size == EMU_CODE64 && cpu->code_size == EMU_CODE64 && first &&
           second && here < cut->insn.length &&
           memcmp(cut->bytes, first->host + (rip & 0xfff), here) == 0 &&
           memcmp(cut->bytes + here, second->host, cut->insn.length - here) == 0;
}

/* The same for an instruction in two pages, which is decoded anew only when its bytes change. */
static __attribute__((noinline)) enum emu_result step_cut(struct emu_cpu *cpu)
{
    struct emu_cut *cut = &cpu->cuts[cpu->rip >> HV_PAGE_SHIFT & (EMU_N_CUTS - 1)];
    uint8_t bytes[INSN_MAX_BYTES];
    enum emu_result result;
    bool is_cut;
    unsigned have;

    if (HV_LIKELY(is_cut_known(cpu, cut, cpu->rip)))
        return execute(cpu, &cut->insn);
    have = fetch_bytes(cpu, cpu->rip, bytes, &is_cut);
    if (!cut->is_valid || have < INSN_MAX_BYTES || cut->code_size != cpu->code_size ||
        memcmp(cut->bytes, bytes, INSN_MAX_BYTES) != 0) {
        cut->is_valid = false;
        result = decode(cpu, bytes, have, is_cut, &cut->insn);
        if (result != EMU_NEXT)
            return result;
        memcpy(cut->bytes, bytes, INSN_MAX_BYTES);
        cut->code_size = cpu->code_size;
        cut->is_valid = have == INSN_MAX_BYTES;
    }
    return execute(cpu, &cut->insn);
}

static __attribute__((noinline)) const struct emu_op *cut_slowly(struct emu_cpu *cpu,
                                                                 const struct emu_op *op)
{
    const struct emu_cut *cut;
    enum emu_result result;

    cpu->rip = emu_op_rip(cpu, op) & emu_ip_mask(cpu);
    cut = &cpu->cuts[cpu->rip >> HV_PAGE_SHIFT & (EMU_N_CUTS - 1)];
    result = step_cut(cpu);
    if ((result == EMU_NEXT || result == EMU_BRANCH) && cpu->code_size == EMU_CODE64) {
        if (op->fn == emu_op_cut && op->aux == EMU_CUT_NEW && cut->is_valid)
            emu_learn_cut(cpu->machine, HV_CONTAINER_OF(op, struct emu_block, ops), &cut->insn,
                          cut->bytes);
        return emu_op_indirect(cpu, op, cpu->rip, 0, cpu->regs[HV_RSP]);
    }
    if (result == EMU_NEXT || result == EMU_BRANCH || result == EMU_REPEAT)
        result = EMU_LEAVE;
    return leave(cpu, result);
}

/* Has the second page, which begins at host, the bytes that op has learnt? */
static inline bool is_cut_learnt(const struct emu_op *op, const uint8_t *host)
{
    unsigned bits = op->aux * 8u;
    uint64_t more = (uint32_t)op->disp | (uint64_t)(uint32_t)op->imm << 32;
    uint64_t first = EMU_AT(const uint64_t, host) ^ op->imm64;

    if (bits <= 64)
        return !(first << (64 - bits));
    return !first && !((EMU_AT(const uint64_t, host + 8) ^ more) << (128 - bits));
}

const struct emu_op *emu_op_cut(EMU_PARAMS)
{
    uint64_t behind = cpu->regs[EMU_REG_RIP_BASE] + HV_PAGE_BYTES;
    const struct emu_fetch_entry *second = emu_fetch_slot(cpu, behind);
    uint8_t known = __atomic_load_n(&op->aux, __ATOMIC_ACQUIRE);

    if (HV_LIKELY(known != EMU_CUT_NEW && known <= EMU_CUT_MAX_BYTES && second->tag == behind &&
                  is_cut_learnt(op, second->host)))
        EMU_DONE(cpu, op);
    return cut_slowly(cpu, op);
}

/* ---- Requests, interrupts, sleep ---- */

static void take_lapic_events(struct emu_cpu *cpu)
{
    uint32_t events;

    if (!cpu->lapic || !x86_lapic_has_events(cpu->lapic))
        return;
    events = x86_lapic_take_events(cpu->lapic);
    if (events & X86_LAPIC_EVENT_INIT) {
        x86_lapic_reset(cpu->lapic, true);
        emu_reset(cpu, false);
        cpu->is_idle = false;
        cpu->activity = cpu->index == 0 ? HV_ACTIVITY_ACTIVE : HV_ACTIVITY_WAIT_FOR_SIPI;
    }
    if (events & X86_LAPIC_EVENT_SIPI && cpu->activity == HV_ACTIVITY_WAIT_FOR_SIPI) {
        emu_sipi(cpu, atomic_load(&cpu->lapic->sipi_vector));
        cpu->activity = HV_ACTIVITY_ACTIVE;
    }
    if (events & X86_LAPIC_EVENT_NMI)
        cpu->nmi_pending = true;
}

static bool has_nmi(const struct emu_cpu *cpu)
{
    return cpu->nmi_pending && !cpu->nmi_blocked;
}

static bool has_interrupt(const struct emu_cpu *cpu)
{
    return cpu->sys_flags & X86_IF && cpu->lapic && x86_lapic_is_deliverable(cpu->lapic);
}

/* Handle what other threads have asked; true when the caller must leave. */
static bool take_requests(struct emu_cpu *cpu)
{
    uint32_t bits;

    /* First: what is asked of a processor that is outside must be seen when it comes in. */
    if (atomic_load(&cpu->request) & EMU_REQ_STOP) {
        emu_cpu_leave(cpu);
        emu_cpu_enter(cpu);
    }
    bits = atomic_fetch_and(&cpu->request,
                            ~(uint32_t)(EMU_REQ_INTERRUPT | EMU_REQ_BREAK | EMU_REQ_FLUSH));
    if (bits & EMU_REQ_FLUSH)
        emu_take_flush(cpu);
    if (bits & EMU_REQ_CANCEL) {
        atomic_fetch_and(&cpu->request, ~(uint32_t)EMU_REQ_CANCEL);
        return true;
    }
    return false;
}

/* Sleep until a request comes; the LAPIC's timer comes as one. */
static void sleep_until_request(struct emu_cpu *cpu)
{
    cpu->counters_halts++;
    emu_fpu_unload(cpu);
    emu_cpu_leave(cpu);
    pthread_mutex_lock(&cpu->wait_lock);
    while (!atomic_load(&cpu->request))
        pthread_cond_wait(&cpu->wake, &cpu->wait_lock);
    pthread_mutex_unlock(&cpu->wait_lock);
    emu_cpu_enter(cpu);
    emu_fpu_load(cpu);
}

static enum emu_result deliver(struct emu_cpu *cpu)
{
    int vector;

    if (has_nmi(cpu)) {
        cpu->nmi_pending = false;
        cpu->nmi_blocked = 1;
        return emu_deliver_interrupt(cpu, X86_NMI);
    }
    vector = x86_lapic_acknowledge(cpu->lapic);
    if (vector < 0)
        return EMU_NEXT;
    cpu->counters_interrupts++;
    return emu_deliver_interrupt(cpu, (uint8_t)vector);
}

/* One instruction, and the trap that TF or a breakpoint asks for behind it. */
static enum emu_result step_with_traps(struct emu_cpu *cpu)
{
    bool is_traced = cpu->sys_flags & X86_TF;
    enum emu_result result;

    cpu->no_step = 0;
    result = step(cpu);
    if (result == EMU_FAULT || result == EMU_SHUTDOWN || cpu->no_step)
        return result;
    return is_traced ? emu_deliver_debug(cpu, true) : result;
}

/* The same while instruction breakpoints are enabled; RF masks them for one instruction. */
static enum emu_result step_with_breakpoints(struct emu_cpu *cpu)
{
    if (!(cpu->sys_flags & X86_RF) && emu_debug_fetch(cpu, linear_of(cpu, cpu->rip)))
        return EMU_FAULT;
    cpu->sys_flags &= ~(uint64_t)X86_RF;
    return step_with_traps(cpu);
}

static enum emu_result run_chain(struct emu_cpu *cpu)
{
    const struct emu_op *op = find_block(cpu, cpu->rip);

    if (!op)
        return cpu->must_flush_blocks ? EMU_LEAVE : step(cpu);
    cpu->is_in_chain = true;
    while (op)
        op = op->fn(cpu, op, 0, 0, cpu->regs[HV_RSP]);
    cpu->is_in_chain = false;
    return cpu->leave;
}

static void flush_blocks(struct emu_cpu *cpu)
{
    emu_machine_stop(cpu);
    if (emu_blocks_flush(cpu->machine))
        cpu->must_flush_blocks = false;
    emu_machine_resume(cpu);
}

/* One turn of the loop at an instruction boundary with the processor active. */
static enum emu_result run_once(struct emu_cpu *cpu)
{
    bool has_news = has_nmi(cpu) || has_interrupt(cpu);
    bool is_held_off = emu_is_in_shadow(cpu);

    cpu->shadow = EMU_SHADOW_NONE;
    if (is_held_off) {
        if (has_news || cpu->sys_flags & X86_TF || cpu->debug_hits)
            return step_with_traps(cpu);
    } else if (cpu->debug_hits) {
        return emu_deliver_debug(cpu, false);
    } else if (has_news) {
        return deliver(cpu);
    }
    if (cpu->debug & EMU_DEBUG_CODE)
        return step_with_breakpoints(cpu);
    if (cpu->sys_flags & X86_TF)
        return step_with_traps(cpu);
    return run_chain(cpu);
}

static bool may_wake(struct emu_cpu *cpu)
{
    if (cpu->activity != HV_ACTIVITY_HALTED)
        return false;
    return has_nmi(cpu) || has_interrupt(cpu) ||
           (cpu->is_idle && cpu->lapic && x86_lapic_is_deliverable(cpu->lapic));
}

static enum emu_exit run_loop(struct emu_cpu *cpu)
{
    for (;;) {
        enum emu_result result;

        cpu->generation = atomic_load(&cpu->machine->generation);
        if (atomic_load_explicit(&cpu->request, memory_order_relaxed) && take_requests(cpu))
            return EMU_EXIT_CANCELLED;
        take_lapic_events(cpu);
        if (cpu->activity != HV_ACTIVITY_ACTIVE) {
            if (may_wake(cpu)) {
                cpu->activity = HV_ACTIVITY_ACTIVE;
                cpu->is_idle = false;
                cpu->shadow = 0;
            } else {
                sleep_until_request(cpu);
                continue;
            }
        }
        if (cpu->must_flush_blocks)
            flush_blocks(cpu);
        cpu->counters_exits++;
        result = run_once(cpu);
        if (result == EMU_FAULT) {
            cpu->debug_hits = 0;
            result = emu_deliver_fault(cpu);
        }
        if (result == EMU_HALT)
            cpu->activity = HV_ACTIVITY_HALTED;
        if (result == EMU_SHUTDOWN)
            return EMU_EXIT_SHUTDOWN;
    }
}

enum emu_exit emu_cpu_run(struct emu_cpu *cpu)
{
    enum emu_exit exit;

    emu_cpu_enter(cpu);
    emu_fpu_load(cpu);
    exit = run_loop(cpu);
    emu_fpu_unload(cpu);
    emu_cpu_leave(cpu);
    return exit;
}
