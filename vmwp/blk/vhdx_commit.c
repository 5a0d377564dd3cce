/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Committing: changed pages go through one log entry, then into their places.
 *
 * The order, each step after a sync of the one before: payload; the entry; the header that names
 * the log (the first time); the pages in place. That is synced by the next commit, before its entry
 * is written, and by the clean close. The entry before stays whole until the new one is durable:
 * both fit into the log, one behind the other.
 *
 * spec: MS-VHDX 2.3
 */
#include "hvcore/base/crc32c.h"
#include "vmwp/blk/vhdx_priv.h"

static uint32_t pages_max(const struct vhdx *v)
{
    uint32_t half = v->header.log_bytes / VHDX_PAGE / 2 - 2;

    return half < VHDX_PAGES_PER_ENTRY ? half : VHDX_PAGES_PER_ENTRY;
}

/* spec: 2.3.1.3 data descriptor, 2.3.1.4 data sector */
static void put_page(uint8_t *descriptor, uint8_t *sector, uint64_t sequence, uint64_t offset,
                     const uint8_t *page)
{
    memcpy(descriptor, "desc", 4);
    memcpy(descriptor + 4, page + VHDX_PAGE - 4, 4);
    memcpy(descriptor + 8, page, 8);
    vhdx_put64(descriptor + 16, offset);
    vhdx_put64(descriptor + 24, sequence);
    memcpy(sector, "data", 4);
    vhdx_put32(sector + 4, (uint32_t)(sequence >> 32));
    memcpy(sector + 8, page + 8, VHDX_PAGE - 12);
    vhdx_put32(sector + VHDX_PAGE - 4, (uint32_t)sequence);
}

static void put_entry_header(const struct vhdx *v, uint8_t *entry, uint32_t length, unsigned n)
{
    memcpy(entry, "loge", 4);
    vhdx_put32(entry + 8, length);
    vhdx_put32(entry + 12, v->log_at);
    vhdx_put64(entry + 16, v->log_sequence);
    vhdx_put32(entry + 24, n);
    memcpy(entry + 32, &v->header.log, sizeof(v->header.log));
    vhdx_put64(entry + 48, v->layer.file.bytes);
    vhdx_put64(entry + 56, v->layer.file.bytes);
    vhdx_put32(entry + 4, hv_crc32c(0, entry, length));
}

static int write_wrapped(struct vhdx *v, const uint8_t *entry, uint32_t length)
{
    uint32_t until_end = v->header.log_bytes - v->log_at;
    uint32_t first = length < until_end ? length : until_end;
    int r;

    r = blk_file_write(&v->layer.file, v->header.log_offset + v->log_at, entry, first);
    if (r == 0 && first < length)
        r = blk_file_write(&v->layer.file, v->header.log_offset, entry + first, length - first);
    return r;
}

/* spec: 2.3.1.1. The name of a log that the header doesn't have yet is given here. */
static int append_entry(struct vhdx *v, const struct blk_pages_copy *copy)
{
    uint32_t n_described = (uint32_t)((VHDX_LOG_HEADER_BYTES +
                                       (size_t)copy->n_pages * VHDX_ENTRY_BYTES + VHDX_PAGE - 1) /
                                      VHDX_PAGE);
    uint32_t length = (n_described + copy->n_pages) * VHDX_PAGE;
    hv_autofree uint8_t *entry = calloc(1, length);
    int r;

    if (!entry)
        return -ENOMEM;
    v->log_sequence++;
    for (unsigned i = 0; i < copy->n_pages; i++)
        put_page(entry + VHDX_LOG_HEADER_BYTES + (size_t)i * VHDX_ENTRY_BYTES,
                 entry + (size_t)(n_described + i) * VHDX_PAGE, v->log_sequence, copy->offsets[i],
                 copy->bytes + (size_t)i * VHDX_PAGE);
    put_entry_header(v, entry, length, copy->n_pages);
    r = write_wrapped(v, entry, length);
    v->log_at = (v->log_at + length) % v->header.log_bytes;
    return r;
}

static int log_pages(struct vhdx *v, const struct blk_pages_copy *copy)
{
    static const struct hv_guid none;
    bool is_first = hv_guid_equal(&v->header.log, &none);
    int r = is_first ? hv_guid_random(&v->header.log) : 0;

    if (r == 0)
        r = append_entry(v, copy);
    if (r == 0)
        r = blk_file_sync(&v->layer.file);
    if (r == 0 && is_first)
        r = vhdx_header_write(v);
    for (unsigned i = 0; r == 0 && i < copy->n_pages; i++)
        r = blk_file_write(&v->layer.file, copy->offsets[i], copy->bytes + (size_t)i * VHDX_PAGE,
                           VHDX_PAGE);
    return r;
}

/* What was freed may be used again. The host gets its space first: a hole reads as zeroes. */
static void release_freed(struct vhdx *v, struct vhdx_range *freed, size_t n_freed)
{
    for (size_t i = 0; i < n_freed; i++)
        (void)v->layer.file.ops->zero(v->layer.file.opaque, freed[i].offset, freed[i].bytes, true);
    pthread_mutex_lock(&v->meta);
    for (size_t i = 0; i < n_freed; i++)
        vhdx_space_give(&v->space, freed[i].offset, freed[i].bytes);
    pthread_mutex_unlock(&v->meta);
    free(freed);
}

static int commit_now(void *opaque)
{
    struct vhdx *v = opaque;
    struct blk_pages_copy copy;
    struct vhdx_range *freed;
    size_t n_freed;
    int r;

    pthread_mutex_lock(&v->meta);
    r = blk_pages_take(&v->pages, &copy);
    freed = v->freed;
    n_freed = v->n_freed;
    if (r == 0) {
        v->freed = NULL;
        v->n_freed = v->n_freed_max = 0;
    }
    pthread_mutex_unlock(&v->meta);
    if (r < 0)
        return r;
    r = blk_file_sync(&v->layer.file);
    if (r == 0 && copy.n_pages)
        r = log_pages(v, &copy);
    if (r < 0)
        blk_file_fail(&v->layer.file, r); /* what the log holds isn't known: no more changes */
    pthread_mutex_lock(&v->meta);
    if (r == 0)
        blk_pages_arrived(&v->pages, &copy);
    pthread_mutex_unlock(&v->meta);
    blk_pages_copy_fini(&copy);
    if (r == 0)
        release_freed(v, freed, n_freed);
    else
        free(freed);
    return r;
}

int vhdx_commit(struct vhdx *v)
{
    return blk_commits_do(&v->commits, &v->layer.file, commit_now, v);
}

int vhdx_lock_for_change(struct vhdx *v, unsigned n_pages)
{
    pthread_mutex_lock(&v->meta);
    while (v->pages.n_dirty + n_pages > pages_max(v)) {
        int r;

        pthread_mutex_unlock(&v->meta);
        r = vhdx_commit(v);
        if (r < 0)
            return r;
        pthread_mutex_lock(&v->meta);
    }
    return 0;
}
