/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a chain of images: each by its format, then what binds one to the next. */
#include "vmwp/blk/work_priv.h"

#include <inttypes.h>
#include <string.h>

int blk_check_link(const struct blk_layer *child, const struct blk_layer *parent,
                   struct hv_error **reterr)
{
    const struct blk_probe *c = &child->probe, *p = &parent->probe;
    static const struct hv_guid none;

    if (!c->has_parent)
        return hv_error_set(reterr, -EINVAL, "image.chain.parent",
                            "Image %s: has no parent, yet %s was given as one.", child->file.path,
                            parent->file.path);
    if (c->format != p->format)
        return hv_error_set(reterr, -EUCLEAN, "image.chain.format",
                            "Image %s: its parent %s has another format; both must be the same.",
                            child->file.path, parent->file.path);
    if (c->logical_bytes != p->logical_bytes)
        return hv_error_set(reterr, -EUCLEAN, "image.chain.sector",
                            "Image %s: has sectors of %" PRIu32 " bytes, its parent %s of %" PRIu32
                            "; both must be the same.",
                            child->file.path, c->logical_bytes, parent->file.path,
                            p->logical_bytes);
    if (hv_guid_equal(&c->parent_id, &p->data_write) ||
        (!hv_guid_equal(&c->parent_id2, &none) && hv_guid_equal(&c->parent_id2, &p->data_write)))
        return 0;
    return hv_error_set(reterr, -EUCLEAN, "image.chain.linkage",
                        "Image %s: %s is not its parent, or was written to since the child was "
                        "made: the linkage identifiers differ.",
                        child->file.path, parent->file.path);
}

/* Each fits the next, and the last has no parent. */
static int check_chain(const struct blk_disk *disk, struct hv_error **reterr)
{
    const struct blk_layer *last = disk->layers[disk->n_layers - 1];

    for (unsigned i = 0; i + 1 < disk->n_layers; i++) {
        int r = blk_check_link(disk->layers[i], disk->layers[i + 1], reterr);

        if (r < 0)
            return r;
    }
    if (last->probe.has_parent)
        return hv_error_set(reterr, -EINVAL, "image.chain.parent",
                            "Image %s: is differencing and its parent is missing.",
                            last->file.path);
    return 0;
}

static int check_loops(const struct blk_file *files, unsigned n_files, struct hv_error **reterr)
{
    for (unsigned i = 0; i < n_files; i++)
        for (unsigned j = 0; j < i; j++)
            if (files[i].dev == files[j].dev && files[i].inode == files[j].inode)
                return hv_error_set(reterr, -ELOOP, "image.chain.loop",
                                    "Image %s: appears twice in its own chain, also as %s.",
                                    files[j].path, files[i].path);
    return 0;
}

static void fill_info(struct blk_disk *disk)
{
    const struct blk_layer *top = disk->layers[0];
    struct blk_info *info = &disk->info;

    info->format = top->probe.format;
    info->kind = top->probe.kind;
    info->bytes = top->probe.bytes;
    info->logical_bytes = top->probe.logical_bytes;
    info->physical_bytes = top->probe.physical_bytes;
    info->block_bytes = info->kind == BLK_KIND_FIXED ? 0 : top->probe.block_bytes;
    info->is_read_only = top->is_read_only;
    info->can_discard = top->can_discard && !top->is_read_only;
    memcpy(info->identity, top->probe.identity.bytes, sizeof(info->identity));
}

/* Undo an open: the files go back to where they came from. */
static void give_back(struct blk_disk *disk, struct blk_file *files)
{
    for (unsigned i = 0; i < disk->n_layers; i++) {
        struct blk_layer *layer = disk->layers[i];

        files[i] = layer->file;
        layer->ops->free(layer);
    }
    free(disk);
}

static int open_layers(struct blk_disk *disk, struct blk_file *files,
                       const enum blk_format *formats, unsigned n_files, unsigned flags,
                       struct hv_error **reterr)
{
    for (unsigned i = n_files; i-- > 0;) {
        struct blk_report report = { .path = files[i].path, .reterr = reterr };
        struct blk_layer *layer;
        int r = blk_layer_open(&files[i], formats[i], i ? flags | BLK_OPEN_READ_ONLY : flags,
                               &report, &layer);

        if (r < 0)
            return r;
        /* Parents first, so that the top is touched only when they passed; kept in a run. */
        memmove(&disk->layers[1], &disk->layers[0], disk->n_layers * sizeof(disk->layers[0]));
        disk->layers[0] = layer;
        disk->n_layers++;
    }
    return 0;
}

int blk_disk_open_files(struct blk_file *files, const enum blk_format *formats, unsigned n_files,
                        unsigned flags, struct blk_disk **ret, struct hv_error **reterr)
{
    struct blk_disk *disk;
    int r;

    if (n_files == 0 || n_files > BLK_CHAIN_MAX)
        return hv_error_set(reterr, -EINVAL, "image.chain.depth",
                            "Image %s: its chain has %u images; 1 to %d are possible.",
                            n_files ? files[0].path : "(none)", n_files, BLK_CHAIN_MAX);
    r = check_loops(files, n_files, reterr);
    if (r < 0)
        return r;
    disk = calloc(1, sizeof(*disk));
    if (!disk)
        return -ENOMEM;
    r = open_layers(disk, files, formats, n_files, flags, reterr);
    if (r == 0)
        r = check_chain(disk, reterr);
    if (r < 0) {
        give_back(disk, files + (n_files - disk->n_layers));
        return r;
    }
    fill_info(disk);
    *ret = disk;
    return 0;
}

int blk_disk_end(struct blk_disk *disk, bool is_fd_kept)
{
    int r = 0;

    if (!disk)
        return 0;
    if (!disk->layers[0]->is_read_only)
        r = disk->layers[0]->ops->finish(disk->layers[0]);
    for (unsigned i = 0; i < disk->n_layers; i++) {
        struct blk_file file = disk->layers[i]->file;

        disk->layers[i]->ops->free(disk->layers[i]);
        if (is_fd_kept)
            blk_file_release(&file);
        else
            blk_file_fini(&file);
    }
    free(disk);
    return r;
}

struct blk_disk *blk_disk_close(struct blk_disk *disk)
{
    (void)blk_disk_end(disk, false);
    return NULL;
}
