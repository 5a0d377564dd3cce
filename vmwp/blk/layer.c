/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/blk/layer_priv.h"

#include <inttypes.h>
#include <string.h>

static blk_layer_open_fn *const open_fns[] = {
    [BLK_FORMAT_RAW] = blk_raw_open,
    [BLK_FORMAT_VHD] = blk_vhd_open,
    [BLK_FORMAT_VHDX] = blk_vhdx_open,
};

static blk_create_fn *const create_fns[] = {
    [BLK_FORMAT_RAW] = blk_raw_create,
    [BLK_FORMAT_VHD] = blk_vhd_create,
    [BLK_FORMAT_VHDX] = blk_vhdx_create,
};

void blk_layer_init(struct blk_layer *layer, const struct blk_layer_ops *ops, struct blk_file *file,
                    unsigned flags)
{
    pthread_rwlockattr_t attr;

    layer->ops = ops;
    layer->file = *file;
    layer->is_read_only = flags & BLK_OPEN_READ_ONLY;
    layer->probe.file_bytes = file->bytes;
    /* Freeing a block must get its turn against readers that never end. */
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&layer->use, &attr);
    pthread_rwlockattr_destroy(&attr);
}

void blk_layer_fini(struct blk_layer *layer)
{
    pthread_rwlock_destroy(&layer->use);
}

struct blk_layer *blk_layer_free(struct blk_layer *layer)
{
    struct blk_file file;

    if (!layer)
        return NULL;
    file = layer->file;
    layer->ops->free(layer);
    blk_file_release(&file);
    return NULL;
}

int blk_layer_open(struct blk_file *file, enum blk_format format, unsigned flags,
                   struct blk_report *report, struct blk_layer **ret)
{
    int r;

    if ((unsigned)format >= HV_ARRAY_SIZE(open_fns))
        return -EINVAL;
    r = open_fns[format](file, flags, report, ret);
    if (r == -ENOMEM)
        return hv_error_set(report->reterr, r, "image.memory", "Image %s: no memory to open it.",
                            report->path);
    return r;
}

int blk_create(struct blk_file *file, const struct blk_create_options *options,
               struct blk_report *report)
{
    int r;

    if ((unsigned)options->format >= HV_ARRAY_SIZE(create_fns))
        return -EINVAL;
    if (file->bytes != 0)
        return blk_report_fatal(report, -EEXIST, "image.create.exists",
                                "the file must be empty and has %" PRIu64 " bytes.",
                                (uint64_t)file->bytes);
    r = create_fns[options->format](file, options, report);
    if (r == 0) {
        r = blk_file_sync(file);
        if (r < 0)
            (void)blk_report_fatal(report, r, "image.create.sync", "can't be made durable (%s).",
                                   strerror(-r));
    }
    if (r < 0) {
        hv_error_set(report->reterr, r, "image.create.write", "Image %s: can't be written (%s).",
                     report->path, strerror(-r));
        (void)blk_file_truncate(file, 0);
    }
    return r;
}
