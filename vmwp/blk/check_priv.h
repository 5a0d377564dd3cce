/* SPDX-License-Identifier: Apache-2.0 */
/* Checks by format: problems go through the report, the file stays as it is. */
#pragma once

#include "vmwp/blk/layer_priv.h"

typedef int blk_check_fn(struct blk_file *file, struct blk_report *report,
                         struct blk_check_result *ret);
blk_check_fn blk_raw_check, blk_vhd_check, blk_vhdx_check;

/* fn must be given. */
int blk_check_file(struct blk_file *file, enum blk_format format, blk_problem_fn *fn, void *opaque,
                   struct blk_check_result *ret, struct hv_error **reterr);
