/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/state/state_priv.h"

#include "hvcore/base/crc32c.h"

#include <unistd.h>

void state_visit_head(struct hv_fields *fields, struct state_head *head)
{
    hv_field_bytes(fields, head->vm.bytes, sizeof(head->vm.bytes));
    hv_field_u8(fields, &head->backend);
    hv_field_u32(fields, &head->n_vps);
    hv_field_u64(fields, &head->ram_bytes);
    hv_field_u64(fields, &head->devices);
    hv_field_u64(fields, &head->saved_ns);
    hv_field_u64(fields, &head->tsc_hz);
    for (unsigned i = 0; i < STATE_CPUID_WORDS; i++)
        hv_field_u32(fields, &head->cpuid[i]);
}

void state_visit_totals(struct hv_fields *fields, struct state_totals *totals)
{
    hv_field_u64(fields, &totals->n_chunks);
    hv_field_u64(fields, &totals->bytes);
    hv_field_u64(fields, &totals->n_pages);
}

uint32_t state_chunk_crc(const uint8_t head[static STATE_CRC_BYTES], const void *payload,
                         size_t bytes)
{
    return hv_crc32c(hv_crc32c(0, head, STATE_CRC_BYTES), payload, bytes);
}

int state_pread(int fd, void *ret, size_t bytes, uint64_t offset)
{
    uint8_t *to = ret;

    while (bytes > 0) {
        ssize_t n = pread(fd, to, bytes, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        to += n;
        bytes -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

int state_pwrite(int fd, const void *from, size_t bytes, uint64_t offset)
{
    const uint8_t *next = from;

    while (bytes > 0) {
        ssize_t n = pwrite(fd, next, bytes, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        next += n;
        bytes -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}
