/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where things are in guest physical memory, and the memory map that says so to a kernel.
 *
 * RAM lies below 3 GiB and, what is more, from 4 GiB on. In between are the PCI and VMBus windows,
 * the I/O APIC and the LAPICs. Under 1 MiB: our boot structures in the first 640 KiB (free for the
 * guest once it runs), a BIOS data area, and the ACPI tables at 0xe0000.
 */
#pragma once

#include "hvcore/gpa.h"

#define LDR_RAM_LOW_MAX_BYTES UINT64_C(0xc0000000) /* 3 GiB */
#define LDR_RAM_HIGH_FIRST    UINT64_C(0x100000000)
#define LDR_RAM_MAX_BYTES     (UINT64_C(64) << 30)
#define LDR_RAM_MIN_BYTES     (UINT64_C(2) << 20)

/* Windows without RAM. */
#define LDR_PCI_WINDOW_FIRST   UINT64_C(0xc0000000)
#define LDR_PCI_WINDOW_END     UINT64_C(0xf8000000)
#define LDR_VMBUS_WINDOW_FIRST UINT64_C(0xf8000000)
#define LDR_VMBUS_WINDOW_END   UINT64_C(0xfec00000)
#define LDR_VMBUS_HIGH_FIRST   UINT64_C(0xfe0000000)  /* above the most RAM there can be */
#define LDR_VMBUS_HIGH_END     UINT64_C(0x1000000000) /* moved up when RAM needs the place */

enum {
    LDR_EBDA = 0x9fc00,      /* end of base memory */
    LDR_ACPI_AREA = 0xe0000, /* RSDP and tables; reserved in the map */
    LDR_ACPI_AREA_END = 0x100000,
    /* boot structures, used once */
    LDR_GDT = 0x1000,
    LDR_PAGE_TABLES = 0x2000, /* to 0x8000 */
    LDR_STACK_TOP = 0x10000,
    LDR_BOOT_INFO = 0x10000, /* boot_params, hvm_start_info or Multiboot information */
    LDR_BOOT_INFO_BYTES = 0x10000,
    LDR_CMDLINE = 0x20000,
    LDR_CMDLINE_MAX_BYTES = 0x10000, /* with the closing 0 */
    LDR_KERNEL_MIN = 0x100000
};

/* ACPI's and e820's numbers. */
enum ldr_map_type { LDR_MAP_RAM = 1, LDR_MAP_RESERVED = 2 };

struct ldr_map_entry {
    hv_gpa_t first;
    uint64_t bytes;
    uint32_t type; /* enum ldr_map_type */
};

enum { LDR_MAP_MAX_ENTRIES = 8 };

struct ldr_layout {
    /* read only */
    uint64_t ram_low_bytes;    /* from 0 on */
    uint64_t ram_high_bytes;   /* from LDR_RAM_HIGH_FIRST on */
    hv_gpa_t vmbus_high_first; /* 512 MiB window above all RAM */
    uint64_t vmbus_high_bytes;
    struct ldr_map_entry map[LDR_MAP_MAX_ENTRIES]; /* sorted, without overlap */
    unsigned n_map;
};

/* Divide ram_bytes. Returns 0 or -EINVAL (not whole pages, too little, too much), with code
 * memory.startup and field memory.startup. */
int ldr_layout_init(struct ldr_layout *layout, uint64_t ram_bytes, struct hv_error **reterr);

/* Add both RAM slots of the layout to a space made with its ram_bytes. 0 or an errno. */
int ldr_layout_add_ram(const struct ldr_layout *layout, struct hv_gpa_space *space);
