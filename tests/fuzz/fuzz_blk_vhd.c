/* SPDX-License-Identifier: Apache-2.0 */
/* VHD: opening, reading, checking, writing. */
#include "tests/fuzz/blk_input.h"
#include "vmwp/blk/vhd_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void fix(struct input_file *file, uint64_t at, uint64_t length, size_t field)
{
    if (at < file->length && length <= file->length - at)
        vhd_put32(file->bytes + at + field, vhd_checksum(file->bytes + at, length, field));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct input_file file;
    uint8_t flags;

    if (!input_make(&file, bytes, n, &flags))
        return 0;
    if (flags & 1 && file.length >= VHD_FOOTER_BYTES) {
        fix(&file, 0, VHD_FOOTER_BYTES, 64);
        fix(&file, file.length - VHD_FOOTER_BYTES, VHD_FOOTER_BYTES, 64);
        fix(&file, vhd_get64(file.bytes + 16), VHD_HEADER_BYTES, 36);
    }
    input_use(&file, BLK_FORMAT_VHD);
    (void)munmap(file.bytes, INPUT_FILE_MAX);
    return 0;
}
