/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "vmwp/worker/phase.h"

#include <string.h>

#define R WP_PHASE_RUNNING
#define P WP_PHASE_PAUSED
#define S WP_PHASE_STOPPED
#define V WP_PHASE_SAVING
#define Y WP_PHASE_READY
#define X (-1)

/* What each cause does in each phase: the whole table, written a second time. */
static const int expected[WP_N_CAUSES][WP_N_PHASES] = {
    /* starting, ready, running, paused, saving, stopped */
    [WP_CAUSE_NONE] = { X, X, X, X, X, X },
    [WP_CAUSE_LOADED] = { Y, X, X, X, X, X },
    [WP_CAUSE_START] = { X, R, X, X, X, X },
    [WP_CAUSE_PAUSE] = { X, X, P, X, X, X },
    [WP_CAUSE_RESUME] = { X, X, X, R, X, X },
    [WP_CAUSE_RESET] = { X, X, R, R, X, X },
    [WP_CAUSE_TURN_OFF] = { X, S, S, S, S, X },
    [WP_CAUSE_SAVE] = { X, X, V, V, X, X },
    [WP_CAUSE_SAVED] = { X, X, X, X, S, X },
    [WP_CAUSE_SAVE_FAILED] = { X, X, X, X, P, X },
    [WP_CAUSE_GUEST_POWER_OFF] = { X, X, S, X, X, X },
    [WP_CAUSE_GUEST_RESET] = { X, X, S, X, X, X },
    [WP_CAUSE_TRIPLE_FAULT] = { X, X, S, X, X, X },
    [WP_CAUSE_DEBUG_EXIT] = { X, X, S, X, X, X },
    [WP_CAUSE_INTERNAL_ERROR] = { S, S, S, S, S, X },
    [WP_CAUSE_STORAGE_CRITICAL] = { X, X, P, X, X, X },
    [WP_CAUSE_STORAGE_CURED] = { X, X, X, R, X, X },
};

static void each_cause_leads_where_it_should(void **state)
{
    (void)state;
    for (int cause = 0; cause < WP_N_CAUSES; cause++)
        for (int phase = 0; phase < WP_N_PHASES; phase++) {
            enum wp_phase next = WP_N_PHASES;
            bool is_legal = wp_phase_next(phase, cause, false, &next);

            assert_int_equal(is_legal, expected[cause][phase] != X);
            assert_int_equal(next, is_legal ? expected[cause][phase] : WP_N_PHASES);
        }
}

static void only_reset_and_triple_fault_restart_a_guest(void **state)
{
    (void)state;
    for (int cause = 0; cause < WP_N_CAUSES; cause++) {
        enum wp_phase next;
        bool may = cause == WP_CAUSE_GUEST_RESET || cause == WP_CAUSE_TRIPLE_FAULT;

        if (wp_phase_next(WP_PHASE_RUNNING, cause, true, &next) && expected[cause][R] == S)
            assert_int_equal(next, may ? WP_PHASE_RUNNING : WP_PHASE_STOPPED);
    }
}

static void a_save_that_fails_leads_back_to_where_it_began(void **state)
{
    enum wp_phase next;

    (void)state;
    assert_true(wp_phase_next(WP_PHASE_SAVING, WP_CAUSE_SAVE_FAILED, false, &next));
    assert_int_equal(next, WP_PHASE_PAUSED);
    assert_true(wp_phase_next(WP_PHASE_SAVING, WP_CAUSE_SAVE_FAILED, true, &next));
    assert_int_equal(next, WP_PHASE_RUNNING);
}

static void stopped_is_the_end(void **state)
{
    enum wp_phase next;

    (void)state;
    for (int cause = 0; cause < WP_N_CAUSES; cause++)
        assert_false(wp_phase_next(WP_PHASE_STOPPED, cause, true, &next));
}

static void names_are_those_of_the_schema(void **state)
{
    (void)state;
    assert_string_equal(wp_phase_name(WP_PHASE_READY), "ready");
    assert_string_equal(wp_phase_name(WP_PHASE_STOPPED), "stopped");
    assert_string_equal(wp_cause_name(WP_CAUSE_LOADED), "");
    assert_string_equal(wp_cause_name(WP_CAUSE_GUEST_POWER_OFF), "guest_power_off");
    assert_string_equal(wp_cause_name(WP_CAUSE_INTERNAL_ERROR), "internal_error");
    assert_string_equal(wp_cause_legal_in(WP_CAUSE_RESET), "running or paused");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_cause_leads_where_it_should),
        cmocka_unit_test(only_reset_and_triple_fault_restart_a_guest),
        cmocka_unit_test(a_save_that_fails_leads_back_to_where_it_began),
        cmocka_unit_test(stopped_is_the_end),
        cmocka_unit_test(names_are_those_of_the_schema),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
