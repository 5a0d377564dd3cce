/* SPDX-License-Identifier: Apache-2.0 */
/* What the makers of all formats ask of a parent. */
#include "vmwp/blk/layer_priv.h"

#include <inttypes.h>
#include <string.h>

static int check_path(const char *path, struct blk_report *report)
{
    hv_autofree uint8_t *text = malloc(2 * BLK_PATH_BYTES);
    size_t used;

    if (!text)
        return -ENOMEM;
    if (path && (strlen(path) == 0 || strlen(path) >= BLK_PATH_BYTES - 2 ||
                 blk_to_utf16(path, false, false, text, 2 * BLK_PATH_BYTES, &used) < 0))
        return blk_report_fatal(report, -EINVAL, "image.create.parent",
                                "the path of its parent must be UTF-8 and shorter than %d bytes.",
                                BLK_PATH_BYTES - 2);
    return 0;
}

int blk_check_parent(const struct blk_create_options *o, struct blk_report *report)
{
    int r;

    if (o->kind != BLK_KIND_DIFFERENCING) {
        if (o->parent)
            return blk_report_fatal(report, -EINVAL, "image.create.parent",
                                    "only a differencing image has a parent.");
        return 0;
    }
    if (!o->parent || (!o->parent_relative && !o->parent_absolute))
        return blk_report_fatal(report, -EINVAL, "image.create.parent",
                                "a differencing image needs a parent and its path.");
    if (o->parent->format != o->format)
        return blk_report_fatal(report, -EINVAL, "image.create.parent",
                                "a differencing image and its parent have the same format.");
    if (o->bytes && o->bytes < o->parent->bytes)
        return blk_report_fatal(report, -EINVAL, "image.create.size",
                                "its parent has %" PRIu64 " bytes; it can't be smaller.",
                                o->parent->bytes);
    r = check_path(o->parent_relative, report);
    return r < 0 ? r : check_path(o->parent_absolute, report);
}
