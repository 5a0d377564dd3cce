/* SPDX-License-Identifier: Apache-2.0 */
/* Automatic starts after the host has booted: who, in which order, when. Management model,
 * section 10. The mark on a row outlives a restart of the service in the midst of it. */
#include "vmmsd/core/core_priv.h"

#include "hvcore/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_AT_ONCE = 2, RETRIES = 3, KVP_WAIT_S = 2 };

static const unsigned retry_waits_s[RETRIES] = { 5, 20, 60 };

static bool is_to_start(const struct vmms_vm *vm)
{
    uint64_t mode = vmms_number_setting(vm, "auto.start");

    if (mode == API_AUTO_START_ALWAYS)
        return true;
    return mode == API_AUTO_START_IF_RUNNING &&
           (vm->row.state != API_VM_STATE_OFF || vm->row.mark != VMMS_MARK_NONE);
}

static char *delayed_data(const struct vmms_vm *vm)
{
    char *text;

    hv_assert(asprintf(&text, "{\"delay_s\":%u,\"sequence\":%u}",
                       (unsigned)vmms_number_setting(vm, "auto.start_delay"),
                       (unsigned)vmms_number_setting(vm, "auto.start_sequence")) > 0);
    return text;
}

void vmms_core_booted(struct vmms_core *core)
{
    for (size_t i = 0; i < core->by_id.count; i++) {
        struct vmms_vm *vm = core->by_id.vms[i];

        vm->is_of_last_boot = vmms_has_worker(vm->row.state);
        if (is_to_start(vm))
            vmms_note(core, vm, VMMS_MARK_START, "vm.start_delayed", delayed_data(vm));
        else if (vm->row.mark != VMMS_MARK_NONE)
            vmms_note(core, vm, VMMS_MARK_NONE, "vm.start_cancelled", strdup("{}"));
    }
}

/* The mark as it is, or as it is about to be stored. */
void vmms_autostart_load(struct vmms_core *core, struct vmms_vm *vm)
{
    enum vmms_mark mark = vm->pending ? vm->pending->row.mark : vm->row.mark;

    if (mark == VMMS_MARK_START) {
        vm->self.due_ns = 0;
        vmms_set_phase(core, vm, VMMS_PHASE_START_WAIT);
    } else if (mark == VMMS_MARK_RECOVER && vm->row.state == API_VM_STATE_OFF) {
        vmms_recovery_after_off(core, vm);
    }
}

void vmms_core_opened(struct vmms_core *core)
{
    core->ready_ns = core->env.monotonic_ns(core->env.opaque);
    core->is_holding = false;
    HV_LIST_FOREACH (node, &core->held) {
        hv_list_remove(node);
        vmms_handle_call(core, HV_LIST_ENTRY(node, struct vmms_call, node));
    }
}

/* Waiting for other VMs */

static bool has_come(const struct vmms_vm *other, bool needs_heartbeat)
{
    if (!other || other->row.state != API_VM_STATE_RUNNING)
        return false;
    return !needs_heartbeat ||
           (other->guest.has_heartbeat && other->guest.heartbeat == API_HEARTBEAT_OK);
}

/* Pairs are asked for one VM after the other, and not too often. */
static void look_for_kvp(struct vmms_core *core, struct vmms_vm *vm, const struct vmms_vm *other,
                         const char *key, uint64_t now)
{
    struct vmms_effect *effect;

    if (!has_come(other, false) || now < vm->self.kvp_due_ns)
        return;
    vm->self.kvp_due_ns = now + KVP_WAIT_S * HV_NS_PER_SEC;
    effect = vmms_emit_worker(core, VMMS_EFFECT_LOOK_FOR_KVP, other);
    effect->token = vm->self.n_kvp_found;
    effect->text = strdup(key);
    hv_assert(effect->text);
    memcpy(effect->for_vm, vm->row.id, sizeof(effect->for_vm));
}

void vmms_core_kvp_found(struct vmms_core *core, const char *for_vm, uint64_t token)
{
    struct vmms_vm *vm = vmms_index_find(&core->by_id, for_vm);

    if (vm && vm->self.phase == VMMS_PHASE_START_WAIT && vm->self.n_kvp_found == token)
        vm->self.n_kvp_found++;
}

/* A name as it stands between commas. */
static struct vmms_vm *named(const struct vmms_core *core, const char *from, size_t length)
{
    hv_autofree char *ref = NULL;

    while (length && *from == ' ')
        from++, length--;
    while (length && from[length - 1] == ' ')
        length--;
    ref = strndup(from, length);
    hv_assert(ref);
    return vmms_look_up(core, ref);
}

static bool have_others_come(struct vmms_core *core, struct vmms_vm *vm, uint64_t now)
{
    const char *until = vm->row.settings.auto_start_after_until;
    const char *at = vm->row.settings.auto_start_after;
    bool needs_heartbeat = until && strcmp(until, "heartbeat") == 0;
    const char *key = until && strncmp(until, "kvp:", 4) == 0 ? until + 4 : NULL;

    for (uint64_t index = 0; at && *at; index++) {
        size_t length = strcspn(at, ",");
        struct vmms_vm *other = named(core, at, length);

        at += length;
        at += *at == ',';
        if (key ? index < vm->self.n_kvp_found : has_come(other, needs_heartbeat))
            continue;
        if (key)
            look_for_kvp(core, vm, other, key, now);
        return false;
    }
    return true;
}

bool vmms_starts_after(const struct vmms_core *core, const struct vmms_vm *vm,
                       const struct vmms_vm *other)
{
    const char *at = vm->row.settings.auto_start_after;

    while (at && *at) {
        size_t length = strcspn(at, ",");

        if (named(core, at, length) == other)
            return true;
        at += length;
        at += *at == ',';
    }
    return false;
}

/* Order */

int vmms_turn_compare(const void *a, const void *b)
{
    const struct vmms_turn *left = a, *right = b;

    if (left->sequence != right->sequence)
        return left->sequence < right->sequence ? -1 : 1;
    if (left->delay_s != right->delay_s)
        return left->delay_s < right->delay_s ? -1 : 1;
    return strcmp(vmms_vm_name(left->vm), vmms_vm_name(right->vm));
}

static bool is_due(struct vmms_core *core, const struct vmms_turn *turn, uint64_t now)
{
    struct vmms_vm *vm = turn->vm;
    uint64_t from = core->ready_ns + turn->delay_s * HV_NS_PER_SEC;
    uint64_t timeout_s = vmms_number_setting(vm, "auto.start_after_timeout");

    if (now < from || now < vm->self.due_ns)
        return false;
    return now >= from + timeout_s * HV_NS_PER_SEC || have_others_come(core, vm, now);
}

/* Is there still something to wait for? Ends the wait where not. */
static bool is_waiting(struct vmms_core *core, struct vmms_vm *vm)
{
    if (vm->self.phase != VMMS_PHASE_START_WAIT)
        return false;
    if (vm->is_adopting || vm->pending || !hv_list_is_empty(&vm->facts))
        return true;
    if (!vmms_has_worker(vm->row.state) && vm->row.mark == VMMS_MARK_START &&
        vmms_number_setting(vm, "auto.start") != API_AUTO_START_NOTHING)
        return true;
    if (vmms_has_worker(vm->row.state) && vm->row.state != API_VM_STATE_RUNNING &&
        vm->row.state != API_VM_STATE_PAUSED)
        return true;
    vmms_set_phase(core, vm, VMMS_PHASE_NONE);
    if (vm->row.mark == VMMS_MARK_START)
        vmms_note(core, vm, VMMS_MARK_NONE, "vm.start_cancelled", strdup("{}"));
    return false;
}

static size_t list_turns(struct vmms_core *core, struct vmms_turn *ret)
{
    size_t count = 0;

    for (size_t i = 0; i < core->by_id.count; i++) {
        struct vmms_vm *vm = core->by_id.vms[i];
        struct vmms_turn turn = { .vm = vm };

        if (!is_waiting(core, vm) || vm->is_adopting || vmms_has_worker(vm->row.state))
            continue;
        turn.sequence = vmms_number_setting(vm, "auto.start_sequence") - 1; /* 0 is the last */
        turn.delay_s = vmms_number_setting(vm, "auto.start_delay");
        ret[count++] = turn;
    }
    qsort(ret, count, sizeof(*ret), vmms_turn_compare);
    return count;
}

static size_t count_starting(const struct vmms_core *core)
{
    size_t count = 0;

    for (size_t i = 0; i < core->by_id.count; i++)
        count += core->by_id.vms[i]->self.phase == VMMS_PHASE_STARTING;
    return count;
}

void vmms_autostart_tick(struct vmms_core *core, uint64_t now)
{
    size_t most = core->host.processors > LEAST_AT_ONCE ? core->host.processors : LEAST_AT_ONCE;
    size_t starting = count_starting(core), count;
    hv_autofree struct vmms_turn *turns = NULL;

    if (!core->ready_ns || starting >= most)
        return;
    turns = calloc(core->by_id.count + 1, sizeof(*turns));
    hv_assert(turns);
    count = list_turns(core, turns);
    for (size_t i = 0; i < count && starting < most; i++) {
        if (!is_due(core, &turns[i], now))
            continue;
        vmms_set_phase(core, turns[i].vm, VMMS_PHASE_STARTING);
        vmms_own_verb(core, turns[i].vm, VMMS_OWN_START, API_METHOD_VM_START);
        starting++;
    }
}

void vmms_autostart_answered(struct vmms_core *core, struct vmms_vm *vm,
                             const struct api_error *error)
{
    unsigned failed;
    bool gives_up;

    if (vm->self.phase != VMMS_PHASE_STARTING)
        return;
    if (!error) {
        vm->self.attempts = 0;
        vmms_set_phase(core, vm, VMMS_PHASE_NONE);
        return;
    }
    failed = ++vm->self.attempts;
    gives_up = failed > RETRIES;
    if (gives_up)
        vm->self.attempts = 0;
    else
        vm->self.due_ns =
            core->env.monotonic_ns(core->env.opaque) + retry_waits_s[failed - 1] * HV_NS_PER_SEC;
    vmms_set_phase(core, vm, gives_up ? VMMS_PHASE_NONE : VMMS_PHASE_START_WAIT);
    vmms_note(core, vm, gives_up ? VMMS_MARK_NONE : VMMS_MARK_START, "vm.auto_start_failed",
              vmms_own_data("host_boot", failed, gives_up, error));
}
