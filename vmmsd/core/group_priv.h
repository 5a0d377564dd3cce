/* SPDX-License-Identifier: Apache-2.0 */
/* What the files about groups share. */
#pragma once

#include "vmmsd/core/core_priv.h"

/* groups.c */
void vmms_group_row_copy(const struct vmms_group_row *from, struct vmms_group_row *ret);
struct vmms_group *vmms_group_free(struct vmms_group *group);
/* In its place by its name; out of it. */
void vmms_group_insert(struct vmms_groups *groups, struct vmms_group *group);
void vmms_group_take_out(struct vmms_groups *groups, struct vmms_group *group);
struct vmms_group *vmms_group_by_name(const struct vmms_groups *groups, const char *name);
/* VMs or groups, as its kind says. */
const struct vmms_set *vmms_group_members(const struct vmms_group *group);
/* One of vm and child is NULL. */
void vmms_group_link(struct vmms_groups *groups, struct vmms_group *group, struct vmms_vm *vm,
                     struct vmms_group *child);
void vmms_group_unlink(struct vmms_groups *groups, struct vmms_group *group, struct vmms_vm *vm,
                       struct vmms_group *child);
/* Does `group` hold the other one, over however many steps, or is it that one? */
bool vmms_group_is_above(const struct vmms_group *group, struct vmms_group *other);

/* group_change.c */
/* A change of that group_kind; its event and what it is to bring are the caller's. Begins as the
 * group will be after what is on its way, one generation later. */
struct vmms_change *vmms_group_change(struct vmms_core *core, int kind, struct vmms_group *group);
/* data: JSON, taken; vm: that it is about, or NULL */
void vmms_group_event(struct vmms_core *core, struct vmms_change *change, const char *type,
                      const char *actor, char *data, const struct vmms_vm *vm);
char *vmms_group_member_data(const struct vmms_group_row *group, const struct vmms_vm *vm,
                             const struct vmms_group *child);
/* What the change brings when it is stored. vm, child: who comes or goes */
void vmms_group_expect(struct vmms_core *core, const struct vmms_change *change,
                       struct vmms_group *group, struct vmms_vm *vm, struct vmms_group *child);
/* A member goes. */
struct vmms_change *vmms_group_removal(struct vmms_core *core, struct vmms_group *group,
                                       struct vmms_vm *vm, struct vmms_group *child,
                                       const char *actor);
/* Hands a change of groups alone on. subject: of the answer; NULL: it is deleted */
void vmms_group_commit(struct vmms_core *core, struct vmms_change *change, struct vmms_call *call,
                       struct vmms_group *subject);

/* group_calls.c: group NULL: it is gone */
void vmms_reply_group(struct vmms_core *core, struct vmms_call *call,
                      const struct vmms_group *group, bool already, uint64_t event_seq);
