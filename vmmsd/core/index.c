/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/core/core_priv.h"

#include <string.h>

/* Place of the first VM whose key is not less. */
static size_t lower_bound(const struct vmms_index *index, const char *key)
{
    size_t low = 0, high = index->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(index->key(index->vms[middle]), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct vmms_vm *vmms_index_find(const struct vmms_index *index, const char *key)
{
    size_t at = lower_bound(index, key);

    if (at == index->count || strcmp(index->key(index->vms[at]), key) != 0)
        return NULL;
    return index->vms[at];
}

/* Place of the first VM behind that key. */
size_t vmms_index_after(const struct vmms_index *index, const char *key)
{
    size_t at = lower_bound(index, key);

    return at < index->count && strcmp(index->key(index->vms[at]), key) == 0 ? at + 1 : at;
}

int vmms_index_add(struct vmms_index *index, struct vmms_vm *vm)
{
    const char *key = index->key(vm);
    size_t at = lower_bound(index, key), room;
    struct vmms_vm **vms;

    if (at < index->count && strcmp(index->key(index->vms[at]), key) == 0)
        return -EEXIST;
    if (index->count == index->room) {
        room = index->room ? index->room * 2 : 16;
        vms = reallocarray(index->vms, room, sizeof(*vms));
        if (!vms)
            return -ENOMEM;
        index->vms = vms;
        index->room = room;
    }
    memmove(&index->vms[at + 1], &index->vms[at], (index->count - at) * sizeof(*index->vms));
    index->vms[at] = vm;
    index->count++;
    return 0;
}

void vmms_index_remove(struct vmms_index *index, const struct vmms_vm *vm)
{
    size_t at = lower_bound(index, index->key(vm));

    hv_assert(at < index->count && index->vms[at] == vm);
    index->count--;
    memmove(&index->vms[at], &index->vms[at + 1], (index->count - at) * sizeof(*index->vms));
}
