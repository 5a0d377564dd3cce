/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of groups on their way to the store. One is under way at a time, a VM's leaving of its
 * groups among them: everything else that would change a group waits behind it. */
#include "vmmsd/core/group_priv.h"

#include "api/rpc/writer.h"

#include <string.h>

/* As it will be after what is on its way. */
static const struct vmms_group_row *row_after(const struct vmms_group *group)
{
    return group->last ? &group->last->row : &group->row;
}

struct vmms_change *vmms_group_change(struct vmms_core *core, int kind, struct vmms_group *group)
{
    struct vmms_change *change = calloc(1, sizeof(*change));

    hv_assert(change);
    change->id = core->next_change++;
    change->kind = VMMS_ROW_NONE;
    change->group_kind = kind;
    vmms_group_row_copy(row_after(group), &change->group);
    change->group.generation++;
    return change;
}

void vmms_group_event(struct vmms_core *core, struct vmms_change *change, const char *type,
                      const char *actor, char *data, const struct vmms_vm *vm)
{
    struct api_event *event = vmms_add_event(core, change, type, actor, data);

    event->object = strdup(change->group.id);
    event->generation = change->group.generation;
    hv_assert(event->object);
    if (!vm)
        return;
    event->vm = strdup(vm->row.id);
    event->vm_name = strdup(vmms_vm_name(vm));
    hv_assert(event->vm && event->vm_name);
}

/* Who comes or goes: a VM, or a group. */
char *vmms_group_member_data(const struct vmms_group_row *group, const struct vmms_vm *vm,
                             const struct vmms_group *child)
{
    struct json_writer out = { 0 };
    char *text;

    json_begin_object(&out);
    json_key(&out, "name");
    json_put_string(&out, group->name);
    json_key(&out, "member");
    json_put_string(&out, vm ? vm->row.id : child->row.id);
    json_key(&out, "member_name");
    json_put_string(&out, vm ? vmms_vm_name(vm) : child->row.name);
    json_end_object(&out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

/* Forth and back */

/* The row that the group is to have, for the one that it has. One that is renamed has another
 * place. */
static void swap_rows(struct vmms_groups *groups, struct vmms_group_op *op)
{
    struct vmms_group *group = op->group;
    struct vmms_group_row row = group->row;
    bool is_renamed = strcmp(row.name, op->row.name) != 0;

    if (is_renamed)
        vmms_group_take_out(groups, group);
    group->row = op->row;
    op->row = row;
    if (is_renamed)
        vmms_group_insert(groups, group);
}

static void go_forth(struct vmms_groups *groups, struct vmms_group_op *op)
{
    switch (op->kind) {
    case VMMS_GROUP_ROW_INSERT: vmms_group_insert(groups, op->group); break;
    case VMMS_GROUP_ROW_ADD: vmms_group_link(groups, op->group, op->vm, op->child); break;
    case VMMS_GROUP_ROW_REMOVE: vmms_group_unlink(groups, op->group, op->vm, op->child); break;
    default: break;
    }
    swap_rows(groups, op);
    if (op->kind == VMMS_GROUP_ROW_DELETE)
        vmms_group_take_out(groups, op->group);
}

static void go_back(struct vmms_groups *groups, struct vmms_group_op *op)
{
    if (op->kind == VMMS_GROUP_ROW_DELETE)
        vmms_group_insert(groups, op->group);
    swap_rows(groups, op);
    switch (op->kind) {
    case VMMS_GROUP_ROW_INSERT: vmms_group_take_out(groups, op->group); break;
    case VMMS_GROUP_ROW_ADD: vmms_group_unlink(groups, op->group, op->vm, op->child); break;
    case VMMS_GROUP_ROW_REMOVE: vmms_group_link(groups, op->group, op->vm, op->child); break;
    default: break;
    }
}

/* Nothing of them is left, and of a group that is not there for them. */
static void drop_ops(struct hv_list *ops, int kind_without)
{
    HV_LIST_FOREACH (node, ops)
        HV_LIST_ENTRY(node, struct vmms_group_op, node)->group->last = NULL;
    HV_LIST_FOREACH (node, ops) {
        struct vmms_group_op *op = HV_LIST_ENTRY(node, struct vmms_group_op, node);

        hv_list_remove(node);
        vmms_group_row_fini(&op->row);
        if (op->kind == kind_without)
            vmms_group_free(op->group);
        free(op);
    }
}

void vmms_group_expect(struct vmms_core *core, const struct vmms_change *change,
                       struct vmms_group *group, struct vmms_vm *vm, struct vmms_group *child)
{
    struct vmms_group_op *op = calloc(1, sizeof(*op));

    hv_assert(op);
    hv_list_init(&op->node);
    op->kind = change->group_kind;
    op->group = group;
    op->vm = vm;
    op->child = child;
    vmms_group_row_copy(&change->group, &op->row);
    hv_list_append(core->tx ? &core->groups.tried : &core->groups.ops, &op->node);
    if (core->tx)
        go_forth(&core->groups, op);
    else
        group->last = op;
}

/* A member goes: a change with its event. */
struct vmms_change *vmms_group_removal(struct vmms_core *core, struct vmms_group *group,
                                       struct vmms_vm *vm, struct vmms_group *child,
                                       const char *actor)
{
    struct vmms_change *change = vmms_group_change(core, VMMS_GROUP_ROW_REMOVE, group);

    memcpy(change->member, vm ? vm->row.id : child->row.id, sizeof(change->member));
    vmms_group_event(core, change, "group.member_removed", actor,
                     vmms_group_member_data(&change->group, vm, child), vm);
    vmms_group_expect(core, change, group, vm, child);
    return change;
}

void vmms_group_commit(struct vmms_core *core, struct vmms_change *change, struct vmms_call *call,
                       struct vmms_group *subject)
{
    struct vmms_groups *groups = &core->groups;

    if (core->tx) {
        vmms_tx_capture_groups(core, change, call);
        return;
    }
    hv_assert(!groups->change);
    groups->change = change->id;
    groups->n_events = vmms_change_count_events(change);
    groups->call = call;
    groups->subject = subject;
    vmms_key_ride(core, change, call, true, change->group.id, NULL);
    change->due_ns = call->due_ns;
    vmms_emit(core, VMMS_EFFECT_COMMIT)->change = change;
}

void vmms_groups_leave(struct vmms_core *core, struct vmms_vm *vm, struct vmms_change *change,
                       const char *actor)
{
    struct vmms_change **end = &change->next;

    hv_assert(!core->groups.change);
    if (!core->tx && vm->groups.count)
        core->groups.change = change->id;
    /* From the end: where a transaction is tried, each is gone at once. */
    for (size_t i = vm->groups.count; i > 0; i--, end = &(*end)->next)
        *end = vmms_group_removal(core, vm->groups.items[i - 1], vm, NULL, actor);
}

bool vmms_groups_wait(struct vmms_core *core, struct vmms_call *call)
{
    if (!core->groups.change)
        return false;
    hv_list_append(&core->groups.calls, &call->node);
    return true;
}

/* The end of it */

void vmms_groups_settle(struct vmms_core *core, bool is_stored)
{
    struct vmms_groups *groups = &core->groups;

    if (is_stored)
        HV_LIST_FOREACH (node, &groups->ops)
            go_forth(groups, HV_LIST_ENTRY(node, struct vmms_group_op, node));
    drop_ops(&groups->ops, is_stored ? VMMS_GROUP_ROW_DELETE : VMMS_GROUP_ROW_INSERT);
    groups->change = 0;
}

void vmms_groups_take_back(struct vmms_core *core, bool keep, uint64_t change)
{
    struct vmms_groups *groups = &core->groups;

    for (struct hv_list *node = groups->tried.prev; node != &groups->tried; node = node->prev)
        go_back(groups, HV_LIST_ENTRY(node, struct vmms_group_op, node));
    if (!keep)
        drop_ops(&groups->tried, VMMS_GROUP_ROW_INSERT);
    HV_LIST_FOREACH (node, &groups->tried) {
        groups->change = change;
        hv_list_remove(node);
        hv_list_append(&groups->ops, node);
    }
}

bool vmms_groups_answered(struct vmms_core *core, uint64_t first_seq, struct api_error *error)
{
    struct vmms_groups *groups = &core->groups;
    struct vmms_call *call = HV_TAKE_PTR(groups->call);

    if (!call)
        return false;
    if (error) {
        vmms_emit(core, VMMS_EFFECT_LOG)->text = strdup(error->message);
        vmms_reply_error(core, call, error);
        return true;
    }
    core->last_event = first_seq + groups->n_events - 1;
    vmms_reply_group(core, call, groups->subject, false, first_seq);
    return true;
}

void vmms_groups_release(struct vmms_core *core)
{
    while (!core->groups.change && !hv_list_is_empty(&core->groups.calls)) {
        struct hv_list *node = core->groups.calls.next;

        hv_list_remove(node);
        vmms_handle_call(core, HV_LIST_ENTRY(node, struct vmms_call, node));
    }
}

void vmms_groups_fini(struct vmms_groups *groups)
{
    drop_ops(&groups->ops, VMMS_GROUP_ROW_INSERT);
    for (size_t i = 0; i < groups->count; i++)
        vmms_group_free(groups->list[i]);
    vmms_call_free(groups->call);
    HV_LIST_FOREACH (node, &groups->calls)
        vmms_call_free(HV_LIST_ENTRY(node, struct vmms_call, node));
}
