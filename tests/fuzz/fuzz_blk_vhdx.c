/* SPDX-License-Identifier: Apache-2.0 */
/* VHDX: opening, reading, checking, replaying, writing. */
#include "hvcore/base/crc32c.h"
#include "tests/fuzz/blk_input.h"
#include "vmwp/blk/vhdx_wire_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void fix(struct input_file *file, uint64_t at, uint64_t length)
{
    if (at + length > file->length)
        return;
    vhdx_put32(file->bytes + at + 4, 0);
    vhdx_put32(file->bytes + at + 4, hv_crc32c(0, file->bytes + at, length));
}

static void fix_checksums(struct input_file *file)
{
    static const uint64_t tables[] = { VHDX_REGIONS_AT, VHDX_REGIONS_AT + VHDX_TABLE_BYTES };

    fix(file, VHDX_HEADER_AT, VHDX_PAGE);
    fix(file, 2 * VHDX_HEADER_AT, VHDX_PAGE);
    for (unsigned i = 0; i < 2; i++)
        fix(file, tables[i], VHDX_TABLE_BYTES);
    for (uint64_t at = VHDX_MIB; at + VHDX_PAGE <= file->length && at < 2 * VHDX_MIB;
         at += VHDX_PAGE) {
        uint32_t length = vhdx_get32(file->bytes + at + 8);

        if (memcmp(file->bytes + at, "loge", 4) == 0 && length >= 64 && length <= 64 * 1024)
            fix(file, at, length);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct input_file file;
    uint8_t flags;

    if (!input_make(&file, bytes, n, &flags))
        return 0;
    if (flags & 1)
        fix_checksums(&file);
    input_use(&file, BLK_FORMAT_VHDX);
    (void)munmap(file.bytes, INPUT_FILE_MAX);
    return 0;
}
