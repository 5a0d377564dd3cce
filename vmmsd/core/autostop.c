/* SPDX-License-Identifier: Apache-2.0 */
/* All VMs are stopped, because the host goes down or somebody says so: in the reverse of the order
 * in which they start, each by the steps that its auto.stop names, each step within its time.
 * Management model, section 10. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"
#include "hvcore/base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_AT_ONCE = 2, MAX_PLANNED = 62 };

static const struct {
    const char *name;
    enum api_method method;
    enum vmms_own own;
} steps[] = {
    { "off", API_METHOD_VM_TURN_OFF, VMMS_OWN_STOP_OFF },
    { "save", API_METHOD_VM_SAVE, VMMS_OWN_STOP_SAVE },
    { "shutdown", API_METHOD_GUEST_SHUTDOWN, VMMS_OWN_STOP_SHUT_DOWN },
};

/* By auto.stop: which steps, in order, by their places above. */
static const unsigned char orders[][3] = {
    [API_AUTO_STOP_OFF] = { 0, 0, 0 },
    [API_AUTO_STOP_SAVE] = { 1, 2, 0 },
    [API_AUTO_STOP_SHUTDOWN] = { 2, 1, 0 },
};

static bool is_up(const struct vmms_vm *vm)
{
    return !vm->is_new && (vmms_has_worker(vm->row.state) || vm->op == VMMS_OP_START);
}

static bool is_stopping(const struct vmms_vm *vm)
{
    return vm->self.phase == VMMS_PHASE_STOP_WAIT || vm->self.phase == VMMS_PHASE_STOPPING;
}

static unsigned step_of(const struct vmms_vm *vm)
{
    return orders[vm->self.stop_mode][vm->self.step];
}

/* Beginning */

static void mark(struct vmms_core *core, struct vmms_vm *vm)
{
    char *data;

    vm->self.stop_mode = (enum api_auto_stop)vmms_number_setting(vm, "auto.stop");
    hv_assert(
        asprintf(&data, "{\"action\":\"%s\"}", api_enum_auto_stop.values[vm->self.stop_mode]) > 0);
    vmms_set_phase(core, vm, VMMS_PHASE_STOP_WAIT);
    vm->self.step = 0;
    vm->self.due_ns = 0;
    vmms_note(core, vm, VMMS_MARK_STOPPED, "vm.stopping_with_host", data);
}

static bool is_about_to_start(const struct vmms_vm *vm)
{
    return vm->self.phase == VMMS_PHASE_START_WAIT || vm->self.phase == VMMS_PHASE_RECOVER_WAIT ||
           vm->self.phase == VMMS_PHASE_STARTING || vm->self.phase == VMMS_PHASE_RECOVERING;
}

static void begin(struct vmms_core *core)
{
    for (size_t i = 0; i < core->by_id.count; i++) {
        struct vmms_vm *vm = core->by_id.vms[i];

        if (is_up(vm) && !is_stopping(vm)) {
            mark(core, vm);
        } else if (is_about_to_start(vm)) {
            vmms_set_phase(core, vm, VMMS_PHASE_NONE);
            vmms_note(core, vm, VMMS_MARK_STOPPED, "vm.start_cancelled", strdup("{}"));
        }
    }
}

static void plan(struct vmms_core *core, struct vmms_call *call)
{
    static const char *const no_steps[] = { NULL };
    struct api_plan *plan = vmms_reply_plan(core, call, NULL, no_steps);
    struct api_vms_stopped *stopped = HV_CONTAINER_OF(plan, struct api_vms_stopped, plan);

    for (size_t i = 0; i < core->by_name.count; i++) {
        struct vmms_vm *vm = core->by_name.vms[i];

        if (!is_up(vm))
            continue;
        stopped->count++;
        if (plan->n_steps < MAX_PLANNED)
            vmms_plan_step(plan, api_enum_auto_stop.values[vmms_number_setting(vm, "auto.stop")],
                           vm->row.id);
        vmms_plan_generation(plan, vm->row.id, vm->row.generation);
    }
    if (stopped->count) {
        free(plan->verdict);
        plan->verdict = strdup("ok");
        hv_assert(plan->verdict);
    }
}

static void answer(struct vmms_core *core, struct vmms_call *call)
{
    struct api_vms_stopped *stopped = &vmms_reply(core, call)->result.vms_stopped;

    stopped->count = core->n_stopping;
}

void vmms_stop_all_again(struct vmms_core *core, struct vmms_call *call)
{
    if (core->is_stopping && call->request.args.host_stop_vms.wait)
        hv_list_append(&core->stop_calls, &call->node);
    else
        answer(core, call);
}

void vmms_stop_all(struct vmms_core *core, struct vmms_call *call)
{
    const struct api_host_stop_vms_args *args = &call->request.args.host_stop_vms;

    if (args->plan) {
        plan(core, call);
        return;
    }
    if (!core->is_stopping)
        core->n_stopping = 0;
    core->is_stopping = true;
    begin(core);
    for (size_t i = 0, count = 0; i < core->by_id.count; i++) {
        count += is_stopping(core->by_id.vms[i]);
        core->n_stopping = count > core->n_stopping ? (uint32_t)count : core->n_stopping;
    }
    vmms_stop_all_again(core, call);
}

/* Order */

static int compare_back(const void *a, const void *b)
{
    return vmms_turn_compare(b, a);
}

static size_t list_turns(const struct vmms_core *core, struct vmms_turn *ret)
{
    size_t count = 0;

    for (size_t i = 0; i < core->by_id.count; i++) {
        struct vmms_vm *vm = core->by_id.vms[i];
        struct vmms_turn turn = { .vm = vm };

        if (!is_stopping(vm))
            continue;
        turn.sequence = vmms_number_setting(vm, "auto.start_sequence") - 1;
        turn.delay_s = vmms_number_setting(vm, "auto.start_delay");
        ret[count++] = turn;
    }
    qsort(ret, count, sizeof(*ret), compare_back);
    return count;
}

/* Does another one that is not off yet build on it? */
static bool is_needed(const struct vmms_core *core, const struct vmms_turn *turns, size_t count,
                      const struct vmms_vm *vm)
{
    for (size_t i = 0; i < count; i++) {
        if (turns[i].vm != vm && vmms_starts_after(core, turns[i].vm, vm))
            return true;
    }
    return false;
}

/* Steps */

static void go(struct vmms_core *core, struct vmms_vm *vm, uint64_t now)
{
    unsigned step = step_of(vm);
    uint64_t timeout_s = vmms_number_setting(vm, "auto.stop_timeout");
    struct api_request request = { .method = steps[step].method };
    char *data;

    vmms_set_phase(core, vm, VMMS_PHASE_STOPPING);
    vm->self.due_ns = now + timeout_s * HV_NS_PER_SEC;
    hv_assert(asprintf(&data, "{\"step\":\"%s\",\"timeout_s\":%" PRIu64 "}", steps[step].name,
                       timeout_s) > 0);
    vmms_note(core, vm, VMMS_MARK_STOPPED, "vm.stop_step", data);
    if (request.method != API_METHOD_GUEST_SHUTDOWN) {
        vmms_own_verb(core, vm, steps[step].own, request.method);
        return;
    }
    request.args.guest_shutdown.vm = strdup(vm->row.id);
    request.args.guest_shutdown.force = true;
    request.args.guest_shutdown.wait = true;
    request.args.guest_shutdown.timeout_ms = (uint32_t)(timeout_s * 1000);
    hv_assert(request.args.guest_shutdown.vm);
    vmms_own_call(core, vm, steps[step].own, &request);
}

static void next_step(struct vmms_core *core, struct vmms_vm *vm)
{
    if (step_of(vm) == 0)
        return;
    vm->self.step++;
    go(core, vm, core->env.monotonic_ns(core->env.opaque));
}

void vmms_stop_answered(struct vmms_core *core, struct vmms_vm *vm, enum vmms_own own,
                        const struct api_error *error)
{
    if (error && vm->self.phase == VMMS_PHASE_STOPPING && steps[step_of(vm)].own == own)
        next_step(core, vm);
}

/* Is it done with? A worker that is still looked for is waited for as long as a step takes. */
static bool has_stopped(const struct vmms_vm *vm)
{
    return !vmms_has_worker(vm->row.state) && vm->op == VMMS_OP_NONE && !vm->pending &&
           hv_list_is_empty(&vm->facts) && hv_list_is_empty(&vm->calls);
}

static void watch(struct vmms_core *core, uint64_t now)
{
    for (size_t i = 0; i < core->by_id.count; i++) {
        struct vmms_vm *vm = core->by_id.vms[i];

        if (!is_stopping(vm))
            continue;
        if (has_stopped(vm))
            vmms_set_phase(core, vm, VMMS_PHASE_NONE);
        else if (vm->self.phase == VMMS_PHASE_STOPPING && now >= vm->self.due_ns)
            next_step(core, vm);
    }
}

static void finish(struct vmms_core *core)
{
    core->is_stopping = false;
    HV_LIST_FOREACH (node, &core->stop_calls) {
        hv_list_remove(node);
        answer(core, HV_LIST_ENTRY(node, struct vmms_call, node));
    }
}

/* Those of a sequence wait until all of the later one are off; where VMs need each other in a ring,
 * one of them has to begin. */
static void go_on(struct vmms_core *core, const struct vmms_turn *turns, size_t count, uint64_t now)
{
    size_t most = core->host.processors > LEAST_AT_ONCE ? core->host.processors : LEAST_AT_ONCE;
    size_t busy = 0;

    for (size_t i = 0; i < count; i++)
        busy += turns[i].vm->self.phase == VMMS_PHASE_STOPPING;
    for (size_t i = 0; i < count && busy < most; i++) {
        if (turns[i].sequence != turns[0].sequence)
            break;
        if (turns[i].vm->self.phase != VMMS_PHASE_STOP_WAIT ||
            is_needed(core, turns, count, turns[i].vm))
            continue;
        go(core, turns[i].vm, now);
        busy++;
    }
    if (!busy)
        go(core, turns[0].vm, now);
}

void vmms_stop_tick(struct vmms_core *core, uint64_t now)
{
    hv_autofree struct vmms_turn *turns = NULL;
    size_t count;

    if (!core->is_stopping)
        return;
    watch(core, now);
    turns = calloc(core->by_id.count + 1, sizeof(*turns));
    hv_assert(turns);
    count = list_turns(core, turns);
    if (count)
        go_on(core, turns, count, now);
    else
        finish(core);
}
