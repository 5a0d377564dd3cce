/* SPDX-License-Identifier: Apache-2.0 */
#include "hvcore/base/arith.h"
#include "vmwp/loader/ldr_priv.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#define MIB UINT64_C(0x100000)

static uint64_t mib_up(uint64_t bytes)
{
    return bytes / MIB + (bytes % MIB != 0);
}

/* The size of a file that can be read at any offset. what: "kernel" or "initrd". */
static int file_bytes(int fd, const char *field, const char *what, uint64_t *ret,
                      struct hv_error **reterr)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        int r = -errno;

        return ldr_error(reterr, r, field, "The %s cannot be read: %s.", what, strerror(-r));
    }
    if (!S_ISREG(st.st_mode))
        return ldr_error(reterr, -EINVAL, field, "The %s is not a regular file.", what);
    if (st.st_size <= 0)
        return ldr_error(reterr, -EINVAL, field, "The %s is an empty file.", what);
    *ret = (uint64_t)st.st_size;
    return 0;
}

static int ended_early(struct hv_error **reterr)
{
    return ldr_error(reterr, -EINVAL, LDR_CODE_KERNEL,
                     "The kernel is truncated: its file ends before what its headers announce.");
}

int ldr_read(struct ldr_image *image, uint64_t offset, void *ret, size_t bytes,
             struct hv_error **reterr)
{
    uint8_t *to = ret;

    if (!hv_range_within(offset, bytes, image->bytes))
        return ended_early(reterr);
    while (bytes > 0) {
        ssize_t n = pread(image->config->kernel_fd, to, bytes, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int r = -errno;

            return ldr_error(reterr, r, LDR_CODE_KERNEL, "The kernel cannot be read: %s.",
                             strerror(-r));
        }
        if (n == 0) /* it shrank while being read */
            return ended_early(reterr);
        to += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return 0;
}

int ldr_copy(struct ldr_image *image, uint64_t offset, uint64_t bytes, hv_gpa_t to,
             struct hv_error **reterr)
{
    int r;

    if (!hv_range_within(offset, bytes, image->bytes))
        return ended_early(reterr);
    r = hv_gpa_write_from_fd(image->config->space, to, image->config->kernel_fd, offset, bytes);
    if (r == -EIO)
        return ended_early(reterr);
    if (r < 0)
        return ldr_error(reterr, r, LDR_CODE_KERNEL, "The kernel cannot be read: %s.",
                         strerror(-r));
    return 0;
}

int ldr_put_cmdline(struct ldr_image *image, uint64_t limit, struct hv_error **reterr)
{
    const char *cmdline = image->config->cmdline ? image->config->cmdline : "";
    int r;

    if (limit > LDR_CMDLINE_MAX_BYTES - 1)
        limit = LDR_CMDLINE_MAX_BYTES - 1;
    image->cmdline_bytes = strlen(cmdline);
    if (image->cmdline_bytes > limit)
        return ldr_error(reterr, -EINVAL, LDR_CODE_CMDLINE,
                         "The command line has %zu bytes; this kernel takes at most %" PRIu64 ".",
                         image->cmdline_bytes, limit);
    r = hv_gpa_write(image->config->space, LDR_CMDLINE, cmdline, image->cmdline_bytes + 1);
    if (r < 0)
        return ldr_error(reterr, r, LDR_CODE_MEMORY, "There is no memory for the command line.");
    return 0;
}

int ldr_check_range(struct ldr_image *image, uint64_t first, uint64_t bytes,
                    struct hv_error **reterr)
{
    uint64_t end;

    if (first < LDR_KERNEL_MIN)
        return ldr_error(reterr, -EINVAL, LDR_CODE_KERNEL,
                         "The kernel wants to be loaded at 0x%" PRIx64
                         "; addresses from 1 MiB on are possible.",
                         first);
    if (!hv_add_u64(first, bytes, &end) || end > LDR_RAM_LOW_MAX_BYTES)
        return ldr_error(reterr, -EINVAL, LDR_CODE_KERNEL,
                         "The kernel wants 0x%" PRIx64 " bytes at 0x%" PRIx64
                         "; it must end below 3 GiB.",
                         bytes, first);
    if (end > image->config->layout->ram_low_bytes)
        return ldr_error(reterr, -ENOMEM, LDR_CODE_MEMORY,
                         "The kernel needs at least %" PRIu64 " MiB of memory; the VM has %" PRIu64
                         " MiB.",
                         mib_up(end), image->config->layout->ram_low_bytes / MIB);
    return 0;
}

static int initrd_does_not_fit(const struct ldr_image *image, hv_gpa_t kernel_end, uint64_t limit,
                               struct hv_error **reterr)
{
    uint64_t needed =
        hv_align_up(kernel_end, HV_PAGE_BYTES) + hv_align_up(image->initrd_bytes, HV_PAGE_BYTES);

    if (needed > limit)
        return ldr_error(reterr, -EFBIG, LDR_CODE_INITRD,
                         "The initrd of %" PRIu64 " MiB is too large: this kernel can take at most "
                         "%" PRIu64 " MiB.",
                         mib_up(image->initrd_bytes),
                         limit > kernel_end ? (limit - kernel_end) / MIB : 0);
    return ldr_error(reterr, -ENOMEM, LDR_CODE_MEMORY,
                     "The kernel and its initrd of %" PRIu64 " MiB need at least %" PRIu64
                     " MiB of memory; the VM has %" PRIu64 " MiB.",
                     mib_up(image->initrd_bytes), mib_up(needed),
                     image->config->layout->ram_low_bytes / MIB);
}

static int initrd_copy(struct ldr_image *image, struct hv_error **reterr)
{
    int r;

    r = hv_gpa_write_from_fd(image->config->space, image->initrd, image->config->initrd_fd, 0,
                             image->initrd_bytes);
    if (r < 0)
        return ldr_error(reterr, r, LDR_CODE_INITRD, "The initrd cannot be read: %s.",
                         strerror(-r));
    return 0;
}

int ldr_put_initrd(struct ldr_image *image, hv_gpa_t kernel_end, uint64_t limit,
                   struct hv_error **reterr)
{
    uint64_t top;
    int r;

    if (image->config->initrd_fd < 0)
        return 0;
    r = file_bytes(image->config->initrd_fd, LDR_CODE_INITRD, "initrd", &image->initrd_bytes,
                   reterr);
    if (r < 0)
        return r;
    if (limit > LDR_RAM_LOW_MAX_BYTES)
        limit = LDR_RAM_LOW_MAX_BYTES;
    top =
        limit < image->config->layout->ram_low_bytes ? limit : image->config->layout->ram_low_bytes;
    if (image->initrd_bytes > LDR_RAM_LOW_MAX_BYTES)
        return ldr_error(reterr, -EFBIG, LDR_CODE_INITRD,
                         "The initrd is larger than the 3 GiB that a kernel could take.");
    if (image->initrd_bytes > top ||
        hv_align_down(top - image->initrd_bytes, HV_PAGE_BYTES) < kernel_end)
        return initrd_does_not_fit(image, kernel_end, limit, reterr);
    image->initrd = hv_align_down(top - image->initrd_bytes, HV_PAGE_BYTES);
    return initrd_copy(image, reterr);
}

/* A BIOS data area as far as kernels look for one: where the EBDA begins, base memory in KiB. */
static int put_bios_data(struct hv_gpa_space *space)
{
    const uint16_t ebda_segment = LDR_EBDA >> 4, base_kib = LDR_EBDA >> 10;
    int r;

    r = hv_gpa_write(space, 0x40e, &ebda_segment, sizeof(ebda_segment));
    if (r < 0)
        return r;
    return hv_gpa_write(space, 0x413, &base_kib, sizeof(base_kib));
}

static int no_kernel(struct hv_error **reterr)
{
    return ldr_error(reterr, -ENOEXEC, LDR_CODE_KERNEL,
                     "The file is not a kernel that can be started directly: neither a bzImage "
                     "(2.06 or later, 64-bit), an ELF with a PVH note nor a Multiboot 1 image.");
}

static int load_any(struct ldr_image *image, struct ldr_boot *ret, struct hv_error **reterr)
{
    static int (*const kinds[])(struct ldr_image *, struct ldr_boot *, struct hv_error **) = {
        ldr_bzimage_load,
        ldr_pvh_load,
        ldr_multiboot_load,
    };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(kinds); i++) {
        int r = kinds[i](image, ret, reterr);

        if (r != LDR_E_OTHER_KIND)
            return r;
    }
    return no_kernel(reterr);
}

int ldr_load(const struct ldr_config *config, struct ldr_boot *ret, struct hv_error **reterr)
{
    hv_autofree struct ldr_image *image = calloc(1, sizeof(*image));
    struct ldr_boot boot = { 0 };
    int r;

    if (!image)
        return -ENOMEM;
    image->config = config;
    r = file_bytes(config->kernel_fd, LDR_CODE_KERNEL, "kernel", &image->bytes, reterr);
    if (r < 0)
        return r;
    image->head_bytes = image->bytes < LDR_HEAD_BYTES ? (size_t)image->bytes : LDR_HEAD_BYTES;
    r = ldr_read(image, 0, image->head, image->head_bytes, reterr);
    if (r < 0)
        return r;
    r = put_bios_data(config->space);
    if (r < 0)
        return ldr_error(reterr, r, LDR_CODE_MEMORY, "There is no memory at address 0.");
    r = load_any(image, &boot, reterr);
    if (r < 0)
        return r;
    *ret = boot;
    return 0;
}

const char *ldr_kind_name(enum ldr_kind kind)
{
    static const char *const names[] = {
        [LDR_KIND_BZIMAGE] = "bzImage",
        [LDR_KIND_PVH] = "PVH",
        [LDR_KIND_MULTIBOOT] = "Multiboot 1",
    };

    return names[kind];
}
