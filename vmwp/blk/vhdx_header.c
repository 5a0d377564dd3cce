/* SPDX-License-Identifier: Apache-2.0 */
/* The two headers of a VHDX: choosing the current one, and writing them in turn. */
#include "hvcore/base/crc32c.h"
#include "hvcore/base/cursor.h"
#include "vmwp/blk/vhdx_priv.h"

#include <inttypes.h>

static const char *const slot_names[] = { "first", "second" };

static uint64_t slot_offset(unsigned slot)
{
    return (uint64_t)VHDX_HEADER_AT * (slot + 1);
}

/* Checksum over the whole with its own field zero. */
static bool is_checksum_right(uint8_t *bytes, size_t length)
{
    uint32_t found = vhdx_get32(bytes + 4);

    vhdx_put32(bytes + 4, 0);
    return hv_crc32c(0, bytes, length) == found;
}

/* NULL when the header is good, else what is wrong with it. */
static const char *parse(uint8_t bytes[static VHDX_PAGE], struct vhdx_header *ret)
{
    struct hv_cursor in = hv_cursor(bytes, VHDX_PAGE);
    uint16_t log_version, version;

    if (memcmp(bytes, "head", 4) != 0)
        return "has no signature 'head'";
    if (!is_checksum_right(bytes, VHDX_PAGE))
        return "has a wrong checksum";
    hv_cursor_skip(&in, 8);
    ret->sequence = hv_cursor_u64(&in);
    hv_cursor_bytes(&in, &ret->file_write, sizeof(ret->file_write));
    hv_cursor_bytes(&in, &ret->data_write, sizeof(ret->data_write));
    hv_cursor_bytes(&in, &ret->log, sizeof(ret->log));
    log_version = hv_cursor_u16(&in);
    version = hv_cursor_u16(&in);
    ret->log_bytes = hv_cursor_u32(&in);
    ret->log_offset = hv_cursor_u64(&in);
    if (version != 1)
        return "has a version other than 1";
    if (log_version != 0)
        return "has a log version other than 0";
    return NULL;
}

/* spec: 2.2.2, 2.3 */
static int check_log_place(struct vhdx *v, struct blk_report *report)
{
    const struct vhdx_header *h = &v->header;

    if (h->log_offset % VHDX_MIB || h->log_bytes % VHDX_MIB || h->log_bytes == 0 ||
        h->log_offset < VHDX_MIB || h->log_bytes > VHDX_LOG_MAX)
        return blk_report_fatal(report, -EUCLEAN, "image.vhdx.log",
                                "the log at %" PRIu64 " with %" PRIu32 " bytes must lie on MiB "
                                "behind the first one, and have 1 MiB to 1 GiB.",
                                h->log_offset, h->log_bytes);
    if (h->log_offset > v->layer.file.bytes || h->log_bytes > v->layer.file.bytes - h->log_offset)
        return blk_report_fatal(report, -EUCLEAN, "image.vhdx.truncated",
                                "the file ends at %" PRIu64 ", before its log does.",
                                (uint64_t)v->layer.file.bytes);
    return 0;
}

static int read_slot(struct vhdx *v, unsigned slot, struct vhdx_header *ret, const char **ret_fault,
                     struct blk_report *report)
{
    uint8_t bytes[VHDX_PAGE];
    int r = blk_file_read(&v->layer.file, slot_offset(slot), bytes, sizeof(bytes));

    if (r < 0)
        return blk_report_read(report, r, "a header");
    *ret_fault = parse(bytes, ret);
    if (*ret_fault)
        blk_report_note(report, "image.vhdx.header", "the %s header %s.", slot_names[slot],
                        *ret_fault);
    return 0;
}

static int check_start(struct vhdx *v, struct blk_report *report)
{
    char signature[8];
    int r;

    if (v->layer.file.bytes < VHDX_MIB)
        return blk_report_fatal(report, -EUCLEAN, "image.vhdx.truncated",
                                "a VHDX has at least 1 MiB; the file has %" PRIu64 " bytes.",
                                (uint64_t)v->layer.file.bytes);
    if (v->layer.file.bytes > VHDX_FILE_MAX)
        return blk_report_fatal(report, -EUCLEAN, "image.vhdx.length",
                                "the file is longer than any VHDX needs to be.");
    r = blk_file_read(&v->layer.file, 0, signature, sizeof(signature));
    if (r < 0)
        return blk_report_read(report, r, "its start");
    if (memcmp(signature, "vhdxfile", sizeof(signature)) != 0)
        return blk_report_fatal(report, -EUCLEAN, "image.vhdx.signature",
                                "is not a VHDX: it doesn't start with 'vhdxfile'.");
    return 0;
}

int vhdx_header_read(struct vhdx *v, struct blk_report *report)
{
    struct vhdx_header headers[2];
    const char *faults[2];
    int r;

    r = check_start(v, report);
    for (unsigned slot = 0; r == 0 && slot < 2; slot++)
        r = read_slot(v, slot, &headers[slot], &faults[slot], report);
    if (r < 0)
        return r;
    if (faults[0] && faults[1])
        return blk_report_fatal(report, -EUCLEAN, "image.vhdx.header",
                                "both headers are damaged: the first %s, the second %s.", faults[0],
                                faults[1]);
    v->slot = faults[0] || (!faults[1] && headers[1].sequence > headers[0].sequence);
    v->is_damaged = faults[0] || faults[1];
    v->header = headers[v->slot];
    if (!v->is_damaged && headers[0].sequence == headers[1].sequence &&
        memcmp(&headers[0].log, &headers[1].log, sizeof(headers[0].log)) != 0)
        return blk_report_fatal(report, -EUCLEAN, "image.vhdx.header",
                                "both headers have sequence number %" PRIu64 " and name different "
                                "logs; which one is current can't be known.",
                                headers[0].sequence);
    return check_log_place(v, report);
}

void vhdx_header_format(const struct vhdx_header *header, uint8_t ret[static VHDX_PAGE])
{
    memset(ret, 0, VHDX_PAGE);
    memcpy(ret, "head", 4);
    vhdx_put64(ret + 8, header->sequence);
    memcpy(ret + 16, &header->file_write, 16);
    memcpy(ret + 32, &header->data_write, 16);
    memcpy(ret + 48, &header->log, 16);
    vhdx_put16(ret + 66, 1);
    vhdx_put32(ret + 68, header->log_bytes);
    vhdx_put64(ret + 72, header->log_offset);
    vhdx_put32(ret + 4, hv_crc32c(0, ret, VHDX_PAGE));
}

int vhdx_header_write(struct vhdx *v)
{
    uint8_t bytes[VHDX_PAGE];

    for (unsigned i = 0; i < 2; i++) {
        int r;

        if (v->header.sequence == UINT64_MAX)
            return -EOVERFLOW;
        v->header.sequence++;
        v->slot ^= 1;
        vhdx_header_format(&v->header, bytes);
        r = blk_file_write(&v->layer.file, slot_offset(v->slot), bytes, sizeof(bytes));
        if (r == 0)
            r = blk_file_sync(&v->layer.file);
        if (r < 0) {
            blk_file_fail(&v->layer.file, r); /* which slot is current isn't known any more */
            return r;
        }
    }
    v->is_damaged = false;
    return 0;
}

/* spec: 2.2.2 FileWriteGuid, DataWriteGuid */
int vhdx_begin_change(struct vhdx *v, bool is_data)
{
    bool is_data_due = is_data && !v->is_data_write_kept;
    int r = 0;

    if (v->is_file_write_new && (!is_data_due || v->is_data_write_new))
        return 0;
    pthread_mutex_lock(&v->alloc);
    blk_commits_lock(&v->commits);
    is_data_due = is_data_due && !v->is_data_write_new;
    if (!v->is_file_write_new || is_data_due) {
        if (!v->is_file_write_new)
            r = hv_guid_random(&v->header.file_write);
        if (r == 0 && is_data_due)
            r = hv_guid_random(&v->header.data_write);
        if (r == 0)
            r = vhdx_header_write(v);
    }
    if (r == 0) {
        v->is_file_write_new = true;
        v->is_data_write_new = v->is_data_write_new || is_data_due;
    }
    blk_commits_unlock(&v->commits);
    pthread_mutex_unlock(&v->alloc);
    return r;
}
