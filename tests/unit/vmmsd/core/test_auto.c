/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"
#include "tests/lib/core_host.h"

#include <string.h>

#define OFF     API_VM_STATE_OFF
#define RUNNING API_VM_STATE_RUNNING

static struct api_settings always(uint32_t sequence, uint32_t delay)
{
    return (struct api_settings){ .has = API_SETTINGS_HAS_AUTO_START |
                                         API_SETTINGS_HAS_AUTO_START_SEQUENCE |
                                         API_SETTINGS_HAS_AUTO_START_DELAY,
                                  .auto_start = API_AUTO_START_ALWAYS,
                                  .auto_start_sequence = sequence,
                                  .auto_start_delay = delay };
}

static struct api_settings nothing(void)
{
    return (struct api_settings){ .has = API_SETTINGS_HAS_AUTO_START,
                                  .auto_start = API_AUTO_START_NOTHING };
}

static struct api_settings restarting(void)
{
    struct api_settings settings = { .has = API_SETTINGS_HAS_AUTO_RECOVERY,
                                     .auto_recovery = API_AUTO_RECOVERY_RESTART };

    return settings;
}

static unsigned count(const char *text, const char *what)
{
    unsigned found = 0;

    for (; (text = strstr(text, what)); text += strlen(what))
        found++;
    return found;
}

static void a_plain_restart_of_the_service_starts_nothing(void **state)
{
    struct core_host *host = core_host_new();

    core_host_load(host, "a", OFF, VMMS_MARK_NONE, always(0, 0));
    core_host_load(host, "b", OFF, VMMS_MARK_STOPPED, (struct api_settings){ 0 });
    core_host_begin(host, false);
    core_host_pass(host, 5000);
    assert_string_equal(host->starts, "");
    core_host_free(host);
}

static void a_boot_starts_those_that_want_it(void **state)
{
    struct core_host *host = core_host_new();

    core_host_load(host, "always", OFF, VMMS_MARK_NONE, always(0, 0));
    core_host_load(host, "never", OFF, VMMS_MARK_STOPPED, nothing());
    core_host_load(host, "was-off", OFF, VMMS_MARK_NONE, (struct api_settings){ 0 });
    core_host_load(host, "was-on", OFF, VMMS_MARK_STOPPED, (struct api_settings){ 0 });
    core_host_begin(host, true);
    core_host_pass(host, 1000);
    assert_string_equal(host->starts, "always was-on ");
    assert_int_equal(core_host_state(host, "always"), RUNNING);
    core_host_free(host);
}

static void one_whose_host_crashed_starts_when_its_worker_is_known_to_be_gone(void **state)
{
    struct core_host *host = core_host_new();

    core_host_load(host, "a", RUNNING, VMMS_MARK_NONE, restarting());
    core_host_begin(host, true);
    core_host_pass(host, 1000);
    assert_string_equal(host->starts, "");
    core_host_end(host, "a", "worker_died");
    core_host_pass(host, 1000);
    assert_string_equal(host->starts, "a ");
    assert_int_equal(count(host->events, "vm.recovered"), 0);
    core_host_free(host);
}

static void sequence_delay_and_name_are_the_order(void **state)
{
    struct core_host *host = core_host_new();

    core_host_load(host, "z", OFF, VMMS_MARK_NONE, always(0, 0));
    core_host_load(host, "c", OFF, VMMS_MARK_NONE, always(2, 0));
    core_host_load(host, "b", OFF, VMMS_MARK_NONE, always(2, 0));
    core_host_load(host, "a", OFF, VMMS_MARK_NONE, always(1, 0));
    core_host_begin(host, true);
    core_host_pass(host, 1000);
    assert_string_equal(host->starts, "a b c z ");
    core_host_free(host);
}

static void delays_count_from_when_the_service_is_ready(void **state)
{
    struct core_host *host = core_host_new();

    core_host_load(host, "a", OFF, VMMS_MARK_NONE, always(1, 10));
    core_host_load(host, "b", OFF, VMMS_MARK_NONE, always(2, 0));
    core_host_begin(host, true);
    core_host_pass(host, 9900);
    assert_string_equal(host->starts, "b ");
    assert_int_equal(count(host->events, "vm.start_delayed a"), 1);
    core_host_verb(host, API_METHOD_VM_GET, "a");
    assert_int_equal(host->reply->result.vm.n_operational_status, 2);
    assert_string_equal(host->reply->result.vm.operational_status[1], "waiting_to_start");
    core_host_pass(host, 200);
    assert_string_equal(host->starts, "b a ");
    core_host_free(host);
}

static void only_so_many_start_at_once(void **state)
{
    struct core_host *host = core_host_new();

    host->starts_hang = true;
    core_host_load(host, "a", OFF, VMMS_MARK_NONE, always(0, 0));
    core_host_load(host, "b", OFF, VMMS_MARK_NONE, always(0, 0));
    core_host_load(host, "c", OFF, VMMS_MARK_NONE, always(0, 0));
    core_host_begin(host, true);
    core_host_pass(host, 5000);
    assert_string_equal(host->starts, "a b ");
    core_host_verb(host, API_METHOD_VM_TURN_OFF, "a");
    core_host_pass(host, 1000);
    assert_string_equal(host->starts, "a b c ");
    core_host_free(host);
}

static void a_start_that_fails_is_tried_three_times_more(void **state)
{
    struct core_host *host = core_host_new();

    host->starts_fail = true;
    core_host_load(host, "a", OFF, VMMS_MARK_NONE, always(0, 0));
    core_host_begin(host, true);
    core_host_pass(host, 4000);
    assert_string_equal(host->starts, "a ");
    core_host_pass(host, 200000);
    assert_string_equal(host->starts, "a a a a ");
    assert_int_equal(count(host->events, "vm.auto_start_failed"), 4);
    core_host_free(host);
}

static void a_restart_of_the_service_in_between_goes_on_with_it(void **state)
{
    struct core_host *host = core_host_new();

    core_host_load(host, "a", OFF, VMMS_MARK_START, always(0, 0));
    core_host_load(host, "b", OFF, VMMS_MARK_RECOVER, restarting());
    core_host_begin(host, false);
    core_host_pass(host, 2000);
    assert_string_equal(host->starts, "a b ");
    core_host_free(host);
}

static void who_turns_it_off_while_it_waits_does_not_want_it(void **state)
{
    struct core_host *host = core_host_new();

    core_host_load(host, "a", OFF, VMMS_MARK_NONE, always(0, 10));
    core_host_begin(host, true);
    core_host_verb(host, API_METHOD_VM_TURN_OFF, "a");
    assert_null(host->reply->error);
    core_host_pass(host, 20000);
    assert_string_equal(host->starts, "");
    assert_int_equal(count(host->events, "vm.start_cancelled"), 1);
    core_host_free(host);
}

static struct api_settings after(const char *others, const char *until)
{
    struct api_settings settings = always(0, 0);

    settings.auto_start_after = strdup(others);
    settings.auto_start_after_until = strdup(until);
    settings.has |= API_SETTINGS_HAS_AUTO_START_AFTER_TIMEOUT;
    settings.auto_start_after_timeout = 60;
    return settings;
}

static void one_waits_for_others_and_not_for_ever(void **state)
{
    struct core_host *host = core_host_new();

    core_host_load(host, "a", OFF, VMMS_MARK_NONE, after("z, y", "running"));
    core_host_load(host, "b", OFF, VMMS_MARK_NONE, after("nobody", "running"));
    core_host_load(host, "c", OFF, VMMS_MARK_NONE, after("z", "heartbeat"));
    core_host_load(host, "y", OFF, VMMS_MARK_NONE, always(0, 5));
    core_host_load(host, "z", OFF, VMMS_MARK_NONE, always(0, 0));
    core_host_begin(host, true);
    core_host_pass(host, 6000);
    assert_string_equal(host->starts, "z y a ");
    core_host_pass(host, 60000);
    assert_string_equal(host->starts, "z y a b c ");
    core_host_free(host);
}

static void a_heartbeat_is_waited_for(void **state)
{
    struct core_host *host = core_host_new();
    struct vmms_fact *fact;

    core_host_load(host, "a", OFF, VMMS_MARK_NONE, after("z", "heartbeat"));
    core_host_load(host, "z", OFF, VMMS_MARK_NONE, always(0, 0));
    core_host_begin(host, true);
    core_host_pass(host, 3000);
    assert_string_equal(host->starts, "z ");
    fact = vmms_fact_new(VMMS_FACT_GUEST, core_host_incarnation(host, "z"));
    fact->has_heartbeat = true;
    fact->heartbeat = API_HEARTBEAT_OK;
    vmms_core_fact(host->core, vmms_core_vm_id(host->core, "z"), fact);
    core_host_pass(host, 200);
    assert_string_equal(host->starts, "z a ");
    core_host_free(host);
}

static void a_pair_is_waited_for_and_not_asked_for_all_the_time(void **state)
{
    struct core_host *host = core_host_new();

    core_host_load(host, "a", OFF, VMMS_MARK_NONE, after("y, z", "kvp:ready"));
    core_host_load(host, "y", OFF, VMMS_MARK_NONE, always(0, 0));
    core_host_load(host, "z", OFF, VMMS_MARK_NONE, always(0, 0));
    core_host_begin(host, true);
    core_host_pass(host, 10000);
    assert_string_equal(host->starts, "y z ");
    assert_in_range(host->asked, 4, 6);
    host->has_pair = true;
    core_host_pass(host, 5000);
    assert_string_equal(host->starts, "y z a ");
    core_host_free(host);
}

/* Recovery */

static struct core_host *running(struct api_settings settings)
{
    struct core_host *host = core_host_new();

    core_host_load(host, "a", OFF, VMMS_MARK_NONE, settings);
    core_host_begin(host, false);
    core_host_verb(host, API_METHOD_VM_START, "a");
    return host;
}

static void a_crash_without_the_setting_leaves_it_off(void **state)
{
    struct core_host *host = running((struct api_settings){ 0 });

    core_host_end(host, "a", "worker_died");
    core_host_pass(host, 60000);
    assert_string_equal(host->starts, "a ");
    core_host_free(host);
}

static void ends_that_were_wanted_are_no_crashes(void **state)
{
    static const char *const causes[] = { "turn_off", "guest_power_off", "debug_exit" };

    for (size_t i = 0; i < HV_ARRAY_SIZE(causes); i++) {
        struct core_host *host = running(restarting());

        core_host_end(host, "a", causes[i]);
        core_host_pass(host, 60000);
        assert_string_equal(host->starts, "a ");
        core_host_free(host);
    }
}

static void a_crash_is_recovered_three_times_in_ten_minutes(void **state)
{
    struct core_host *host = running(restarting());

    for (int i = 0; i < 4; i++) {
        core_host_end(host, "a", i % 2 ? "worker_died" : "triple_fault");
        core_host_pass(host, 20000);
    }
    assert_string_equal(host->starts, "a a a a ");
    assert_int_equal(count(host->events, "vm.recovered a"), 3);
    assert_int_equal(count(host->events, "vm.recovery_failed a"), 1);
    assert_int_equal(core_host_state(host, "a"), OFF);
    core_host_verb(host, API_METHOD_VM_START, "a");
    core_host_pass(host, 600000);
    core_host_end(host, "a", "worker_died");
    core_host_pass(host, 2000);
    assert_int_equal(core_host_state(host, "a"), RUNNING);
    core_host_free(host);
}

static void a_panic_is_recovered_unless_the_guest_does_it_itself(void **state)
{
    struct core_host *host = running(restarting());
    const char *id = vmms_core_vm_id(host->core, "a");
    struct vmms_fact *fact;

    for (int i = 0; i < 2; i++) {
        fact = vmms_fact_new(VMMS_FACT_GUEST_CRASHED, core_host_incarnation(host, "a"));
        vmms_core_fact(host->core, id, fact);
        core_host_pass(host, 5000);
        assert_int_equal(count(host->events, "vm.recovered"), 0);
        if (i == 0) {
            fact = vmms_fact_new(VMMS_FACT_STATE, core_host_incarnation(host, "a"));
            fact->state = strdup("running");
            fact->cause = strdup("guest_reset");
            vmms_core_fact(host->core, id, fact);
        }
        core_host_pass(host, 10000);
        assert_int_equal(count(host->events, "vm.recovered"), i);
    }
    core_host_free(host);
}

/* Stopping */

static struct api_settings stopped_by(enum api_auto_stop how, uint32_t sequence)
{
    return (struct api_settings){ .has = API_SETTINGS_HAS_AUTO_STOP |
                                         API_SETTINGS_HAS_AUTO_START_SEQUENCE |
                                         API_SETTINGS_HAS_AUTO_STOP_TIMEOUT,
                                  .auto_stop = how,
                                  .auto_start_sequence = sequence,
                                  .auto_stop_timeout = 30 };
}

static void stop_all(struct core_host *host)
{
    struct api_request request = { .method = API_METHOD_HOST_STOP_VMS };

    request.args.host_stop_vms.wait = true;
    core_host_call(host, &request);
}

static struct core_host *three(void)
{
    struct core_host *host = core_host_new();

    core_host_load(host, "a", OFF, VMMS_MARK_NONE, stopped_by(API_AUTO_STOP_SHUTDOWN, 1));
    core_host_load(host, "b", OFF, VMMS_MARK_NONE, stopped_by(API_AUTO_STOP_OFF, 2));
    core_host_load(host, "c", OFF, VMMS_MARK_NONE, stopped_by(API_AUTO_STOP_SHUTDOWN, 0));
    core_host_load(host, "d", OFF, VMMS_MARK_NONE, stopped_by(API_AUTO_STOP_SHUTDOWN, 0));
    core_host_begin(host, false);
    core_host_verb(host, API_METHOD_VM_START, "a");
    core_host_verb(host, API_METHOD_VM_START, "b");
    core_host_verb(host, API_METHOD_VM_START, "c");
    host->events[0] = '\0';
    return host;
}

static void all_are_stopped_in_reverse_order(void **state)
{
    struct core_host *host = three();
    unsigned replies = host->replies;

    stop_all(host);
    assert_int_equal(host->replies, replies);
    core_host_pass(host, 2000);
    assert_int_equal(host->replies, replies + 1);
    assert_null(host->reply->error);
    assert_int_equal(host->reply->result.vms_stopped.count, 3);
    assert_true(strstr(host->events, "vm.stop_step c") < strstr(host->events, "vm.stop_step b"));
    assert_true(strstr(host->events, "vm.stop_step b") < strstr(host->events, "vm.stop_step a"));
    assert_null(strstr(host->events, " d"));
    assert_int_equal(core_host_state(host, "a"), OFF);
    assert_int_equal(core_host_state(host, "b"), OFF);
    core_host_free(host);
}

static void a_guest_that_does_not_obey_is_saved(void **state)
{
    struct core_host *host = three();

    host->guests_obey = false;
    stop_all(host);
    core_host_pass(host, 2000);
    assert_int_equal(core_host_state(host, "a"), API_VM_STATE_SAVED);
    assert_int_equal(core_host_state(host, "b"), OFF);
    assert_int_equal(count(host->events, "vm.stop_step a"), 2);
    core_host_free(host);
}

static void one_that_cannot_be_saved_either_is_turned_off(void **state)
{
    struct core_host *host = three();

    host->guests_obey = false;
    host->saves_fail = true;
    stop_all(host);
    core_host_pass(host, 2000);
    assert_int_equal(core_host_state(host, "a"), OFF);
    assert_int_equal(count(host->events, "vm.stop_step a"), 3);
    assert_int_equal(count(host->events, "vm.stop_step b"), 1);
    core_host_free(host);
}

/* A save that hangs takes its time and no more, whatever is set meanwhile. */
static void how_a_vm_is_stopped_is_decided_when_that_begins(void **state)
{
    struct core_host *host = three();
    struct api_request request = { .method = API_METHOD_VM_CONFIGURE };

    host->guests_obey = false;
    host->saves_hang = true;
    stop_all(host);
    core_host_pass(host, 2000);
    request.args.vm_configure.vm = strdup("a");
    request.args.vm_configure.settings.has = API_SETTINGS_HAS_AUTO_STOP;
    request.args.vm_configure.settings.auto_stop = API_AUTO_STOP_OFF;
    core_host_call(host, &request);
    core_host_pass(host, 400000);
    assert_int_equal(core_host_state(host, "a"), OFF);
    assert_int_equal(count(host->events, "vm.stop_step a"), 3);
    assert_false(vmms_core_is_ticking(host->core));
    core_host_free(host);
}

static void what_was_stopped_with_the_host_starts_with_it(void **state)
{
    struct core_host *host = three();

    stop_all(host);
    core_host_verb(host, API_METHOD_VM_START, "d");
    assert_int_equal(host->reply->error->code, API_E_NOT_AVAILABLE);
    core_host_pass(host, 2000);
    core_host_verb(host, API_METHOD_VM_START, "d");
    assert_null(host->reply->error);
    core_host_verb(host, API_METHOD_VM_TURN_OFF, "d");
    host->starts[0] = '\0';
    vmms_core_booted(host->core);
    vmms_core_loaded(host->core, host->seq, 0);
    core_host_pass(host, 2000);
    assert_string_equal(host->starts, "a b c ");
    core_host_free(host);
}

static void one_that_others_build_on_is_stopped_after_them(void **state)
{
    struct core_host *host = core_host_new();

    core_host_load(host, "db", OFF, VMMS_MARK_NONE, (struct api_settings){ 0 });
    core_host_load(host, "app", OFF, VMMS_MARK_NONE, after("db", "running"));
    core_host_begin(host, false);
    core_host_verb(host, API_METHOD_VM_START, "db");
    core_host_verb(host, API_METHOD_VM_START, "app");
    stop_all(host);
    core_host_pass(host, 2000);
    assert_true(strstr(host->events, "vm.stop_step app") < strstr(host->events, "vm.stop_step db"));
    core_host_free(host);
}

/* Critical storage */

static void tell_storage(struct core_host *host, bool is_critical, uint64_t age_ms)
{
    struct vmms_fact *fact = vmms_fact_new(VMMS_FACT_STORAGE, core_host_incarnation(host, "a"));

    fact->is_critical = is_critical;
    fact->message = strdup("It is full.");
    fact->age_ms = age_ms;
    vmms_core_fact(host->core, vmms_core_vm_id(host->core, "a"), fact);
    fact = vmms_fact_new(VMMS_FACT_STATE, core_host_incarnation(host, "a"));
    fact->state = strdup(is_critical ? "paused" : "running");
    fact->cause = strdup(is_critical ? "storage_critical" : "storage_cured");
    vmms_core_fact(host->core, vmms_core_vm_id(host->core, "a"), fact);
    core_host_run(host);
}

static struct api_settings patient(uint32_t minutes)
{
    return (struct api_settings){ .has = API_SETTINGS_HAS_AUTO_CRITICAL_TIMEOUT,
                                  .auto_critical_timeout = minutes };
}

static void critical_storage_is_shown_and_goes_by_itself(void **state)
{
    struct core_host *host = running(patient(1));

    tell_storage(host, true, 0);
    tell_storage(host, true, 0);
    core_host_verb(host, API_METHOD_VM_GET, "a");
    assert_true(host->reply->result.vm.critical);
    assert_string_equal(host->reply->result.vm.critical_reason, "It is full.");
    assert_int_equal(host->reply->result.vm.health, API_VM_HEALTH_MAJOR_FAILURE);
    core_host_verb(host, API_METHOD_VM_RESUME, "a");
    assert_int_equal(host->reply->error->code, API_E_STORAGE_CRITICAL);
    core_host_pass(host, 50000);
    tell_storage(host, false, 0);
    assert_int_equal(core_host_state(host, "a"), RUNNING);
    core_host_pass(host, 100000);
    assert_int_equal(core_host_state(host, "a"), RUNNING);
    assert_int_equal(count(host->events, "vm.critical_entered"), 1);
    assert_int_equal(count(host->events, "vm.critical_cleared"), 1);
    core_host_free(host);
}

static const char *status_of(struct core_host *host)
{
    core_host_verb(host, API_METHOD_VM_GET, "a");
    assert_true(host->reply->result.vm.n_operational_status >= 1);
    return host->reply->result.vm.operational_status[0];
}

static void tell(struct core_host *host, struct vmms_fact *fact)
{
    vmms_core_fact(host->core, vmms_core_vm_id(host->core, "a"), fact);
    core_host_run(host);
}

static void tell_heartbeat(struct core_host *host, enum api_heartbeat heartbeat)
{
    struct vmms_fact *fact = vmms_fact_new(VMMS_FACT_GUEST, core_host_incarnation(host, "a"));

    fact->has_heartbeat = true;
    fact->heartbeat = heartbeat;
    tell(host, fact);
}

static void a_vm_that_is_not_well_is_degraded_until_it_is(void **state)
{
    struct core_host *host = running(patient(10));
    struct vmms_fact *fact;

    assert_string_equal(status_of(host), "ok");
    tell_heartbeat(host, API_HEARTBEAT_OK);
    assert_string_equal(status_of(host), "ok");
    tell_heartbeat(host, API_HEARTBEAT_LOST);
    assert_string_equal(status_of(host), "degraded");
    tell_heartbeat(host, API_HEARTBEAT_OK);
    assert_string_equal(status_of(host), "ok");
    tell_storage(host, true, 0);
    assert_string_equal(status_of(host), "degraded");
    tell_storage(host, false, 0);
    assert_string_equal(status_of(host), "ok");
    fact = vmms_fact_new(VMMS_FACT_SILENT, core_host_incarnation(host, "a"));
    api_error_set(&fact->error, API_E_WORKER_UNRESPONSIVE, "x", NULL, "It is silent.");
    tell(host, fact);
    assert_string_equal(status_of(host), "degraded");
    for (int i = 0; i < 2; i++) { /* the second time there is nothing new */
        tell(host, vmms_fact_new(VMMS_FACT_HEARD, core_host_incarnation(host, "a")));
        assert_string_equal(status_of(host), "ok");
    }
    assert_int_equal(count(host->events, "vm.health_changed"), 2);
    for (int i = 0; i < 2; i++) {
        tell(host, vmms_fact_new(VMMS_FACT_QUIET, core_host_incarnation(host, "a")));
        assert_string_equal(status_of(host), "degraded");
        assert_int_equal(core_host_state(host, "a"), API_VM_STATE_RUNNING);
    }
    assert_int_equal(count(host->events, "vm.health_changed"), 3);
    core_host_verb(host, API_METHOD_VM_TURN_OFF, "a");
    assert_string_equal(status_of(host), "ok");
    core_host_free(host);
}

static void critical_storage_is_waited_for_so_long_and_no_longer(void **state)
{
    struct core_host *host = running(patient(1));

    tell_storage(host, true, 30000); /* since before the service was there */
    core_host_pass(host, 29000);
    assert_int_equal(core_host_state(host, "a"), API_VM_STATE_PAUSED);
    core_host_pass(host, 2000);
    assert_int_equal(core_host_state(host, "a"), OFF);
    assert_int_equal(count(host->events, "vm.critical_given_up"), 1);
    core_host_free(host);
}

static void critical_storage_keeps_nobody_from_turning_it_off(void **state)
{
    struct core_host *host = running(patient(10));

    tell_storage(host, true, 0);
    core_host_verb(host, API_METHOD_VM_TURN_OFF, "a");
    assert_null(host->reply->error);
    assert_int_equal(core_host_state(host, "a"), OFF);
    core_host_verb(host, API_METHOD_VM_GET, "a");
    assert_false(host->reply->result.vm.critical);
    core_host_free(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_restart_of_the_service_starts_nothing),
        cmocka_unit_test(a_boot_starts_those_that_want_it),
        cmocka_unit_test(one_whose_host_crashed_starts_when_its_worker_is_known_to_be_gone),
        cmocka_unit_test(sequence_delay_and_name_are_the_order),
        cmocka_unit_test(delays_count_from_when_the_service_is_ready),
        cmocka_unit_test(only_so_many_start_at_once),
        cmocka_unit_test(a_start_that_fails_is_tried_three_times_more),
        cmocka_unit_test(a_restart_of_the_service_in_between_goes_on_with_it),
        cmocka_unit_test(who_turns_it_off_while_it_waits_does_not_want_it),
        cmocka_unit_test(one_waits_for_others_and_not_for_ever),
        cmocka_unit_test(a_heartbeat_is_waited_for),
        cmocka_unit_test(a_pair_is_waited_for_and_not_asked_for_all_the_time),
        cmocka_unit_test(a_crash_without_the_setting_leaves_it_off),
        cmocka_unit_test(ends_that_were_wanted_are_no_crashes),
        cmocka_unit_test(a_crash_is_recovered_three_times_in_ten_minutes),
        cmocka_unit_test(a_panic_is_recovered_unless_the_guest_does_it_itself),
        cmocka_unit_test(all_are_stopped_in_reverse_order),
        cmocka_unit_test(a_guest_that_does_not_obey_is_saved),
        cmocka_unit_test(one_that_cannot_be_saved_either_is_turned_off),
        cmocka_unit_test(how_a_vm_is_stopped_is_decided_when_that_begins),
        cmocka_unit_test(what_was_stopped_with_the_host_starts_with_it),
        cmocka_unit_test(one_that_others_build_on_is_stopped_after_them),
        cmocka_unit_test(critical_storage_is_shown_and_goes_by_itself),
        cmocka_unit_test(critical_storage_is_waited_for_so_long_and_no_longer),
        cmocka_unit_test(critical_storage_keeps_nobody_from_turning_it_off),
        cmocka_unit_test(a_vm_that_is_not_well_is_degraded_until_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
