/* SPDX-License-Identifier: Apache-2.0 */
/* The front doors for work at rest: open the image, let its format do it, finish. */
#include "vmwp/blk/work_priv.h"

#include <string.h>

static const struct {
    blk_resize_fn *resize;
    blk_compact_fn *compact;
    blk_reparent_fn *reparent;
} formats[] = {
    [BLK_FORMAT_RAW] = { .resize = blk_raw_resize },
    [BLK_FORMAT_VHD] = { .resize = blk_vhd_resize,
                         .compact = blk_vhd_compact,
                         .reparent = blk_vhd_reparent },
    [BLK_FORMAT_VHDX] = { .resize = blk_vhdx_resize,
                          .compact = blk_vhdx_compact,
                          .reparent = blk_vhdx_reparent },
};

int blk_progress_tell(const struct blk_progress *progress, uint64_t done, uint64_t total)
{
    if (!progress || !progress->fn || progress->fn(progress->opaque, done, total))
        return 0;
    return -ECANCELED;
}

bool blk_is_zero(const void *bytes, size_t length)
{
    const uint8_t *at = bytes;

    return length == 0 || (at[0] == 0 && memcmp(at, at + 1, length - 1) == 0);
}

int blk_copy_inside(struct blk_file *file, uint64_t from, uint64_t to, uint64_t bytes,
                    uint8_t *buffer)
{
    int r = 0;

    while (r == 0 && bytes > 0) {
        size_t step = bytes < BLK_WORK_STEP ? (size_t)bytes : BLK_WORK_STEP;

        r = blk_file_read(file, from, buffer, step);
        if (r == 0)
            r = blk_file_write(file, to, buffer, step);
        from += step;
        to += step;
        bytes -= step;
    }
    return r;
}

int blk_range_is_zero(struct blk_file *file, uint64_t offset, uint64_t bytes, uint8_t *buffer,
                      bool *ret)
{
    *ret = true;
    while (*ret && bytes > 0) {
        size_t step = bytes < BLK_WORK_STEP ? (size_t)bytes : BLK_WORK_STEP;
        uint64_t data;
        int r = blk_file_find_data(file, offset, &data);

        if (r == -ENXIO || (r == 0 && data >= offset + bytes))
            return 0;
        if (r == 0)
            r = blk_file_read(file, offset, buffer, step);
        if (r < 0)
            return r;
        *ret = blk_is_zero(buffer, step);
        offset += step;
        bytes -= step;
    }
    return 0;
}

/* An error that has no sentence yet gets one. */
static int explain(int r, const char *what, const char *path, struct hv_error **reterr)
{
    if (r == -ECANCELED)
        return hv_error_set(reterr, r, "image.canceled", "Image %s: was canceled while it %s.",
                            path, what);
    if (r < 0)
        hv_error_set(reterr, r, "image.work", "Image %s: failed while it %s (%s).", path, what,
                     strerror(-r));
    return r;
}

struct job {
    struct blk_file *file;
    struct blk_layer *layer;
    struct blk_report report;
};

static int begin(struct job *job, struct blk_file *file, enum blk_format format,
                 struct hv_error **reterr)
{
    *job = (struct job){ .file = file, .report = { .path = file->path, .reterr = reterr } };
    return blk_layer_open(file, format, BLK_OPEN_KEEP_DATA_WRITE, &job->report, &job->layer);
}

/* Finish even what failed or was cancelled: what it did so far is whole. */
static int end(struct job *job, int r, const char *what, struct hv_error **reterr)
{
    int finished = job->layer->ops->finish(job->layer);

    if (r == 0)
        r = finished;
    explain(r, what, job->report.path, reterr);
    *job->file = job->layer->file;
    job->layer->ops->free(job->layer);
    return r;
}

int blk_resize_file(struct blk_file *file, enum blk_format format, uint64_t bytes,
                    const struct blk_progress *progress, struct hv_error **reterr)
{
    struct job job;
    int r = begin(&job, file, format, reterr);

    if (r < 0)
        return r;
    if (bytes == 0 || bytes % job.layer->probe.logical_bytes)
        r = blk_report_fatal(&job.report, -EINVAL, "image.resize.size",
                             "the new size must be a multiple of its sectors of %u bytes and not "
                             "0.",
                             job.layer->probe.logical_bytes);
    else if (bytes != job.layer->probe.bytes)
        r = formats[format].resize(job.layer, bytes, progress, &job.report);
    return end(&job, r, "was resized", reterr);
}

int blk_compact_file(struct blk_file *file, enum blk_format format, enum blk_compact_mode mode,
                     const struct blk_progress *progress, struct hv_error **reterr)
{
    struct job job;
    int r = begin(&job, file, format, reterr);

    if (r < 0)
        return r;
    if (!formats[format].compact || job.layer->probe.kind == BLK_KIND_FIXED)
        r = blk_report_fatal(&job.report, -EINVAL, "image.compact.kind",
                             "only dynamic and differencing images can be compacted.");
    else
        r = formats[format].compact(job.layer, mode, progress, &job.report);
    return end(&job, r, "was compacted", reterr);
}

static int check_reparent(const struct blk_layer *layer, const struct blk_probe *parent,
                          bool is_forced, struct blk_report *report)
{
    const struct blk_probe *child = &layer->probe;

    if (child->kind != BLK_KIND_DIFFERENCING)
        return blk_report_fatal(report, -EINVAL, "image.reparent.kind",
                                "only a differencing image has a parent.");
    if (parent->format != child->format || parent->logical_bytes != child->logical_bytes ||
        parent->bytes > child->bytes)
        return blk_report_fatal(report, -EINVAL, "image.reparent.parent",
                                "the parent must have its format and sectors, and not be larger.");
    if (!is_forced && !hv_guid_equal(&parent->data_write, &child->parent_id))
        return blk_report_fatal(report, -EINVAL, "image.reparent.linkage",
                                "this is not its parent, or was written to since: the linkage "
                                "identifiers differ. It can be forced where the content is known "
                                "to be right.");
    return 0;
}

int blk_reparent_file(struct blk_file *file, enum blk_format format, const struct blk_probe *parent,
                      const char *relative, const char *absolute, bool is_forced,
                      struct hv_error **reterr)
{
    struct blk_create_options options = { .format = format,
                                          .kind = BLK_KIND_DIFFERENCING,
                                          .parent = parent,
                                          .parent_relative = relative,
                                          .parent_absolute = absolute };
    struct job job;
    int r = begin(&job, file, format, reterr);

    if (r < 0)
        return r;
    r = check_reparent(job.layer, parent, is_forced, &job.report);
    if (r == 0)
        r = blk_check_parent(&options, &job.report);
    if (r == 0)
        r = formats[format].reparent(job.layer, parent, relative, absolute, &job.report);
    return end(&job, r, "was given its parent", reterr);
}

int blk_image_resize(const struct blk_image_file *image, uint64_t bytes,
                     const struct blk_progress *progress, struct hv_error **reterr)
{
    struct blk_file file;
    int r = blk_file_init(&file, image->fd, image->path, reterr);

    if (r < 0)
        return r;
    r = blk_resize_file(&file, image->format, bytes, progress, reterr);
    blk_file_release(&file);
    return r;
}

int blk_image_compact(const struct blk_image_file *image, enum blk_compact_mode mode,
                      const struct blk_progress *progress, struct hv_error **reterr)
{
    struct blk_file file;
    int r = blk_file_init(&file, image->fd, image->path, reterr);

    if (r < 0)
        return r;
    r = blk_compact_file(&file, image->format, mode, progress, reterr);
    blk_file_release(&file);
    return r;
}

int blk_image_reparent(const struct blk_image_file *image, const struct blk_probe *parent,
                       const char *relative, const char *absolute, bool is_forced,
                       struct hv_error **reterr)
{
    struct blk_file file;
    int r = blk_file_init(&file, image->fd, image->path, reterr);

    if (r < 0)
        return r;
    r = blk_reparent_file(&file, image->format, parent, relative, absolute, is_forced, reterr);
    blk_file_release(&file);
    return r;
}

int blk_image_convert(struct blk_disk *source, int fd, const char *path,
                      const struct blk_create_options *options, struct blk_disk *parent,
                      const struct blk_progress *progress, struct hv_error **reterr)
{
    struct blk_file file;
    int r = blk_file_init(&file, fd, path, reterr);

    if (r < 0)
        return r;
    r = explain(blk_convert_file(source, &file, options, parent, progress, reterr), "was converted",
                path, reterr);
    blk_file_release(&file);
    return r;
}

int blk_image_merge(const struct blk_image_file *chain, unsigned n_chain,
                    const struct blk_progress *progress, struct hv_error **reterr)
{
    enum blk_format kinds[BLK_CHAIN_MAX];
    struct blk_file files[BLK_CHAIN_MAX];
    unsigned n = 0;
    int r = 0;

    if (n_chain < 2 || n_chain > BLK_CHAIN_MAX)
        return hv_error_set(reterr, -EINVAL, "image.chain.depth",
                            "A merge needs a child and its ancestor, %d images at most.",
                            BLK_CHAIN_MAX);
    while (r == 0 && n < n_chain) {
        kinds[n] = chain[n].format;
        r = blk_file_init(&files[n], chain[n].fd, chain[n].path, reterr);
        if (r == 0)
            n++;
    }
    if (r == 0)
        r = explain(blk_merge_files(files, kinds, n, progress, reterr), "was merged",
                    chain[n - 1].path, reterr);
    while (n > 0)
        blk_file_release(&files[--n]);
    return r;
}
