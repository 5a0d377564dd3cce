/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux bzImage by the 64-bit boot protocol.
 *
 * spec: Linux Documentation/x86/boot.rst, "64-bit Boot Protocol" and the setup header's table;
 *       Documentation/x86/zero-page.rst
 */
#include "hvcore/base/arith.h"
#include "hvcore/base/cursor.h"
#include "vmwp/loader/ldr_priv.h"

#include <inttypes.h>
#include <string.h>

enum {
    HEADER = 0x1f1, /* where the setup header stands, in the file and in boot_params */
    HEADER_MAX_END = 0x290,
    HEADER_MIN_END = 0x264,    /* up to init_size, which 2.12 has */
    HEADER_MAGIC = 0x53726448, /* "HdrS" */
    BOOT_FLAG = 0xaa55,
    VERSION_MIN = 0x0206,
    VERSION_64_BIT = 0x020c, /* xloadflags tells of the 64-bit entry */
    LOADED_HIGH = 0x01,
    XLF_KERNEL_64 = 0x01,
    SECTOR = 512,
    ENTRY_64 = 0x200,
    LOADER_UNDEFINED = 0xff,

    /* boot_params */
    ZP_EXT_MEM_K = 0x002,
    ZP_ACPI_RSDP = 0x070,
    ZP_ALT_MEM_K = 0x1e0,
    ZP_E820_ENTRIES = 0x1e8,
    ZP_VIDEO_MODE = 0x1fa,
    ZP_LOADER_TYPE = 0x210,
    ZP_CODE32_START = 0x214,
    ZP_RAMDISK_IMAGE = 0x218,
    ZP_RAMDISK_SIZE = 0x21c,
    ZP_CMDLINE = 0x228,
    ZP_E820 = 0x2d0,
    ZP_BYTES = 4096,
    E820_BYTES = 20,
    VIDEO_NORMAL = 0xffff
};

/* What we use of the setup header, judged. */
struct setup {
    uint32_t header_end; /* in the file */
    uint64_t kernel_offset, kernel_bytes;
    uint64_t preferred, alignment, init_bytes;
    bool is_relocatable;
    uint64_t initrd_limit;
    uint64_t cmdline_limit;
};

/* The header's fields as they stand, up to the version the file claims. */
struct raw_setup {
    uint8_t setup_sects;
    uint32_t syssize;
    uint8_t jump_bytes;
    uint16_t version;
    uint8_t loadflags;
    uint32_t initrd_addr_max;
    uint32_t kernel_alignment;
    uint8_t relocatable;
    uint16_t xloadflags;
    uint32_t cmdline_size;
    uint64_t pref_address;
    uint32_t init_size;
};

static bool has_magic(const struct ldr_image *image)
{
    struct hv_cursor in = hv_cursor(image->head, image->head_bytes);
    uint16_t flag;

    hv_cursor_skip(&in, 0x1fe);
    flag = hv_cursor_u16(&in);
    hv_cursor_skip(&in, 2);
    return hv_cursor_u32(&in) == HEADER_MAGIC && flag == BOOT_FLAG && hv_cursor_ok(&in);
}

static bool read_header(const struct ldr_image *image, struct raw_setup *ret)
{
    struct hv_cursor in = hv_cursor(image->head, image->head_bytes);

    hv_cursor_skip(&in, HEADER);
    ret->setup_sects = hv_cursor_u8(&in);
    hv_cursor_skip(&in, 2);
    ret->syssize = hv_cursor_u32(&in);
    hv_cursor_skip(&in, 0x201 - 0x1f8);
    ret->jump_bytes = hv_cursor_u8(&in);
    hv_cursor_skip(&in, 4);
    ret->version = hv_cursor_u16(&in);
    hv_cursor_skip(&in, 0x211 - 0x208);
    ret->loadflags = hv_cursor_u8(&in);
    hv_cursor_skip(&in, 0x22c - 0x212);
    ret->initrd_addr_max = hv_cursor_u32(&in);
    ret->kernel_alignment = hv_cursor_u32(&in);
    ret->relocatable = hv_cursor_u8(&in);
    hv_cursor_skip(&in, 1);
    ret->xloadflags = hv_cursor_u16(&in);
    ret->cmdline_size = hv_cursor_u32(&in);
    hv_cursor_skip(&in, 0x258 - 0x23c);
    ret->pref_address = hv_cursor_u64(&in);
    ret->init_size = hv_cursor_u32(&in);
    return hv_cursor_ok(&in);
}

static int check_version(const struct raw_setup *raw, struct hv_error **reterr)
{
    if (raw->version < VERSION_MIN)
        return ldr_error(reterr, -ENOEXEC, LDR_CODE_KERNEL,
                         "The kernel is a bzImage with boot protocol %u.%02u; 2.06 or later is "
                         "needed.",
                         raw->version >> 8, raw->version & 0xff);
    if (raw->version < VERSION_64_BIT || !(raw->xloadflags & XLF_KERNEL_64))
        return ldr_error(reterr, -ENOEXEC, LDR_CODE_KERNEL,
                         "The kernel is a bzImage without a 64-bit entry; a 64-bit kernel (Linux "
                         "3.8 or later) is needed.");
    if (!(raw->loadflags & LOADED_HIGH))
        return ldr_error(reterr, -ENOEXEC, LDR_CODE_KERNEL,
                         "The kernel is a zImage, to be loaded low; a bzImage is needed.");
    return 0;
}

static int header_is_damaged(struct hv_error **reterr)
{
    return ldr_error(reterr, -EINVAL, LDR_CODE_KERNEL,
                     "The kernel's setup header is damaged: its sizes contradict each other.");
}

static int judge_header(const struct ldr_image *image, const struct raw_setup *raw,
                        struct setup *ret, struct hv_error **reterr)
{
    unsigned sectors = raw->setup_sects == 0 ? 4 : raw->setup_sects;
    struct setup setup = {
        .header_end = 0x202U + raw->jump_bytes,
        .kernel_offset = (uint64_t)(sectors + 1) * SECTOR,
        .kernel_bytes = (uint64_t)raw->syssize * 16,
        .preferred = raw->pref_address,
        .alignment = raw->kernel_alignment,
        .init_bytes = raw->init_size,
        .is_relocatable = raw->relocatable,
        .initrd_limit = (uint64_t)raw->initrd_addr_max + 1,
        .cmdline_limit = raw->cmdline_size,
    };

    if (setup.header_end < HEADER_MIN_END || setup.header_end > HEADER_MAX_END ||
        setup.header_end > setup.kernel_offset || setup.kernel_bytes <= ENTRY_64 ||
        setup.alignment < HV_PAGE_BYTES || (setup.alignment & (setup.alignment - 1)) != 0)
        return header_is_damaged(reterr);
    if (!hv_range_within(setup.kernel_offset, setup.kernel_bytes, image->bytes))
        return ldr_error(reterr, -EINVAL, LDR_CODE_KERNEL,
                         "The kernel is truncated: its file has %" PRIu64
                         " bytes and its header announces %" PRIu64 ".",
                         image->bytes, setup.kernel_offset + setup.kernel_bytes);
    if (setup.init_bytes < setup.kernel_bytes)
        setup.init_bytes = setup.kernel_bytes;
    *ret = setup;
    return 0;
}

/*
 * Where the kernel goes. A relocatable one may be loaded anywhere, but runs no lower than its
 * preferred address, so loading it lower would gain nothing.
 *
 * spec: boot.rst, init_size ("runtime start address")
 */
static hv_gpa_t choose_address(const struct setup *setup)
{
    if (!setup->is_relocatable)
        return setup->preferred;
    if (setup->preferred > LDR_RAM_LOW_MAX_BYTES)
        return setup->preferred; /* refused with the rest that doesn't fit */
    return hv_align_up(setup->preferred > LDR_KERNEL_MIN ? setup->preferred : LDR_KERNEL_MIN,
                       setup->alignment);
}

static void put_u16(uint8_t *to, uint16_t value)
{
    memcpy(to, &value, sizeof(value));
}

static void put_u32(uint8_t *to, uint64_t value)
{
    uint32_t v = (uint32_t)value;

    memcpy(to, &v, sizeof(v));
}

static void put_u64(uint8_t *to, uint64_t value)
{
    memcpy(to, &value, sizeof(value));
}

static void put_map(uint8_t *zero_page, const struct ldr_layout *layout)
{
    uint64_t above_1m = (layout->ram_low_bytes - 0x100000) >> 10;

    zero_page[ZP_E820_ENTRIES] = (uint8_t)layout->n_map;
    for (unsigned i = 0; i < layout->n_map; i++) {
        uint8_t *entry = zero_page + ZP_E820 + (size_t)i * E820_BYTES;

        put_u64(entry, layout->map[i].first);
        put_u64(entry + 8, layout->map[i].bytes);
        put_u32(entry + 16, layout->map[i].type);
    }
    put_u16(zero_page + ZP_EXT_MEM_K, above_1m > 0xffff ? 0xffff : (uint16_t)above_1m);
    put_u32(zero_page + ZP_ALT_MEM_K, above_1m);
}

/* The zero page: the setup header as it stands in the file, and what a boot loader fills in. */
static int put_zero_page(const struct ldr_image *image, const struct setup *setup, hv_gpa_t load,
                         struct hv_error **reterr)
{
    uint8_t zero_page[ZP_BYTES] = { 0 };
    int r;

    memcpy(zero_page + HEADER, image->head + HEADER, setup->header_end - HEADER);
    put_u64(zero_page + ZP_ACPI_RSDP, image->config->rsdp);
    put_u16(zero_page + ZP_VIDEO_MODE, VIDEO_NORMAL);
    zero_page[ZP_LOADER_TYPE] = LOADER_UNDEFINED;
    put_u32(zero_page + ZP_CODE32_START, load);
    put_u32(zero_page + ZP_RAMDISK_IMAGE, image->initrd);
    put_u32(zero_page + ZP_RAMDISK_SIZE, image->initrd_bytes);
    put_u32(zero_page + ZP_CMDLINE, LDR_CMDLINE);
    put_map(zero_page, image->config->layout);
    r = hv_gpa_write(image->config->space, LDR_BOOT_INFO, zero_page, sizeof(zero_page));
    if (r < 0)
        return ldr_error(reterr, r, LDR_CODE_MEMORY, "There is no memory for the boot parameters.");
    return 0;
}

static int load_parts(struct ldr_image *image, const struct setup *setup, hv_gpa_t load,
                      struct hv_error **reterr)
{
    int r;

    r = ldr_check_range(image, load, setup->init_bytes, reterr);
    if (r < 0)
        return r;
    r = ldr_put_cmdline(image, setup->cmdline_limit, reterr);
    if (r < 0)
        return r;
    r = ldr_put_initrd(image, load + setup->init_bytes, setup->initrd_limit, reterr);
    if (r < 0)
        return r;
    r = ldr_copy(image, setup->kernel_offset, setup->kernel_bytes, load, reterr);
    if (r < 0)
        return r;
    return put_zero_page(image, setup, load, reterr);
}

int ldr_bzimage_load(struct ldr_image *image, struct ldr_boot *ret, struct hv_error **reterr)
{
    struct raw_setup raw;
    struct setup setup = { 0 };
    hv_gpa_t load;
    int r;

    if (!has_magic(image))
        return LDR_E_OTHER_KIND;
    if (!read_header(image, &raw))
        return ldr_error(reterr, -EINVAL, LDR_CODE_KERNEL,
                         "The kernel is truncated: its file ends within the setup header.");
    r = check_version(&raw, reterr);
    if (r < 0)
        return r;
    r = judge_header(image, &raw, &setup, reterr);
    if (r < 0)
        return r;
    load = choose_address(&setup);
    r = load_parts(image, &setup, load, reterr);
    if (r < 0)
        return r;
    *ret = (struct ldr_boot){
        .kind = LDR_KIND_BZIMAGE,
        .mode = LDR_MODE_LONG,
        .rip = load + ENTRY_64,
        .rsi = LDR_BOOT_INFO,
        .rsp = LDR_STACK_TOP,
    };
    return 0;
}
