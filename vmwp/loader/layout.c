/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/loader/layout.h"

#include "hvcore/base/arith.h"

#include <inttypes.h>

#define MIB UINT64_C(0x100000)
#define GIB UINT64_C(0x40000000)

static void add(struct ldr_layout *layout, hv_gpa_t first, hv_gpa_t end, enum ldr_map_type type)
{
    layout->map[layout->n_map++] =
        (struct ldr_map_entry){ .first = first, .bytes = end - first, .type = type };
}

static void fill_map(struct ldr_layout *layout)
{
    add(layout, 0, LDR_EBDA, LDR_MAP_RAM);
    add(layout, LDR_EBDA, 0xa0000, LDR_MAP_RESERVED);
    add(layout, LDR_ACPI_AREA, LDR_ACPI_AREA_END, LDR_MAP_RESERVED);
    add(layout, MIB, layout->ram_low_bytes, LDR_MAP_RAM);
    if (layout->ram_high_bytes > 0)
        add(layout, LDR_RAM_HIGH_FIRST, LDR_RAM_HIGH_FIRST + layout->ram_high_bytes, LDR_MAP_RAM);
}

int ldr_layout_init(struct ldr_layout *layout, uint64_t ram_bytes, struct hv_error **reterr)
{
    struct ldr_layout made = { 0 };
    uint64_t end;

    if (ram_bytes < LDR_RAM_MIN_BYTES || ram_bytes > LDR_RAM_MAX_BYTES ||
        ram_bytes % HV_PAGE_BYTES != 0)
        return hv_error_set_field(reterr, -EINVAL, "memory.startup", "memory.startup",
                                  "A VM cannot have %" PRIu64 " bytes of memory: %" PRIu64
                                  " MiB to %" PRIu64 " GiB in whole pages of 4 KiB are possible.",
                                  ram_bytes, (uint64_t)(LDR_RAM_MIN_BYTES / MIB),
                                  (uint64_t)(LDR_RAM_MAX_BYTES / GIB));
    made.ram_low_bytes = ram_bytes < LDR_RAM_LOW_MAX_BYTES ? ram_bytes : LDR_RAM_LOW_MAX_BYTES;
    made.ram_high_bytes = ram_bytes - made.ram_low_bytes;
    end = hv_align_up(LDR_RAM_HIGH_FIRST + made.ram_high_bytes, GIB);
    made.vmbus_high_first = end > LDR_VMBUS_HIGH_FIRST ? end : LDR_VMBUS_HIGH_FIRST;
    made.vmbus_high_bytes = LDR_VMBUS_HIGH_END - LDR_VMBUS_HIGH_FIRST;
    fill_map(&made);
    *layout = made;
    return 0;
}

int ldr_layout_add_ram(const struct ldr_layout *layout, struct hv_gpa_space *space)
{
    int r;

    r = hv_gpa_space_add_ram(space, 0, layout->ram_low_bytes, 0);
    if (r < 0 || layout->ram_high_bytes == 0)
        return r;
    return hv_gpa_space_add_ram(space, LDR_RAM_HIGH_FIRST, layout->ram_high_bytes,
                                layout->ram_low_bytes);
}
