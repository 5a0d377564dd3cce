/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/blk/pages_priv.h"

#include "hvcore/base/arith.h"

#include <string.h>

enum { BUCKETS_MIN = 64 };

int blk_pages_init(struct blk_pages *pages, struct blk_file *file, unsigned page_bytes,
                   size_t n_pages_max)
{
    *pages = (struct blk_pages){
        .file = file, .page_bytes = page_bytes, .n_pages_max = n_pages_max, .n_buckets = BUCKETS_MIN
    };
    pages->buckets = calloc(pages->n_buckets, sizeof(struct blk_page *));
    return pages->buckets ? 0 : -ENOMEM;
}

void blk_pages_fini(struct blk_pages *pages)
{
    for (size_t i = 0; pages->buckets && i < pages->n_buckets; i++) {
        while (pages->buckets[i]) {
            struct blk_page *page = pages->buckets[i];

            pages->buckets[i] = page->next;
            free(page);
        }
    }
    free(pages->buckets);
    pages->buckets = NULL;
}

static struct blk_page **bucket_of(struct blk_page **buckets, size_t n_buckets,
                                   const struct blk_pages *pages, uint64_t offset)
{
    uint64_t mixed = offset / pages->page_bytes * UINT64_C(0x9e3779b97f4a7c15);

    return &buckets[(mixed >> 32) & (n_buckets - 1)];
}

/* More buckets when chains grow long; without memory they stay long. */
static void spread(struct blk_pages *pages)
{
    size_t n_buckets = pages->n_buckets * 4;
    struct blk_page **buckets = calloc(n_buckets, sizeof(struct blk_page *));

    if (!buckets)
        return;
    for (size_t i = 0; i < pages->n_buckets; i++) {
        while (pages->buckets[i]) {
            struct blk_page *page = pages->buckets[i];
            struct blk_page **to = bucket_of(buckets, n_buckets, pages, page->offset);

            pages->buckets[i] = page->next;
            page->next = *to;
            *to = page;
        }
    }
    free(pages->buckets);
    pages->buckets = buckets;
    pages->n_buckets = n_buckets;
}

static void drop_clean(struct blk_pages *pages)
{
    for (size_t i = 0; i < pages->n_buckets; i++) {
        for (struct blk_page **at = &pages->buckets[i]; *at;) {
            struct blk_page *page = *at;

            if (page->is_dirty || page->is_leaving) {
                at = &page->next;
                continue;
            }
            *at = page->next;
            free(page);
            pages->n_pages--;
        }
    }
}

int blk_pages_get(struct blk_pages *pages, uint64_t offset, struct blk_page **ret)
{
    uint64_t first = hv_align_down(offset, pages->page_bytes);
    struct blk_page **bucket = bucket_of(pages->buckets, pages->n_buckets, pages, first);
    struct blk_page *page;
    int r;

    for (page = *bucket; page; page = page->next) {
        if (page->offset == first) {
            *ret = page;
            return 0;
        }
    }
    page = calloc(1, sizeof(*page) + pages->page_bytes);
    if (!page)
        return -ENOMEM;
    r = blk_file_read(pages->file, first, page->bytes, pages->page_bytes);
    if (r < 0) {
        free(page);
        return r;
    }
    if (pages->n_pages >= pages->n_pages_max)
        drop_clean(pages);
    if (pages->n_pages >= 4 * pages->n_buckets)
        spread(pages);
    bucket = bucket_of(pages->buckets, pages->n_buckets, pages, first);
    page->offset = first;
    page->next = *bucket;
    *bucket = page;
    pages->n_pages++;
    *ret = page;
    return 0;
}

void blk_pages_touch(struct blk_pages *pages, struct blk_page *page)
{
    if (!page->is_dirty)
        pages->n_dirty++;
    page->is_dirty = true;
}

int blk_pages_take(struct blk_pages *pages, struct blk_pages_copy *ret)
{
    struct blk_pages_copy copy = { 0 };

    *ret = copy;
    if (!pages->n_dirty)
        return 0;
    copy.offsets = calloc(pages->n_dirty, sizeof(uint64_t));
    copy.bytes = calloc(pages->n_dirty, pages->page_bytes);
    if (!copy.offsets || !copy.bytes) {
        blk_pages_copy_fini(&copy);
        return -ENOMEM;
    }
    for (size_t i = 0; i < pages->n_buckets; i++) {
        for (struct blk_page *page = pages->buckets[i]; page; page = page->next) {
            if (!page->is_dirty)
                continue;
            copy.offsets[copy.n_pages] = page->offset;
            memcpy(copy.bytes + (size_t)copy.n_pages++ * pages->page_bytes, page->bytes,
                   pages->page_bytes);
            page->is_dirty = false;
            page->is_leaving = true;
        }
    }
    pages->n_dirty = 0;
    pages->n_leaving = copy.n_pages;
    *ret = copy;
    return 0;
}

void blk_pages_arrived(struct blk_pages *pages, const struct blk_pages_copy *copy)
{
    for (unsigned i = 0; i < copy->n_pages; i++) {
        struct blk_page *page =
            *bucket_of(pages->buckets, pages->n_buckets, pages, copy->offsets[i]);

        while (page && page->offset != copy->offsets[i])
            page = page->next;
        if (page)
            page->is_leaving = false;
    }
    pages->n_leaving = 0;
}

void blk_pages_copy_fini(struct blk_pages_copy *copy)
{
    free(copy->offsets);
    free(copy->bytes);
    *copy = (struct blk_pages_copy){ 0 };
}
