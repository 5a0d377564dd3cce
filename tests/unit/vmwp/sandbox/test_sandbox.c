/* SPDX-License-Identifier: Apache-2.0 */
/* Something in the worker's place tries each forbidden thing; each ends as it should. */
#include "tests/lib/cmocka.h"

#include "vmwp/sandbox/isolate.h"
#include "vmwp/sandbox/sandbox.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

/* Returns true when the thing could be done. */
typedef bool attempt_fn(void);

static bool open_a_file(void)
{
    return open("/etc/hostname", O_RDONLY) >= 0 || open("/proc/self/maps", O_RDONLY) >= 0;
}

static bool make_a_file(void)
{
    return open("/tmp/hvstack-sandbox-test", O_CREAT | O_WRONLY, 0600) >= 0 ||
           mkdir("/tmp/hvstack-sandbox-test.d", 0700) == 0;
}

static bool run_a_program(void)
{
    (void)execl("/bin/true", "true", NULL);
    return false;
}

static bool start_a_process(void)
{
    return fork() >= 0;
}

static bool make_a_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) >= 0 || socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
}

static bool make_inet_pair(void)
{
    int fds[2];

    return socketpair(AF_INET, SOCK_STREAM, 0, fds) == 0;
}

static bool make_code(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0;
}

static bool map_code(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
           MAP_FAILED;
}

static bool trace_another(void)
{
    return ptrace(PTRACE_SEIZE, 1, 0, 0) == 0;
}

static bool signal_another(void)
{
    return kill(1, 0) == 0;
}

static bool push_terminal_input(void)
{
    return ioctl(0, 0x5412 /* TIOCSTI */, "x") == 0;
}

static bool change_user(void)
{
    return setuid(65534) == 0;
}

static bool make_a_namespace(void)
{
    return unshare(CLONE_NEWUSER) == 0;
}

static bool start_a_thread(void)
{
    return syscall(SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND, 0, 0, 0, 0) >= 0;
}

static bool call_as_32_bits(void)
{
    long r = 20; /* getpid of i386 */

    __asm__ volatile("int $0x80" : "+a"(r) : : "memory");
    return r > 0;
}

static bool call_as_x32(void)
{
    return syscall(SYS_getpid | 0x40000000) > 0;
}

static const struct {
    const char *what;
    attempt_fn *attempt;
} forbidden[] = {
    { "open", open_a_file },          { "create", make_a_file },
    { "exec", run_a_program },        { "fork", start_a_process },
    { "socket", make_a_socket },      { "inet socketpair", make_inet_pair },
    { "mprotect exec", make_code },   { "mmap exec", map_code },
    { "ptrace", trace_another },      { "kill", signal_another },
    { "ioctl", push_terminal_input }, { "setuid", change_user },
    { "unshare", make_a_namespace },  { "clone", start_a_thread },
    { "int 0x80", call_as_32_bits },  { "x32", call_as_x32 },
};

static void quiet(void)
{
    struct rlimit none = { 0 };

    (void)setrlimit(RLIMIT_CORE, &none);
}

static void enter(void)
{
    quiet();
    if (wp_sandbox_fall(NULL, NULL) < 0 || wp_sandbox_lock(HV_BACKEND_SOFT, false, NULL) < 0)
        _exit(100);
}

/* Run a function in a child; returns its wait status. */
static int in_a_child(void (*run)(const void *), const void *argument)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        run(argument);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void attempt(const void *argument)
{
    attempt_fn *const *fn = argument;

    enter();
    if ((*fn)())
        _exit(1);
}

static void forbidden_calls_end_the_process(void **state)
{
    (void)state;
    for (size_t i = 0; i < HV_ARRAY_SIZE(forbidden); i++) {
        int status = in_a_child(attempt, &forbidden[i].attempt);

        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
            fail_msg("%s: wait status 0x%x", forbidden[i].what, status);
    }
}

static bool accept_a_connection(void)
{
    return syscall(SYS_accept4, 0, NULL, NULL, 0) != -2;
}

static bool make_a_pair(void)
{
    int fds[2];

    return socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0;
}

static bool enter_image_mode(void)
{
    quiet();
    return wp_sandbox_fall(NULL, NULL) == 0 && wp_sandbox_lock_image(NULL) == 0;
}

static void attempt_in_image_mode(const void *argument)
{
    attempt_fn *const *fn = argument;

    if (!enter_image_mode())
        _exit(100);
    if ((*fn)())
        _exit(1);
}

static void a_worker_on_images_may_do_even_less(void **state)
{
    static attempt_fn *const more[] = { accept_a_connection, make_a_pair };

    (void)state;
    for (size_t i = 0; i < HV_ARRAY_SIZE(forbidden) + HV_ARRAY_SIZE(more); i++) {
        attempt_fn *const *fn = i < HV_ARRAY_SIZE(forbidden) ? &forbidden[i].attempt
                                                             : &more[i - HV_ARRAY_SIZE(forbidden)];
        int status = in_a_child(attempt_in_image_mode, fn);

        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
            fail_msg("attempt %zu: wait status 0x%x", i, status);
    }
}

/* All that vmwp/blk says that it calls, on a file that was open before, and beyond any limit of a
 * VM's worker. */
static void work_on_an_image(const void *argument)
{
    int fd = memfd_create("image", 0);
    struct iovec iov = { (char[512]){ 0 }, 512 };

    (void)argument;
    if (fd < 0 || !enter_image_mode())
        _exit(100);
    if (ftruncate(fd, 1 << 20) < 0 || pwritev2(fd, &iov, 1, INT64_C(256) << 20, RWF_DSYNC) != 512 ||
        preadv2(fd, &iov, 1, 0, 0) != 512 || fsync(fd) < 0 || fdatasync(fd) < 0)
        _exit(1);
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) < 0 ||
        lseek(fd, 0, SEEK_DATA) < 0 || lseek(fd, 0, SEEK_END) <= 0)
        _exit(2);
}

static void a_worker_on_images_can_work_on_them(void **state)
{
    int status = in_a_child(work_on_an_image, NULL);

    (void)state;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Nothing of the host is in sight: no file, no way into any network. */
static bool is_alone(void)
{
    struct sockaddr_in host = { .sin_family = AF_INET, .sin_port = htons(9) };
    struct stat st;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    host.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return stat("/etc", &st) < 0 && stat("/proc", &st) < 0 && stat("/", &st) == 0 &&
           connect(fd, (const struct sockaddr *)&host, sizeof(host)) < 0 && errno == ENETUNREACH;
}

static bool has_own_user(void)
{
    unsigned real, effective, saved;

    return getresuid(&real, &effective, &saved) == 0 && real >= WP_ISOLATE_FIRST_UID &&
           effective == real && saved == real && getgid() == real && getgroups(0, NULL) == 0;
}

static void check_alone(const void *argument)
{
    bool was_root = wp_isolate_has(CAP_SYS_ADMIN);
    int pid = getpid(), told;

    (void)argument;
    if (wp_sandbox_fall(&told, NULL) < 0)
        _exit(100);
    if (told != pid)
        _exit(1);
    if (was_root && !has_own_user())
        _exit(2);
    if (was_root && !is_alone())
        _exit(3);
    for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
        if (wp_isolate_has(capability) || prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1)
            _exit(4);
}

static void a_fallen_worker_is_alone_and_nobody(void **state)
{
    int status;

    (void)state;
    if (!wp_isolate_has(CAP_SYS_ADMIN))
        skip(); /* what users may do differs from kernel to kernel */
    status = in_a_child(check_alone, NULL);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* What the second stage alone forbids, without the list. */
static void check_fallen(const void *argument)
{
    struct rlimit limit;

    (void)argument;
    if (wp_sandbox_fall(NULL, NULL) < 0)
        _exit(100);
    if (open("/etc/hostname", O_RDONLY) >= 0)
        _exit(1);
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        _exit(2);
    if (setuid(1) == 0 && getuid() != 1)
        _exit(3);
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max > 16384)
        _exit(4);
}

static void the_second_stage_takes_files_and_privileges(void **state)
{
    int status = in_a_child(check_fallen, NULL);

    (void)state;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void *wait_and_open(void *opaque)
{
    int *pipe_fd = opaque;
    char byte;

    (void)!read(*pipe_fd, &byte, 1);
    (void)open("/etc/hostname", O_RDONLY);
    _exit(1);
}

static void attempt_in_a_thread(const void *argument)
{
    pthread_t thread;
    int fds[2];

    (void)argument;
    quiet();
    if (pipe(fds) < 0 || pthread_create(&thread, NULL, wait_and_open, &fds[0]) != 0)
        _exit(100);
    if (wp_sandbox_lock(HV_BACKEND_SOFT, false, NULL) < 0)
        _exit(101);
    (void)!write(fds[1], "x", 1);
    (void)pthread_join(thread, NULL);
}

static void the_list_binds_threads_that_were_there_before(void **state)
{
    int status = in_a_child(attempt_in_a_thread, NULL);

    (void)state;
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void check_closed(const void *argument)
{
    int low = open("/dev/null", O_RDONLY), keep = fcntl(low, F_DUPFD, 40);
    int high = fcntl(low, F_DUPFD, 90);

    (void)argument;
    if (wp_sandbox_close_unlisted((const int[]){ keep, -1, 2, keep, 0 }, 5) < 0)
        _exit(100);
    if (fcntl(keep, F_GETFD) < 0 || fcntl(0, F_GETFD) < 0)
        _exit(1);
    if (fcntl(low, F_GETFD) >= 0 || fcntl(high, F_GETFD) >= 0 || fcntl(1, F_GETFD) >= 0)
        _exit(2);
}

static void unlisted_descriptors_are_closed(void **state)
{
    int status = in_a_child(check_closed, NULL);

    (void)state;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forbidden_calls_end_the_process),
        cmocka_unit_test(a_fallen_worker_is_alone_and_nobody),
        cmocka_unit_test(the_second_stage_takes_files_and_privileges),
        cmocka_unit_test(the_list_binds_threads_that_were_there_before),
        cmocka_unit_test(unlisted_descriptors_are_closed),
        cmocka_unit_test(a_worker_on_images_may_do_even_less),
        cmocka_unit_test(a_worker_on_images_can_work_on_them),
    };

    if (WP_SANDBOX_IS_OPEN) {
        print_message("skipped: a sanitizer needs what the sandbox forbids\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
