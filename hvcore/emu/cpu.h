/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of one software processor and what its parts say to each other.
 *
 * owner: the VP's thread, but for `request` (any thread). Everything hangs from struct emu_cpu (one
 * a VP) or struct emu_machine (one a partition); there are no mutable statics.
 */
#pragma once

#include "hvcore/emu/insn.h"
#include "hvcore/gpa.h"
#include "hvcore/x86/lapic.h"

#include <pthread.h>

struct emu_cpu;
struct emu_op;
struct emu_block;
struct emu_machine;

/* ---- What the machine around the processors answers. Called on VP threads. ---- */
struct emu_bus {
    /* public */
    uint64_t (*mmio_read)(void *opaque, hv_gpa_t gpa, unsigned size);
    void (*mmio_write)(void *opaque, hv_gpa_t gpa, unsigned size, uint64_t value);
    uint32_t (*port_read)(void *opaque, uint16_t port, unsigned size);
    void (*port_write)(void *opaque, uint16_t port, unsigned size, uint32_t value);
    /* MSRs that the processor proper doesn't hold; false asks for #GP(0). */
    bool (*msr_read)(void *opaque, unsigned vp, uint32_t msr, uint64_t *ret);
    bool (*msr_write)(void *opaque, unsigned vp, uint32_t msr, uint64_t value);
    /* Leaf and subleaf in, eax ebx ecx edx out (dynamic bits are put in by the processor). */
    void (*cpuid)(void *opaque, unsigned vp, uint32_t leaf, uint32_t subleaf, uint32_t ret[4]);
    /* vmcall and vmmcall; false asks for #UD. gpr is the VP's register file. */
    bool (*hypercall)(void *opaque, unsigned vp, uint64_t gpr[HV_N_GPRS], bool is_64bit);
    /* The 8259 pair's vector on an ExtINT, or -1. */
    int (*pic_acknowledge)(void *opaque);
    void *opaque;
};

/* ---- Exceptions ---- */
enum {
    X86_DE = 0,
    X86_DB = 1,
    X86_NMI = 2,
    X86_BP = 3,
    X86_OF = 4,
    X86_BR = 5,
    X86_UD = 6,
    X86_NM = 7,
    X86_DF = 8,
    X86_TS = 10,
    X86_NP = 11,
    X86_SS = 12,
    X86_GP = 13,
    X86_PF = 14,
    X86_MF = 16,
    X86_AC = 17,
    X86_MC = 18,
    X86_XM = 19
};

enum { X86_PF_P = 1, X86_PF_W = 2, X86_PF_U = 4, X86_PF_RSVD = 8, X86_PF_I = 16 };

struct emu_fault {
    uint8_t vector;
    bool has_error_code;
    uint32_t error_code;
    uint64_t address; /* #PF: for CR2 */
};

/*
 * How an instruction ended. Rule: with EMU_FAULT and EMU_EXIT nothing of the instruction is
 * committed and cpu->rip still points at it (string instructions commit whole elements first).
 */
enum emu_result {
    EMU_NEXT = 0, /* done: go on with the next instruction */
    EMU_BRANCH,   /* done: cpu->rip holds the target */
    EMU_LEAVE,  /* done: go on with the next instruction, but through the run loop, since something
                   that blocks depend on or interrupt delivery has changed (mode, IF, CR, TLB) */
    EMU_REPEAT, /* progress of a rep instruction is committed: run loop, then the same rip again */
    EMU_FAULT,  /* cpu->fault holds an exception */
    EMU_HALT,   /* done: hlt; the run loop advances rip and waits */
    EMU_SHUTDOWN, /* triple fault */
};

/* The generic form of an instruction: any mode, any operands; slow, but complete and the oracle for
 * the fast handlers. cpu->rip is exact on entry. */
typedef enum emu_result emu_exec_fn(struct emu_cpu *cpu, const struct emu_insn *insn);

/* ---- Address translation cache ---- */
enum { EMU_TLB_ENTRIES = 4096, EMU_FETCH_TLB_ENTRIES = 4096, EMU_JUMP_CACHE_ENTRIES = 16384 };

enum emu_tlb_info {
    EMU_TLB_GLOBAL = 1,
    EMU_TLB_2M = 2, /* of a large page */
    EMU_TLB_1G = 4,
    EMU_TLB_4M = 8,
    EMU_TLB_LARGE = EMU_TLB_2M | EMU_TLB_1G | EMU_TLB_4M,
    EMU_TLB_WRITABLE = 16 /* no write tag, but only because the page has code */
};

struct emu_tlb_entry {
    uint64_t read_tag; /* linear page address when readable, else a tag no address can match */
    uint64_t
        write_tag;   /* likewise: only when writable, dirty, without code, and not logged clean */
    uint64_t addend; /* host address = linear address + addend */
    uint64_t info;   /* bit 0 global, bit 1 part of a large page; page's gpa in bits 12-51 */
};

struct emu_fetch_entry {
    uint64_t tag;  /* linear page address */
    uint64_t gpa;  /* guest physical page address; never MMIO */
    uint64_t info; /* as above */
    const uint8_t *host;
};

struct emu_jump_entry {
    uint64_t rip; /* linear */
    struct emu_block *block;
};

/* Where a call of 64-bit code will return to: the record behind it links to the block there. */
struct emu_return_entry {
    uint64_t rip;
    const struct emu_op *way_back;
};
enum { EMU_N_RETURNS = 256 };

/* An instruction that lies in two pages, decoded, with the bytes that it was decoded of. */
struct emu_cut {
    struct emu_insn insn;
    uint8_t bytes[15];
    uint8_t code_size; /* enum emu_code_size */
    bool is_valid;
};
enum { EMU_N_CUTS = 32 };

/* Privilege classes: what the kernel sees, what user code (CPL 3) sees, and what the kernel sees
 * with SMAP suspended (CR4.SMAP and RFLAGS.AC). */
enum emu_class { EMU_SUPERVISOR, EMU_USER, EMU_SUPERVISOR_AC, EMU_N_CLASSES };

/* cpu->debug: kinds of enabled breakpoints (DR7), and whether alignment is checked. */
enum {
    EMU_DEBUG_CODE = 1,
    EMU_DEBUG_DATA = 2,
    EMU_DEBUG_PORT = 4,
    EMU_DEBUG_ALIGNMENT = 8,
    EMU_DEBUG_ACCESSES = EMU_DEBUG_DATA | EMU_DEBUG_ALIGNMENT
};

/* After sti, mov ss and pop ss. A fast sti doesn't come back when its instruction is over: its
 * shadow counts only where that instruction has not begun. */
enum emu_shadow { EMU_SHADOW_NONE, EMU_SHADOW_NEXT, EMU_SHADOW_AT_RIP };

/* cpu->request bits: set by any thread with emu_cpu_request(), looked at by blocks' ends. */
enum {
    EMU_REQ_CANCEL = 1,    /* leave emu_cpu_run */
    EMU_REQ_INTERRUPT = 2, /* the LAPIC, the PIC, an NMI, INIT or SIPI has news */
    EMU_REQ_STOP = 4,      /* another processor wants the machine to itself */
    EMU_REQ_FLUSH = 8,     /* drop all cached translations */
    EMU_REQ_BREAK = 16,    /* leave the block after this instruction: its code has changed */
};

/* Pseudo registers behind the 16 GPRs, so that one address form covers all. */
enum {
    EMU_REG_ZERO = 16,
    EMU_REG_RIP_BASE = 17,
    EMU_REG_FS_BASE = 18,
    EMU_REG_GS_BASE = 19,
    EMU_N_REGS = 20
};

/* Byte offset of a register in struct emu_cpu: what struct emu_op's register fields hold. */
#define EMU_REG_OFFSET(reg) ((uint8_t)((reg)*8))

/* Floating point and vector state while the VP runs; see emu/fpu.h for who loads what when. */
struct emu_vec {
    /* 256 bits: low half xmm, high half ymm */
    _Alignas(32) uint64_t q[4];
};

struct emu_cpu {
    /* hottest first; regs MUST be the first member (EMU_REG_OFFSET) */
    uint64_t regs[EMU_N_REGS]; /* enum hv_gpr, then pseudo registers */
    /* Arithmetic flags as the host gives them: lahf's AH in bits 8-15 (SF ZF - AF - PF - CF), OF in
     * bit 0. Bits 16 up are zero. */
    uint32_t aflags;
    _Atomic uint32_t request;
    struct emu_tlb_entry *tlb;         /* of the current class */
    struct emu_fetch_entry *fetch_now; /* of the current privilege */
    uint64_t stack_page;   /* stack window: linear page that rsp last wrote to, or a tag that */
    uint64_t stack_addend; /* cannot match; host = linear + addend */
    uint64_t rip; /* exact outside blocks and in generic instructions; instruction pointer in its
                     segment, not linear */
    uint64_t df_step;               /* +1 or -1 (as uint64_t): the direction flag */
    const struct emu_insn *current; /* of the generic instruction that runs */

    uint8_t code_size; /* enum emu_code_size */
    uint8_t cpl;
    uint8_t fp_trap;    /* x87/MMX instruction must #NM (CR0.EM or TS), or more: fpu_priv.h */
    uint8_t simd_trap;  /* 0 ok; X86_UD or X86_NM: what an SSE instruction raises */
    uint8_t avx_trap;   /* the same for VEX instructions */
    uint8_t class;      /* enum emu_class: of data accesses */
    uint8_t is_stack32; /* SS.B, outside 64-bit mode */

    /* system flags of RFLAGS: TF IF IOPL NT RF VM AC VIF VIP ID (never arithmetic, never DF) */
    uint64_t sys_flags;
    uint64_t cr0, cr2, cr3, cr4, efer, xcr0;
    struct hv_segment_register segment[HV_N_SEGMENTS]; /* FS and GS base also in regs: keep equal
                                                          through emu_set_segment_base */
    struct hv_segment_register ldtr, tr;
    struct hv_table_register gdtr, idtr;
    uint64_t dr[4], dr6, dr7;
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t tsc_offset, tsc_aux, pat;
    uint64_t shadow_rip; /* with EMU_SHADOW_AT_RIP */
    uint8_t debug;       /* EMU_DEBUG_*: what needs a closer look */
    uint8_t debug_hits;  /* data and port breakpoints met by the instruction under way, as in DR6 */
    uint8_t no_step;     /* the instruction under way has no single-step trap behind it */
    uint8_t shadow;      /* enum emu_shadow: interrupts are held off for one instruction */
    uint8_t nmi_blocked; /* until iret */
    uint8_t activity;    /* enum hv_activity */
    uint8_t in_delivery; /* vector + 1 of the exception being delivered, for #DF */

    struct emu_fault fault;

    /* vectors live here; x87/MMX in the host's registers between emu_fpu_load and _unload */
    struct emu_vec vec[16];
    uint32_t mxcsr;      /* the guest's, sticky bits merged when fpu code looks */
    struct emu_fpu *fpu; /* the rest: private of emu/fpu */

    struct emu_machine *machine;
    struct x86_lapic *lapic;
    unsigned index;
    uint64_t phys_mask; /* valid physical address bits of page table entries */

    struct emu_tlb_entry tlbs[EMU_N_CLASSES][EMU_TLB_ENTRIES];
    struct emu_tlb_entry no_tlb[EMU_TLB_ENTRIES]; /* never hits: while accesses are looked at */
    struct emu_fetch_entry fetch[EMU_N_CLASSES][EMU_FETCH_TLB_ENTRIES];
    /* Entries filled since they were all dropped: a bit each, so that a CR3 write is short. */
    uint64_t tlb_used[EMU_N_CLASSES][EMU_TLB_ENTRIES / 64];
    uint64_t fetch_used[EMU_N_CLASSES][EMU_FETCH_TLB_ENTRIES / 64];
    /* Those of them that are global: a CR3 write doesn't look at them. */
    uint64_t tlb_global[EMU_N_CLASSES][EMU_TLB_ENTRIES / 64];
    uint64_t fetch_global[EMU_N_CLASSES][EMU_FETCH_TLB_ENTRIES / 64];
    struct emu_jump_entry jump_cache[EMU_JUMP_CACHE_ENTRIES];
    struct emu_return_entry returns[EMU_N_RETURNS]; /* guesses, by where the address is stored */
    struct emu_cut cuts[EMU_N_CUTS];                /* by page */
    uint8_t nobodys_stack[HV_PAGE_BYTES];           /* behind a stack window that was dropped */
    /* Regions of which TLB entries may be parts of large pages, so that INVLPG must look further:
     * bits by hash of the 2 MiB region, and of the GiB, for each half of the address space. */
    uint64_t large_regions[2][2][64];
    bool has_low_global; /* some such entry of the lower half is global */

    /* run loop */
    bool nmi_pending;
    bool must_flush_blocks; /* the block cache is full */
    bool is_in_chain;       /* between entering a block and passing the run loop again */
    uint64_t generation;    /* of the block cache, when the run loop was last passed */
    enum emu_result leave;  /* why the chain of handlers returned */
    uint32_t n_pauses;
    uint64_t counters_exits, counters_interrupts, counters_halts, counters_ports, counters_mmios;
    pthread_mutex_t wait_lock;
    pthread_cond_t wake;
    int run_state; /* lock: machine->stop_lock; see machine.c */
    bool is_idle;  /* halted by emu_cpu_idle: an interrupt wakes it also while IF is clear */
    _Atomic uint64_t flushes_wanted; /* by other processors, counted */
    uint64_t flushes_done;           /* lock: machine->stop_lock */
};

/* ---- Raising exceptions: fill cpu->fault and return EMU_FAULT ---- */
static inline enum emu_result emu_raise(struct emu_cpu *cpu, uint8_t vector)
{
    cpu->fault = (struct emu_fault){ .vector = vector };
    return EMU_FAULT;
}

static inline enum emu_result emu_raise_code(struct emu_cpu *cpu, uint8_t vector, uint32_t code)
{
    cpu->fault = (struct emu_fault){ .vector = vector, .has_error_code = true, .error_code = code };
    return EMU_FAULT;
}

/* ---- Flags ---- */
/* The six arithmetic flags as bits of RFLAGS. */
static inline uint32_t emu_arith_flags(const struct emu_cpu *cpu)
{
    return (cpu->aflags >> 8 & 0xd5) | (cpu->aflags & 1) << 11;
}

static inline void emu_set_arith_flags(struct emu_cpu *cpu, uint32_t rflags)
{
    cpu->aflags = (rflags & 0xd5) << 8 | (rflags >> 11 & 1);
}

/* The whole RFLAGS register, and its replacement (no privilege rules; bit 1 is set). After
 * emu_set_rflags the caller returns EMU_LEAVE when IF, TF or AC may have changed. */
static inline uint64_t emu_rflags(const struct emu_cpu *cpu)
{
    return 2 | emu_arith_flags(cpu) | cpu->sys_flags | (cpu->df_step == 1 ? 0 : EMU_DF);
}

static inline void emu_set_rflags(struct emu_cpu *cpu, uint64_t rflags)
{
    emu_set_arith_flags(cpu, (uint32_t)rflags);
    cpu->df_step = rflags & EMU_DF ? UINT64_MAX : 1;
    cpu->sys_flags = rflags & UINT64_C(0x3f7300);
}

enum {
    X86_TF = 0x100,
    X86_IF = 0x200,
    X86_IOPL = 0x3000,
    X86_NT = 0x4000,
    X86_RF = 0x10000,
    X86_VM = 0x20000,
    X86_AC_FLAG = 0x40000,
    X86_VIF = 0x80000,
    X86_VIP = 0x100000,
    X86_ID = 0x200000
};

enum {
    X86_CR0_PE = 1,
    X86_CR0_MP = 2,
    X86_CR0_EM = 4,
    X86_CR0_TS = 8,
    X86_CR0_ET = 16,
    X86_CR0_NE = 32,
    X86_CR0_WP = 1 << 16,
    X86_CR0_AM = 1 << 18,
    X86_CR0_NW = 1 << 29,
    X86_CR0_CD = 1 << 30
};
#define X86_CR0_PG UINT64_C(0x80000000)
enum {
    X86_CR4_VME = 1,
    X86_CR4_PVI = 2,
    X86_CR4_TSD = 4,
    X86_CR4_DE = 8,
    X86_CR4_PSE = 16,
    X86_CR4_PAE = 32,
    X86_CR4_MCE = 64,
    X86_CR4_PGE = 128,
    X86_CR4_PCE = 256,
    X86_CR4_OSFXSR = 512,
    X86_CR4_OSXMMEXCPT = 1024,
    X86_CR4_UMIP = 1 << 11,
    X86_CR4_FSGSBASE = 1 << 16,
    X86_CR4_PCIDE = 1 << 17,
    X86_CR4_OSXSAVE = 1 << 18,
    X86_CR4_SMEP = 1 << 20,
    X86_CR4_SMAP = 1 << 21
};
enum {
    X86_EFER_SCE = 1,
    X86_EFER_LME = 1 << 8,
    X86_EFER_LMA = 1 << 10,
    X86_EFER_NXE = 1 << 11,
    X86_EFER_FFXSR = 1 << 14,
    X86_EFER_AIBRSE = 1 << 21
};

static inline bool emu_is_in_shadow(const struct emu_cpu *cpu)
{
    return cpu->shadow == EMU_SHADOW_NEXT ||
           (cpu->shadow == EMU_SHADOW_AT_RIP && cpu->rip == cpu->shadow_rip);
}

static inline bool emu_is_long(const struct emu_cpu *cpu)
{
    return cpu->efer & X86_EFER_LMA;
}

static inline bool emu_is_protected(const struct emu_cpu *cpu)
{
    return (cpu->cr0 & X86_CR0_PE) && !(cpu->sys_flags & X86_VM);
}

static inline bool emu_is_canonical(uint64_t address)
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

/* Instruction pointer cut to the code size. */
static inline uint64_t emu_ip_mask(const struct emu_cpu *cpu)
{
    return cpu->code_size == EMU_CODE64   ? UINT64_MAX
           : cpu->code_size == EMU_CODE32 ? UINT32_MAX
                                          : UINT16_MAX;
}

static inline uint64_t emu_next_rip(const struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return (cpu->rip + insn->length) & emu_ip_mask(cpu);
}
