/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cpu/soft.h"

#include "hvcore/emu/emu.h"
#include "tests/cpu/layout.h"

#include <cpuid.h>
#include <stdlib.h>
#include <string.h>

/* Guest physical layout. */
enum {
    GPA_PML4 = 0x1000,
    GPA_PDPT = 0x2000,
    GPA_PD = 0x3000,
    GPA_PT_CODE = 0x4000,
    GPA_PT_DATA = 0x5000,
    GPA_PDPT_HIGH = 0x6000,
    GPA_PD_HIGH = 0x7000,
    GPA_PT_HIGH = 0x8000,
    GPA_IDT = 0x10000, /* these four pages follow each other at KERNEL too */
    GPA_GDT = 0x11000, /* and the TSS in its second half */
    GPA_TSS = 0x11800,
    GPA_HANDLERS = 0x12000,
    GPA_STACK = 0x13000,
    GPA_CODE = 0x20000,
    GPA_EDGE = 0x22000,
    GPA_DATA = 0x24000,
    GPA_CONST = 0x28000,
    GPA_END = 0x30000,
};

#define KERNEL           UINT64_C(0xffffffff80000000)
#define KERNEL_IDT       KERNEL
#define KERNEL_GDT       (KERNEL + 0x1000)
#define KERNEL_TSS       (KERNEL + 0x1800)
#define KERNEL_HANDLERS  (KERNEL + 0x2000)
#define KERNEL_STACK_TOP (KERNEL + 0x4000)

enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 32, PTE_D = 64 };
#define PTE_NX (UINT64_C(1) << 63)

enum {
    SEL_KERNEL_CS = 0x10,
    SEL_DATA = 0x2b,
    SEL_TSS = 0x40,
    HANDLER_BYTES = 16,
    N_VECTORS = 256,
    ATTR_CODE64 = 0xafb,
    ATTR_CODE32 = 0xcfb,
    ATTR_DATA = 0xcf3,
    ATTR_TSS = 0x08b,
};

struct soft_cpu {
    struct hv_gpa_space gpa;
    struct emu_machine *machine;
    struct emu_cpu *cpu;
    struct hv_vp_state base; /* what every run starts from */
    struct hv_vp_state state;
};

static void put64(struct soft_cpu *soft, hv_gpa_t gpa, uint64_t value)
{
    hv_assert(hv_gpa_write(&soft->gpa, gpa, &value, sizeof(value)) == 0);
}

/* ---- Paging ---- */

static void map(struct soft_cpu *soft, hv_gpa_t table, uint64_t linear, hv_gpa_t gpa,
                unsigned bytes, uint64_t rights)
{
    for (unsigned at = 0; at < bytes; at += HV_PAGE_BYTES)
        put64(soft, table + ((linear + at) >> 12 & 511) * 8,
              (gpa + at) | PTE_P | PTE_A | PTE_D | rights);
}

static void make_page_tables(struct soft_cpu *soft)
{
    const uint64_t user = PTE_P | PTE_W | PTE_U | PTE_A, kernel = PTE_P | PTE_W | PTE_A;

    put64(soft, GPA_PML4, GPA_PDPT | user);
    put64(soft, GPA_PML4 + 511 * 8, GPA_PDPT_HIGH | kernel);
    put64(soft, GPA_PDPT, GPA_PD | user);
    put64(soft, GPA_PDPT_HIGH + 510 * 8, GPA_PD_HIGH | kernel);
    put64(soft, GPA_PD + (CPU_CODE >> 21) * 8, GPA_PT_CODE | user);
    put64(soft, GPA_PD + (CPU_DATA >> 21) * 8, GPA_PT_DATA | user);
    put64(soft, GPA_PD_HIGH, GPA_PT_HIGH | kernel);
    map(soft, GPA_PT_CODE, CPU_CODE, GPA_CODE, CPU_CODE_BYTES, PTE_U | PTE_W);
    map(soft, GPA_PT_CODE, CPU_EDGE, GPA_EDGE, CPU_EDGE_BYTES, PTE_U);
    map(soft, GPA_PT_DATA, CPU_DATA, GPA_DATA, CPU_DATA_BYTES, PTE_U | PTE_W | PTE_NX);
    map(soft, GPA_PT_DATA, CPU_CONST, GPA_CONST, CPU_CONST_BYTES, PTE_U | PTE_NX);
    map(soft, GPA_PT_HIGH, KERNEL, GPA_IDT, 4 * HV_PAGE_BYTES, PTE_W);
}

static hv_gpa_t gpa_of(uint64_t linear)
{
    if (linear - CPU_CODE < CPU_CODE_BYTES)
        return linear - CPU_CODE + GPA_CODE;
    if (linear - CPU_EDGE < CPU_EDGE_BYTES)
        return linear - CPU_EDGE + GPA_EDGE;
    if (linear - CPU_DATA < CPU_DATA_BYTES)
        return linear - CPU_DATA + GPA_DATA;
    hv_assert(linear - CPU_CONST < CPU_CONST_BYTES);
    return linear - CPU_CONST + GPA_CONST;
}

/* ---- Descriptors ---- */

static void make_gate(struct soft_cpu *soft, unsigned vector)
{
    const uint64_t handler = KERNEL_HANDLERS + vector * HANDLER_BYTES;
    /* int3 and into are the user's to raise */
    const uint64_t dpl = vector == X86_BP || vector == X86_OF ? 3 : 0;

    put64(soft, GPA_IDT + vector * 16,
          (handler & 0xffff) | SEL_KERNEL_CS << 16 | (UINT64_C(0x8e) | dpl << 5) << 40 |
              (handler >> 16 & 0xffff) << 48);
    put64(soft, GPA_IDT + vector * 16 + 8, handler >> 32);
}

/* A flat descriptor from its attributes as in struct hv_segment_register. */
static uint64_t descriptor(unsigned attributes)
{
    return UINT64_C(0x000f00000000ffff) | (uint64_t)(attributes & 0xff) << 40 |
           (uint64_t)(attributes >> 8 & 15) << 52;
}

static void make_tables(struct soft_cpu *soft)
{
    static const uint8_t handler[] = { 0x0f, 0x01, 0xd9, 0xeb, 0xfb }; /* vmmcall; jmp back */

    /* as Linux has them, so that selectors mean the same on both sides */
    put64(soft, GPA_GDT + 0x08, descriptor(0xc9b));
    put64(soft, GPA_GDT + SEL_KERNEL_CS, descriptor(0xa9b));
    put64(soft, GPA_GDT + 0x18, descriptor(0xc93));
    put64(soft, GPA_GDT + 0x20, descriptor(ATTR_CODE32));
    put64(soft, GPA_GDT + 0x28, descriptor(ATTR_DATA));
    put64(soft, GPA_GDT + 0x30, descriptor(ATTR_CODE64));
    put64(soft, GPA_GDT + 0x78, descriptor(0x4f5));
    put64(soft, GPA_GDT + SEL_TSS,
          UINT64_C(0x00008b0000000067) | (KERNEL_TSS & 0xffffff) << 16 |
              (KERNEL_TSS >> 24 & 0xff) << 56);
    put64(soft, GPA_GDT + SEL_TSS + 8, KERNEL_TSS >> 32);
    put64(soft, GPA_TSS + 4, KERNEL_STACK_TOP);     /* RSP0 */
    put64(soft, GPA_TSS + 96, UINT64_C(104) << 48); /* no I/O bitmap */
    for (unsigned vector = 0; vector < N_VECTORS; vector++) {
        make_gate(soft, vector);
        hv_assert(hv_gpa_write(&soft->gpa, GPA_HANDLERS + vector * HANDLER_BYTES, handler,
                               sizeof(handler)) == 0);
    }
}

/* ---- The state that runs start from ---- */

static void set_segment(struct hv_segment_register *segment, uint16_t selector, unsigned attributes)
{
    *segment = (struct hv_segment_register){ .limit = UINT32_MAX,
                                             .selector = selector,
                                             .attributes = (uint16_t)attributes };
}

static void make_base(struct hv_vp_state *base)
{
    for (unsigned i = 0; i < HV_N_SEGMENTS; i++)
        set_segment(&base->segment[i], SEL_DATA, ATTR_DATA);
    base->tr = (struct hv_segment_register){
        .base = KERNEL_TSS, .limit = 103, .selector = SEL_TSS, .attributes = ATTR_TSS
    };
    base->ldtr.attributes = 0;
    base->gdtr = (struct hv_table_register){ .base = KERNEL_GDT, .limit = 127 };
    base->idtr = (struct hv_table_register){ .base = KERNEL_IDT, .limit = 4095 };
    base->cr0 =
        X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_PG;
    base->cr3 = GPA_PML4;
    base->cr4 = X86_CR4_PAE | X86_CR4_PGE | X86_CR4_MCE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT |
                X86_CR4_OSXSAVE | X86_CR4_FSGSBASE;
    base->efer = X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE;
    base->xcr0 = 7;
    base->dr6 = 0xffff0ff0;
    base->dr7 = 0x400;
    base->pat = UINT64_C(0x0007040600070406);
}

/* ---- The machine ---- */

static bool on_hypercall(void *opaque, unsigned vp, uint64_t gpr[HV_N_GPRS], bool is_64bit)
{
    struct soft_cpu *soft = opaque;

    emu_cpu_request(soft->cpu, EMU_REQ_CANCEL);
    return true;
}

static void on_cpuid(void *opaque, unsigned vp, uint32_t leaf, uint32_t subleaf, uint32_t ret[4])
{
    __cpuid_count(leaf, subleaf, ret[0], ret[1], ret[2], ret[3]);
}

static bool on_msr_read(void *opaque, unsigned vp, uint32_t msr, uint64_t *ret)
{
    return false;
}

static bool on_msr_write(void *opaque, unsigned vp, uint32_t msr, uint64_t value)
{
    return false;
}

struct soft_cpu *soft_cpu_new(bool no_fast)
{
    struct soft_cpu *soft = calloc(1, sizeof(*soft));
    struct emu_machine_config config = {
        .n_cpus = 1, .tsc_hz = 1000000000, .exact_flags = true, .no_fast = no_fast
    };

    hv_assert(soft);
    hv_assert(hv_gpa_space_init(&soft->gpa, GPA_END, NULL) == 0);
    hv_assert(hv_gpa_space_add_ram(&soft->gpa, 0, GPA_END, 0) == 0);
    config.gpa = &soft->gpa;
    config.bus = (struct emu_bus){ .hypercall = on_hypercall,
                                   .cpuid = on_cpuid,
                                   .msr_read = on_msr_read,
                                   .msr_write = on_msr_write,
                                   .opaque = soft };
    hv_assert(emu_machine_new(&config, &soft->machine) == 0);
    hv_assert(emu_machine_add_cpu(soft->machine, 0, NULL, &soft->cpu) == 0);
    make_page_tables(soft);
    make_tables(soft);
    make_base(&soft->base);
    return soft;
}

struct soft_cpu *soft_cpu_free(struct soft_cpu *soft)
{
    if (!soft)
        return NULL;
    emu_machine_free(soft->machine);
    hv_gpa_space_fini(&soft->gpa);
    free(soft);
    return NULL;
}

uint8_t *soft_cpu_memory(struct soft_cpu *soft, uint64_t linear)
{
    return soft->gpa.slots[0].host + gpa_of(linear);
}

void soft_cpu_write(struct soft_cpu *soft, uint64_t linear, const void *from, size_t bytes)
{
    hv_assert(hv_gpa_write(&soft->gpa, gpa_of(linear), from, bytes) == 0);
}

/* ---- Running ---- */

enum { XSAVE_BV = 512, XSAVE_YMM_HIGH = 576, FX_SOFTWARE = 464 };

static void state_in(struct soft_cpu *soft, const struct cpu_state *from, uint16_t cs)
{
    struct hv_vp_state *to = &soft->state;
    const uint64_t all = 7;

    *to = soft->base;
    memcpy(to->gpr, from->gpr, sizeof(to->gpr));
    to->rip = from->rip;
    to->rflags = from->rflags;
    set_segment(&to->segment[HV_CS], cs, cs == CPU_CS64 ? ATTR_CODE64 : ATTR_CODE32);
    to->segment[HV_FS].base = from->fs_base;
    to->segment[HV_GS].base = from->gs_base;
    memcpy(to->xsave, from->fx, FX_SOFTWARE);
    memcpy(to->xsave + XSAVE_BV, &all, sizeof(all));
    memcpy(to->xsave + XSAVE_YMM_HIGH, from->ymm_high, sizeof(from->ymm_high));
}

static bool has_error_code(unsigned vector)
{
    return vector == X86_DF || (vector >= X86_TS && vector <= X86_PF) || vector == X86_AC;
}

/* Undo the delivery: the frame on the kernel's stack holds what user code had. */
static void state_out(struct soft_cpu *soft, struct cpu_state *to, struct cpu_end *end)
{
    const struct hv_vp_state *from = &soft->state;
    const uint8_t *xsave = from->xsave;
    const uint64_t *frame =
        (const uint64_t *)(soft->gpa.slots[0].host + GPA_STACK + HV_PAGE_BYTES) - 5;
    uint64_t bv;

    end->vector = (unsigned)(from->rip - KERNEL_HANDLERS) / HANDLER_BYTES;
    end->error_code = has_error_code(end->vector) ? (uint32_t)frame[-1] : 0;
    end->address = from->cr2;
    memcpy(to->gpr, from->gpr, sizeof(to->gpr));
    to->rip = frame[0];
    to->rflags = frame[2];
    to->gpr[HV_RSP] = frame[3];
    to->fs_base = from->segment[HV_FS].base;
    to->gs_base = from->segment[HV_GS].base;
    for (unsigned i = 0; i < HV_N_SEGMENTS; i++)
        to->selector[i] = i == HV_CS || i == HV_SS ? 0 : from->segment[i].selector;
    memcpy(&bv, xsave + XSAVE_BV, sizeof(bv));
    memset(to->fx, 0, sizeof(to->fx));
    memcpy(to->fx, xsave, FX_SOFTWARE);
    memset(to->ymm_high, 0, sizeof(to->ymm_high));
    if (bv & 4)
        memcpy(to->ymm_high, xsave + XSAVE_YMM_HIGH, sizeof(to->ymm_high));
}

bool soft_cpu_run(struct soft_cpu *soft, struct cpu_state *state, uint16_t cs, struct cpu_end *ret)
{
    state_in(soft, state, cs);
    hv_assert(emu_cpu_set_state(soft->cpu, &soft->state) == 0);
    if (emu_cpu_run(soft->cpu) != EMU_EXIT_CANCELLED)
        return false;
    emu_cpu_get_state(soft->cpu, &soft->state);
    state_out(soft, state, ret);
    return true;
}
