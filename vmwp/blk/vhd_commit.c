/* SPDX-License-Identifier: Apache-2.0 */
/* Payload first, then the sectors of the tables that point to it. */
#include "vmwp/blk/vhd_priv.h"

static int write_pages(struct vhd *v, const struct blk_pages_copy *copy)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < copy->n_pages; i++)
        r = blk_file_write(&v->layer.file, copy->offsets[i], copy->bytes + (size_t)i * VHD_SECTOR,
                           VHD_SECTOR);
    return r == 0 ? blk_file_sync(&v->layer.file) : r;
}

static int commit_now(void *opaque)
{
    struct vhd *v = opaque;
    struct blk_pages_copy copy;
    int r;

    pthread_mutex_lock(&v->meta);
    r = blk_pages_take(&v->pages, &copy);
    pthread_mutex_unlock(&v->meta);
    if (r < 0)
        return r;
    r = blk_file_sync(&v->layer.file);
    if (r == 0 && copy.n_pages)
        r = write_pages(v, &copy);
    if (r < 0)
        blk_file_fail(&v->layer.file, r); /* which entries arrived isn't known */
    pthread_mutex_lock(&v->meta);
    if (r == 0)
        blk_pages_arrived(&v->pages, &copy);
    pthread_mutex_unlock(&v->meta);
    blk_pages_copy_fini(&copy);
    return r;
}

int vhd_commit(struct vhd *v)
{
    return blk_commits_do(&v->commits, &v->layer.file, commit_now, v);
}
