/* SPDX-License-Identifier: Apache-2.0 */
/* Calls about groups in a transaction: each is tried on the groups as those before it would have
 * left them. What was done stands in core->groups.tried until it is taken back. */
#include "vmmsd/core/tx_priv.h"

#include <string.h>

/* Who comes or goes may be gone in a moment, and is waited for. */
static struct vmms_vm *leaving_member(const struct vmms_core *core,
                                      const struct api_request *request)
{
    const char *ref = vmms_tx_text(request, "member");
    struct vmms_vm *vm = ref ? vmms_look_up(core, ref) : NULL;

    return vm && vm->pending && vm->pending->is_delete ? vm : NULL;
}

static const char *group_answered(const struct vmms_effect *answer)
{
    const struct api_group_changed *changed = &answer->result.group_changed;

    return changed->has & API_GROUP_CHANGED_HAS_GROUP ? changed->group.id : NULL;
}

void vmms_tx_try_group(struct vmms_core *core, struct vmms_tx *tx, struct api_request *request)
{
    enum api_method method = request->method;
    struct vmms_effect *answer;

    tx->waits_for_groups = core->groups.change != 0;
    tx->busy = leaving_member(core, request);
    if (tx->waits_for_groups || tx->busy)
        return;
    vmms_group_call(core, vmms_tx_call(tx, request));
    answer = vmms_tx_take_answer(core);
    if (answer && answer->error) {
        tx->error = HV_TAKE_PTR(answer->error);
    } else {
        vmms_tx_note(tx, VMMS_TX_CONFIGURES, method, NULL, NULL, NULL);
        tx->results[tx->n_results - 1].already = answer != NULL;
        api_error_set_text(&tx->results[tx->n_results - 1].group,
                           answer ? group_answered(answer) : tx->last->group.id);
    }
    vmms_effect_free(answer);
}

/* The first, or the last, of what was done with a group. */
static const struct vmms_group_op *first_op(const struct vmms_core *core,
                                            const struct vmms_group *group)
{
    const struct hv_list *node = core->groups.tried.next;

    while (HV_LIST_ENTRY(node, const struct vmms_group_op, node)->group != group)
        node = node->next;
    return HV_LIST_ENTRY(node, const struct vmms_group_op, node);
}

static const struct vmms_group_op *last_op(const struct vmms_core *core,
                                           const struct vmms_group *group)
{
    const struct hv_list *node = core->groups.tried.prev;

    while (HV_LIST_ENTRY(node, const struct vmms_group_op, node)->group != group)
        node = node->prev;
    return HV_LIST_ENTRY(node, const struct vmms_group_op, node);
}

/* Whom the plan names: by its id, or its name where it is to be made. */
static const char *object_of(const struct vmms_group_op *first)
{
    return first->kind == VMMS_GROUP_ROW_INSERT ? first->row.name : first->row.id;
}

void vmms_tx_group_basis(const struct vmms_core *core, struct api_plan *plan)
{
    HV_LIST_FOREACH (node, &core->groups.tried) {
        const struct vmms_group_op *op = HV_LIST_ENTRY(node, struct vmms_group_op, node);
        bool is_made = op->kind == VMMS_GROUP_ROW_INSERT;

        if (op == first_op(core, op->group))
            vmms_plan_generation(plan, object_of(op), is_made ? 0 : op->row.generation);
    }
}

static void diff_row(const struct vmms_core *core, const struct vmms_group_op *first,
                     struct api_plan *plan)
{
    const struct vmms_group_row *before = first->kind == VMMS_GROUP_ROW_INSERT ? NULL : &first->row;
    const struct vmms_group_row *after =
        last_op(core, first->group)->kind == VMMS_GROUP_ROW_DELETE ? NULL : &first->group->row;
    const char *object = object_of(first);

    vmms_plan_diff_text(plan, object, "group.name", before ? before->name : NULL,
                        after ? after->name : NULL);
    vmms_plan_diff_text(plan, object, "group.notes", before ? before->notes : NULL,
                        after ? after->notes : NULL);
}

static void diff_member(const struct vmms_core *core, const struct vmms_group_op *op,
                        struct api_plan *plan)
{
    const char *name = op->vm ? vmms_vm_name(op->vm) : op->child ? op->child->row.name : NULL;
    bool comes = op->kind == VMMS_GROUP_ROW_ADD;

    if (name)
        vmms_plan_diff_text(plan, object_of(first_op(core, op->group)), "group.member",
                            comes ? NULL : name, comes ? name : NULL);
}

void vmms_tx_group_diff(const struct vmms_core *core, struct api_plan *plan)
{
    HV_LIST_FOREACH (node, &core->groups.tried) {
        const struct vmms_group_op *op = HV_LIST_ENTRY(node, struct vmms_group_op, node);

        if (op == first_op(core, op->group))
            diff_row(core, op, plan);
        diff_member(core, op, plan);
    }
}
