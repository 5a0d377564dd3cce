/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "vmmsd/rpc/rpc.h"

#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Listens at `path`, where it cannot: for what reason? */
static void fails(uv_loop_t *loop, const char *path, int error, const char *code)
{
    static const struct hv_log silent = { 0 };
    HV_CLEANUP(hv_error_freep) struct hv_error *why = NULL;
    struct vmms_rpc *rpc = NULL;

    assert_int_equal(vmms_rpc_new(
                         &(struct vmms_rpc_config){
                             .loop = loop, .socket_path = path, .socket_fd = -1, .log = &silent },
                         &rpc, &why),
                     -error);
    assert_null(rpc);
    assert_non_null(why);
    assert_string_equal(why->code, code);
    if (strcmp(code, "rpc.listen") == 0)
        assert_non_null(strstr(why->message, strerror(error)));
}

static void a_path_that_is_too_long_is_refused(void **state)
{
    char path[256] = "/tmp/";

    memset(path + 5, 'x', sizeof(path) - 6);
    fails(*state, path, ENAMETOOLONG, "rpc.path");
}

static void a_folder_that_is_not_there_is_named(void **state)
{
    fails(*state, "/tmp/hv-there-is-none/vmms.sock", ENOENT, "rpc.listen");
}

static void what_is_not_a_socket_is_not_removed(void **state)
{
    fails(*state, "/tmp", EISDIR, "rpc.listen");
}

/* The reason is what failed first, whatever is tried after it. */
static void a_want_of_descriptors_is_named(void **state)
{
    int next = dup(STDERR_FILENO);
    struct rlimit old, none;

    assert_true(next >= 0);
    assert_int_equal(close(next), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = (struct rlimit){ (rlim_t)next, old.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    fails(*state, "/tmp/hv-there-is-none.sock", EMFILE, "rpc.listen");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

static int set_up(void **state)
{
    static uv_loop_t loop;

    *state = &loop;
    return uv_loop_init(&loop);
}

static int tear_down(void **state)
{
    return uv_loop_close(*state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_that_is_too_long_is_refused),
        cmocka_unit_test(a_folder_that_is_not_there_is_named),
        cmocka_unit_test(what_is_not_a_socket_is_not_removed),
        cmocka_unit_test(a_want_of_descriptors_is_named),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
