/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/blk/check_priv.h"
#include "vmwp/blk/vhdx_priv.h"

int blk_vhdx_check(struct blk_file *file, struct blk_report *report, struct blk_check_result *ret)
{
    struct vhdx *v;
    int r;

    r = vhdx_open(file, BLK_OPEN_READ_ONLY, report, &v, &ret->n_allocated);
    if (r < 0)
        return r;
    ret->n_blocks = v->n_blocks;
    ret->leaked_bytes = (v->space.n_mib - v->space.n_taken) * VHDX_MIB;
    blk_file_drop_patches(&v->layer.file);
    *file = v->layer.file;
    v->layer.ops->free(&v->layer);
    return 0;
}
