/* SPDX-License-Identifier: Apache-2.0 */
/* Chains for VMs: opened, locked, and given to whoever asked. With the real worker program. */
#include "tests/lib/cmocka.h"

#include "vmmsd/spawn/image.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <uv.h>

static char folder[64];
static uv_loop_t loop;
static struct vmms_images *images;
static int holder_pid;
static char attached[128]; /* a disk of VM web */

static void take_fact(void *opaque, struct vmms_job_fact *fact)
{
    struct vmms_job_fact *last = opaque;

    if (fact->kind == VMMS_JOB_PROGRESS)
        return;
    if (last->result)
        free(last->result);
    api_error_free(last->error);
    *last = *fact;
    *fact = (struct vmms_job_fact){ 0 };
    uv_stop(&loop);
}

static bool name_process(void *opaque, int pid, char *ret, size_t room)
{
    if (pid != holder_pid)
        return false;
    (void)snprintf(ret, room, "VM web");
    return true;
}

static void each_disk(void *opaque, vmms_disk_fn *disk, void *disk_opaque)
{
    const struct api_device device = { .kind = API_DEVICE_KIND_DISK,
                                       .path = attached,
                                       .format = API_IMAGE_FORMAT_VHDX };

    if (*attached)
        disk(disk_opaque, "web", &device);
}

static struct vmms_job_fact last;

static int set_up(void **state)
{
    const struct vmms_images_config config = { .loop = &loop,
                                               .worker_path = VMWP,
                                               .host_id = "01234567-host",
                                               .opaque = &last,
                                               .job_fact = take_fact,
                                               .name_process = name_process,
                                               .each_disk = each_disk };

    (void)signal(SIGPIPE, SIG_IGN);
    (void)snprintf(folder, sizeof(folder), "/tmp/hvs-image-XXXXXX");
    return mkdtemp(folder) && uv_loop_init(&loop) == 0 ? vmms_images_new(&config, &images) : -1;
}

static int tear_down(void **state)
{
    static const char *const names[] = { "base.vhdx", "child.vhdx", "disk.raw" };
    char path[128];

    vmms_images_close(images);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    vmms_images_free(images);
    for (size_t i = 0; i < HV_ARRAY_SIZE(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    api_error_free(last.error);
    free(last.result);
    last = (struct vmms_job_fact){ 0 };
    *attached = '\0';
    return uv_loop_close(&loop) || rmdir(folder);
}

static const char *path_of(const char *name)
{
    static char path[2][128];
    static unsigned at;

    at = !at;
    (void)snprintf(path[at], sizeof(path[at]), "%s/%s", folder, name);
    return path[at];
}

struct outcome {
    struct vmms_image_file *files;
    size_t count;
    struct api_error *error;
};

static void resolved(void *opaque, struct vmms_image_file *files, size_t count,
                     struct api_error *error)
{
    struct outcome *outcome = opaque;

    *outcome = (struct outcome){ files, count, error };
    uv_stop(&loop);
}

static struct outcome resolve(const char *name, bool is_writable)
{
    const struct vmms_chain_request request = { .path = path_of(name), .is_writable = is_writable };
    struct outcome outcome = { 0 };

    vmms_images_resolve(images, &request, resolved, &outcome);
    if (!outcome.files && !outcome.error)
        (void)uv_run(&loop, UV_RUN_DEFAULT);
    return outcome;
}

static void make(uint64_t job, const char *name, const char *parent)
{
    struct api_image_create_args args = { .path = (char *)path_of(name),
                                          .parent = parent ? (char *)path_of(parent) : NULL,
                                          .size_bytes = parent ? 0 : 1 << 20 };
    const struct api_request request = { .method = API_METHOD_IMAGE_CREATE,
                                         .args.image_create = args };

    vmms_images_run_job(images, job, 0, &request);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(last.kind, VMMS_JOB_WORKED);
    vmms_images_finish_job(images, job, &request, last.result);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(last.kind, VMMS_JOB_ENDED);
    assert_null(last.error);
}

static int lock_type_seen(const char *name)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    int fd = open(path_of(name), O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_OFD_GETLK, &lock), 0);
    (void)close(fd);
    return lock.l_type;
}

static void a_chain_is_opened_and_locked(void **state)
{
    struct outcome outcome;

    make(1, "base.vhdx", NULL);
    make(2, "child.vhdx", "base.vhdx");
    assert_int_equal(lock_type_seen("child.vhdx"), F_UNLCK);
    outcome = resolve("child.vhdx", true);
    assert_null(outcome.error);
    assert_int_equal(outcome.count, 2);
    assert_string_equal(outcome.files[0].path, path_of("child.vhdx"));
    assert_string_equal(outcome.files[1].path, path_of("base.vhdx"));
    assert_int_equal(outcome.files[1].format, API_IMAGE_FORMAT_VHDX);
    assert_int_equal(fcntl(outcome.files[0].fd, F_GETFL) & O_ACCMODE, O_RDWR);
    assert_int_equal(fcntl(outcome.files[1].fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    assert_int_equal(lock_type_seen("child.vhdx"), F_WRLCK);
    assert_int_equal(lock_type_seen("base.vhdx"), F_RDLCK);
    vmms_image_files_free(outcome.files, outcome.count);
    assert_int_equal(lock_type_seen("child.vhdx"), F_UNLCK);
}

static void what_is_not_there_is_said(void **state)
{
    struct outcome outcome = resolve("gone.vhdx", false);

    assert_null(outcome.files);
    assert_int_equal(outcome.error->code, API_E_FILE_NOT_FOUND);
    api_error_free(outcome.error);
    outcome = resolve("which", false);
    assert_int_equal(outcome.error->code, API_E_INVALID_PARAMETER);
    api_error_free(outcome.error);
}

static void a_vm_that_holds_it_is_named(void **state)
{
    struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
    const char *path = path_of("disk.raw");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), status;
    struct outcome outcome;

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
    holder_pid = fork();
    if (holder_pid == 0) {
        (void)pause();
        _exit(0);
    }
    (void)close(fd);
    outcome = resolve("disk.raw", true);
    assert_null(outcome.files);
    assert_int_equal(outcome.error->code, API_E_IN_USE);
    assert_non_null(strstr(outcome.error->message, "VM web"));
    assert_string_equal(outcome.error->data.holder, "VM web");
    api_error_free(outcome.error);
    outcome = resolve("disk.raw", false); /* readers go together */
    assert_int_equal(outcome.count, 1);
    vmms_image_files_free(outcome.files, outcome.count);
    (void)kill(holder_pid, SIGKILL);
    (void)waitpid(holder_pid, &status, 0);
}

static void resize(uint64_t job)
{
    const struct api_request request = {
        .method = API_METHOD_IMAGE_RESIZE,
        .args.image_resize = { .path = (char *)path_of("base.vhdx"), .size_bytes = 2 << 20 }
    };

    vmms_images_run_job(images, job, 0, &request);
}

static void a_parent_of_a_vms_disk_keeps_its_size(void **state)
{
    make(1, "base.vhdx", NULL);
    make(2, "child.vhdx", "base.vhdx");
    (void)snprintf(attached, sizeof(attached), "%s", path_of("child.vhdx"));
    resize(3);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(last.kind, VMMS_JOB_ENDED);
    assert_int_equal(last.error->code, API_E_IN_USE);
    assert_string_equal(last.error->data.holder, "VM web");
    assert_non_null(strstr(last.error->message, attached));
    (void)snprintf(attached, sizeof(attached), "%s", path_of("base.vhdx"));
    resize(4); /* its own disk */
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(last.kind, VMMS_JOB_WORKED);
}

/* The service may close at any moment of it. */
static void closing_while_users_are_looked_for_is_safe(void **state)
{
    make(1, "base.vhdx", NULL);
    make(2, "child.vhdx", "base.vhdx");
    (void)snprintf(attached, sizeof(attached), "%s", path_of("child.vhdx"));
    resize(3);
    for (long i = (long)(intptr_t)*state; i > 0; i--)
        (void)uv_run(&loop, UV_RUN_ONCE);
}

static void closing_in_the_middle_is_safe(void **state)
{
    const struct vmms_chain_request request = { .path = path_of("child.vhdx"),
                                                .is_writable = true };
    struct outcome outcome = { 0 };

    make(1, "base.vhdx", NULL);
    make(2, "child.vhdx", "base.vhdx");
    vmms_images_resolve(images, &request, resolved, &outcome);
    for (long i = (long)(intptr_t)*state; i > 0; i--)
        (void)uv_run(&loop, UV_RUN_ONCE);
    vmms_image_files_free(outcome.files, outcome.count);
}

int main(void)
{
    struct CMUnitTest tests[24] = {
        cmocka_unit_test_setup_teardown(a_chain_is_opened_and_locked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_there_is_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_vm_that_holds_it_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_parent_of_a_vms_disk_keeps_its_size, set_up, tear_down),
    };

    for (size_t i = 4; i < HV_ARRAY_SIZE(tests); i++)
        tests[i] = (struct CMUnitTest){ "closing_in_the_middle_is_safe",
                                        i % 2 ? closing_in_the_middle_is_safe
                                              : closing_while_users_are_looked_for_is_safe,
                                        set_up, tear_down, (void *)(intptr_t)(i / 2 - 2) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
