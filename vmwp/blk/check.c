/* SPDX-License-Identifier: Apache-2.0 */
/* Judging an image: the parsers that open it, told to go on and to be strict. */
#include "vmwp/blk/check_priv.h"

#include <string.h>

static blk_check_fn *const check_fns[] = {
    [BLK_FORMAT_RAW] = blk_raw_check,
    [BLK_FORMAT_VHD] = blk_vhd_check,
    [BLK_FORMAT_VHDX] = blk_vhdx_check,
};

int blk_check_file(struct blk_file *file, enum blk_format format, blk_problem_fn *fn, void *opaque,
                   struct blk_check_result *ret, struct hv_error **reterr)
{
    struct blk_report report = { .path = file->path, .reterr = reterr, .fn = fn, .opaque = opaque };
    struct blk_check_result result = { 0 };
    int r;

    if ((unsigned)format >= HV_ARRAY_SIZE(check_fns))
        return -EINVAL;
    r = check_fns[format](file, &report, &result);
    if (r < 0 && report.n_problems == 0)
        return hv_error_set(reterr, r, "image.check", "Image %s: can't be checked (%s).",
                            file->path, strerror(-r));
    result.n_problems = report.n_problems;
    *ret = result;
    return 0;
}

int blk_image_check(const struct blk_image_file *image, blk_problem_fn *fn, void *opaque,
                    struct blk_check_result *ret, struct hv_error **reterr)
{
    struct blk_file file;
    int r;

    r = blk_file_init(&file, image->fd, image->path, reterr);
    if (r < 0)
        return r;
    r = blk_check_file(&file, image->format, fn, opaque, ret, reterr);
    blk_file_release(&file);
    return r;
}

int blk_raw_check(struct blk_file *file, struct blk_report *report, struct blk_check_result *ret)
{
    struct blk_layer *layer;
    int r = blk_raw_open(file, BLK_OPEN_READ_ONLY, report, &layer);

    if (r < 0)
        return r;
    *file = layer->file;
    layer->ops->free(layer);
    return 0;
}
