/* SPDX-License-Identifier: Apache-2.0 */
/* What is done after a crash, where auto.recovery says so: of the worker, or of the guest, which
 * ends with a triple fault or a panic. At most so often in so long, each time after a longer wait.
 */
#include "vmmsd/core/core_priv.h"

#include "hvcore/base/clock.h"

#include <assert.h>
#include <string.h>

enum { WINDOW_S = 600, PANIC_WAIT_S = 10 };

static const unsigned waits_s[] = { 1, 5, 15 };
static_assert(HV_ARRAY_SIZE(waits_s) == VMMS_MAX_RECOVERIES, "one for each");

static uint64_t now_ns(const struct vmms_core *core)
{
    return core->env.monotonic_ns(core->env.opaque);
}

/* Ends that somebody wanted, or that would come again. */
static bool is_crash(const char *cause)
{
    static const char *const others[] = { "turn_off",   "guest_power_off", "guest_shutdown",
                                          "debug_exit", "start_failed",    "guest_reset" };

    for (size_t i = 0; i < HV_ARRAY_SIZE(others); i++) {
        if (strcmp(others[i], cause) == 0)
            return false;
    }
    return true;
}

enum vmms_mark vmms_recovery_mark(const struct vmms_vm *vm, const char *cause)
{
    bool was_up = vm->row.state == API_VM_STATE_RUNNING || vm->row.state == API_VM_STATE_PAUSED;

    if (vm->self.phase == VMMS_PHASE_STOPPING || vm->self.phase == VMMS_PHASE_STOP_WAIT)
        return VMMS_MARK_STOPPED;
    if (vm->row.mark == VMMS_MARK_STOPPED && vm->op == VMMS_OP_TURN_OFF)
        return VMMS_MARK_NONE;
    if (vm->row.mark != VMMS_MARK_NONE)
        return vm->row.mark;
    if (was_up && !vm->is_of_last_boot && is_crash(cause) && vm->op != VMMS_OP_TURN_OFF &&
        vmms_number_setting(vm, "auto.recovery") == API_AUTO_RECOVERY_RESTART)
        return VMMS_MARK_RECOVER;
    return VMMS_MARK_NONE;
}

/* How often it was recovered within the last ten minutes. */
static unsigned recent(const struct vmms_vm *vm, uint64_t now)
{
    unsigned count = 0;

    for (size_t i = 0; i < VMMS_MAX_RECOVERIES; i++) {
        uint64_t at = vm->self.recovered_ns[i];

        count += at && now - at < WINDOW_S * HV_NS_PER_SEC;
    }
    return count;
}

static void remember(struct vmms_vm *vm, uint64_t now)
{
    uint64_t *at = vm->self.recovered_ns;

    memmove(at, at + 1, (VMMS_MAX_RECOVERIES - 1) * sizeof(*at));
    at[VMMS_MAX_RECOVERIES - 1] = now;
}

static void take_cause(struct vmms_vm *vm, const char *cause)
{
    free(vm->self.cause);
    vm->self.cause = strdup(cause);
    hv_assert(vm->self.cause);
}

/* Wait as long as its turn says, or give up. */
static void schedule(struct vmms_core *core, struct vmms_vm *vm, enum vmms_phase phase,
                     uint64_t least_s)
{
    uint64_t now = now_ns(core), wait_s;
    unsigned count = recent(vm, now);

    if (count == VMMS_MAX_RECOVERIES) {
        vmms_set_phase(core, vm, VMMS_PHASE_NONE);
        vmms_note(core, vm, VMMS_MARK_NONE, "vm.recovery_failed",
                  vmms_own_data(vm->self.cause, count, true, NULL));
        return;
    }
    wait_s = waits_s[count] > least_s ? waits_s[count] : least_s;
    vm->self.due_ns = now + wait_s * HV_NS_PER_SEC;
    vmms_set_phase(core, vm, phase);
}

void vmms_recovery_after_off(struct vmms_core *core, struct vmms_vm *vm)
{
    vm->is_of_last_boot = false;
    if (vm->self.phase == VMMS_PHASE_RESET_WAIT || vm->self.phase == VMMS_PHASE_RESETTING)
        vmms_set_phase(core, vm, VMMS_PHASE_NONE);
    if (vm->row.mark != VMMS_MARK_RECOVER || vm->self.phase == VMMS_PHASE_RECOVERING ||
        core->is_stopping)
        return;
    take_cause(vm, vm->row.cause ? vm->row.cause : "worker_died");
    schedule(core, vm, VMMS_PHASE_RECOVER_WAIT, 0);
}

/* The guest may have its own mind about what follows a panic: it is given some time. */
void vmms_recovery_panicked(struct vmms_core *core, struct vmms_vm *vm)
{
    if (vm->self.phase != VMMS_PHASE_NONE || vm->row.state != API_VM_STATE_RUNNING ||
        vmms_number_setting(vm, "auto.recovery") != API_AUTO_RECOVERY_RESTART)
        return;
    take_cause(vm, "guest_panic");
    schedule(core, vm, VMMS_PHASE_RESET_WAIT, PANIC_WAIT_S);
}

void vmms_recovery_restarted(struct vmms_core *core, struct vmms_vm *vm)
{
    if (vm->self.phase == VMMS_PHASE_RESET_WAIT)
        vmms_set_phase(core, vm, VMMS_PHASE_NONE);
}

void vmms_recovery_tick(struct vmms_core *core, struct vmms_vm *vm, uint64_t now)
{
    bool is_start = vm->self.phase == VMMS_PHASE_RECOVER_WAIT;

    if ((!is_start && vm->self.phase != VMMS_PHASE_RESET_WAIT) || now < vm->self.due_ns)
        return;
    /* Somebody was faster. */
    if (is_start != (vm->row.state == API_VM_STATE_OFF)) {
        vmms_set_phase(core, vm, VMMS_PHASE_NONE);
        return;
    }
    remember(vm, now);
    vmms_set_phase(core, vm, is_start ? VMMS_PHASE_RECOVERING : VMMS_PHASE_RESETTING);
    vmms_own_verb(core, vm, is_start ? VMMS_OWN_RECOVER : VMMS_OWN_RESET,
                  is_start ? API_METHOD_VM_START : API_METHOD_VM_RESET);
}

/* error NULL: it runs again. A start that failed is tried again, in its turn. */
void vmms_recovery_answered(struct vmms_core *core, struct vmms_vm *vm,
                            const struct api_error *error)
{
    bool is_start = vm->self.phase == VMMS_PHASE_RECOVERING;
    unsigned count = recent(vm, now_ns(core));

    if (!is_start && vm->self.phase != VMMS_PHASE_RESETTING)
        return;
    vmms_set_phase(core, vm, VMMS_PHASE_NONE);
    if (!error) {
        vmms_note(core, vm, vm->row.mark, "vm.recovered",
                  vmms_own_data(vm->self.cause, count, false, NULL));
        return;
    }
    vmms_note(core, vm, vm->row.mark, "vm.recovery_failed",
              vmms_own_data(vm->self.cause, count, false, error));
    if (is_start && vm->row.state == API_VM_STATE_OFF && vm->row.mark == VMMS_MARK_RECOVER)
        schedule(core, vm, VMMS_PHASE_RECOVER_WAIT, 0);
}
