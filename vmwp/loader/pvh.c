/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF kernels with a PVH note.
 *
 * spec: Xen, xen/include/public/arch-x86/hvm/start_info.h and docs/misc/pvh (register state)
 */
#include "vmwp/loader/ldr_priv.h"

#include <assert.h>

enum {
    START_INFO_MAGIC = 0x336ec578,
    START_INFO_VERSION = 1, /* with a memory map */
    MODULES = LDR_BOOT_INFO + 0x100,
    MEMORY_MAP = LDR_BOOT_INFO + 0x200
};

struct start_info {
    uint32_t magic, version, flags, n_modules;
    uint64_t modules, cmdline, rsdp, memory_map;
    uint32_t n_memory_map, reserved;
};

struct module {
    uint64_t first, bytes, cmdline, reserved;
};

struct memory_map_entry {
    uint64_t first, bytes;
    uint32_t type, reserved;
};

static_assert(sizeof(struct start_info) == 56, "start_info.h: hvm_start_info, version 1");
static_assert(sizeof(struct module) == 32, "start_info.h: hvm_modlist_entry");
static_assert(sizeof(struct memory_map_entry) == 24, "start_info.h: hvm_memmap_table_entry");

static int put_map(struct hv_gpa_space *space, const struct ldr_layout *layout)
{
    struct memory_map_entry map[LDR_MAP_MAX_ENTRIES] = { 0 };

    for (unsigned i = 0; i < layout->n_map; i++)
        map[i] = (struct memory_map_entry){
            .first = layout->map[i].first,
            .bytes = layout->map[i].bytes,
            .type = layout->map[i].type,
        };
    return hv_gpa_write(space, MEMORY_MAP, map, sizeof(map));
}

static int put_start_info(const struct ldr_image *image, struct hv_error **reterr)
{
    struct hv_gpa_space *space = image->config->space;
    struct module module = { .first = image->initrd, .bytes = image->initrd_bytes };
    struct start_info info = {
        .magic = START_INFO_MAGIC,
        .version = START_INFO_VERSION,
        .n_modules = image->initrd_bytes > 0,
        .modules = image->initrd_bytes > 0 ? MODULES : 0,
        .cmdline = LDR_CMDLINE,
        .rsdp = image->config->rsdp,
        .memory_map = MEMORY_MAP,
        .n_memory_map = image->config->layout->n_map,
    };
    int r;

    r = put_map(space, image->config->layout);
    if (r == 0)
        r = hv_gpa_write(space, MODULES, &module, sizeof(module));
    if (r == 0)
        r = hv_gpa_write(space, LDR_BOOT_INFO, &info, sizeof(info));
    if (r < 0)
        return ldr_error(reterr, r, LDR_CODE_MEMORY, "There is no memory for the start info.");
    return 0;
}

int ldr_pvh_load(struct ldr_image *image, struct ldr_boot *ret, struct hv_error **reterr)
{
    struct ldr_elf elf;
    int r;

    r = ldr_elf_read(image, &elf, reterr);
    if (r != 0)
        return r;
    if (elf.phys32_entry == 0)
        return LDR_E_OTHER_KIND;
    if (!ldr_elf_holds(&elf, elf.phys32_entry))
        return ldr_error(reterr, -EINVAL, LDR_CODE_KERNEL,
                         "The kernel's PVH entry lies outside of what is loaded.");
    r = ldr_elf_load(image, &elf, reterr);
    if (r < 0)
        return r;
    r = ldr_put_cmdline(image, UINT64_MAX, reterr);
    if (r < 0)
        return r;
    r = ldr_put_initrd(image, ldr_elf_end(&elf), UINT64_MAX, reterr);
    if (r < 0)
        return r;
    r = put_start_info(image, reterr);
    if (r < 0)
        return r;
    *ret = (struct ldr_boot){
        .kind = LDR_KIND_PVH,
        .mode = LDR_MODE_PROTECTED,
        .rip = elf.phys32_entry,
        .rbx = LDR_BOOT_INFO,
        .rsp = LDR_STACK_TOP,
    };
    return 0;
}
