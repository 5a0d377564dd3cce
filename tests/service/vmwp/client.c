/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/service/vmwp/client.h"

#include "hvcore/base/own.h"
#include "vmwp/worker/words.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

enum { PATIENCE_US = 10 * 1000 * 1000, FIRST_HIGH_FD = 50 };

static int listen_at(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

const char *test_backend(void)
{
    const char *backend = getenv("BACKEND");

    return backend ? backend : "soft";
}

static bool is_kvm(void)
{
    return strcmp(test_backend(), "kvm") == 0;
}

static int make_definition(const char *extra, const char *whole)
{
    static const char form[] =
        "{\"version\":1,\"vm_id\":\"" TEST_VM_ID
        "\",\"name\":\"test\",\"incarnation\":\"" TEST_VM_ID "\",\"secret\":\"" TEST_SECRET
        "\",\"epoch\":%d,\"backend\":\"%s\",\"cpu_count\":1,"
        "%s\"kernel_fd\":6,\"kvm_fd\":%d,\"debug_exit_port\":244%s}";
    char text[4096];
    int fd = memfd_create("definition", MFD_CLOEXEC);

    (void)snprintf(text, sizeof(text), form, TEST_EPOCH, test_backend(),
                   strstr(extra, "memory_bytes") ? "" : "\"memory_bytes\":67108864,",
                   is_kvm() ? 7 : -1, extra);
    if (whole)
        (void)snprintf(text, sizeof(text), "%s", whole);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    return fd;
}

/* In the child: the descriptors to their numbers, and nothing else. */
static void become_worker(int control, int definition, int words)
{
    const char *vmwp = getenv("VMWP");
    int null = open("/dev/null", O_RDWR), kernel = open(getenv("KERNEL"), O_RDONLY);
    int kvm = is_kvm() ? open("/dev/kvm", O_RDWR) : null;
    int fds[] = { null, null, 2, control, definition, words, kernel, kvm };

    for (int i = 0; i < (int)HV_ARRAY_SIZE(fds); i++)
        fds[i] = fcntl(fds[i], F_DUPFD, FIRST_HIGH_FD);
    for (int i = 0; i < (int)HV_ARRAY_SIZE(fds); i++)
        (void)dup2(fds[i], i);
    (void)setsid();
    (void)execle(vmwp, "vmwp", "--vm", NULL, (char *const[]){ NULL });
    _exit(127);
}

void test_worker_start(struct test_worker *worker, const char *extra, const char *definition)
{
    int control, definition_fd;

    (void)snprintf(worker->dir, sizeof(worker->dir), "/tmp/hvstack-test-XXXXXX");
    assert_non_null(mkdtemp(worker->dir));
    (void)snprintf(worker->socket_path, sizeof(worker->socket_path), "%s/worker.sock", worker->dir);
    control = listen_at(worker->socket_path);
    definition_fd = make_definition(extra, definition);
    worker->words_fd = memfd_create("words", MFD_CLOEXEC);
    worker->pid = fork();
    assert_true(worker->pid >= 0);
    if (worker->pid == 0)
        become_worker(control, definition_fd, worker->words_fd);
    close(control);
    close(definition_fd);
}

int test_worker_wait(struct test_worker *worker)
{
    int status;

    for (unsigned i = 0; i < 1000; i++) {
        if (waitpid(worker->pid, &status, WNOHANG) == worker->pid) {
            worker->pid = 0;
            return status;
        }
        (void)nanosleep(&(struct timespec){ .tv_nsec = 10 * 1000 * 1000 }, NULL);
    }
    fail_msg("the worker doesn't end");
    return -1;
}

void test_worker_free(struct test_worker *worker)
{
    if (worker->pid > 0) {
        (void)kill(worker->pid, SIGKILL);
        (void)waitpid(worker->pid, NULL, 0);
    }
    close(worker->words_fd);
    (void)unlink(worker->socket_path);
    (void)rmdir(worker->dir);
}

const char *test_worker_words(struct test_worker *worker)
{
    static char text[WP_WORDS_MAX_TEXT + 1];
    uint64_t sequence;

    assert_int_equal(wp_words_read(worker->words_fd, text, &sequence), 0);
    return text;
}

/* A full backlog is a matter of milliseconds. */
static int start_bus(const char *address, sd_bus **ret)
{
    sd_bus *bus = NULL;
    int r;

    assert_true(sd_bus_new(&bus) >= 0);
    assert_true(sd_bus_set_address(bus, address) >= 0);
    assert_true(sd_bus_negotiate_fds(bus, 1) >= 0);
    (void)sd_bus_set_method_call_timeout(bus, PATIENCE_US);
    r = sd_bus_start(bus);
    if (r < 0)
        sd_bus_unref(bus);
    else
        *ret = bus;
    return r;
}

sd_bus *test_connect(const struct test_worker *worker)
{
    char address[128];
    sd_bus *bus = NULL;

    (void)snprintf(address, sizeof(address), "unix:path=%s", worker->socket_path);
    for (unsigned i = 0; i < 1000; i++) {
        if (start_bus(address, &bus) >= 0)
            return bus;
        (void)nanosleep(&(struct timespec){ .tv_nsec = 5 * 1000 * 1000 }, NULL);
    }
    fail_msg("the worker takes no connection");
    return NULL;
}

int test_hello(sd_bus *bus, const char *secret, uint64_t epoch)
{
    sd_bus_error error = SD_BUS_ERROR_NULL;
    int r;

    r = sd_bus_call_method(bus, NULL, TEST_PATH, TEST_NAME, "Hello", &error, NULL, "st", secret,
                           epoch);
    sd_bus_error_free(&error);
    return r < 0 ? r : 0;
}

sd_bus *test_client(const struct test_worker *worker)
{
    sd_bus *bus = test_connect(worker);

    assert_int_equal(test_hello(bus, TEST_SECRET, TEST_EPOCH), 0);
    return bus;
}

const char *test_call(sd_bus *bus, const char *method)
{
    static char name[128];
    sd_bus_error error = SD_BUS_ERROR_NULL;
    int r;

    r = sd_bus_call_method(bus, NULL, TEST_PATH, TEST_NAME, method, &error, NULL, "");
    (void)snprintf(name, sizeof(name), "%s", error.name ? error.name : "?");
    sd_bus_error_free(&error);
    return r < 0 ? name : NULL;
}

static uint64_t read_detail(sd_bus_message *m)
{
    const char *key, *contents;
    uint64_t number = 0;
    uint32_t small;
    char type;

    assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") >= 0);
    if (sd_bus_message_enter_container(m, 'e', "sv") <= 0)
        return 0;
    assert_true(sd_bus_message_read(m, "s", &key) > 0);
    assert_true(sd_bus_message_peek_type(m, &type, &contents) > 0);
    if (strcmp(contents, "u") == 0 && sd_bus_message_read(m, "v", "u", &small) > 0)
        number = small;
    else if (strcmp(contents, "t") == 0)
        (void)sd_bus_message_read(m, "v", "t", &number);
    return number;
}

void test_expect_state(sd_bus *bus, const char *state, const char *cause, uint64_t *ret_detail)
{
    for (;;) {
        const char *got_state, *got_cause;
        sd_bus_message *m = NULL;
        uint64_t detail;
        int r;

        r = sd_bus_process(bus, &m);
        assert_true(r >= 0);
        if (r == 0) {
            assert_true(sd_bus_wait(bus, PATIENCE_US) > 0);
            continue;
        }
        if (!m || !sd_bus_message_is_signal(m, TEST_NAME, "StateChanged")) {
            sd_bus_message_unref(m);
            continue;
        }
        assert_true(sd_bus_message_read(m, "ss", &got_state, &got_cause) > 0);
        assert_string_equal(got_state, state);
        assert_string_equal(got_cause, cause);
        detail = read_detail(m);
        if (ret_detail)
            *ret_detail = detail;
        sd_bus_message_unref(m);
        return;
    }
}

int test_console(sd_bus *bus, uint64_t from, uint64_t *ret_start)
{
    sd_bus_error error = SD_BUS_ERROR_NULL;
    sd_bus_message *reply = NULL;
    int fd, r;

    r = sd_bus_call_method(bus, NULL, TEST_PATH, TEST_NAME, "OpenConsole", &error, &reply, "ut", 1,
                           from);
    if (r < 0)
        fail_msg("OpenConsole: %s", error.message);
    assert_true(sd_bus_message_read(reply, "ht", &fd, ret_start) > 0);
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    sd_bus_message_unref(reply);
    return fd;
}

void test_expect_text(int fd, const char *text)
{
    char seen[8192];
    size_t length = 0;

    seen[0] = 0;
    while (!strstr(seen, text)) {
        struct pollfd wait = { .fd = fd, .events = POLLIN };
        ssize_t n;

        assert_true(poll(&wait, 1, PATIENCE_US / 1000) == 1);
        assert_true(length < sizeof(seen) - 1);
        n = read(fd, seen + length, sizeof(seen) - 1 - length);
        assert_true(n > 0);
        length += (size_t)n;
        seen[length] = 0;
    }
}
