/* SPDX-License-Identifier: Apache-2.0 */
/* A file checked from its first byte to its last, and only then used. */
#include "vmwp/state/state_priv.h"

#include "hvcore/base/arith.h"

#include <inttypes.h>
#include <sys/stat.h>
#include <zstd.h>

enum { BUFFER_BYTES = 1 << 20 };

struct state_image {
    int fd;
    uint64_t bytes;
    struct state_head head;
    struct state_part *parts;
    size_t n_parts;
    uint64_t parts_bytes;
    uint64_t ram_at; /* of the first chunk of RAM */
    /* while reading */
    uint64_t at;
    uint8_t *buffer; /* of the file, from buffer_at on */
    uint64_t buffer_at;
    size_t n_buffered;
    struct state_totals totals;
    uint64_t next_gpa;
    ZSTD_DCtx *zstd;
    uint8_t *payload; /* of the chunk at hand; STATE_MAX_CHUNK_BYTES */
    uint8_t *pages;   /* of a piece */
};

static int damaged(const struct state_image *image, struct hv_error **reterr, const char *what)
{
    return hv_error_set(reterr, -EINVAL, "vm.saved_state.damaged",
                        "The saved state is damaged at byte %" PRIu64 ": %s.", image->at, what);
}

static int newer(struct hv_error **reterr, const char *what, uint32_t id)
{
    char name[5] = { 0 };

    for (unsigned i = 0; i < 4; i++)
        name[i] = (char)(id >> 8 * i & 0x7f) < ' ' ? '?' : (char)(id >> 8 * i & 0x7f);
    return hv_error_set(reterr, -ENOTSUP, "vm.saved_state.newer",
                        "The saved state was written by a newer version of this program: %s \"%s\" "
                        "is not known here.",
                        what, name);
}

/* Bytes of the file, through the buffer when they are few. */
static int take(struct state_image *image, void *ret, size_t bytes)
{
    uint64_t in_buffer = image->at - image->buffer_at;
    int r = 0;

    if (!hv_range_within(image->at, bytes, image->bytes))
        return -EINVAL;
    if (image->at < image->buffer_at || in_buffer + bytes > image->n_buffered) {
        uint64_t left = image->bytes - image->at;

        image->n_buffered = left < BUFFER_BYTES ? (size_t)left : BUFFER_BYTES;
        if (bytes > image->n_buffered) {
            image->n_buffered = 0;
            r = state_pread(image->fd, ret, bytes, image->at);
            image->at += bytes;
            return r;
        }
        r = state_pread(image->fd, image->buffer, image->n_buffered, image->at);
        image->buffer_at = image->at;
        in_buffer = 0;
    }
    if (r == 0)
        memcpy(ret, image->buffer + in_buffer, bytes);
    image->at += bytes;
    return r;
}

/* The next chunk's payload into image->payload. */
static int next_chunk(struct state_image *image, struct state_chunk *ret, struct hv_error **reterr)
{
    uint8_t head[STATE_CHUNK_BYTES];
    struct hv_cursor in;
    int r = take(image, head, sizeof(head));

    if (r == -EINVAL)
        return damaged(image, reterr, "it ends where a chunk should begin");
    if (r < 0)
        return r;
    in = hv_cursor(head, sizeof(head));
    if (hv_cursor_u32(&in) != STATE_MARK)
        return damaged(image, reterr, "there is no chunk");
    ret->id = hv_cursor_u32(&in);
    ret->version = hv_cursor_u16(&in);
    ret->flags = hv_cursor_u16(&in);
    ret->instance = hv_cursor_u32(&in);
    ret->bytes = hv_cursor_u32(&in);
    ret->crc = hv_cursor_u32(&in);
    if (ret->bytes > STATE_MAX_CHUNK_BYTES)
        return damaged(image, reterr, "a chunk is too long");
    r = take(image, image->payload, ret->bytes);
    if (r == -EINVAL)
        return damaged(image, reterr, "it ends within a chunk");
    if (r < 0)
        return r;
    if (state_chunk_crc(head, image->payload, ret->bytes) != ret->crc)
        return damaged(image, reterr, "a chunk's checksum is wrong");
    return 0;
}

/* ---- RAM ---- */

/* A piece of RAM: where, which pages, and the pages in image->pages. */
struct piece {
    uint64_t gpa;
    const uint8_t *map;
    unsigned n_pages;
};

static bool is_in_map(const struct piece *piece, unsigned page)
{
    return piece->map[page / 8] >> page % 8 & 1;
}

static int take_piece(struct state_image *image, const struct state_chunk *chunk, struct piece *ret)
{
    struct hv_cursor in = hv_cursor(image->payload, chunk->bytes);
    size_t bytes;

    ret->gpa = hv_cursor_u64(&in);
    ret->map = image->payload + sizeof(ret->gpa);
    hv_cursor_skip(&in, STATE_MAP_BYTES);
    if (!hv_cursor_ok(&in))
        return -EINVAL;
    ret->n_pages = 0;
    for (unsigned i = 0; i < STATE_PIECE_PAGES; i++)
        ret->n_pages += is_in_map(ret, i);
    if (ret->n_pages == 0 || ret->gpa % HV_PAGE_BYTES != 0 || ret->gpa < image->next_gpa ||
        ret->gpa > STATE_MAX_GPA - STATE_PIECE_BYTES)
        return -EINVAL;
    bytes = ZSTD_decompressDCtx(image->zstd, image->pages, (size_t)ret->n_pages * HV_PAGE_BYTES,
                                image->payload + STATE_PIECE_HEAD_BYTES, hv_cursor_left(&in));
    if (ZSTD_isError(bytes) || bytes != (size_t)ret->n_pages * HV_PAGE_BYTES)
        return -EINVAL;
    for (unsigned i = 0; i < STATE_PIECE_PAGES; i++)
        if (is_in_map(ret, i))
            image->next_gpa = ret->gpa + (uint64_t)(i + 1) * HV_PAGE_BYTES;
    return 0;
}

static int place_piece(const struct state_image *image, const struct piece *piece,
                       struct hv_gpa_space *space)
{
    const uint8_t *from = image->pages;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < STATE_PIECE_PAGES; i++) {
        if (!is_in_map(piece, i))
            continue;
        r = hv_gpa_write(space, piece->gpa + (uint64_t)i * HV_PAGE_BYTES, from, HV_PAGE_BYTES);
        from += HV_PAGE_BYTES;
    }
    return r;
}

int state_image_load_ram(struct state_image *image, struct hv_gpa_space *space,
                         struct hv_error **reterr)
{
    struct state_chunk chunk = { .id = STATE_RAM };
    struct piece piece;
    int r = 0;

    image->at = image->ram_at;
    image->next_gpa = 0;
    while (r == 0 && image->ram_at != 0) {
        r = next_chunk(image, &chunk, reterr);
        if (r < 0 || chunk.id == STATE_END)
            return r;
        if (chunk.id != STATE_RAM)
            continue;
        if (take_piece(image, &chunk, &piece) < 0 || place_piece(image, &piece, space) < 0)
            return damaged(image, reterr, "its memory is not this VM's");
    }
    return r;
}

/* ---- the whole file ---- */

static int keep_part(struct state_image *image, const struct state_chunk *chunk,
                     struct hv_error **reterr)
{
    struct state_part *parts, *part;
    uint16_t version = state_part_version(chunk->id);

    if (version == 0 && !(chunk->flags & STATE_REQUIRED))
        return 0;
    if (version == 0 || chunk->version > version || chunk->version == 0)
        return newer(reterr, version == 0 ? "its part" : "the form of its part", chunk->id);
    if (state_image_part(image, chunk->id, chunk->instance))
        return damaged(image, reterr, "a part of it stands twice");
    image->parts_bytes += chunk->bytes;
    if (image->n_parts == STATE_MAX_PARTS || image->parts_bytes > STATE_MAX_PARTS_BYTES)
        return damaged(image, reterr, "it has more parts than a VM");
    parts = reallocarray(image->parts, image->n_parts + 1, sizeof(*parts));
    if (!parts)
        return -ENOMEM;
    image->parts = parts;
    part = &parts[image->n_parts];
    *part = (struct state_part){ .id = chunk->id,
                                 .instance = chunk->instance,
                                 .version = chunk->version,
                                 .bytes = chunk->bytes,
                                 .payload = malloc(chunk->bytes + 1) };
    if (!part->payload)
        return -ENOMEM;
    memcpy(part->payload, image->payload, chunk->bytes);
    image->n_parts++;
    return 0;
}

static int check_ram(struct state_image *image, const struct state_chunk *chunk, uint64_t began_at,
                     struct hv_error **reterr)
{
    struct piece piece;

    if (chunk->version != STATE_RAM_VERSION)
        return newer(reterr, "the form of its chunk", chunk->id);
    if (take_piece(image, chunk, &piece) < 0)
        return damaged(image, reterr, "a piece of memory is malformed");
    if (image->ram_at == 0)
        image->ram_at = began_at;
    image->totals.n_pages += piece.n_pages;
    if (image->totals.n_pages * HV_PAGE_BYTES > image->head.ram_bytes)
        return damaged(image, reterr, "it holds more memory than the VM has");
    return 0;
}

static int check_head(struct state_image *image, const struct state_chunk *chunk,
                      struct hv_error **reterr)
{
    struct hv_fields fields = hv_fields_reader(image->payload, chunk->bytes);

    if (chunk->id != STATE_HEAD)
        return damaged(image, reterr, "it doesn't say what it is of");
    if (chunk->version != STATE_HEAD_VERSION)
        return newer(reterr, "the form of its chunk", chunk->id);
    state_visit_head(&fields, &image->head);
    if (!hv_fields_is_done(&fields))
        return damaged(image, reterr, "what it says it is of is malformed");
    return 0;
}

static int check_end(struct state_image *image, const struct state_chunk *chunk,
                     struct hv_error **reterr)
{
    struct hv_fields fields = hv_fields_reader(image->payload, chunk->bytes);
    struct state_totals totals = { 0 };

    if (chunk->version != STATE_END_VERSION)
        return newer(reterr, "the form of its chunk", chunk->id);
    state_visit_totals(&fields, &totals);
    if (!hv_fields_is_done(&fields) || totals.n_chunks != image->totals.n_chunks ||
        totals.bytes != image->totals.bytes || totals.n_pages != image->totals.n_pages)
        return damaged(image, reterr, "its end tells of another content");
    if (image->at != image->bytes)
        return damaged(image, reterr, "something follows its end");
    return 0;
}

/* Returns 1 after the last chunk. */
static int check_chunk(struct state_image *image, struct hv_error **reterr)
{
    struct state_chunk chunk;
    uint64_t began_at = image->at;
    int r = next_chunk(image, &chunk, reterr);

    if (r < 0)
        return r;
    if (image->totals.n_chunks == 0)
        r = check_head(image, &chunk, reterr);
    else if (chunk.id == STATE_END)
        r = check_end(image, &chunk, reterr);
    else if (chunk.id == STATE_RAM)
        r = check_ram(image, &chunk, began_at, reterr);
    else
        r = keep_part(image, &chunk, reterr);
    image->totals.n_chunks++;
    image->totals.bytes += STATE_CHUNK_BYTES + chunk.bytes;
    return r < 0 ? r : chunk.id == STATE_END;
}

static int check_file(struct state_image *image, struct hv_error **reterr)
{
    uint8_t head[STATE_FILE_BYTES];
    struct hv_cursor in;
    uint32_t version;
    int r = take(image, head, sizeof(head));

    in = hv_cursor(head, sizeof(head));
    if (r == -EINVAL || (r == 0 && hv_cursor_u64(&in) != STATE_MAGIC))
        return hv_error_set(reterr, -EINVAL, "vm.saved_state.none",
                            "The file is no saved state of a VM.");
    if (r < 0)
        return r;
    version = hv_cursor_u32(&in);
    if (version != STATE_VERSION || hv_cursor_u32(&in) != 0)
        return hv_error_set(reterr, -ENOTSUP, "vm.saved_state.newer",
                            "The saved state is of version %" PRIu32
                            "; this program knows version %d.",
                            version, STATE_VERSION);
    image->totals.bytes = sizeof(head);
    do {
        r = check_chunk(image, reterr);
    } while (r == 0);
    return r < 0 ? r : 0;
}

static int image_new(int fd, struct state_image **ret)
{
    HV_CLEANUP(state_image_freep) struct state_image *image = calloc(1, sizeof(*image));
    struct stat st;

    if (!image)
        return -ENOMEM;
    image->fd = fd;
    if (fstat(fd, &st) < 0)
        return -errno;
    image->bytes = (uint64_t)st.st_size;
    image->buffer = malloc(BUFFER_BYTES);
    image->payload = malloc(STATE_MAX_CHUNK_BYTES);
    image->pages = malloc(STATE_PIECE_BYTES);
    image->zstd = ZSTD_createDCtx();
    if (!image->buffer || !image->payload || !image->pages || !image->zstd)
        return -ENOMEM;
    *ret = HV_TAKE_PTR(image);
    return 0;
}

int state_image_open(int fd, struct state_image **ret, struct hv_error **reterr)
{
    HV_CLEANUP(state_image_freep) struct state_image *image = NULL;
    int r = image_new(fd, &image);

    if (r == 0)
        r = check_file(image, reterr);
    if (r < 0)
        return hv_error_set(reterr, r, "vm.saved_state.read", "The saved state cannot be read: %s.",
                            strerror(-r));
    *ret = HV_TAKE_PTR(image);
    return 0;
}

struct state_image *state_image_free(struct state_image *image)
{
    if (!image)
        return NULL;
    for (size_t i = 0; i < image->n_parts; i++)
        free(image->parts[i].payload);
    (void)ZSTD_freeDCtx(image->zstd);
    free(image->parts);
    free(image->buffer);
    free(image->payload);
    free(image->pages);
    free(image);
    return NULL;
}

const struct state_head *state_image_head(const struct state_image *image)
{
    return &image->head;
}

const struct state_part *state_image_part(const struct state_image *image, uint32_t id,
                                          uint32_t instance)
{
    for (size_t i = 0; i < image->n_parts; i++)
        if (image->parts[i].id == id && image->parts[i].instance == instance)
            return &image->parts[i];
    return NULL;
}

struct hv_fields state_image_fields(const struct state_image *image, uint32_t id, uint32_t instance)
{
    const struct state_part *part = state_image_part(image, id, instance);

    if (!part)
        return (struct hv_fields){ .is_reading = true, .has_failed = true };
    return hv_fields_reader(part->payload, part->bytes);
}
