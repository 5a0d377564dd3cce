/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multiboot 1 images, as ELF or with their own addresses in the header.
 *
 * spec: Multiboot Specification 0.6.96, 3.1 (header), 3.2 (machine state), 3.3 (information)
 */
#include "hvcore/base/arith.h"
#include "hvcore/base/cursor.h"
#include "vmwp/loader/ldr_priv.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

enum {
    HEADER_MAGIC = 0x1badb002,
    LOADER_MAGIC = 0x2badb002,

    /* header flags */
    WANTS_PAGE_ALIGNED_MODULES = 1 << 0,
    WANTS_MEMORY_INFO = 1 << 1,
    WANTS_VIDEO = 1 << 2,
    HAS_ADDRESSES = 1 << 16,
    REQUIRED_FLAGS = 0xffff, /* who doesn't know one of them must refuse */
    KNOWN_FLAGS = WANTS_PAGE_ALIGNED_MODULES | WANTS_MEMORY_INFO | WANTS_VIDEO,

    /* information flags */
    INFO_MEMORY = 1 << 0,
    INFO_CMDLINE = 1 << 2,
    INFO_MODULES = 1 << 3,
    INFO_MAP = 1 << 6,
    INFO_LOADER_NAME = 1 << 9,

    MODULES = LDR_BOOT_INFO + 0x100,
    MEMORY_MAP = LDR_BOOT_INFO + 0x200,
    LOADER_NAME = LDR_BOOT_INFO + 0x180
};

struct header {
    uint32_t flags;
    size_t offset; /* of the header in the file */
    uint32_t header_address, load_address, load_end, bss_end, entry;
};

struct info {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, n_modules, modules, symbols[4];
    uint32_t map_bytes, map, drives[2], config_table, loader_name, apm_table, vbe[4];
    uint8_t framebuffer[32];
};

struct module {
    uint32_t first, end, string, reserved;
};

struct map_entry {
    uint32_t size; /* of what follows */
    uint64_t first, bytes;
    uint32_t type;
} __attribute__((packed));

static_assert(sizeof(struct info) == 120, "Multiboot 3.3");
static_assert(sizeof(struct map_entry) == 24, "Multiboot 3.3, memory map");

/* Look for the header: in the first 8 KiB, at a multiple of four, with a sum of zero. */
static bool find_header(const struct ldr_image *image, struct header *ret)
{
    for (size_t at = 0; at + 12 <= image->head_bytes; at += 4) {
        struct hv_cursor in = hv_cursor(image->head + at, image->head_bytes - at);
        uint32_t magic = hv_cursor_u32(&in), flags = hv_cursor_u32(&in);

        if (magic != HEADER_MAGIC || magic + flags + hv_cursor_u32(&in) != 0)
            continue;
        *ret = (struct header){ .flags = flags, .offset = at };
        ret->header_address = hv_cursor_u32(&in);
        ret->load_address = hv_cursor_u32(&in);
        ret->load_end = hv_cursor_u32(&in);
        ret->bss_end = hv_cursor_u32(&in);
        ret->entry = hv_cursor_u32(&in);
        return !(flags & HAS_ADDRESSES) || hv_cursor_ok(&in);
    }
    return false;
}

static int addresses_are_wrong(struct hv_error **reterr)
{
    return ldr_error(reterr, -EINVAL, LDR_CODE_KERNEL,
                     "The kernel's Multiboot header has addresses that contradict each other or "
                     "its file's size.");
}

/* Load by the header's own addresses: one run of the file, then zeroes. */
static int load_by_addresses(struct ldr_image *image, const struct header *h, uint64_t *ret_entry,
                             hv_gpa_t *ret_end, struct hv_error **reterr)
{
    uint64_t before = (uint64_t)h->header_address - h->load_address, offset, bytes, memory;
    int r;

    if (h->header_address < h->load_address || before > h->offset)
        return addresses_are_wrong(reterr);
    offset = h->offset - before;
    bytes = h->load_end != 0 ? (uint64_t)h->load_end - h->load_address : image->bytes - offset;
    memory = h->bss_end != 0 ? (uint64_t)h->bss_end - h->load_address : bytes;
    if ((h->load_end != 0 && h->load_end < h->load_address) ||
        (h->bss_end != 0 && h->bss_end < h->load_address) || memory < bytes ||
        !hv_range_within(offset, bytes, image->bytes) || h->entry < h->load_address ||
        h->entry - h->load_address >= memory)
        return addresses_are_wrong(reterr);
    r = ldr_check_range(image, h->load_address, memory, reterr);
    if (r < 0)
        return r;
    r = ldr_copy(image, offset, bytes, h->load_address, reterr);
    if (r < 0)
        return r;
    *ret_entry = h->entry;
    *ret_end = (hv_gpa_t)h->load_address + memory;
    return hv_gpa_fill(image->config->space, h->load_address + bytes, 0, memory - bytes);
}

static int load_as_elf(struct ldr_image *image, uint64_t *ret_entry, hv_gpa_t *ret_end,
                       struct hv_error **reterr)
{
    struct ldr_elf elf;
    int r;

    r = ldr_elf_read(image, &elf, reterr);
    if (r < 0)
        return r;
    if (r == LDR_E_OTHER_KIND)
        return ldr_error(reterr, -ENOEXEC, LDR_CODE_KERNEL,
                         "The kernel has a Multiboot header without addresses and is no ELF file.");
    if (!ldr_elf_holds(&elf, elf.entry))
        return ldr_error(reterr, -EINVAL, LDR_CODE_KERNEL,
                         "The kernel's entry lies outside of what is loaded.");
    r = ldr_elf_load(image, &elf, reterr);
    if (r < 0)
        return r;
    *ret_entry = elf.entry;
    *ret_end = ldr_elf_end(&elf);
    return 0;
}

static int put_map(struct hv_gpa_space *space, const struct ldr_layout *layout)
{
    struct map_entry map[LDR_MAP_MAX_ENTRIES] = { 0 };

    for (unsigned i = 0; i < layout->n_map; i++)
        map[i] = (struct map_entry){
            .size = sizeof(map[i]) - sizeof(map[i].size),
            .first = layout->map[i].first,
            .bytes = layout->map[i].bytes,
            .type = layout->map[i].type,
        };
    return hv_gpa_write(space, MEMORY_MAP, map, sizeof(map));
}

static int put_info(const struct ldr_image *image, struct hv_error **reterr)
{
    static const char loader_name[] = "hvstack";
    const struct ldr_layout *layout = image->config->layout;
    struct hv_gpa_space *space = image->config->space;
    struct module module = {
        .first = (uint32_t)image->initrd,
        .end = (uint32_t)(image->initrd + image->initrd_bytes),
    };
    struct info info = {
        .flags = INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MAP | INFO_LOADER_NAME,
        .mem_lower = LDR_EBDA >> 10,
        .mem_upper = (uint32_t)((layout->ram_low_bytes >> 10) - 1024),
        .cmdline = LDR_CMDLINE,
        .n_modules = image->initrd_bytes > 0,
        .modules = MODULES,
        .map_bytes = layout->n_map * (uint32_t)sizeof(struct map_entry),
        .map = MEMORY_MAP,
        .loader_name = LOADER_NAME,
    };
    int r;

    r = put_map(space, layout);
    if (r == 0)
        r = hv_gpa_write(space, MODULES, &module, sizeof(module));
    if (r == 0)
        r = hv_gpa_write(space, LOADER_NAME, loader_name, sizeof(loader_name));
    if (r == 0)
        r = hv_gpa_write(space, LDR_BOOT_INFO, &info, sizeof(info));
    if (r < 0)
        return ldr_error(reterr, r, LDR_CODE_MEMORY,
                         "There is no memory for the boot information.");
    return 0;
}

static int put_rest(struct ldr_image *image, hv_gpa_t end, struct hv_error **reterr)
{
    int r;

    r = ldr_put_cmdline(image, UINT64_MAX, reterr);
    if (r < 0)
        return r;
    r = ldr_put_initrd(image, end, UINT64_MAX, reterr);
    if (r < 0)
        return r;
    return put_info(image, reterr);
}

int ldr_multiboot_load(struct ldr_image *image, struct ldr_boot *ret, struct hv_error **reterr)
{
    struct header header;
    uint64_t entry = 0;
    hv_gpa_t end = 0;
    int r;

    if (!find_header(image, &header))
        return LDR_E_OTHER_KIND;
    if (header.flags & REQUIRED_FLAGS & ~(uint32_t)KNOWN_FLAGS)
        return ldr_error(reterr, -ENOEXEC, LDR_CODE_KERNEL,
                         "The kernel's Multiboot header requires a feature that does not exist "
                         "(flags 0x%08" PRIx32 ").",
                         header.flags);
    if (header.flags & HAS_ADDRESSES)
        r = load_by_addresses(image, &header, &entry, &end, reterr);
    else
        r = load_as_elf(image, &entry, &end, reterr);
    if (r < 0)
        return r;
    r = put_rest(image, end, reterr);
    if (r < 0)
        return r;
    *ret = (struct ldr_boot){
        .kind = LDR_KIND_MULTIBOOT,
        .mode = LDR_MODE_PROTECTED,
        .rip = entry,
        .rax = LOADER_MAGIC,
        .rbx = LDR_BOOT_INFO,
        .rsp = LDR_STACK_TOP,
    };
    return 0;
}
