/* SPDX-License-Identifier: Apache-2.0 */
/* A bit for each MiB of a VHDX file: taken or free. */
#include "hvcore/base/arith.h"
#include "vmwp/blk/vhdx_priv.h"

enum { WORD = 64 };

static bool is_taken(const struct vhdx_space *space, uint64_t mib)
{
    return space->bits[mib / WORD] >> (mib % WORD) & 1;
}

int vhdx_space_resize(struct vhdx_space *space, uint64_t file_bytes)
{
    uint64_t n_mib = file_bytes / VHDX_MIB;

    if (n_mib > space->n_bits_max) {
        uint64_t n_max = hv_align_up(n_mib + n_mib / 4 + 1024, WORD);
        uint64_t *grown = realloc(space->bits, n_max / 8);

        if (!grown)
            return -ENOMEM;
        memset(grown + space->n_bits_max / WORD, 0, (n_max - space->n_bits_max) / 8);
        space->bits = grown;
        space->n_bits_max = n_max;
    }
    space->n_mib = n_mib;
    space->no_run = 0;
    return 0;
}

bool vhdx_space_take(struct vhdx_space *space, uint64_t offset, uint64_t bytes)
{
    uint64_t first = offset / VHDX_MIB, n = (bytes + VHDX_MIB - 1) / VHDX_MIB;

    if (!hv_range_within(first, n, space->n_mib))
        return false;
    for (uint64_t i = first; i < first + n; i++)
        if (is_taken(space, i))
            return false;
    for (uint64_t i = first; i < first + n; i++)
        space->bits[i / WORD] |= UINT64_C(1) << (i % WORD);
    space->n_taken += n;
    return true;
}

void vhdx_space_give(struct vhdx_space *space, uint64_t offset, uint64_t bytes)
{
    uint64_t first = offset / VHDX_MIB, n = (bytes + VHDX_MIB - 1) / VHDX_MIB;

    for (uint64_t i = first; i < first + n; i++)
        space->bits[i / WORD] &= ~(UINT64_C(1) << (i % WORD));
    space->n_taken -= n;
    space->no_run = 0;
    if (first < space->hint)
        space->hint = first;
}

bool vhdx_space_find(struct vhdx_space *space, uint64_t bytes, uint64_t *ret_offset)
{
    uint64_t n = (bytes + VHDX_MIB - 1) / VHDX_MIB, run = 0;
    bool is_from_hint = true;

    if (space->n_mib - space->n_taken < n || (space->no_run && n >= space->no_run))
        return false;
    for (uint64_t i = space->hint; i < space->n_mib; i++) {
        if (i % WORD == 0 && run == 0 && space->bits[i / WORD] == UINT64_MAX) {
            i += WORD - 1;
            continue;
        }
        if (is_taken(space, i)) {
            run = 0;
            continue;
        }
        if (is_from_hint)
            space->hint = i; /* all before it is taken */
        is_from_hint = false;
        if (++run == n) {
            *ret_offset = (i + 1 - n) * VHDX_MIB;
            return true;
        }
    }
    space->no_run = n;
    return false;
}
