/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel images made in memory, right ones to be spoilt by a test, and a guest to load them into.
 */
#pragma once

#include "vmwp/loader/loader.h"

#include <string.h>
#include <sys/mman.h>

enum { GUEST_MIB = 64, IMAGE_MAX_BYTES = 256 * 1024 };

struct guest {
    struct hv_gpa_space space;
    struct ldr_layout layout;
    struct ldr_config config;
    struct ldr_boot boot;
    struct hv_error *error;
    uint8_t image[IMAGE_MAX_BYTES];
    size_t image_bytes;
};

static inline int guest_init(struct guest *g, uint64_t ram_bytes)
{
    memset(g, 0, sizeof(*g));
    if (ldr_layout_init(&g->layout, ram_bytes, NULL) < 0 ||
        hv_gpa_space_init(&g->space, ram_bytes, NULL) < 0)
        return -1;
    g->config = (struct ldr_config){
        .space = &g->space, .layout = &g->layout, .kernel_fd = -1, .initrd_fd = -1
    };
    return ldr_layout_add_ram(&g->layout, &g->space);
}

static inline void guest_fini(struct guest *g)
{
    g->error = hv_error_free(g->error);
    hv_gpa_space_fini(&g->space);
    hv_close(g->config.kernel_fd);
    hv_close(g->config.initrd_fd);
}

static inline int file_of(const void *bytes, size_t length)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    if (fd < 0 || write(fd, bytes, length) != (ssize_t)length)
        abort();
    return fd;
}

/* A file of `length` bytes that takes no room. */
static inline int hollow_file(uint64_t length)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, (off_t)length) < 0)
        abort();
    return fd;
}

/* Load the image's first `bytes`; the result of ldr_load. */
static inline int guest_load_part(struct guest *g, size_t bytes)
{
    g->error = hv_error_free(g->error);
    hv_close(g->config.kernel_fd);
    g->config.kernel_fd = file_of(g->image, bytes);
    return ldr_load(&g->config, &g->boot, &g->error);
}

static inline int guest_load(struct guest *g)
{
    return guest_load_part(g, g->image_bytes);
}

static inline void put(struct guest *g, size_t at, uint64_t value, unsigned bytes)
{
    memcpy(g->image + at, &value, bytes);
}

static inline uint64_t peek(struct guest *g, hv_gpa_t at, unsigned bytes)
{
    uint64_t value = 0;

    if (hv_gpa_read(&g->space, at, &value, bytes) < 0)
        abort();
    return value;
}

/* A bzImage of protocol 2.15 with 4 setup sectors and 64 KiB of kernel. */
static inline void make_bzimage(struct guest *g)
{
    const size_t kernel = 5 * 512, kernel_bytes = 64 * 1024;

    memset(g->image, 0, sizeof(g->image));
    put(g, 0x1f1, 4, 1);
    put(g, 0x1f4, kernel_bytes / 16, 4);
    put(g, 0x1fe, 0xaa55, 2);
    put(g, 0x200, 0x6aeb, 2); /* jmp: the header ends at 0x26c */
    put(g, 0x202, 0x53726448, 4);
    put(g, 0x206, 0x020f, 2);
    put(g, 0x211, 0x01, 1);
    put(g, 0x22c, 0x7fffffff, 4);
    put(g, 0x230, 0x200000, 4);
    put(g, 0x234, 1, 1);
    put(g, 0x236, 0x3f, 2);
    put(g, 0x238, 2047, 4);
    put(g, 0x258, 0x1000000, 8);
    put(g, 0x260, 0x100000, 4);
    for (size_t i = 0; i < kernel_bytes; i++)
        g->image[kernel + i] = (uint8_t)(i * 31 + 7);
    g->image_bytes = kernel + kernel_bytes;
}

enum {
    ELF_NOTE = 0x200,
    ELF_CODE = 0x1000,
    ELF_CODE_BYTES = 0x800,
    ELF_LOAD = 0x200000,
    ELF_ENTRY = 0x200100,
    ELF64_PHDR = 64,
    ELF64_PHDR_BYTES = 56,
    ELF32_PHDR = 52,
    ELF32_PHDR_BYTES = 32
};

/* A 64-bit ELF with one segment (0x800 bytes, then zeroes up to 0x3000) and a PVH note. */
static inline void make_pvh(struct guest *g)
{
    static const uint8_t ident[16] = { 0x7f, 'E', 'L', 'F', 2, 1, 1 };
    size_t load = ELF64_PHDR, note = ELF64_PHDR + ELF64_PHDR_BYTES;

    memset(g->image, 0, sizeof(g->image));
    memcpy(g->image, ident, sizeof(ident));
    put(g, 16, 2, 2);  /* executable */
    put(g, 18, 62, 2); /* x86-64 */
    put(g, 20, 1, 4);
    put(g, 24, ELF_ENTRY, 8);
    put(g, 32, ELF64_PHDR, 8);
    put(g, 54, ELF64_PHDR_BYTES, 2);
    put(g, 56, 2, 2);
    put(g, load, 1, 4); /* PT_LOAD */
    put(g, load + 8, ELF_CODE, 8);
    put(g, load + 24, ELF_LOAD, 8);
    put(g, load + 32, ELF_CODE_BYTES, 8);
    put(g, load + 40, 0x3000, 8);
    put(g, note, 4, 4); /* PT_NOTE */
    put(g, note + 8, ELF_NOTE, 8);
    put(g, note + 32, 20 + 20, 8);
    put(g, note + 40, 20 + 20, 8);
    put(g, note + 48, 4, 8);
    put(g, ELF_NOTE, 4, 4); /* somebody else's note first */
    put(g, ELF_NOTE + 4, 4, 4);
    put(g, ELF_NOTE + 8, 1, 4);
    memcpy(g->image + ELF_NOTE + 12, "GNU", 4);
    put(g, ELF_NOTE + 20, 4, 4);
    put(g, ELF_NOTE + 24, 4, 4);
    put(g, ELF_NOTE + 28, 18, 4);
    memcpy(g->image + ELF_NOTE + 32, "Xen", 4);
    put(g, ELF_NOTE + 36, ELF_ENTRY, 4);
    for (size_t i = 0; i < ELF_CODE_BYTES; i++)
        g->image[ELF_CODE + i] = (uint8_t)(i + 1);
    g->image_bytes = ELF_CODE + ELF_CODE_BYTES;
}

/* A 32-bit ELF with a Multiboot header at 0x80 and the same segment. */
static inline void make_multiboot_elf(struct guest *g)
{
    static const uint8_t ident[16] = { 0x7f, 'E', 'L', 'F', 1, 1, 1 };

    memset(g->image, 0, sizeof(g->image));
    memcpy(g->image, ident, sizeof(ident));
    put(g, 16, 2, 2);
    put(g, 18, 3, 2); /* 386 */
    put(g, 20, 1, 4);
    put(g, 24, ELF_ENTRY, 4);
    put(g, 28, ELF32_PHDR, 4);
    put(g, 42, ELF32_PHDR_BYTES, 2);
    put(g, 44, 1, 2);
    put(g, ELF32_PHDR, 1, 4);
    put(g, ELF32_PHDR + 4, ELF_CODE, 4);
    put(g, ELF32_PHDR + 12, ELF_LOAD, 4);
    put(g, ELF32_PHDR + 16, ELF_CODE_BYTES, 4);
    put(g, ELF32_PHDR + 20, 0x3000, 4);
    put(g, 0x80, 0x1badb002, 4);
    put(g, 0x84, 3, 4);
    put(g, 0x88, (uint32_t) - (0x1badb002 + 3), 4);
    for (size_t i = 0; i < ELF_CODE_BYTES; i++)
        g->image[ELF_CODE + i] = (uint8_t)(i + 1);
    g->image_bytes = ELF_CODE + ELF_CODE_BYTES;
}

/* A flat image with a Multiboot header at 0x40 that has addresses: loads at 3 MiB from 0x40 on. */
static inline void make_multiboot_flat(struct guest *g)
{
    memset(g->image, 0, sizeof(g->image));
    put(g, 0x40, 0x1badb002, 4);
    put(g, 0x44, 0x10000, 4);
    put(g, 0x48, (uint32_t) - (0x1badb002 + 0x10000), 4);
    put(g, 0x4c, 0x300000, 4); /* header */
    put(g, 0x50, 0x300000, 4); /* load */
    put(g, 0x54, 0x300400, 4); /* load end */
    put(g, 0x58, 0x302000, 4); /* bss end */
    put(g, 0x5c, 0x300020, 4); /* entry */
    g->image_bytes = 0x440;
    for (size_t i = 0x60; i < g->image_bytes; i++)
        g->image[i] = (uint8_t)i;
}
