/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the loader: an image being read, and the steps that all kinds share. */
#pragma once

#include "vmwp/loader/loader.h"

enum {
    LDR_HEAD_BYTES = 8192, /* Multiboot looks for its header here; bzImage's lies within */
    LDR_ELF_MAX_SEGMENTS = 64,
    LDR_NOTES_MAX_BYTES = 64 * 1024
};

#define LDR_CODE_KERNEL  "boot.kernel"
#define LDR_CODE_INITRD  "boot.initrd"
#define LDR_CODE_CMDLINE "boot.cmdline"
#define LDR_CODE_MEMORY  "memory.startup"

/* Set an error whose code is its field, one of the above. */
#define ldr_error(reterr, r, field, ...) hv_error_set_field(reterr, r, field, field, __VA_ARGS__)

/* An image that is being loaded. */
struct ldr_image {
    const struct ldr_config *config;
    uint64_t bytes;       /* of the kernel's file */
    size_t head_bytes;    /* of head that the file has */
    size_t cmdline_bytes; /* without the closing 0 */
    uint64_t initrd_bytes;
    hv_gpa_t initrd; /* where it was put */
    uint8_t head[LDR_HEAD_BYTES];
};

/* Results of a kind's loader beside errors. */
enum ldr_outcome {
    LDR_E_OTHER_KIND = 1 /* the image is not of this kind; nothing was written */
};

int ldr_bzimage_load(struct ldr_image *image, struct ldr_boot *ret, struct hv_error **reterr);
int ldr_pvh_load(struct ldr_image *image, struct ldr_boot *ret, struct hv_error **reterr);
int ldr_multiboot_load(struct ldr_image *image, struct ldr_boot *ret, struct hv_error **reterr);

/* Read `bytes` of the kernel's file; 0, -EINVAL with a sentence when it ends before, or the errno
 * of pread with a sentence. */
int ldr_read(struct ldr_image *image, uint64_t offset, void *ret, size_t bytes,
             struct hv_error **reterr);

/* Copy part of the kernel's file into guest RAM; the same outcomes. Both ranges must have been
 * judged before: file and RAM. */
int ldr_copy(struct ldr_image *image, uint64_t offset, uint64_t bytes, hv_gpa_t to,
             struct hv_error **reterr);

/* Write the command line (at most `limit` bytes without the closing 0) to LDR_CMDLINE. */
int ldr_put_cmdline(struct ldr_image *image, uint64_t limit, struct hv_error **reterr);

/*
 * Put the initrd, if any, as high as possible below `limit` and RAM's end below 3 GiB, page aligned
 * and not under kernel_end. Sets image->initrd.
 */
int ldr_put_initrd(struct ldr_image *image, hv_gpa_t kernel_end, uint64_t limit,
                   struct hv_error **reterr);

/* Is [first, first + bytes) RAM between 1 MiB and 3 GiB? An error for memory.startup or, when it
 * begins too low, for boot.kernel. */
int ldr_check_range(struct ldr_image *image, uint64_t first, uint64_t bytes,
                    struct hv_error **reterr);

/* Loadable parts of an ELF file, of either class. */
struct ldr_elf_segment {
    uint64_t offset, file_bytes;
    uint64_t memory, memory_bytes; /* physical */
};

struct ldr_elf {
    bool is_64;
    uint64_t entry;
    uint64_t phys32_entry; /* of the PVH note; 0: none */
    unsigned n_segments;
    struct ldr_elf_segment segment[LDR_ELF_MAX_SEGMENTS];
};

/* Read headers and notes. 0, LDR_E_OTHER_KIND (no ELF for x86), or an error. */
int ldr_elf_read(struct ldr_image *image, struct ldr_elf *ret, struct hv_error **reterr);
/* Check and copy the segments. */
int ldr_elf_load(struct ldr_image *image, const struct ldr_elf *elf, struct hv_error **reterr);
/* One past the last byte in memory; of an ELF that was loaded. */
hv_gpa_t ldr_elf_end(const struct ldr_elf *elf);
/* Is this address in a loaded segment? */
bool ldr_elf_holds(const struct ldr_elf *elf, uint64_t address);
