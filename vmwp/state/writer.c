/* SPDX-License-Identifier: Apache-2.0 */
/* Chunks and RAM into a file that is complete only with its end. */
#include "vmwp/state/state_priv.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <zstd.h>

enum {
    BUFFER_BYTES = 1 << 20,
    LEVEL = 1,                   /* of compression: the guest stands still meanwhile */
    SYNC_EVERY_BYTES = 32 << 20, /* so that the last sync is short */
    PARTS_BYTES = 16 << 20,      /* what all chunks but RAM may take, when room is reserved */
};

struct state_writer {
    int fd;
    int r; /* what went wrong first; sticks */
    uint64_t at;
    uint64_t synced_at;
    uint8_t *buffer;
    size_t n_buffered;
    struct state_totals totals;
    ZSTD_CCtx *zstd;
    uint8_t *pages;  /* of a piece, those that aren't zero */
    uint8_t *packed; /* a piece's chunk */
    size_t packed_room;
    unsigned slot;
    uint64_t offset; /* in the slot */
    uint64_t ram_done;
};

static int fail(struct state_writer *writer, int r)
{
    if (writer->r == 0 && r < 0)
        writer->r = r;
    return writer->r;
}

static int flush(struct state_writer *writer)
{
    int r = state_pwrite(writer->fd, writer->buffer, writer->n_buffered, writer->at);

    writer->at += writer->n_buffered;
    writer->n_buffered = 0;
    if (r == 0 && writer->at - writer->synced_at >= SYNC_EVERY_BYTES) {
        writer->synced_at = writer->at;
        r = fdatasync(writer->fd) < 0 ? -errno : 0;
    }
    return fail(writer, r);
}

static void append(struct state_writer *writer, const void *bytes, size_t length)
{
    const uint8_t *next = bytes;

    while (length > 0 && writer->r == 0) {
        size_t part = BUFFER_BYTES - writer->n_buffered;

        part = part < length ? part : length;
        memcpy(writer->buffer + writer->n_buffered, next, part);
        writer->n_buffered += part;
        next += part;
        length -= part;
        if (writer->n_buffered == BUFFER_BYTES)
            (void)flush(writer);
    }
}

static void put_chunk(struct state_writer *writer, const struct state_chunk *chunk,
                      const void *payload)
{
    uint32_t mark = STATE_MARK, crc;
    struct state_chunk copy = *chunk;
    struct hv_fields head = hv_fields_writer();

    hv_field_u32(&head, &mark);
    hv_field_u32(&head, &copy.id);
    hv_field_u16(&head, &copy.version);
    hv_field_u16(&head, &copy.flags);
    hv_field_u32(&head, &copy.instance);
    hv_field_u32(&head, &copy.bytes);
    if (hv_fields_ok(&head)) {
        crc = state_chunk_crc(head.bytes, payload, chunk->bytes);
        append(writer, head.bytes, STATE_CRC_BYTES);
        append(writer, &crc, sizeof(crc));
        append(writer, payload, chunk->bytes);
        writer->totals.n_chunks++;
        writer->totals.bytes += STATE_CHUNK_BYTES + chunk->bytes;
    } else {
        (void)fail(writer, -ENOMEM);
    }
    hv_fields_fini(&head);
}

/* Takes fields over. */
static int put_fields(struct state_writer *writer, const struct state_chunk *chunk,
                      struct hv_fields *fields)
{
    struct state_chunk copy = *chunk;

    hv_assert(fields->length <= STATE_MAX_CHUNK_BYTES);
    copy.flags = STATE_REQUIRED;
    copy.bytes = (uint32_t)fields->length;
    if (hv_fields_ok(fields))
        put_chunk(writer, &copy, fields->bytes);
    else
        (void)fail(writer, -ENOMEM);
    hv_fields_fini(fields);
    return writer->r;
}

int state_writer_part(struct state_writer *writer, uint32_t id, uint32_t instance,
                      struct hv_fields *fields)
{
    struct state_chunk chunk = { .id = id,
                                 .version = state_part_version(id),
                                 .instance = instance };

    return put_fields(writer, &chunk, fields);
}

static int begin(struct state_writer *writer, const struct state_head *head)
{
    struct hv_fields fields = hv_fields_writer();
    struct state_head copy = *head;
    uint64_t magic = STATE_MAGIC;
    uint32_t version = STATE_VERSION, zero = 0;

    append(writer, &magic, sizeof(magic));
    append(writer, &version, sizeof(version));
    append(writer, &zero, sizeof(zero));
    writer->totals.bytes = STATE_FILE_BYTES;
    state_visit_head(&fields, &copy);
    return put_fields(
        writer, &(struct state_chunk){ .id = STATE_HEAD, .version = STATE_HEAD_VERSION }, &fields);
}

int state_writer_new(int fd, const struct state_head *head, struct state_writer **ret)
{
    HV_CLEANUP(state_writer_freep) struct state_writer *writer = calloc(1, sizeof(*writer));
    int r;

    if (!writer)
        return -ENOMEM;
    writer->fd = fd;
    writer->packed_room = STATE_PIECE_HEAD_BYTES + ZSTD_compressBound(STATE_PIECE_BYTES);
    writer->buffer = malloc(BUFFER_BYTES);
    writer->pages = malloc(STATE_PIECE_BYTES);
    writer->packed = malloc(writer->packed_room);
    writer->zstd = ZSTD_createCCtx();
    if (!writer->buffer || !writer->pages || !writer->packed || !writer->zstd)
        return -ENOMEM;
    r = begin(writer, head);
    if (r < 0)
        return r;
    *ret = HV_TAKE_PTR(writer);
    return 0;
}

struct state_writer *state_writer_free(struct state_writer *writer)
{
    if (!writer)
        return NULL;
    (void)ZSTD_freeCCtx(writer->zstd);
    free(writer->buffer);
    free(writer->pages);
    free(writer->packed);
    free(writer);
    return NULL;
}

/* ---- RAM ---- */

static bool is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, HV_PAGE_BYTES - 1) == 0;
}

/* Copy the pages that aren't zero together; returns how many. */
static unsigned collect(struct state_writer *writer, const uint8_t *from, unsigned n_pages,
                        uint8_t map[static STATE_MAP_BYTES])
{
    unsigned n = 0;

    memset(map, 0, STATE_MAP_BYTES);
    for (unsigned i = 0; i < n_pages; i++) {
        const uint8_t *page = from + (size_t)i * HV_PAGE_BYTES;

        if (is_zero(page))
            continue;
        map[i / 8] |= (uint8_t)(1 << i % 8);
        memcpy(writer->pages + (size_t)n * HV_PAGE_BYTES, page, HV_PAGE_BYTES);
        n++;
    }
    return n;
}

static void put_piece(struct state_writer *writer, uint64_t gpa, const uint8_t *from,
                      unsigned n_pages)
{
    struct state_chunk chunk = { .id = STATE_RAM,
                                 .version = STATE_RAM_VERSION,
                                 .flags = STATE_REQUIRED };
    unsigned n = collect(writer, from, n_pages, writer->packed + sizeof(gpa));
    size_t bytes;

    if (n == 0)
        return;
    memcpy(writer->packed, &gpa, sizeof(gpa));
    bytes = ZSTD_compressCCtx(writer->zstd, writer->packed + STATE_PIECE_HEAD_BYTES,
                              writer->packed_room - STATE_PIECE_HEAD_BYTES, writer->pages,
                              (size_t)n * HV_PAGE_BYTES, LEVEL);
    if (ZSTD_isError(bytes)) {
        (void)fail(writer, -ENOMEM);
        return;
    }
    chunk.bytes = (uint32_t)(STATE_PIECE_HEAD_BYTES + bytes);
    writer->totals.n_pages += n;
    put_chunk(writer, &chunk, writer->packed);
}

/* One piece of the slot that is at hand. */
static uint64_t step(struct state_writer *writer, struct hv_gpa_slot *slot)
{
    uint64_t left = slot->bytes - writer->offset;
    uint64_t bytes = left < STATE_PIECE_BYTES ? left : STATE_PIECE_BYTES;

    put_piece(writer, slot->first + writer->offset, slot->host + writer->offset,
              (unsigned)(bytes / HV_PAGE_BYTES));
    writer->offset += bytes;
    writer->ram_done += bytes;
    if (writer->offset == slot->bytes) {
        writer->slot++;
        writer->offset = 0;
    }
    return bytes;
}

int state_writer_ram(struct state_writer *writer, struct hv_gpa_space *space, uint64_t max_bytes)
{
    uint64_t done = 0;

    while (writer->r == 0 && done < max_bytes && writer->slot < space->n_slots)
        done += step(writer, &space->slots[writer->slot]);
    return writer->r < 0 ? writer->r : writer->slot < space->n_slots;
}

uint64_t state_writer_ram_done(const struct state_writer *writer)
{
    return writer->ram_done;
}

int state_writer_finish(struct state_writer *writer)
{
    struct hv_fields fields = hv_fields_writer();
    struct state_totals totals = writer->totals;

    state_visit_totals(&fields, &totals);
    (void)put_fields(writer, &(struct state_chunk){ .id = STATE_END, .version = STATE_END_VERSION },
                     &fields);
    if (writer->r == 0)
        (void)flush(writer);
    if (writer->r == 0 && ftruncate(writer->fd, (off_t)writer->at) < 0)
        (void)fail(writer, -errno);
    if (writer->r == 0 && fsync(writer->fd) < 0)
        (void)fail(writer, -errno);
    return writer->r;
}

/* ---- room ---- */

/* What the guest has touched, uncompressible, and the rest. */
static int needed(const struct hv_gpa_space *space, uint64_t *ret)
{
    struct stat st;

    if (fstat(space->memfd, &st) < 0)
        return -errno;
    *ret = (uint64_t)st.st_blocks * 512;
    if (*ret > space->ram_bytes)
        *ret = space->ram_bytes;
    *ret += *ret / 64 + PARTS_BYTES;
    return 0;
}

int state_reserve(int fd, const struct hv_gpa_space *space, uint64_t *ret_short)
{
    struct statfs fs;
    uint64_t need = 0, room;
    int r = needed(space, &need);

    if (r < 0)
        return r;
    if (fstatfs(fd, &fs) < 0)
        return -errno;
    room = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
    if (room < need) {
        *ret_short = need - room;
        return -ENOSPC;
    }
    if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)need) == 0 || errno == EOPNOTSUPP)
        return 0;
    *ret_short = need;
    return -errno;
}
