/* SPDX-License-Identifier: Apache-2.0 */
/* The calls group.*: reads at once, changes when no other change of groups is on its way. */
#include "vmmsd/core/group_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/writer.h"

#include <stdio.h>
#include <string.h>

enum { STEP_BYTES = 300 };

/* Views */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct api_group_member *)a)->name,
                  ((const struct api_group_member *)b)->name);
}

static void view_members(const struct vmms_group *group, struct api_group *ret)
{
    const struct vmms_set *members = vmms_group_members(group);

    ret->members = calloc(members->count + 1, sizeof(*ret->members));
    hv_assert(ret->members);
    for (; ret->n_members < members->count; ret->n_members++) {
        const struct vmms_vm *vm = members->items[ret->n_members];
        const struct vmms_group *child = members->items[ret->n_members];
        bool is_vm = group->row.kind == API_GROUP_KIND_VM;

        ret->members[ret->n_members].id = vmms_text_copy(is_vm ? vm->row.id : child->row.id);
        ret->members[ret->n_members].name =
            vmms_text_copy(is_vm ? vmms_vm_name(vm) : child->row.name);
    }
    qsort(ret->members, ret->n_members, sizeof(*ret->members), by_name);
}

/* fields: UINT64_MAX for all; some: those alone are written */
static void view_group(const struct vmms_group *group, uint64_t fields, struct api_group *ret)
{
    *ret = (struct api_group){ .id = vmms_text_copy(group->row.id),
                               .name = vmms_text_copy(group->row.name),
                               .kind = group->row.kind,
                               .notes = vmms_text_copy(group->row.notes),
                               .generation = group->row.generation,
                               .created_ms = group->row.created_ms,
                               .size = (uint32_t)vmms_group_members(group)->count };
    if (fields & API_GROUP_HAS_MEMBERS)
        view_members(group, ret);
    if (fields != UINT64_MAX)
        ret->has = API_HAS_PARTIAL | fields;
}

void vmms_reply_group(struct vmms_core *core, struct vmms_call *call,
                      const struct vmms_group *group, bool already, uint64_t event_seq)
{
    static const char *const no_steps[] = { NULL };
    struct api_group_changed *changed;

    if (vmms_wants_plan(&call->request)) {
        vmms_reply_plan(core, call, NULL, no_steps);
        return;
    }
    changed = &vmms_reply(core, call)->result.group_changed;
    changed->already = already;
    changed->event_seq = event_seq;
    if (!group)
        return;
    changed->has |= API_GROUP_CHANGED_HAS_GROUP;
    view_group(group, ~API_GROUP_HAS_MEMBERS, &changed->group);
}

/* Reads */

static void list_groups(struct vmms_core *core, struct vmms_call *call)
{
    const struct api_group_list_args *args = &call->request.args.group_list;
    uint64_t fields = args->has & API_GROUP_LIST_ARGS_HAS_FIELDS ? args->fields : UINT64_MAX;
    struct api_group_list list = { .groups = calloc(args->limit, sizeof(struct api_group)) };

    hv_assert(list.groups);
    for (size_t i = 0; i < core->groups.count; i++) {
        const struct vmms_group *group = core->groups.list[i];

        if ((args->after && strcmp(group->row.name, args->after) <= 0) ||
            !vmms_scope_has(core, call->scope, group->row.id))
            continue;
        if (list.n_groups == args->limit) {
            list.next = vmms_text_copy(core->groups.list[i - 1]->row.name);
            break;
        }
        view_group(group, fields, &list.groups[list.n_groups++]);
    }
    vmms_reply(core, call)->result.group_list = list;
}

static void get_group(struct vmms_core *core, struct vmms_call *call)
{
    const struct api_group_get_args *args = &call->request.args.group_get;
    uint64_t fields = args->has & API_GROUP_GET_ARGS_HAS_FIELDS ? args->fields : UINT64_MAX;
    struct api_error *error = NULL;
    const struct vmms_group *group =
        vmms_group_find(core, call->scope, args->group, "group", &error);

    if (group)
        view_group(group, fields, &vmms_reply(core, call)->result.group);
    else
        vmms_reply_error(core, call, error);
}

/* Changes */

/* Does the call only want to know? Then it is told what would be done. */
static bool plans(struct vmms_core *core, struct vmms_call *call, const char *what,
                  const struct vmms_group *group)
{
    static const char *const no_steps[] = { NULL };
    struct api_plan *plan;

    if (!vmms_wants_plan(&call->request))
        return false;
    plan = vmms_reply_plan(core, call, NULL, no_steps);
    api_error_set_text(&plan->verdict, "ok");
    vmms_plan_step(plan, what, group ? group->row.id : NULL);
    return true;
}

static int check_name(const struct vmms_core *core, const char *name, const struct vmms_group *self,
                      struct api_error **reterr)
{
    const struct vmms_group *group = vmms_group_by_name(&core->groups, name);
    int r = vmms_check_no_id(name, "group.name_is_id", "group", reterr);

    if (r < 0 || !group || group == self)
        return r;
    r = api_error_set(reterr, API_E_ALREADY_EXISTS, "group.name_taken", "name",
                      "There is a group called \"%s\" already.", name);
    api_error_hint(*reterr, "Choose another name, or delete or rename that one.");
    return r;
}

static char *row_data(const struct vmms_group_row *row)
{
    struct json_writer out = { 0 };
    char *text;

    json_begin_object(&out);
    json_key(&out, "name");
    json_put_string(&out, row->name);
    json_key(&out, "kind");
    json_put_string(&out, api_enum_group_kind.values[row->kind]);
    json_key(&out, "notes");
    json_put_string(&out, row->notes);
    json_end_object(&out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

static void create_group(struct vmms_core *core, struct vmms_call *call)
{
    const struct api_group_create_args *args = &call->request.args.group_create;
    struct api_error *error = NULL;
    struct vmms_group *group;
    struct vmms_change *change;

    if (!vmms_plan_is_current(core, NULL, call))
        return;
    if (core->groups.count >= VMMS_MAX_GROUPS)
        api_error_set(&error, API_E_FAILED, "group.too_many", NULL,
                      "This host has %d groups, which is as many as the service keeps.",
                      VMMS_MAX_GROUPS);
    if (error || check_name(core, args->name, NULL, &error) < 0) {
        vmms_reply_error(core, call, error);
        return;
    }
    if (plans(core, call, "make the group", NULL))
        return;
    group = calloc(1, sizeof(*group));
    hv_assert(group);
    vmms_random_guid(core, group->row.id);
    group->row.name = vmms_text_copy(args->name);
    group->row.notes = vmms_text_copy(args->notes);
    group->row.kind = args->kind;
    group->row.created_ms = vmms_now_ms(core);
    change = vmms_group_change(core, VMMS_GROUP_ROW_INSERT, group);
    vmms_group_event(core, change, "group.created", call->actor, row_data(&change->group), NULL);
    vmms_group_expect(core, change, group, NULL, NULL);
    vmms_group_commit(core, change, call, group);
}

static void configure_group(struct vmms_core *core, struct vmms_group *group,
                            struct vmms_call *call)
{
    const struct api_group_configure_args *args = &call->request.args.group_configure;
    bool is_renamed = args->name && strcmp(args->name, group->row.name) != 0;
    bool is_noted = args->notes && strcmp(args->notes, group->row.notes) != 0;
    struct api_error *error = NULL;
    struct vmms_change *change;

    if (is_renamed && check_name(core, args->name, group, &error) < 0) {
        vmms_reply_error(core, call, error);
        return;
    }
    if (!is_renamed && !is_noted) {
        vmms_reply_group(core, call, group, true, 0);
        return;
    }
    if (plans(core, call, is_renamed ? "rename the group" : "change its notes", group))
        return;
    change = vmms_group_change(core, VMMS_GROUP_ROW_UPDATE, group);
    if (is_renamed)
        api_error_set_text(&change->group.name, args->name);
    if (is_noted)
        api_error_set_text(&change->group.notes, args->notes);
    hv_assert(change->group.name && change->group.notes);
    vmms_group_event(core, change, is_renamed ? "group.renamed" : "group.changed", call->actor,
                     row_data(&change->group), NULL);
    vmms_group_expect(core, change, group, NULL, NULL);
    vmms_group_commit(core, change, call, group);
}

static int check_delete(const struct vmms_group *group, struct api_error **reterr)
{
    const struct vmms_group *parent;
    int r;

    if (!group->parents.count)
        return 0;
    parent = group->parents.items[0];
    r = api_error_set(reterr, API_E_IN_USE, "group.in_use", "group",
                      "The management group %s holds the group %s.", parent->row.name,
                      group->row.name);
    if (*reterr)
        api_error_set_text(&(*reterr)->data.holder, parent->row.name);
    api_error_hint(*reterr, "Take it out of that first, with group.remove_member.");
    return r;
}

/* All members go before it, each with its event: theirs is changed, too. */
static void delete_group(struct vmms_core *core, struct vmms_group *group, struct vmms_call *call)
{
    const struct vmms_set *members = vmms_group_members(group);
    struct vmms_change *first = NULL, **end = &first, *change;
    struct api_error *error = NULL;

    if (check_delete(group, &error) < 0) {
        vmms_reply_error(core, call, error);
        return;
    }
    if (plans(core, call, "delete the group; its members stay", group))
        return;
    for (size_t i = members->count; i > 0; i--, end = &(*end)->next) {
        bool is_vm = group->row.kind == API_GROUP_KIND_VM;
        void *member = members->items[i - 1];

        *end = vmms_group_removal(core, group, is_vm ? member : NULL, is_vm ? NULL : member,
                                  call->actor);
    }
    change = vmms_group_change(core, VMMS_GROUP_ROW_DELETE, group);
    vmms_group_event(core, change, "group.deleted", call->actor, row_data(&change->group), NULL);
    vmms_group_expect(core, change, group, NULL, NULL);
    *end = change;
    vmms_group_commit(core, first, call, NULL);
}

/* Members */

/* Who is meant, by the group's kind. Returns 0 or -EINVAL with *reterr. */
static int find_member(struct vmms_core *core, const struct vmms_group *group, const char *ref,
                       struct vmms_vm **ret_vm, struct vmms_group **ret_child,
                       struct api_error **reterr)
{
    bool is_vm = group->row.kind == API_GROUP_KIND_VM;

    *ret_vm = is_vm ? vmms_look_up(core, ref) : NULL;
    *ret_child = is_vm ? NULL : vmms_group_look_up(core, NULL, ref);
    if (*ret_vm || *ret_child)
        return 0;
    if (is_vm && vmms_group_look_up(core, NULL, ref)) {
        api_error_set(reterr, API_E_INVALID_PARAMETER, "group.kind", "member",
                      "%s is a group, and the group %s holds VMs.", ref, group->row.name);
        api_error_hint(*reterr, "A group of the kind management holds groups.");
    } else if (!is_vm && vmms_look_up(core, ref)) {
        api_error_set(reterr, API_E_INVALID_PARAMETER, "group.kind", "member",
                      "%s is a VM, and the management group %s holds groups.", ref,
                      group->row.name);
        api_error_hint(*reterr, "Put it into a group of the kind vm, and that one into this.");
    } else if (is_vm) {
        (void)vmms_find_vm(core, ref, reterr);
    } else {
        (void)vmms_group_find(core, NULL, ref, "member", reterr);
    }
    if (*reterr)
        api_error_set_text(&(*reterr)->data.field, "member");
    return -EINVAL;
}

static int check_coming(const struct vmms_core *core, struct vmms_group *group,
                        const struct vmms_group *child, struct api_error **reterr)
{
    if (child == group)
        return api_error_set(reterr, API_E_INVALID_PARAMETER, "group.cycle", "member",
                             "A group cannot hold itself.");
    if (child && vmms_group_is_above(child, group))
        return api_error_set(reterr, API_E_INVALID_PARAMETER, "group.cycle", "member",
                             "The group %s holds the group %s already, directly or through others; "
                             "it would hold itself.",
                             child->row.name, group->row.name);
    if (core->groups.memberships >= VMMS_MAX_MEMBERSHIPS)
        return api_error_set(reterr, API_E_FAILED, "group.too_many_members", NULL,
                             "The groups of this host have %d members together, which is as many "
                             "as the service keeps.",
                             VMMS_MAX_MEMBERSHIPS);
    return 0;
}

static void add_member(struct vmms_core *core, struct vmms_group *group, struct vmms_vm *vm,
                       struct vmms_group *child, struct vmms_call *call)
{
    struct api_error *error = NULL;
    struct vmms_change *change;
    char what[STEP_BYTES];

    if (check_coming(core, group, child, &error) < 0) {
        vmms_reply_error(core, call, error);
        return;
    }
    (void)snprintf(what, sizeof(what), "put %s into the group",
                   vm ? vmms_vm_name(vm) : child->row.name);
    if (plans(core, call, what, group))
        return;
    change = vmms_group_change(core, VMMS_GROUP_ROW_ADD, group);
    memcpy(change->member, vm ? vm->row.id : child->row.id, sizeof(change->member));
    vmms_group_event(core, change, "group.member_added", call->actor,
                     vmms_group_member_data(&change->group, vm, child), vm);
    vmms_group_expect(core, change, group, vm, child);
    vmms_group_commit(core, change, call, group);
}

static void remove_member(struct vmms_core *core, struct vmms_group *group, struct vmms_vm *vm,
                          struct vmms_group *child, struct vmms_call *call)
{
    char what[STEP_BYTES];

    (void)snprintf(what, sizeof(what), "take %s out of the group",
                   vm ? vmms_vm_name(vm) : child->row.name);
    if (!plans(core, call, what, group))
        vmms_group_commit(core, vmms_group_removal(core, group, vm, child, call->actor), call,
                          group);
}

static void change_members(struct vmms_core *core, struct vmms_group *group, struct vmms_call *call)
{
    bool comes = call->request.method == API_METHOD_GROUP_ADD_MEMBER;
    const char *ref = comes ? call->request.args.group_add_member.member
                            : call->request.args.group_remove_member.member;
    struct api_error *error = NULL;
    struct vmms_group *child;
    struct vmms_vm *vm;

    if (find_member(core, group, ref, &vm, &child, &error) < 0) {
        vmms_reply_error(core, call, error);
        return;
    }
    /* It may be gone in a moment. */
    if (vm && vm->pending && vm->pending->is_delete) {
        hv_list_append(&vm->calls, &call->node);
        return;
    }
    if (vmms_set_has(vm ? &vm->groups : &child->parents, group) == comes)
        vmms_reply_group(core, call, group, true, 0);
    else if (comes)
        add_member(core, group, vm, child, call);
    else
        remove_member(core, group, vm, child, call);
}

static const char *group_of_call(const struct vmms_call *call)
{
    const struct api_record *record = api_methods[call->request.method].args;
    const struct api_field *field = api_record_find(record, "group", NULL);
    char *ref;

    hv_assert(field);
    memcpy(&ref, (const char *)&call->request.args + field->offset, sizeof(ref));
    return ref;
}

static void change_group(struct vmms_core *core, struct vmms_call *call)
{
    struct api_error *error = NULL;
    struct vmms_group *group = vmms_group_find(core, NULL, group_of_call(call), "group", &error);

    if (!group) {
        vmms_reply_error(core, call, error);
        return;
    }
    if (!vmms_plan_is_current(core, NULL, call) ||
        !vmms_is_generation(core, call, group->row.generation, "Group", group->row.name))
        return;
    switch (call->request.method) {
    case API_METHOD_GROUP_CONFIGURE: configure_group(core, group, call); break;
    case API_METHOD_GROUP_DELETE: delete_group(core, group, call); break;
    default: change_members(core, group, call); break;
    }
}

bool vmms_is_group_method(enum api_method method)
{
    return strcmp(api_methods[method].noun, "group") == 0;
}

void vmms_group_call(struct vmms_core *core, struct vmms_call *call)
{
    if (call->request.method == API_METHOD_GROUP_LIST)
        list_groups(core, call);
    else if (call->request.method == API_METHOD_GROUP_GET)
        get_group(core, call);
    else if (vmms_groups_wait(core, call))
        ;
    else if (call->request.method == API_METHOD_GROUP_CREATE)
        create_group(core, call);
    else
        change_group(core, call);
}
