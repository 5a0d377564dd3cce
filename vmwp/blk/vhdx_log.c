/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of a VHDX as it is found: which entries are whole, which sequence of them is the active
 * one, and its application, to the file or to what is read of it.
 *
 * Work is linear in the log: an entry's sectors are judged in order and the first wrong one ends
 * it, and no sector can be part of two entries.
 *
 * spec: MS-VHDX 2.3
 */
#include "hvcore/base/arith.h"
#include "hvcore/base/crc32c.h"
#include "hvcore/base/cursor.h"
#include "vmwp/blk/vhdx_priv.h"

#include <inttypes.h>

struct entry {
    uint64_t sequence;
    uint32_t sector, n_sectors; /* of the log */
    uint32_t n_descriptors, n_data;
    uint32_t tail; /* a sector */
    uint64_t flushed, last;
    uint32_t chain, place; /* which run of consecutive numbers, and where in it */
};

struct log {
    struct vhdx *v;
    uint32_t n_sectors;
    struct entry *entries;
    uint32_t n_entries, n_entries_max;
    uint32_t *at_sector; /* index + 1 of the entry that begins there */
};

struct descriptor {
    bool is_data;
    uint64_t offset, zero_bytes;
    uint8_t leading[8], trailing[4];
};

static int read_sector(const struct log *log, uint32_t sector, uint8_t ret[static VHDX_PAGE])
{
    uint64_t at = (uint64_t)(sector % log->n_sectors) * VHDX_PAGE;

    return blk_file_read(&log->v->layer.file, log->v->header.log_offset + at, ret, VHDX_PAGE);
}

static uint32_t descriptor_sectors(uint32_t n_descriptors)
{
    return (uint32_t)((VHDX_LOG_HEADER_BYTES + (uint64_t)n_descriptors * VHDX_ENTRY_BYTES +
                       VHDX_PAGE - 1) /
                      VHDX_PAGE);
}

/* The header of an entry; false when there is none. spec: 2.3.1.1 */
static bool parse_entry(const struct log *log, const uint8_t *bytes, struct entry *ret)
{
    struct hv_cursor in = hv_cursor(bytes, VHDX_PAGE);
    uint32_t length, tail;
    struct hv_guid guid;

    if (memcmp(bytes, "loge", 4) != 0)
        return false;
    hv_cursor_skip(&in, 8);
    length = hv_cursor_u32(&in);
    tail = hv_cursor_u32(&in);
    ret->sequence = hv_cursor_u64(&in);
    ret->n_descriptors = hv_cursor_u32(&in);
    hv_cursor_skip(&in, 4);
    hv_cursor_bytes(&in, &guid, sizeof(guid));
    ret->flushed = hv_cursor_u64(&in);
    ret->last = hv_cursor_u64(&in);
    ret->n_sectors = length / VHDX_PAGE;
    ret->tail = tail / VHDX_PAGE;
    return hv_guid_equal(&guid, &log->v->header.log) && ret->sequence != 0 &&
           length % VHDX_PAGE == 0 && tail % VHDX_PAGE == 0 && ret->tail < log->n_sectors &&
           ret->n_sectors > 0 && ret->n_sectors <= log->n_sectors &&
           ret->n_descriptors <= length / VHDX_ENTRY_BYTES &&
           descriptor_sectors(ret->n_descriptors) <= ret->n_sectors;
}

/* Descriptors in one sector of an entry; counts those with data. */
static bool are_descriptors_valid(struct entry *entry, uint32_t index, const uint8_t *bytes)
{
    uint32_t slots_before = index * (VHDX_PAGE / VHDX_ENTRY_BYTES);
    uint32_t skipped = VHDX_LOG_HEADER_BYTES / VHDX_ENTRY_BYTES;

    for (uint32_t i = index == 0 ? skipped : 0; i < VHDX_PAGE / VHDX_ENTRY_BYTES; i++) {
        const uint8_t *at = bytes + (size_t)i * VHDX_ENTRY_BYTES;

        if (slots_before + i - skipped >= entry->n_descriptors)
            return true;
        if (vhdx_get64(at + 24) != entry->sequence)
            return false;
        if (memcmp(at, "desc", 4) == 0)
            entry->n_data++;
        else if (memcmp(at, "zero", 4) != 0)
            return false;
    }
    return true;
}

static bool is_data_valid(const struct entry *entry, const uint8_t *bytes)
{
    return memcmp(bytes, "data", 4) == 0 && vhdx_get32(bytes + 4) == entry->sequence >> 32 &&
           vhdx_get32(bytes + VHDX_PAGE - 4) == (uint32_t)entry->sequence;
}

/* Is there a whole entry at this sector? 1, 0, or a negative errno. */
static int judge_entry(const struct log *log, uint32_t sector, struct entry *ret)
{
    uint8_t bytes[VHDX_PAGE];
    uint32_t found, crc = 0, n_described;
    int r;

    *ret = (struct entry){ .sector = sector };
    r = read_sector(log, sector, bytes);
    if (r < 0 || !parse_entry(log, bytes, ret))
        return r;
    found = vhdx_get32(bytes + 4);
    vhdx_put32(bytes + 4, 0);
    n_described = descriptor_sectors(ret->n_descriptors);
    for (uint32_t i = 0; i < ret->n_sectors; i++) {
        if (i > 0) {
            r = read_sector(log, sector + i, bytes);
            if (r < 0)
                return r;
        }
        if (i < n_described ? !are_descriptors_valid(ret, i, bytes) : !is_data_valid(ret, bytes))
            return 0;
        crc = hv_crc32c(crc, bytes, VHDX_PAGE);
    }
    return crc == found && n_described + ret->n_data == ret->n_sectors;
}

static int add_entry(struct log *log, const struct entry *entry)
{
    if (log->n_entries == log->n_entries_max) {
        uint32_t max = log->n_entries_max ? 2 * log->n_entries_max : 16;
        struct entry *grown = realloc(log->entries, max * sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        log->entries = grown;
        log->n_entries_max = max;
    }
    log->entries[log->n_entries++] = *entry;
    log->at_sector[entry->sector] = log->n_entries;
    return 0;
}

static int find_entries(struct log *log)
{
    log->at_sector = calloc(log->n_sectors, sizeof(*log->at_sector));
    if (!log->at_sector)
        return -ENOMEM;
    for (uint32_t sector = 0; sector < log->n_sectors; sector++) {
        struct entry entry;
        int r = judge_entry(log, sector, &entry);

        if (r > 0)
            r = add_entry(log, &entry);
        if (r < 0)
            return r;
    }
    return 0;
}

static struct entry *next_of(const struct log *log, const struct entry *entry)
{
    uint32_t index = log->at_sector[(entry->sector + entry->n_sectors) % log->n_sectors];
    struct entry *next = index ? &log->entries[index - 1] : NULL;

    return next && entry->sequence != UINT64_MAX && next->sequence == entry->sequence + 1 ? next
                                                                                          : NULL;
}

/* Number the runs: an entry that follows no other begins one. */
static void number_chains(struct log *log)
{
    for (uint32_t i = 0; i < log->n_entries; i++) {
        struct entry *next = next_of(log, &log->entries[i]);

        if (next)
            next->place = 1;
    }
    for (uint32_t i = 0; i < log->n_entries; i++) {
        uint32_t place = 0;

        if (log->entries[i].place != 0 || log->entries[i].chain != 0)
            continue;
        for (struct entry *at = &log->entries[i]; at; at = next_of(log, at)) {
            at->chain = i + 1;
            at->place = place++;
        }
    }
}

/* The newest entry whose tail is in its own run. spec: 2.3.2, 2.3.3 */
static const struct entry *find_head(const struct log *log, const struct entry **ret_tail)
{
    const struct entry *head = NULL;

    for (uint32_t i = 0; i < log->n_entries; i++) {
        const struct entry *entry = &log->entries[i];
        uint32_t index = log->at_sector[entry->tail];
        const struct entry *tail = index ? &log->entries[index - 1] : NULL;

        if (!tail || tail->chain != entry->chain || tail->place > entry->place)
            continue;
        if (head && head->sequence >= entry->sequence)
            continue;
        head = entry;
        *ret_tail = tail;
    }
    return head;
}

static void parse_descriptor(const uint8_t *bytes, struct descriptor *ret)
{
    ret->is_data = memcmp(bytes, "desc", 4) == 0;
    memcpy(ret->trailing, bytes + 4, sizeof(ret->trailing));
    memcpy(ret->leading, bytes + 8, sizeof(ret->leading));
    ret->zero_bytes = vhdx_get64(bytes + 8);
    ret->offset = vhdx_get64(bytes + 16);
}

static bool is_target_valid(const struct vhdx *v, const struct descriptor *d, uint64_t end)
{
    uint64_t bytes = d->is_data ? VHDX_PAGE : d->zero_bytes;

    if (d->offset % VHDX_PAGE || bytes % VHDX_PAGE || d->offset < VHDX_REGIONS_AT ||
        !hv_range_within(d->offset, bytes, end))
        return false;
    return d->offset + bytes <= v->header.log_offset ||
           d->offset >= v->header.log_offset + v->header.log_bytes;
}

static int apply_one(struct vhdx *v, const struct descriptor *d, const uint8_t *data, bool is_patch)
{
    hv_autofree uint8_t *page = NULL;

    if (!d->is_data)
        return is_patch ? blk_file_patch(&v->layer.file, d->offset, d->zero_bytes, NULL)
                        : blk_file_zero(&v->layer.file, d->offset, d->zero_bytes, false);
    page = malloc(VHDX_PAGE);
    if (!page)
        return -ENOMEM;
    memcpy(page, d->leading, 8);
    memcpy(page + 8, data + 8, VHDX_PAGE - 12);
    memcpy(page + VHDX_PAGE - 4, d->trailing, 4);
    if (is_patch)
        return blk_file_patch(&v->layer.file, d->offset, VHDX_PAGE, HV_TAKE_PTR(page));
    return blk_file_write(&v->layer.file, d->offset, page, VHDX_PAGE);
}

enum walk { WALK_JUDGE, WALK_WRITE, WALK_PATCH };

/* Each descriptor of an entry: judged, or applied. */
static int walk_entry(const struct log *log, const struct entry *entry, uint64_t end,
                      enum walk walk, struct blk_report *report)
{
    uint8_t descriptors[VHDX_PAGE], data[VHDX_PAGE];
    uint32_t next_data = descriptor_sectors(entry->n_descriptors);
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < entry->n_descriptors; i++) {
        uint32_t at = VHDX_LOG_HEADER_BYTES + i * VHDX_ENTRY_BYTES;
        struct descriptor d;

        if (i == 0 || at % VHDX_PAGE == 0)
            r = read_sector(log, entry->sector + at / VHDX_PAGE, descriptors);
        if (r < 0)
            return r;
        parse_descriptor(descriptors + at % VHDX_PAGE, &d);
        if (!is_target_valid(log->v, &d, end))
            return blk_report_fatal(
                report, -EUCLEAN, "image.vhdx.log",
                "a log entry wants to change %" PRIu64 ", where no log entry may write.", d.offset);
        if (d.is_data && next_data < entry->n_sectors)
            r = read_sector(log, entry->sector + next_data++, data);
        if (r == 0 && walk != WALK_JUDGE)
            r = apply_one(log->v, &d, data, walk == WALK_PATCH);
    }
    return r;
}

static int walk_sequence(const struct log *log, const struct entry *tail, const struct entry *head,
                         enum walk walk, struct blk_report *report)
{
    uint64_t end = log->v->layer.file.bytes > head->last ? log->v->layer.file.bytes : head->last;
    const struct entry *at = tail;
    int r = 0;

    for (uint32_t i = tail->place; r == 0 && i <= head->place; i++) {
        r = walk_entry(log, at, end, walk, report);
        at = next_of(log, at);
    }
    return r;
}

static int check_lengths(const struct vhdx *v, const struct entry *head, struct blk_report *report)
{
    if (head->flushed > v->layer.file.bytes)
        return blk_report_fatal(report, -EUCLEAN, "image.vhdx.truncated",
                                "the file has %" PRIu64 " bytes and had %" PRIu64
                                " when its log was written; its end is missing.",
                                (uint64_t)v->layer.file.bytes, head->flushed);
    if (head->last > VHDX_FILE_MAX)
        return blk_report_fatal(report, -EUCLEAN, "image.vhdx.log",
                                "a log entry wants the file to have %" PRIu64
                                " bytes, more than any VHDX.",
                                head->last);
    return 0;
}

/* The file gets at least the length the head of the log names. */
static int lengthen(struct vhdx *v, uint64_t last, bool is_patch)
{
    if (last <= v->layer.file.bytes)
        return 0;
    if (!is_patch)
        return blk_file_truncate(&v->layer.file, last);
    return blk_file_patch(&v->layer.file, v->layer.file.bytes, last - v->layer.file.bytes, NULL);
}

static int apply(const struct log *log, const struct entry *tail, const struct entry *head,
                 bool is_patch, struct blk_report *report)
{
    static const struct hv_guid none;
    struct vhdx *v = log->v;
    int r;

    r = lengthen(v, head->last, is_patch);
    if (r == 0)
        r = walk_sequence(log, tail, head, is_patch ? WALK_PATCH : WALK_WRITE, report);
    if (r == -E2BIG)
        return blk_report_fatal(report, r, "image.vhdx.log",
                                "its log holds more changes than can be kept aside for reading; "
                                "open it for writing once.");
    if (r < 0 || is_patch)
        return r;
    r = blk_file_sync(&v->layer.file);
    if (r < 0)
        return r;
    v->header.log = none;
    return vhdx_header_write(v);
}

static int replay(struct log *log, bool is_patch, struct blk_report *report)
{
    const struct entry *head, *tail = NULL;
    int r;

    r = find_entries(log);
    if (r < 0)
        return r;
    number_chains(log);
    head = find_head(log, &tail);
    if (!head)
        return blk_report_fatal(report, -EUCLEAN, "image.vhdx.log",
                                "its header says that changes wait in the log, and the log has no "
                                "whole sequence of entries; what they were can't be known.");
    r = check_lengths(log->v, head, report);
    if (r == 0)
        r = walk_sequence(log, tail, head, WALK_JUDGE, report);
    if (r == 0)
        r = apply(log, tail, head, is_patch, report);
    return r;
}

int vhdx_log_replay(struct vhdx *v, bool is_patch, struct blk_report *report)
{
    static const struct hv_guid none;
    struct log log = { .v = v, .n_sectors = v->header.log_bytes / VHDX_PAGE };
    int r;

    if (hv_guid_equal(&v->header.log, &none))
        return 0;
    v->layer.probe.is_log_pending = true;
    r = replay(&log, is_patch, report);
    free(log.entries);
    free(log.at_sector);
    if (r < 0)
        hv_error_set(report->reterr, r, "image.vhdx.log",
                     "Image %s: the changes in its log can't be applied (%s).", report->path,
                     strerror(-r));
    return r;
}
