/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Put a kernel, its initrd and its command line into guest memory and say where to start.
 *
 * Kinds, told apart by content: a Linux bzImage (boot protocol 2.06 or later, 64-bit entry), an ELF
 * with a PVH note, a Multiboot 1 image. Files are read with pread from offset 0; they and their
 * headers are hostile; work is bounded by the guest's memory.
 *
 * Errors name code and field: boot.kernel, boot.initrd, boot.cmdline or memory.startup.
 *
 * spec: Linux Documentation/x86/boot.rst; Xen PVH (start_info.h, elfnote.h); Multiboot 0.6.96
 */
#pragma once

#include "vmwp/loader/layout.h"

struct hv_vp_state;

enum ldr_kind { LDR_KIND_BZIMAGE, LDR_KIND_PVH, LDR_KIND_MULTIBOOT };

enum ldr_mode {
    LDR_MODE_LONG,     /* 64-bit, paging on, the first 4 GiB mapped one to one */
    LDR_MODE_PROTECTED /* 32-bit flat, paging off */
};

struct ldr_config {
    /* public */
    struct hv_gpa_space *space;
    const struct ldr_layout *layout;
    int kernel_fd;       /* borrowed */
    int initrd_fd;       /* borrowed; -1: none */
    const char *cmdline; /* NULL: empty */
    hv_gpa_t rsdp;       /* from ldr_acpi_write; 0: none */
};

/* Where VP 0 starts. */
struct ldr_boot {
    /* read only */
    enum ldr_kind kind;
    enum ldr_mode mode;
    uint64_t rip;
    uint64_t rax, rbx, rsi, rsp;
};

/* Load. Returns 0 with *ret filled, or a negative errno with *reterr; guest memory may then be
 * partly written. May be called again for a reset: everything is written anew. */
int ldr_load(const struct ldr_config *config, struct ldr_boot *ret, struct hv_error **reterr);

/* A name for people. */
const char *ldr_kind_name(enum ldr_kind kind);

/*
 * Change a VP's state from its reset state into what the kernel is promised: registers, flat
 * segments, control registers; interrupts off. Writes the GDT and, for LDR_MODE_LONG, page tables.
 * Leaves alone what is not named by a boot protocol (LAPIC, XSAVE area, MTRRs).
 *
 * return: 0, or -EFAULT when the low memory is not RAM
 */
int ldr_boot_enter(const struct ldr_boot *boot, struct hv_gpa_space *space,
                   struct hv_vp_state *state);
