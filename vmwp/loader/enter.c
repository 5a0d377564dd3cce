/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processor's state at a kernel's entry.
 *
 * spec: Linux Documentation/x86/boot.rst, "64-bit Boot Protocol" (selectors 0x10 and 0x18, an
 *       identity mapping); Xen PVH; Multiboot 3.2
 */
#include "hvcore/state.h"
#include "vmwp/loader/loader.h"

#include <string.h>

enum {
    SELECTOR_CODE = 0x10,
    SELECTOR_DATA = 0x18,
    SELECTOR_TASK = 0x20,
    GDT_ENTRIES = 6, /* the task's takes two in long mode */

    TYPE_CODE = 0xb, /* execute, read, accessed */
    TYPE_DATA = 0x3, /* read, write, accessed */
    TYPE_TASK = 0xb, /* busy 32- or 64-bit task */
    TASK_LIMIT = 0x67,

    CR0_PE = 0x1,
    CR0_ET = 0x10,
    CR4_PAE = 0x20,
    EFER_LME = 0x100,
    EFER_LMA = 0x400,
    RFLAGS_FIXED = 0x2,

    PTE_PRESENT_WRITE = 0x3,
    PTE_LARGE = 0x80,
    N_DIRECTORIES = 4 /* of 1 GiB each */
};

#define CR0_PG UINT64_C(0x80000000)

static struct hv_segment_register flat(uint16_t selector, uint16_t attributes)
{
    return (struct hv_segment_register){
        .limit = UINT32_MAX,
        .selector = selector,
        .attributes = (uint16_t)(attributes | HV_SEG_S | HV_SEG_P | HV_SEG_G),
    };
}

/* The descriptor of a segment register's hidden part. */
static uint64_t descriptor(const struct hv_segment_register *reg)
{
    uint64_t limit = reg->attributes & HV_SEG_G ? reg->limit >> 12 : reg->limit;

    return (limit & 0xffff) | (reg->base & 0xffffff) << 16 |
           (uint64_t)(reg->attributes & 0xff) << 40 | (limit >> 16 & 0xf) << 48 |
           (uint64_t)(reg->attributes >> 8 & 0xf) << 52 | (reg->base >> 24 & 0xff) << 56;
}

static int enter_segments(struct hv_gpa_space *space, struct hv_vp_state *state,
                          uint16_t code_attributes)
{
    static const uint8_t data_segments[] = { HV_ES, HV_SS, HV_DS, HV_FS, HV_GS };
    uint64_t gdt[GDT_ENTRIES] = { 0 };

    state->segment[HV_CS] = flat(SELECTOR_CODE, TYPE_CODE | code_attributes);
    for (unsigned i = 0; i < sizeof(data_segments); i++)
        state->segment[data_segments[i]] = flat(SELECTOR_DATA, TYPE_DATA | HV_SEG_DB);
    state->tr = (struct hv_segment_register){
        .limit = TASK_LIMIT,
        .selector = SELECTOR_TASK,
        .attributes = TYPE_TASK | HV_SEG_P,
    };
    state->ldtr = (struct hv_segment_register){ 0 };
    gdt[SELECTOR_CODE / 8] = descriptor(&state->segment[HV_CS]);
    gdt[SELECTOR_DATA / 8] = descriptor(&state->segment[HV_DS]);
    gdt[SELECTOR_TASK / 8] = descriptor(&state->tr);
    state->gdtr = (struct hv_table_register){ .base = LDR_GDT, .limit = sizeof(gdt) - 1 };
    state->idtr = (struct hv_table_register){ 0 };
    return hv_gpa_write(space, LDR_GDT, gdt, sizeof(gdt));
}

/* Map the first 4 GiB one to one with 2 MiB pages: a top level, one level below, four
 * directories. */
static int put_page_tables(struct hv_gpa_space *space)
{
    uint64_t table[HV_PAGE_BYTES / 8] = { LDR_PAGE_TABLES + HV_PAGE_BYTES + PTE_PRESENT_WRITE };
    uint64_t page = 0;
    int r;

    r = hv_gpa_write(space, LDR_PAGE_TABLES, table, sizeof(table));
    if (r < 0)
        return r;
    memset(table, 0, sizeof(table));
    for (uint64_t i = 0; i < N_DIRECTORIES; i++)
        table[i] = LDR_PAGE_TABLES + (2 + i) * HV_PAGE_BYTES + PTE_PRESENT_WRITE;
    r = hv_gpa_write(space, LDR_PAGE_TABLES + HV_PAGE_BYTES, table, sizeof(table));
    for (uint64_t i = 0; i < N_DIRECTORIES && r == 0; i++) {
        for (unsigned entry = 0; entry < 512; entry++, page++)
            table[entry] = page << 21 | PTE_LARGE | PTE_PRESENT_WRITE;
        r = hv_gpa_write(space, LDR_PAGE_TABLES + (2 + i) * HV_PAGE_BYTES, table, sizeof(table));
    }
    return r;
}

static int enter_long(struct hv_gpa_space *space, struct hv_vp_state *state)
{
    int r;

    r = put_page_tables(space);
    if (r < 0)
        return r;
    state->cr0 = CR0_PG | CR0_ET | CR0_PE;
    state->cr3 = LDR_PAGE_TABLES;
    state->cr4 = CR4_PAE;
    state->efer = EFER_LME | EFER_LMA;
    return enter_segments(space, state, HV_SEG_L);
}

static int enter_protected(struct hv_gpa_space *space, struct hv_vp_state *state)
{
    state->cr0 = CR0_ET | CR0_PE;
    state->cr3 = 0;
    state->cr4 = 0;
    state->efer = 0;
    return enter_segments(space, state, HV_SEG_DB);
}

int ldr_boot_enter(const struct ldr_boot *boot, struct hv_gpa_space *space,
                   struct hv_vp_state *state)
{
    int r;

    r = boot->mode == LDR_MODE_LONG ? enter_long(space, state) : enter_protected(space, state);
    if (r < 0)
        return r;
    memset(state->gpr, 0, sizeof(state->gpr));
    state->gpr[HV_RAX] = boot->rax;
    state->gpr[HV_RBX] = boot->rbx;
    state->gpr[HV_RSI] = boot->rsi;
    state->gpr[HV_RSP] = boot->rsp;
    state->rip = boot->rip;
    state->rflags = RFLAGS_FIXED;
    state->cr2 = 0;
    state->cr8 = 0;
    state->activity = HV_ACTIVITY_ACTIVE;
    state->interrupt_shadow = 0;
    state->nmi_blocked = 0;
    state->nmi_pending = 0;
    return 0;
}
