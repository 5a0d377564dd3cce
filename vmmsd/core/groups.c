/* SPDX-License-Identifier: Apache-2.0 */
/* Groups as they are: found by name and id, who is in which, and who is above whom. */
#include "vmmsd/core/group_priv.h"

#include "api/rpc/nearest.h"

#include <string.h>

/* Sets */

bool vmms_set_has(const struct vmms_set *set, const void *item)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->items[i] == item)
            return true;
    }
    return false;
}

/* Room doubles whenever the count is a power of two. */
static void set_add(struct vmms_set *set, void *item)
{
    if ((set->count & (set->count - 1)) == 0) {
        set->items = reallocarray(set->items, set->count ? set->count * 2 : 1, sizeof(*set->items));
        hv_assert(set->items);
    }
    set->items[set->count++] = item;
}

static void set_remove(struct vmms_set *set, const void *item)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->items[i] != item)
            continue;
        set->items[i] = set->items[--set->count];
        if (!set->count) {
            free(set->items);
            set->items = NULL;
        }
        return;
    }
}

/* Rows */

void vmms_group_row_fini(struct vmms_group_row *row)
{
    free(row->name);
    free(row->notes);
    *row = (struct vmms_group_row){ 0 };
}

void vmms_group_row_copy(const struct vmms_group_row *from, struct vmms_group_row *ret)
{
    *ret = *from;
    ret->name = strdup(from->name);
    ret->notes = strdup(from->notes);
    hv_assert(ret->name && ret->notes);
}

/* The list */

void vmms_groups_init(struct vmms_groups *groups)
{
    hv_list_init(&groups->calls);
    hv_list_init(&groups->ops);
    hv_list_init(&groups->tried);
}

struct vmms_group *vmms_group_free(struct vmms_group *group)
{
    if (!group)
        return NULL;
    vmms_group_row_fini(&group->row);
    free(group->vms.items);
    free(group->groups.items);
    free(group->parents.items);
    free(group);
    return NULL;
}

static void number_from(struct vmms_groups *groups, size_t at)
{
    for (; at < groups->count; at++)
        groups->list[at]->place = at;
}

void vmms_group_insert(struct vmms_groups *groups, struct vmms_group *group)
{
    size_t at = 0;

    hv_assert(groups->count < VMMS_MAX_GROUPS);
    while (at < groups->count && strcmp(groups->list[at]->row.name, group->row.name) < 0)
        at++;
    memmove(&groups->list[at + 1], &groups->list[at], (groups->count - at) * sizeof(group));
    groups->list[at] = group;
    groups->count++;
    number_from(groups, at);
}

void vmms_group_take_out(struct vmms_groups *groups, struct vmms_group *group)
{
    size_t at = group->place;

    groups->count--;
    memmove(&groups->list[at], &groups->list[at + 1], (groups->count - at) * sizeof(group));
    number_from(groups, at);
}

/* Members */

const struct vmms_set *vmms_group_members(const struct vmms_group *group)
{
    return group->row.kind == API_GROUP_KIND_VM ? &group->vms : &group->groups;
}

void vmms_group_link(struct vmms_groups *groups, struct vmms_group *group, struct vmms_vm *vm,
                     struct vmms_group *child)
{
    set_add(vm ? &group->vms : &group->groups, vm ? (void *)vm : (void *)child);
    set_add(vm ? &vm->groups : &child->parents, group);
    groups->memberships++;
    groups->version++;
}

void vmms_group_unlink(struct vmms_groups *groups, struct vmms_group *group, struct vmms_vm *vm,
                       struct vmms_group *child)
{
    set_remove(vm ? &group->vms : &group->groups, vm ? (void *)vm : (void *)child);
    set_remove(vm ? &vm->groups : &child->parents, group);
    groups->memberships--;
    groups->version++;
}

/* Those of `from` and all that hold them, each once. Returns how many. */
static size_t climb(const struct vmms_set *from, struct vmms_group *ret[static VMMS_MAX_GROUPS])
{
    bool is_seen[VMMS_MAX_GROUPS] = { false };
    const struct vmms_set *next = from;
    size_t count = 0, at = 0;

    for (;;) {
        for (size_t i = 0; i < next->count; i++) {
            struct vmms_group *group = next->items[i];

            if (!is_seen[group->place])
                ret[count++] = group;
            is_seen[group->place] = true;
        }
        if (at == count)
            return count;
        next = &ret[at++]->parents;
    }
}

static bool is_named(const char *id, const char (*groups)[HV_GUID_TEXT_BYTES], size_t n_groups)
{
    for (size_t i = 0; i < n_groups; i++) {
        if (strcmp(groups[i], id) == 0)
            return true;
    }
    return false;
}

static struct vmms_group *by_id(const struct vmms_groups *groups, const char *id)
{
    for (size_t i = 0; i < groups->count; i++) {
        if (strcmp(groups->list[i]->row.id, id) == 0)
            return groups->list[i];
    }
    return NULL;
}

/* What holds the VM or group of that id; NULL: there is none. */
static const struct vmms_set *holders(const struct vmms_core *core, const char *id)
{
    const struct vmms_vm *vm = vmms_index_find(&core->by_id, id);
    const struct vmms_group *group = vm ? NULL : by_id(&core->groups, id);

    return vm ? &vm->groups : group ? &group->parents : NULL;
}

bool vmms_core_is_within(const struct vmms_core *core, const char *id,
                         const char (*groups)[HV_GUID_TEXT_BYTES], size_t n_groups)
{
    struct vmms_group *above[VMMS_MAX_GROUPS];
    const struct vmms_set *from;
    size_t count;

    if (!n_groups || is_named(id, groups, n_groups))
        return n_groups;
    from = holders(core, id);
    count = from && from->count ? climb(from, above) : 0;
    for (size_t i = 0; i < count; i++) {
        if (is_named(above[i]->row.id, groups, n_groups))
            return true;
    }
    return false;
}

uint64_t vmms_core_memberships(const struct vmms_core *core)
{
    return core->groups.version;
}

/* Finding */

struct vmms_group *vmms_group_by_name(const struct vmms_groups *groups, const char *name)
{
    for (size_t i = 0; i < groups->count; i++) {
        if (strcmp(groups->list[i]->row.name, name) == 0)
            return groups->list[i];
    }
    return NULL;
}

struct vmms_group *vmms_group_look_up(const struct vmms_core *core, const struct vmms_scope *scope,
                                      const char *ref)
{
    struct vmms_group *group = NULL;
    char id[HV_GUID_TEXT_BYTES];
    struct hv_guid guid;

    if (hv_guid_parse(ref, &guid) == 0) {
        hv_guid_format(&guid, id);
        group = by_id(&core->groups, id);
    }
    if (!group)
        group = vmms_group_by_name(&core->groups, ref);
    return group && vmms_scope_has(core, scope, group->row.id) ? group : NULL;
}

struct vmms_group *vmms_group_find(const struct vmms_core *core, const struct vmms_scope *scope,
                                   const char *ref, const char *field, struct api_error **reterr)
{
    struct vmms_group *group = vmms_group_look_up(core, scope, ref);
    struct nearest nearest;

    if (group)
        return group;
    api_error_set(reterr, API_E_NOT_FOUND, "group.not_found", field,
                  "There is no group with the name or id \"%.120s\".", ref);
    nearest_init(&nearest, ref);
    for (size_t i = 0; i < core->groups.count; i++) {
        if (vmms_scope_has(core, scope, core->groups.list[i]->row.id))
            nearest_offer(&nearest, core->groups.list[i]->row.name);
    }
    vmms_say_nearest(&nearest, "group.list", *reterr);
    return NULL;
}

const char *vmms_core_group_id(const struct vmms_core *core, const char *ref)
{
    const struct vmms_group *group = vmms_group_look_up(core, NULL, ref);

    return group ? group->row.id : NULL;
}

/* Names */

static int by_name(const void *a, const void *b)
{
    const struct vmms_group *const *one = a, *const *other = b;

    return strcmp((*one)->row.name, (*other)->row.name);
}

char **vmms_core_vm_groups(const struct vmms_core *core, const struct vmms_scope *scope,
                           const char *id, size_t *ret_n)
{
    const struct vmms_vm *vm = vmms_index_find(&core->by_id, id);
    size_t count = vm ? vm->groups.count : 0;
    struct vmms_group *sorted[VMMS_MAX_GROUPS];
    char **names = calloc(count + 1, sizeof(*names));

    hv_assert(names);
    *ret_n = 0;
    if (!count)
        return names;
    memcpy(sorted, vm->groups.items, count * sizeof(*sorted));
    qsort(sorted, count, sizeof(*sorted), by_name);
    for (size_t i = 0; i < count; i++) {
        if (!vmms_scope_has(core, scope, sorted[i]->row.id))
            continue;
        names[*ret_n] = strdup(sorted[i]->row.name);
        hv_assert(names[(*ret_n)++]);
    }
    return names;
}

char *vmms_core_groups_above(const struct vmms_core *core, const char *id)
{
    const struct vmms_vm *vm = vmms_index_find(&core->by_id, id);
    struct vmms_group *above[VMMS_MAX_GROUPS];
    size_t count = vm ? climb(&vm->groups, above) : 0, room = 1, at = 0;
    char *text;

    qsort(above, count, sizeof(*above), by_name);
    for (size_t i = 0; i < count; i++)
        room += strlen(above[i]->row.name) + 1;
    text = calloc(1, room);
    hv_assert(text);
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(above[i]->row.name);

        if (i)
            text[at++] = '\n';
        memcpy(text + at, above[i]->row.name, length);
        at += length;
    }
    return text;
}

/* At start */

int vmms_core_load_group(struct vmms_core *core, struct vmms_group_row *row)
{
    struct vmms_group *group;

    if (core->groups.count >= VMMS_MAX_GROUPS)
        return -E2BIG;
    if (by_id(&core->groups, row->id) || vmms_group_by_name(&core->groups, row->name))
        return -EEXIST;
    group = calloc(1, sizeof(*group));
    if (!group)
        return -ENOMEM;
    group->row = *row;
    *row = (struct vmms_group_row){ 0 };
    vmms_group_insert(&core->groups, group);
    return 0;
}

int vmms_core_load_member(struct vmms_core *core, const char *group_id, const char *member)
{
    struct vmms_group *group = by_id(&core->groups, group_id), *child = NULL;
    struct vmms_vm *vm = NULL;

    if (group && group->row.kind == API_GROUP_KIND_VM)
        vm = vmms_index_find(&core->by_id, member);
    else if (group)
        child = by_id(&core->groups, member);
    if (!vm && !child)
        return -ENOENT;
    if (child && vmms_group_is_above(child, group))
        return -ELOOP;
    if (core->groups.memberships >= VMMS_MAX_MEMBERSHIPS)
        return -E2BIG;
    vmms_group_link(&core->groups, group, vm, child);
    return 0;
}

bool vmms_group_is_above(const struct vmms_group *group, struct vmms_group *other)
{
    struct vmms_group *above[VMMS_MAX_GROUPS];
    void *items[] = { other };
    const struct vmms_set only = { .items = items, .count = 1 };
    size_t count = climb(&only, above);

    for (size_t i = 0; i < count; i++) {
        if (above[i] == group)
            return true;
    }
    return false;
}

/* Invariants */

static const char *check_group(const struct vmms_core *core, const struct vmms_group *group)
{
    const struct vmms_set *others =
        group->row.kind == API_GROUP_KIND_VM ? &group->groups : &group->vms;

    if (others->count)
        return "a group holds what its kind says";
    for (size_t i = 0; i < group->vms.count; i++) {
        const struct vmms_vm *vm = group->vms.items[i];

        if (vmms_index_find(&core->by_id, vm->row.id) != vm || vm->is_new)
            return "only VMs that are there are in groups";
        if (!vmms_set_has(&vm->groups, group))
            return "a VM knows its groups";
    }
    for (size_t i = 0; i < group->groups.count; i++) {
        struct vmms_group *child = group->groups.items[i];

        if (!vmms_set_has(&child->parents, group))
            return "a group knows those that hold it";
        if (vmms_group_is_above(child, (struct vmms_group *)core->groups.list[group->place]))
            return "no group holds itself";
    }
    return NULL;
}

const char *vmms_groups_check(const struct vmms_core *core)
{
    const struct vmms_groups *groups = &core->groups;
    size_t down = 0, up = 0;

    if (!groups->change &&
        (!hv_list_is_empty(&groups->ops) || groups->call || !hv_list_is_empty(&groups->calls)))
        return "calls about groups wait only for the store";
    if (!hv_list_is_empty(&groups->tried))
        return "what a transaction tries with groups is taken back";
    for (size_t i = 0; i < core->by_id.count; i++)
        up += core->by_id.vms[i]->groups.count;
    for (size_t i = 0; i < groups->count; i++) {
        const char *broken = check_group(core, groups->list[i]);

        if (broken)
            return broken;
        if (groups->list[i]->place != i)
            return "a group knows its place";
        if (i > 0 && strcmp(groups->list[i - 1]->row.name, groups->list[i]->row.name) >= 0)
            return "names of groups are unique and in order";
        down += vmms_group_members(groups->list[i])->count;
        up += groups->list[i]->parents.count;
    }
    return up != groups->memberships || down != groups->memberships
               ? "who is in which group is counted right"
               : NULL;
}
