/* SPDX-License-Identifier: Apache-2.0 */
/* The table of jobs: brought into an older database, written and read back. */
#include "tests/lib/cmocka.h"

#include "hvcore/base/own.h"
#include "vmmsd/store/migrations.h"
#include "vmmsd/store/store.h"

#include <ftw.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

static char folder[] = "/tmp/hvs-store-XXXXXX";

static void notify(void *opaque)
{
}

static char *db_path(void)
{
    char *path;

    assert_true(asprintf(&path, "%s/vmms.db", folder) > 0);
    return path;
}

static int set_up(void **state)
{
    memcpy(folder, "/tmp/hvs-store-XXXXXX", sizeof(folder));
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    return remove(path);
}

static int tear_down(void **state)
{
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static struct vmms_store *open_store(void)
{
    struct vmms_store *store;
    struct hv_error *error = NULL;
    int r = vmms_store_open(folder, &(struct vmms_store_limits){ 0 }, notify, NULL, &store, &error);

    if (r < 0)
        fail_msg("%s", hv_error_message(error, r));
    return store;
}

/* A database as the first version made it, with an event in it. */
static void make_first_version(void)
{
    hv_autofree char *path = db_path();
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, migrations[0], NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(
            db,
            "PRAGMA application_id=1752585777; PRAGMA user_version=1;"
            "INSERT INTO event VALUES (1, 'b', 2, 3, 'vm.created', NULL, NULL, 0, 'uid:0', "
            "'{}')",
            NULL, NULL, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static struct vmms_stored *result_of(struct vmms_store *store)
{
    struct vmms_stored *stored;

    for (int i = 0; i < 500; i++) {
        stored = vmms_store_take(store);
        if (stored)
            return stored;
        (void)poll(NULL, 0, 10);
    }
    fail_msg("the store does not answer");
    return NULL;
}

static struct vmms_job_row seen[4];
static size_t n_seen;

static int see(void *opaque, struct vmms_job_row *row)
{
    seen[n_seen++] = *row;
    *row = (struct vmms_job_row){ 0 };
    return 0;
}

static uint64_t load(struct vmms_store *store)
{
    uint64_t last;

    n_seen = 0;
    assert_int_equal(vmms_store_load_jobs(store, see, NULL, &last, NULL), 0);
    return last;
}

static void forget(void)
{
    for (size_t i = 0; i < n_seen; i++)
        vmms_job_row_fini(&seen[i]);
}

static struct vmms_change *change_of(uint64_t id, int kind, enum api_job_state state)
{
    struct vmms_change *change = calloc(1, sizeof(*change));

    assert_non_null(change);
    change->id = id;
    change->kind = VMMS_ROW_NONE;
    change->job_kind = kind;
    change->job =
        (struct vmms_job_row){ .id = 7,
                               .type = strdup("image.create"),
                               .object = strdup("/a.vhdx"),
                               .args = strdup("{}"),
                               .state = state,
                               .owner = strdup("uid:0"),
                               .idempotency_key = strdup("key"),
                               .submitted_ms = 5,
                               .ended_ms = state == API_JOB_STATE_FAILED ? 9 : 0,
                               .bytes_total = UINT64_C(1) << 40,
                               .error = state == API_JOB_STATE_FAILED ? strdup("{}") : NULL,
                               .steps = state == API_JOB_STATE_FAILED ? strdup("[]") : NULL,
                               .parent = state == API_JOB_STATE_FAILED ? 3 : 0 };
    return change;
}

static void do_change(struct vmms_store *store, struct vmms_change *change, bool is_fine)
{
    struct vmms_stored *stored;

    vmms_store_commit(store, change);
    stored = result_of(store);
    assert_true((stored->error == NULL) == is_fine);
    vmms_stored_free(stored);
}

static void an_older_database_is_brought_up_to_date(void **state)
{
    struct vmms_store *store;
    struct vmms_stored *stored;

    make_first_version();
    store = open_store();
    assert_int_equal(vmms_store_last_event(store), 1);
    assert_int_equal(load(store), 0);
    assert_int_equal(vmms_store_run(store, NULL), 0);
    vmms_store_read_events(store, 1, 1, 10);
    stored = result_of(store);
    assert_int_equal(stored->events.n_events, 1);
    assert_string_equal(stored->events.events[0].type, "vm.created");
    assert_null(stored->events.events[0].object);
    assert_false(stored->events.events[0].has & API_EVENT_HAS_JOB);
    vmms_stored_free(stored);
    vmms_store_close(store);
}

static void jobs_are_read_as_they_were_written(void **state)
{
    struct vmms_store *store = open_store();

    assert_int_equal(vmms_store_run(store, NULL), 0);
    do_change(store, change_of(1, VMMS_JOB_ROW_INSERT, API_JOB_STATE_QUEUED), true);
    do_change(store, change_of(2, VMMS_JOB_ROW_UPDATE, API_JOB_STATE_FAILED), true);
    vmms_store_close(store);
    store = open_store();
    assert_int_equal(load(store), 7);
    assert_int_equal(n_seen, 1);
    assert_int_equal(seen[0].state, API_JOB_STATE_FAILED);
    assert_string_equal(seen[0].idempotency_key, "key");
    assert_int_equal(seen[0].bytes_total, UINT64_C(1) << 40);
    assert_string_equal(seen[0].error, "{}");
    assert_null(seen[0].result);
    assert_string_equal(seen[0].steps, "[]");
    assert_int_equal(seen[0].parent, 3);
    forget();
    vmms_store_close(store);
}

static void a_key_makes_no_second_job_and_a_number_is_not_used_again(void **state)
{
    struct vmms_store *store = open_store();
    struct vmms_change *second = change_of(2, VMMS_JOB_ROW_INSERT, API_JOB_STATE_QUEUED);

    assert_int_equal(vmms_store_run(store, NULL), 0);
    do_change(store, change_of(1, VMMS_JOB_ROW_INSERT, API_JOB_STATE_QUEUED), true);
    second->job.id = 8;
    do_change(store, second, false);
    do_change(store, change_of(3, VMMS_JOB_ROW_DELETE, API_JOB_STATE_QUEUED), true);
    vmms_store_close(store);
    store = open_store();
    assert_int_equal(load(store), 7);
    assert_int_equal(n_seen, 0);
    vmms_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_older_database_is_brought_up_to_date, set_up, tear_down),
        cmocka_unit_test_setup_teardown(jobs_are_read_as_they_were_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_makes_no_second_job_and_a_number_is_not_used_again,
                                        set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
