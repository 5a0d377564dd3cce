/* SPDX-License-Identifier: Apache-2.0 */
/* Work on images at rest: what each format does, behind the doors of image.h. */
#pragma once

#include "vmwp/blk/chain_priv.h"

enum { BLK_WORK_STEP = 1 << 20 };

/* 0, or -ECANCELED. progress may be NULL. */
int blk_progress_tell(const struct blk_progress *progress, uint64_t done, uint64_t total);

/* Over files, which remain the caller's; each opens, works, and finishes. */
int blk_convert_file(struct blk_disk *source, struct blk_file *to,
                     const struct blk_create_options *options, struct blk_disk *parent,
                     const struct blk_progress *progress, struct hv_error **reterr);
int blk_merge_files(struct blk_file *files, const enum blk_format *formats, unsigned n_files,
                    const struct blk_progress *progress, struct hv_error **reterr);
int blk_resize_file(struct blk_file *file, enum blk_format format, uint64_t bytes,
                    const struct blk_progress *progress, struct hv_error **reterr);
int blk_compact_file(struct blk_file *file, enum blk_format format, enum blk_compact_mode mode,
                     const struct blk_progress *progress, struct hv_error **reterr);
int blk_reparent_file(struct blk_file *file, enum blk_format format, const struct blk_probe *parent,
                      const char *relative, const char *absolute, bool is_forced,
                      struct hv_error **reterr);

/* By format, on an opened, writable layer. */
typedef int blk_resize_fn(struct blk_layer *layer, uint64_t bytes,
                          const struct blk_progress *progress, struct blk_report *report);
typedef int blk_compact_fn(struct blk_layer *layer, enum blk_compact_mode mode,
                           const struct blk_progress *progress, struct blk_report *report);
typedef int blk_reparent_fn(struct blk_layer *layer, const struct blk_probe *parent,
                            const char *relative, const char *absolute, struct blk_report *report);
blk_resize_fn blk_raw_resize, blk_vhd_resize, blk_vhdx_resize;
blk_compact_fn blk_vhd_compact, blk_vhdx_compact;
blk_reparent_fn blk_vhd_reparent, blk_vhdx_reparent;

/* The ancestor bears the linkage of what was merged into it. */
int blk_vhdx_set_data_write(struct blk_layer *layer, const struct hv_guid *data_write);

/* Check that `child` was made over `parent`. */
int blk_check_link(const struct blk_layer *child, const struct blk_layer *parent,
                   struct hv_error **reterr);

bool blk_is_zero(const void *bytes, size_t length);

/* Copy inside a file; buffer has BLK_WORK_STEP bytes. */
int blk_copy_inside(struct blk_file *file, uint64_t from, uint64_t to, uint64_t bytes,
                    uint8_t *buffer);
/* Are all bytes of a range zero? */
int blk_range_is_zero(struct blk_file *file, uint64_t offset, uint64_t bytes, uint8_t *buffer,
                      bool *ret);
