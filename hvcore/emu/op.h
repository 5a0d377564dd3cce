/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operation records: what a block is made of, and how handlers hand over to each other.
 *
 * A handler does its instruction and ends with one of the EMU_* endings below. In threaded builds
 * that is a tail call, so no handler may take the address of a local that lives to its end; in the
 * others (-O0, sanitizers) the handler returns the next record to a loop. NULL leaves the chain:
 * cpu->leave says why, cpu->rip is exact.
 */
#pragma once

#include "hvcore/emu/mem.h"

/*
 * What handlers are given, and hand on:
 *   sp    the guest's rsp, equal to cpu->regs[HV_RSP]: who changes one changes both, so that a row
 *         of pushes and calls doesn't wait for memory each time
 * x and y mean nothing to handlers: their registers of the host are the ones that instructions want
 * for themselves, so nothing is kept there. Endings take arguments of their own in x and y.
 */
#define EMU_PARAMS struct emu_cpu *cpu, const struct emu_op *op, uint64_t x, uint64_t y, uint64_t sp
#define EMU_PASS   cpu, op, x, y, sp
typedef const struct emu_op *emu_handler(EMU_PARAMS);

struct emu_op {
    emu_handler *fn;
    uint16_t pos;  /* bits 0-11: offset of the instruction in its page; 12-15: its length */
    uint8_t scale; /* log2, of index */
    uint8_t aux;   /* the family's own */
    uint8_t dst,
        src; /* byte offsets of registers in struct emu_cpu (EMU_REG_OFFSET; ah is rax + 1) */
    uint8_t base, index; /* likewise; EMU_REG_ZERO where there is none */
    int32_t disp; /* of the memory operand (rip-relative ones are relative to the page's base, with
                     base = EMU_REG_RIP_BASE); of branches: target relative to the page's base */
    int32_t imm;
    union {
        struct emu_block *link;      /* direct branches: where it leads, NULL until known */
        const struct emu_insn *insn; /* generic: the instruction */
        uint64_t imm64;
    };
};
_Static_assert(sizeof(struct emu_op) == 32, "one op is half a cache line");

struct emu_block {
    hv_gpa_t gpa; /* of the first byte */
    struct emu_block *hash_next;
    struct emu_block *page_next; /* next block of the same page */
    uint64_t lines;              /* 64-byte lines of the page that it was made of */
    uint64_t forks;              /* ops by bits: branches in its midst, which use `link` */
    uint16_t bytes;              /* length of its code up to a jump that it follows */
    uint16_t n_ops;
    uint8_t code_size;   /* enum emu_code_size */
    uint8_t is_stale;    /* invalidated: never entered again */
    uint8_t n_links;     /* of the last ops, those that use `link` */
    struct emu_op ops[]; /* generic instructions follow */
};

enum { EMU_BLOCK_MAX_INSNS = 64 };

/* Any values, whatever the registers of x and y hold. */
static inline __attribute__((always_inline)) uint64_t emu_any_x(void)
{
    uint64_t any;

    __asm__("" : "=d"(any));
    return any;
}

static inline __attribute__((always_inline)) uint64_t emu_any_y(void)
{
    uint64_t any;

    __asm__("" : "=c"(any));
    return any;
}

/* The empty statement hides from the compiler where `next` comes from: it then moves the pointer
 * first and jumps through it, which takes two instructions less. */
#ifdef EMU_THREADED
#define EMU_GO_WITH(cpu, next, sp_)                                                                \
    do {                                                                                           \
        const struct emu_op *go_next = (next);                                                     \
        __asm__("" : "+r"(go_next));                                                               \
        return go_next->fn((cpu), go_next, emu_any_x(), emu_any_y(), (sp_));                       \
    } while (0)
#else
#define EMU_GO_WITH(cpu, next, sp_) return (next)
#endif
#define EMU_GO(cpu, next) EMU_GO_WITH(cpu, next, sp)
/* The same where the caller doesn't have the stack pointer at hand, or has changed it. */
#define EMU_GO_ANEW(cpu, next) EMU_GO_WITH(cpu, next, (cpu)->regs[HV_RSP])
/* Go on with the next record. */
#define EMU_DONE(cpu, op)      EMU_GO(cpu, (op) + 1)
#define EMU_DONE_ANEW(cpu, op) EMU_GO_ANEW(cpu, (op) + 1)

static inline unsigned emu_op_offset(const struct emu_op *op)
{
    return op->pos & 0xfff;
}

static inline unsigned emu_op_length(const struct emu_op *op)
{
    return op->pos >> 12;
}

static inline uint64_t emu_reg64(const struct emu_cpu *cpu, uint8_t offset)
{
    return *(const uint64_t *)((const char *)cpu + offset);
}

/* Instruction pointer of op's instruction. */
static inline uint64_t emu_op_rip(const struct emu_cpu *cpu, const struct emu_op *op)
{
    return cpu->regs[EMU_REG_RIP_BASE] + emu_op_offset(op);
}

/*
 * Endings out of line (run.c); each leaves or goes on as needed:
 *   emu_op_slow      do this instruction in its generic form, decoded anew from the guest's bytes:
 *                    what a fast handler calls when emu_tlb_* gave NULL, or for any rare case
 *   emu_op_leave     leave the chain for the run loop with rip = target
 *   emu_op_jump      follow a direct branch whose link isn't known, and link it
 *   emu_op_indirect  go to a computed target (jmp reg, call reg) through the jump cache
 *   emu_op_return    the same for returns, which calls have announced by emu_op_note_call; sp is
 *                    the stack pointer behind the return
 */
const struct emu_op *emu_op_slow(struct emu_cpu *cpu, const struct emu_op *op);
const struct emu_op *emu_op_leave(struct emu_cpu *cpu, uint64_t rip);
const struct emu_op *emu_op_jump(EMU_PARAMS);
const struct emu_op *emu_op_indirect(EMU_PARAMS); /* x: the target */
const struct emu_op *emu_op_return(EMU_PARAMS);   /* x: the target */

/* Where the return address at sp is expected to lead. */
static inline struct emu_return_entry *emu_return_slot(struct emu_cpu *cpu, uint64_t sp)
{
    return &cpu->returns[(sp >> 3 ^ sp >> 11) % EMU_N_RETURNS];
}

/* op is a call of a 64-bit block, and op[1] the way on behind it; rip, the address of that, has
 * been stored at sp. */
static inline void emu_op_note_call(struct emu_cpu *cpu, const struct emu_op *op, uint64_t sp,
                                    uint64_t rip)
{
    *emu_return_slot(cpu, sp) = (struct emu_return_entry){ .rip = rip, .way_back = op + 1 };
}

/* Take a direct branch of a 64-bit block: op->disp is the target relative to the page's base.
 * Within the page (0 <= disp < 4096) the link alone is followed; else emu_op_jump checks the
 * mapping. */
static inline __attribute__((always_inline)) const struct emu_op *emu_op_branch(EMU_PARAMS)
{
    const struct emu_block *block = op->link;

    if (HV_LIKELY(block != NULL && (uint32_t)op->disp < HV_PAGE_BYTES &&
                  !atomic_load_explicit(&cpu->request, memory_order_relaxed)))
        EMU_GO(cpu, block->ops);
    return emu_op_jump(cpu, op, emu_any_x(), emu_any_y(), sp);
}

/* ---- Choosing handlers ---- */
struct emu_pick {
    /* read only, for pickers */
    const struct emu_insn *insn; /* this instruction */
    const struct emu_insn *next; /* the following one in the block, or NULL */
    bool flags_live;             /* some flag it writes may be read later */
    uint16_t live;               /* which of EMU_ARITH_FLAGS are live after it */
    uint16_t next_live;          /* and after the following one */
    unsigned offset;             /* in the page */
    bool is_64bit;
};

/*
 * Fill op (fn, dst.., disp, imm; pos is filled already, link is NULL) with a fast handler. Returns
 * false when the family has none for this instruction: then the generic form is used. Fast handlers
 * exist for 64-bit code only. A fused pair is picked at its first instruction, whose handler reads
 * op[1], which must be picked as usual and stays valid by itself.
 */
bool emu_pick_int(const struct emu_pick *pick, struct emu_op *op); /* alu, mov, branches, ... */
/* Let records do what follows them as well. kinds: each op's aux as emu_pick_int left it, or 0 for
 * an op of another family. */
void emu_join(struct emu_op *ops, const uint8_t *kinds, unsigned n);
bool emu_pick_string(const struct emu_pick *pick, struct emu_op *op);
bool emu_pick_system(const struct emu_pick *pick, struct emu_op *op);
bool emu_pick_simd(const struct emu_pick *pick, struct emu_op *op); /* SSE, AVX, x87 */

/* Put a 64-bit memory operand into base, index, scale, disp (fs and gs folded in as registers).
 * Returns the form, or EMU_EA_GENERAL when only the generic form can do it (32-bit addresses, or
 * base, index and segment base at once). */
enum emu_ea_form { EMU_EA_BASE, EMU_EA_INDEX, EMU_EA_STACK, EMU_EA_GENERAL };
enum emu_ea_form emu_pick_ea(const struct emu_pick *pick, struct emu_op *op);

static inline uint64_t emu_ea_base(const struct emu_cpu *cpu, const struct emu_op *op)
{
    return emu_reg64(cpu, op->base) + (uint64_t)(int64_t)op->disp;
}

static inline uint64_t emu_ea_index(const struct emu_cpu *cpu, const struct emu_op *op)
{
    return emu_reg64(cpu, op->base) + (emu_reg64(cpu, op->index) << op->scale) +
           (uint64_t)(int64_t)op->disp;
}

/* Generic forms by mnemonic: each family has such a table; NULL where it has none. The first family
 * that knows a mnemonic wins; what nobody knows is #UD. */
extern emu_exec_fn *const emu_exec_int[EMU_N_MNEMONICS];
extern emu_exec_fn *const emu_exec_string[EMU_N_MNEMONICS];
extern emu_exec_fn *const emu_exec_system[EMU_N_MNEMONICS];
extern emu_exec_fn *const emu_exec_x87[EMU_N_MNEMONICS];
extern emu_exec_fn *const emu_exec_simd[EMU_N_MNEMONICS];
