/* SPDX-License-Identifier: Apache-2.0 */
/* What resizing, compacting and reparenting a VHDX share. One thread has the image. */
#pragma once

#include "vmwp/blk/vhdx_priv.h"

/* Change bytes of the tables, through pages. lock: meta, taken by vhdx_lock_for_change. */
int vhdx_put_bytes(struct vhdx *v, uint64_t offset, const void *from, size_t bytes);
/* A region has another place: both region tables. lock: as above */
int vhdx_put_region(struct vhdx *v, const struct hv_guid *id, uint64_t offset, uint32_t bytes);

/* Set a table's entry. is_old_freed: what it pointed to is free after the next commit; not for
 * entries that meant nothing, behind the end of the disk. */
int vhdx_replace_entry(struct vhdx *v, uint64_t index, uint64_t entry, bool is_old_freed);

/* Finish, then cut off what is free at the end of the file. */
int vhdx_trim(struct vhdx *v);
