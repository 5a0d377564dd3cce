/* SPDX-License-Identifier: Apache-2.0 */
/* What happened to workers. Facts are judged as if the worker were hostile: only those of the
 * current incarnation count, and none of them reaches another VM. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"

#include <stdio.h>
#include <string.h>

static bool is_text(const char *text, const char *other)
{
    return text && strcmp(text, other) == 0;
}

static void take_text(char **to, char **from)
{
    free(*to);
    *to = HV_TAKE_PTR(*from);
}

void vmms_commit_fact(struct vmms_core *core, struct vmms_vm *vm, struct vmms_change *change,
                      void (*then)(struct vmms_core *core, struct vmms_vm *vm))
{
    struct vmms_pending *pending = vmms_commit(core, vm, change, NULL);

    pending->is_fact = true;
    pending->then = then;
}

static char *pid_data(const struct vmms_fact *fact)
{
    char *text;

    hv_assert(asprintf(&text, "{\"pid\":%u,\"incarnation\":\"%s\"}", fact->pid, fact->incarnation) >
              0);
    return text;
}

static void spawned(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    struct vmms_change *change = vmms_change_new(core, vm);

    change->row.pid = fact->pid;
    change->row.pid_start = fact->pid_start;
    vmms_change_event(core, change, "vm.worker_started", "host", pid_data(fact));
    vmms_commit_fact(core, vm, change, NULL);
}

/* The worker is in that state: make it the VM's, unless it is so already. */
static void became(struct vmms_core *core, struct vmms_vm *vm, enum api_vm_state state,
                   const struct vmms_why *why, bool is_fresh)
{
    struct vmms_change *change;

    if (vm->row.state == state && !is_fresh) {
        vmms_op_done(core, vm);
        return;
    }
    change = vmms_change_state(core, vm, state, why);
    if (is_fresh)
        change->row.on_since_ms = vmms_now_ms(core);
    if (change->row.saved == VMMS_SAVED_KEPT)
        change->row.saved = VMMS_SAVED_STALE; /* it runs on from it: never again */
    vmms_key_ride(core, change, vmms_op_first(vm), true, vm->row.id, NULL);
    vmms_commit_fact(core, vm, change, vmms_op_done);
}

static void found(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    vm->is_found = true;
}

static void adopted(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    const struct vmms_why why = { .cause = "adopted", .actor = "host" };
    struct vmms_change *change;
    bool is_lost;

    vm->is_adopting = false;
    change = vmms_change_new(core, vm);
    change->row.pid = fact->pid;
    change->row.pid_start = fact->pid_start;
    if (is_text(fact->state, "running") && vm->row.state != API_VM_STATE_STOPPING)
        change->row.state = API_VM_STATE_RUNNING;
    if (is_text(fact->state, "paused") && vm->row.state != API_VM_STATE_STOPPING)
        change->row.state = API_VM_STATE_PAUSED;
    if (change->row.state == API_VM_STATE_RUNNING && change->row.saved == VMMS_SAVED_KEPT)
        change->row.saved = VMMS_SAVED_STALE;
    if (is_text(fact->state, "saving") && vm->row.state == API_VM_STATE_SAVING) {
        vm->op = VMMS_OP_SAVE;
        vm->is_save_adopted = true;
        vm->save_from = API_VM_STATE_RUNNING; /* which its worker knows better */
    }
    if (change->row.state != API_VM_STATE_STARTING && !change->row.on_since_ms)
        change->row.on_since_ms = vmms_now_ms(core);
    vmms_change_event(core, change, "vm.worker_adopted", "host", pid_data(fact));
    if (change->row.state != vm->row.state)
        vmms_change_event(core, change, "vm.state_changed", "host",
                          vmms_why_data(vm, change->row.state, &why));
    if (vm->row.state == API_VM_STATE_STARTING && is_text(fact->state, "ready")) {
        vm->op = VMMS_OP_START;
        vmms_ask_worker(core, vm, VMMS_WORKER_START);
    }
    if (vm->row.state == API_VM_STATE_STOPPING) {
        vm->op = VMMS_OP_TURN_OFF;
        vmms_turn_off_worker(core, vm);
    }
    vmms_save_job_adopted(core, vm);
    is_lost = vm->row.state == API_VM_STATE_SAVING && change->row.state != vm->row.state;
    vmms_commit_fact(core, vm, change, is_lost ? vmms_save_lost : NULL);
}

static void greeted(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    vm->is_greeted = true;
    vm->health = API_VM_HEALTH_OK;
    if (!is_text(fact->state, "saving"))
        vmms_save_is_over(core, vm);
    else if (vm->is_save_abandoned)
        vmms_ask_worker(core, vm, VMMS_WORKER_CANCEL_SAVE);
    take_text(&vm->backend, &fact->backend);
    take_text(&vm->backend_reason, &fact->backend_reason);
    if (vmms_is_soft_by_probe(core, vm))
        api_error_set_text(&vm->backend_reason, core->host.backend_reason);
    vmms_ask_worker(core, vm, VMMS_WORKER_SET_PAIRS);
    vmms_ask_worker(core, vm, VMMS_WORKER_HOLD_STORAGE);
    if (fact->is_adoption) {
        adopted(core, vm, fact);
        return;
    }
    if (vmms_save_heard(core, vm, fact->state))
        return;
    if (vm->op == VMMS_OP_START && is_text(fact->state, "ready"))
        vmms_ask_worker(core, vm, VMMS_WORKER_START);
}

static const struct {
    enum vmms_worker_verb verb;
    enum vmms_op op;
    enum api_vm_state to;
    const char *cause;
    bool is_fresh; /* the guest begins anew */
} answers[] = {
    { VMMS_WORKER_START, VMMS_OP_START, API_VM_STATE_RUNNING, "start", true },
    { VMMS_WORKER_PAUSE, VMMS_OP_PAUSE, API_VM_STATE_PAUSED, "pause", false },
    { VMMS_WORKER_RESUME, VMMS_OP_RESUME, API_VM_STATE_RUNNING, "resume", false },
    { VMMS_WORKER_RESET, VMMS_OP_RESET, API_VM_STATE_RUNNING, "reset", true },
};

/* Why its worker ends, for who waits. */
static void take_gone_error(struct vmms_vm *vm, struct vmms_fact *fact)
{
    if (vm->is_start_late)
        return;
    api_error_free(vm->gone_error);
    vm->gone_error = HV_TAKE_PTR(fact->error);
}

/* A question went wrong. The guest goes on as it was, except where it never began. */
static void answer_failed(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    if (fact->error && fact->error->code == API_E_WORKER_UNRESPONSIVE)
        vm->health = API_VM_HEALTH_UNRESPONSIVE;
    if (fact->verb == VMMS_WORKER_TURN_OFF || vm->op == VMMS_OP_TURN_OFF) {
        vmms_kill_worker(core, vm);
        return;
    }
    if (fact->verb == VMMS_WORKER_SAVE) {
        if (fact->error->code != API_E_WORKER_LOST &&
            fact->error->code != API_E_WORKER_UNRESPONSIVE)
            vmms_save_is_over(core, vm);
        if (vm->op == VMMS_OP_SAVE && fact->error->code != API_E_WORKER_LOST &&
            fact->error->code != API_E_WORKER_UNRESPONSIVE)
            vmms_save_failed(core, vm, HV_TAKE_PTR(fact->error));
        else if (vm->op == VMMS_OP_SAVE)
            vm->is_save_adopted = true; /* it saves on, and its end will tell */
        return;
    }
    if (fact->verb == VMMS_WORKER_START) {
        take_gone_error(vm, fact);
        vmms_kill_worker(core, vm);
        return;
    }
    vmms_op_fail(core, vm, HV_TAKE_PTR(fact->error));
}

/* Answers that are not about the state of the processors. Returns true when it was one. */
static bool other_answered(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    if (fact->error && fact->error->code == API_E_WORKER_UNRESPONSIVE)
        vm->health = API_VM_HEALTH_UNRESPONSIVE;
    switch (fact->verb) {
    case VMMS_WORKER_LOOK:
        if (!fact->error)
            vmms_save_job_heard(core, vm);
        return true;
    case VMMS_WORKER_CANCEL_SAVE:
    case VMMS_WORKER_SET_SERVICES:
    case VMMS_WORKER_SET_PAIRS:
    case VMMS_WORKER_HOLD_STORAGE:
        if (fact->error)
            vmms_emit(core, VMMS_EFFECT_LOG)->text = strdup(fact->error->message);
        return true;
    case VMMS_WORKER_SHUT_DOWN:
    case VMMS_WORKER_REBOOT:
        if (vm->op == VMMS_OP_SHUT_DOWN || vm->op == VMMS_OP_REBOOT)
            vmms_shut_down_answered(core, vm, HV_TAKE_PTR(fact->error));
        return true;
    case VMMS_WORKER_ADD_DISK:
    case VMMS_WORKER_REMOVE_DISK:
    case VMMS_WORKER_CHANGE_MEDIUM:
        if (vm->op != VMMS_OP_DEVICE)
            return true;
        if (fact->error)
            vmms_device_failed(core, vm, HV_TAKE_PTR(fact->error));
        else
            vmms_device_done(core, vm);
        return true;
    default: return false;
    }
}

static void answered(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    struct vmms_why why = { .actor = vmms_op_actor(vm) };

    if (other_answered(core, vm, fact))
        return;
    if (fact->error) {
        answer_failed(core, vm, fact);
        return;
    }
    for (size_t i = 0; i < HV_ARRAY_SIZE(answers); i++) {
        if (answers[i].verb != fact->verb || answers[i].op != vm->op)
            continue;
        why.cause = answers[i].cause;
        became(core, vm, answers[i].to, &why, answers[i].is_fresh);
        return;
    }
}

static void restart_done(struct vmms_core *core, struct vmms_vm *vm)
{
    vmms_recovery_restarted(core, vm);
    if (vm->op == VMMS_OP_REBOOT)
        vmms_op_done(core, vm);
}

/* The guest began anew on its own account, or because it was asked to. */
static void guest_restarted(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    const struct vmms_why why = { .cause = fact->cause,
                                  .message = fact->message,
                                  .actor = "guest" };
    struct vmms_change *change = vmms_change_new(core, vm);

    vmms_guest_forget(&vm->guest);
    change->row.on_since_ms = vmms_now_ms(core);
    vmms_change_event(core, change,
                      is_text(fact->cause, "triple_fault") ? "vm.guest_crashed" : "vm.guest_reset",
                      "guest", vmms_why_data(vm, vm->row.state, &why));
    vmms_commit_fact(core, vm, change, restart_done);
}

/* Is the worker's state about to change because we asked for it? */
static bool is_awaited(const struct vmms_vm *vm)
{
    return vm->op != VMMS_OP_NONE && vm->op != VMMS_OP_DEVICE && vm->op != VMMS_OP_SHUT_DOWN &&
           vm->op != VMMS_OP_REBOOT;
}

static void state_changed(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    const struct vmms_why why = { .cause = fact->cause,
                                  .message = fact->message,
                                  .actor = "worker" };

    if (is_text(fact->state, "stopped")) {
        take_text(&vm->stop_cause, &fact->cause);
        take_text(&vm->stop_message, &fact->message);
        vm->has_stop_status = fact->has_exit_status;
        vm->stop_status = fact->exit_status;
        return;
    }
    if (is_text(fact->state, "running") &&
        (is_text(fact->cause, "guest_reset") || is_text(fact->cause, "triple_fault"))) {
        guest_restarted(core, vm, fact);
        return;
    }
    if (is_text(fact->cause, "save_failed"))
        vmms_save_is_over(core, vm);
    if (vmms_save_heard(core, vm, fact->state))
        return;
    /* What we asked for is told by the answer; only what nobody asked for counts here. */
    if (is_awaited(vm) || vm->row.state == API_VM_STATE_STOPPING)
        return;
    if (is_text(fact->state, "running") && vm->row.state == API_VM_STATE_PAUSED)
        vmms_commit_fact(core, vm, vmms_change_state(core, vm, API_VM_STATE_RUNNING, &why), NULL);
    else if (is_text(fact->state, "paused") && vm->row.state == API_VM_STATE_RUNNING)
        vmms_commit_fact(core, vm, vmms_change_state(core, vm, API_VM_STATE_PAUSED, &why), NULL);
}

static void tell_health(struct vmms_core *core, struct vmms_vm *vm, enum api_vm_health health)
{
    struct vmms_change *change;
    char *data;

    if (vm->health == health)
        return;
    vm->health = health;
    change = vmms_change_new(core, vm);
    hv_assert(asprintf(&data, "{\"health\":\"%s\"}", api_enum_vm_health.values[health]) >= 0);
    vmms_change_event(core, change, "vm.health_changed", "host", data);
    vmms_commit_fact(core, vm, change, NULL);
}

static void quiet(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    tell_health(core, vm, API_VM_HEALTH_UNRESPONSIVE);
}

static void heard(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    tell_health(core, vm, API_VM_HEALTH_OK);
}

static void silent(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    vm->is_adopting = false;
    if (vm->op == VMMS_OP_START || vm->op == VMMS_OP_TURN_OFF ||
        vm->row.state == API_VM_STATE_STOPPING) {
        take_gone_error(vm, fact);
        vmms_kill_worker(core, vm);
        return;
    }
    tell_health(core, vm, API_VM_HEALTH_UNRESPONSIVE);
}

/* Is the VM off because its guest was asked to shut down, which is what was wanted? */
static bool has_shut_down(const struct vmms_vm *vm)
{
    return vm->op == VMMS_OP_SHUT_DOWN && is_text(vm->row.cause, "guest_shutdown");
}

static void after_off(struct vmms_core *core, struct vmms_vm *vm)
{
    struct api_error *error = HV_TAKE_PTR(vm->gone_error);

    vm->is_greeted = false;
    vm->is_kill_sent = vm->is_start_late = false;
    vm->is_adopting = false;
    vm->health = API_VM_HEALTH_OK;
    vm->has_stop_status = false;
    vm->is_shutdown_asked = false;
    vmms_guest_fini(&vm->guest);
    vmms_critical_forget(core, vm);
    vmms_recovery_after_off(core, vm);
    hv_freep(&vm->stop_cause);
    hv_freep(&vm->stop_message);
    hv_freep(&vm->backend);
    hv_freep(&vm->backend_reason);
    vm->stop_cause = vm->stop_message = vm->backend = vm->backend_reason = NULL;
    vm->is_save_adopted = false;
    vmms_save_is_over(core, vm);
    if (vm->op == VMMS_OP_TURN_OFF || has_shut_down(vm) ||
        ((vm->op == VMMS_OP_SAVE || vm->save_job) && vm->row.state == API_VM_STATE_SAVED)) {
        vmms_op_done(core, vm);
        api_error_free(error);
        return;
    }
    if (!error && (vm->op != VMMS_OP_NONE || vm->save_job))
        api_error_set(&error, API_E_WORKER_LOST, "vm.worker_lost", NULL, "VM %s is off now: %s",
                      vmms_vm_name(vm),
                      vm->row.cause_message ? vm->row.cause_message : "its worker ended.");
    vmms_op_fail(core, vm, error);
}

static const struct {
    const char *cause;
    const char *event;
    const char *actor;
    const char *message;
} ends[] = {
    { "turn_off", "vm.worker_exited", "host", "It was turned off." },
    { "save", "vm.saved", "host", "It was saved." },
    { "guest_power_off", "vm.worker_exited", "guest", "The guest powered off." },
    { "guest_shutdown", "vm.worker_exited", "guest", "The guest shut down as it was asked to." },
    { "guest_reset", "vm.worker_exited", "guest", "The guest asked for a reset." },
    { "debug_exit", "vm.worker_exited", "guest",
      "The guest ended itself through its debug exit port." },
    { "triple_fault", "vm.guest_crashed", "guest",
      "The guest crashed: a processor met a triple fault." },
    { "start_failed", "vm.worker_exited", "worker", "It could not be started." },
    { "internal_error", "vm.worker_exited", "worker", "Its worker met an internal error." },
};

/* What the end of its worker leaves: a saved state that has just been finished, or one from which
 * no guest has gone on yet. */
static enum api_vm_state state_without_worker(const struct vmms_vm *vm, const char *cause)
{
    if (vm->row.saved == VMMS_SAVED_KEPT)
        return API_VM_STATE_SAVED;
    if (vm->row.state != API_VM_STATE_SAVING &&
        !(vm->is_save_abandoned && vm->row.state != API_VM_STATE_STOPPING))
        return API_VM_STATE_OFF;
    return is_text(cause, "save") ? API_VM_STATE_SAVED : API_VM_STATE_OFF;
}

/* The worker's own words first, then its last words, then what the kernel says. */
static void gone(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    struct vmms_why why = { .cause = fact->cause, .message = fact->message, .actor = "worker" };
    const char *event = "vm.worker_exited";
    enum api_vm_state to;
    struct vmms_change *change;

    why.has_exit_status = fact->has_exit_status;
    why.exit_status = fact->exit_status;
    if (vm->stop_cause && !is_text(fact->cause, "save")) {
        why.cause = vm->stop_cause;
        why.message = vm->stop_message;
        why.has_exit_status = vm->has_stop_status;
        why.exit_status = vm->stop_status;
    }
    if (vm->op == VMMS_OP_TURN_OFF && (!vm->stop_cause || vm->is_kill_sent)) {
        why.cause = "turn_off";
        why.message = NULL;
    }
    if (is_text(why.cause, "guest_power_off") &&
        (vm->is_shutdown_asked || vm->op == VMMS_OP_SHUT_DOWN)) {
        why.cause = "guest_shutdown";
        why.message = NULL;
    }
    if (!why.cause)
        why.cause = "worker_died";
    for (size_t i = 0; i < HV_ARRAY_SIZE(ends); i++) {
        if (strcmp(ends[i].cause, why.cause) != 0)
            continue;
        event = ends[i].event;
        why.actor = ends[i].actor;
        why.message = why.message ? why.message : ends[i].message;
    }
    /* What it said itself tells more than what we noticed. */
    if (fact->error || !vm->gone_error)
        take_gone_error(vm, fact);
    to = state_without_worker(vm, fact->cause);
    change = vmms_change_state(core, vm, to, &why);
    if (to == API_VM_STATE_SAVED)
        change->row.saved = VMMS_SAVED_KEPT;
    change->row.incarnation[0] = change->row.secret[0] = change->row.failing[0] = '\0';
    change->row.pid = 0;
    change->row.pid_start = 0;
    change->row.on_since_ms = 0;
    change->row.mark = vmms_recovery_mark(vm, why.cause);
    if (fact->kind != VMMS_FACT_SPAWN_FAILED) /* else there was none that could exit */
        vmms_change_event(core, change, event, why.actor, vmms_why_data(vm, to, &why));
    vmms_commit_fact(core, vm, change, after_off);
}

static void spawn_failed(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    if (!fact->cause)
        fact->cause = strdup("start_failed");
    if (!fact->message && fact->error)
        fact->message = strdup(fact->error->message);
    gone(core, vm, fact);
}

void vmms_handle_fact(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    static void (*const handlers[])(struct vmms_core *, struct vmms_vm *, struct vmms_fact *) = {
        [VMMS_FACT_SPAWNED] = spawned,
        [VMMS_FACT_SPAWN_FAILED] = spawn_failed,
        [VMMS_FACT_FOUND] = found,
        [VMMS_FACT_GREETED] = greeted,
        [VMMS_FACT_ANSWER] = answered,
        [VMMS_FACT_STATE] = state_changed,
        [VMMS_FACT_SAVE_PROGRESS] = vmms_save_job_progress,
        [VMMS_FACT_SAVE] = vmms_save_ordered,
        [VMMS_FACT_SILENT] = silent,
        [VMMS_FACT_QUIET] = quiet,
        [VMMS_FACT_HEARD] = heard,
        [VMMS_FACT_GONE] = gone,
        [VMMS_FACT_GUEST] = vmms_guest_fact,
        [VMMS_FACT_GUEST_CRASHED] = vmms_guest_crashed,
        [VMMS_FACT_DEVICE_ERROR] = vmms_device_error,
        [VMMS_FACT_STORAGE] = vmms_storage_fact,
        [VMMS_FACT_NOTE] = vmms_note_fact,
    };

    if (fact->kind == VMMS_FACT_NOTE || strcmp(fact->incarnation, vm->row.incarnation) == 0)
        handlers[fact->kind](core, vm, fact);
    vmms_fact_free(fact);
}
