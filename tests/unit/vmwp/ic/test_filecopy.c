/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"
#include "tests/lib/ic_world.h"
#include "vmwp/ic/filecopy.h"
#include "vmwp/ic/text.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

static const struct hv_guid type = { { 0xe3, 0x4b, 0xd1, 0x34, 0xe4, 0xde, 0xc8, 0x41, 0x9a, 0xe7,
                                       0x6b, 0x17, 0x49, 0x77, 0xc1, 0x92 } };

enum { START = 0, WRITE = 1, COMPLETE = 2, CANCEL = 3 };

struct fixture {
    struct ic_world world;
    struct ic_filecopy *fc;
    struct vmbus_channel *channel;
    struct ic_result result;
    uint64_t done, total;
    uint8_t source[20000], target[20000];
    int fd; /* kept beside the one that is handed over */
};

static void progress(void *opaque, uint64_t done_bytes, uint64_t total_bytes)
{
    struct fixture *f = opaque;

    f->done = done_bytes;
    f->total = total_bytes;
}

static int make(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    ic_world_init(&f.world);
    if (ic_filecopy_new(
            &(struct ic_filecopy_config){ .clock = &f.world.clock, .server = f.world.bus }, &f.fc) <
        0)
        return -1;
    f.channel = fake_bus_find(f.world.bus, &type);
    f.fd = memfd_create("source", MFD_CLOEXEC);
    for (size_t i = 0; i < sizeof(f.source); i++)
        f.source[i] = (uint8_t)(i * 7 + i / 251);
    *state = &f;
    return f.channel && f.fd >= 0 ? 0 : -1;
}

static int drop(void **state)
{
    struct fixture *f = *state;

    ic_filecopy_free(f->fc, false);
    ic_world_fini(&f->world);
    close(f->fd);
    return 0;
}

static void fill(struct fixture *f, size_t bytes)
{
    assert_int_equal(pwrite(f->fd, f->source, bytes, 0), bytes);
    ic_guest_connect(f->channel, 1, 1);
}

/* The next message must be this one. */
static void take(struct fixture *f, uint32_t operation, struct ic_guest_message *ret)
{
    assert_true(ic_guest_take(f->channel, ret));
    assert_int_equal(ret->type, IC_MESSAGE_FILECOPY);
    assert_int_equal(ic_get_u32(ret->body), operation);
}

static void answer(struct fixture *f, uint32_t operation, uint32_t status)
{
    struct ic_guest_message m;

    take(f, operation, &m);
    if (operation == WRITE) {
        uint64_t at = ic_get_u64(m.body + 40);
        uint32_t bytes = ic_get_u32(m.body + 48);

        assert_int_equal(m.body_bytes, 6196);
        assert_in_range(bytes, 1, 6144);
        assert_true(at + bytes <= sizeof(f->target));
        memcpy(f->target + at, m.body + 52, bytes);
    }
    ic_guest_answer(f->channel, &m, status);
}

static void told(void *opaque, int r, const struct hv_error *error)
{
    ic_result_done(&((struct fixture *)opaque)->result, r, error);
}

static int copy(struct fixture *f, const char *path, const char *name, bool overwrite, bool folders,
                struct hv_error **reterr)
{
    struct ic_filecopy_request request = { .fd = fcntl(f->fd, F_DUPFD_CLOEXEC, 0),
                                           .path = path,
                                           .name = name,
                                           .may_overwrite = overwrite,
                                           .may_create_folders = folders,
                                           .progress = progress,
                                           .done = told,
                                           .opaque = f };
    int fd = request.fd, r = ic_filecopy_start(f->fc, &request, reterr);

    if (r < 0)
        assert_int_equal(fcntl(fd, F_GETFD), -1); /* taken over and closed all the same */
    return r;
}

static void without_contact_nothing_is_copied(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(copy(f, "/tmp/x", NULL, false, false, NULL), -ENOTCONN);
    assert_false(ic_filecopy_is_busy(f->fc));
}

static void paths_and_names_that_are_none_are_refused(void **state)
{
    static const char *const paths[] = { "",        "x",      "tmp/x", "C:",   "C:x",
                                         "/tmp/..", "/tmp/.", "/\xff", "/tmp/" };
    struct fixture *f = *state;
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    char path[600];

    fill(f, 10);
    for (size_t i = 0; i < HV_ARRAY_SIZE(paths); i++)
        assert_int_equal(copy(f, paths[i], NULL, false, false, NULL), -EINVAL);
    assert_int_equal(copy(f, "/tmp/", "a/b", false, false, NULL), -EINVAL);
    assert_int_equal(copy(f, "/tmp/", "..", false, false, NULL), -EINVAL);
    memset(path, 'x', sizeof(path));
    path[0] = '/';
    path[261] = '\0';
    assert_int_equal(copy(f, path, NULL, false, false, &error), -EINVAL);
    assert_string_equal(error->field, "path");
    memset(path, 'x', sizeof(path));
    path[0] = path[260] = '/';
    path[264] = '\0';
    assert_int_equal(copy(f, path, NULL, false, false, NULL), -EINVAL);
    assert_false(ic_filecopy_is_busy(f->fc));
}

static void a_source_that_is_no_regular_file_is_refused(void **state)
{
    struct fixture *f = *state;
    int pipe_fds[2];

    ic_guest_connect(f->channel, 1, 1);
    close(f->fd);
    assert_int_equal(pipe(pipe_fds), 0);
    f->fd = pipe_fds[0];
    assert_int_equal(copy(f, "/tmp/x", NULL, false, false, NULL), -EINVAL);
    close(pipe_fds[1]);
}

static void expect_start(struct fixture *f, const char *folder, const char *name, uint32_t flags)
{
    struct ic_guest_message m;
    char *text;

    take(f, START, &m);
    assert_int_equal(m.body_bytes, 1088);
    text = ic_text_take(m.body + 36, 520);
    assert_string_equal(text, name);
    free(text);
    text = ic_text_take(m.body + 556, 520);
    assert_string_equal(text, folder);
    free(text);
    assert_int_equal(ic_get_u32(m.body + 1076), flags);
    ic_guest_answer(f->channel, &m, 0x80004005);
}

static void the_folder_keeps_its_separator(void **state)
{
    struct fixture *f = *state;

    fill(f, 10);
    assert_int_equal(copy(f, "/tmp/a/b", NULL, false, false, NULL), 0);
    expect_start(f, "/tmp/a/", "b", 0);
    assert_int_equal(copy(f, "/x", NULL, true, false, NULL), 0);
    expect_start(f, "/", "x", 1);
    assert_int_equal(copy(f, "/tmp/", "n\xc3\xa4me", false, true, NULL), 0);
    expect_start(f, "/tmp/", "n\xc3\xa4me", 2);
    assert_int_equal(copy(f, "/tmp/a\\b", NULL, true, true, NULL), 0);
    expect_start(f, "/tmp/", "a\\b", 3);
    assert_int_equal(copy(f, "C:\\tmp\\b", NULL, false, false, NULL), 0);
    expect_start(f, "C:\\tmp\\", "b", 0);
}

static void a_file_arrives_whole_in_pieces(void **state)
{
    static const size_t sizes[] = { 1, 6143, 6144, 6145, 12288, 20000 };
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 1, 1);
    for (size_t i = 0; i < HV_ARRAY_SIZE(sizes); i++) {
        memset(f->target, 0, sizeof(f->target));
        assert_int_equal(ftruncate(f->fd, 0), 0);
        assert_int_equal(pwrite(f->fd, f->source, sizes[i], 0), sizes[i]);
        assert_int_equal(copy(f, "/tmp/x", NULL, true, false, NULL), 0);
        assert_int_equal(copy(f, "/tmp/x", NULL, true, false, NULL), -EBUSY);
        answer(f, START, 0);
        for (size_t at = 0; at < sizes[i]; at += 6144)
            answer(f, WRITE, 0);
        assert_int_equal(f->done, sizes[i]);
        assert_int_equal(f->total, sizes[i]);
        assert_int_equal(f->result.n_calls, i);
        answer(f, COMPLETE, 0);
        assert_int_equal(f->result.n_calls, i + 1);
        assert_int_equal(f->result.r, 0);
        assert_memory_equal(f->target, f->source, sizes[i]);
    }
}

static void an_empty_file_is_a_file(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 1, 1);
    assert_int_equal(copy(f, "/tmp/x", NULL, true, false, NULL), 0);
    answer(f, START, 0);
    answer(f, COMPLETE, 0);
    assert_int_equal(f->result.r, 0);
}

static void the_guests_refusal_is_told_and_leaves_nothing(void **state)
{
    static const struct {
        uint32_t status;
        int r;
    } rows[] = { { 0x80070050, -EEXIST },
                 { 0x80070070, -ENOSPC },
                 { 0x80070057, -EREMOTEIO },
                 { 0x80004005, -EREMOTEIO },
                 { 1, -EREMOTEIO } };
    struct fixture *f = *state;
    struct ic_guest_message m;

    fill(f, 10);
    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        assert_int_equal(copy(f, "/tmp/x", NULL, false, false, NULL), 0);
        answer(f, START, rows[i].status);
        assert_int_equal(f->result.r, rows[i].r);
        assert_int_equal(f->result.n_calls, 2 * i + 1);
        assert_false(ic_guest_take(f->channel, &m));
        assert_int_equal(copy(f, "/tmp/x", NULL, false, false, NULL), 0);
        answer(f, START, 0);
        answer(f, WRITE, rows[i].status);
        assert_int_equal(f->result.n_calls, 2 * i + 1);
        answer(f, CANCEL, 0);
        assert_int_equal(f->result.n_calls, 2 * i + 2);
        assert_int_equal(f->result.r, rows[i].r);
        assert_string_not_equal(f->result.message, "");
    }
}

static void a_cancelled_copy_is_removed(void **state)
{
    struct fixture *f = *state;

    fill(f, 20000);
    ic_filecopy_cancel(f->fc);
    assert_int_equal(copy(f, "/tmp/x", NULL, true, false, NULL), 0);
    answer(f, START, 0);
    answer(f, WRITE, 0);
    ic_filecopy_cancel(f->fc);
    answer(f, WRITE, 0);
    answer(f, CANCEL, 0x80004005);
    assert_int_equal(f->result.n_calls, 1);
    assert_int_equal(f->result.r, -ECANCELED);
    assert_false(ic_filecopy_is_busy(f->fc));
}

static void a_source_that_shrinks_or_cannot_be_read_ends_the_copy(void **state)
{
    struct fixture *f = *state;

    fill(f, 20000);
    assert_int_equal(copy(f, "/tmp/x", NULL, true, false, NULL), 0);
    answer(f, START, 0);
    assert_int_equal(ftruncate(f->fd, 7000), 0);
    answer(f, WRITE, 0);
    answer(f, CANCEL, 0);
    assert_int_equal(f->result.r, -EIO);
    assert_string_equal(f->result.code, "guest.copy.source");
}

static void silence_and_closing_end_the_copy(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message late;

    fill(f, 20000);
    assert_int_equal(copy(f, "/tmp/x", NULL, true, false, NULL), 0);
    take(f, START, &late);
    ic_world_pass(&f->world, 45000);
    assert_int_equal(f->result.n_calls, 0);
    ic_guest_answer(f->channel, &late, 0);
    answer(f, CANCEL, 0);
    assert_int_equal(f->result.r, -ETIMEDOUT);
    assert_int_equal(copy(f, "/tmp/x", NULL, true, false, NULL), 0);
    ic_world_pass(&f->world, 149999);
    assert_int_equal(f->result.n_calls, 1);
    ic_world_pass(&f->world, 1);
    assert_int_equal(f->result.n_calls, 2);
    assert_int_equal(f->result.r, -ETIMEDOUT);
    assert_int_equal(copy(f, "/tmp/x", NULL, true, false, NULL), 0);
    fake_channel_close(f->channel);
    assert_int_equal(f->result.n_calls, 3);
    assert_int_equal(f->result.r, -ECONNRESET);
    ic_filecopy_reset(f->fc);
    assert_int_equal(f->result.n_calls, 3);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(without_contact_nothing_is_copied),
        CASE(paths_and_names_that_are_none_are_refused),
        CASE(a_source_that_is_no_regular_file_is_refused),
        CASE(the_folder_keeps_its_separator),
        CASE(a_file_arrives_whole_in_pieces),
        CASE(an_empty_file_is_a_file),
        CASE(the_guests_refusal_is_told_and_leaves_nothing),
        CASE(a_cancelled_copy_is_removed),
        CASE(a_source_that_shrinks_or_cannot_be_read_ends_the_copy),
        CASE(silence_and_closing_end_the_copy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
