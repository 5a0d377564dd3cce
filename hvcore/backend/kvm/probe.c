/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is this KVM worth using? Some hosts offer one that has every capability and yet emulates each
 * instruction. A loop of two instructions in 64-bit mode, timed here and there, tells.
 *
 * The loop grows in steps, so that a slow KVM is found out by a short one; a timer ends a run that
 * takes too long all the same.
 */
#include "hvcore/backend/kvm/kvm_priv.h"

#include "hvcore/base/clock.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum {
    TEST_RAM_BYTES = 16 * HV_PAGE_BYTES,
    PML4 = 0x1000,
    PDPT = 0x2000,
    PAGE_DIRECTORY = 0x3000,
    CODE = 0x4000,
    PTE_TABLE = 3,    /* present, writable */
    PTE_LARGE = 0x83, /* and a 2 MiB page */
    WATCHDOG_NS = 20 * 1000 * 1000,
    STEP_SLOW_NS = 1000 * 1000, /* longer than the one before: no need to go on */
    RUNS = 3,  /* of each step: the first meets cold page tables, others a busy machine */
    TRIES = 12 /* so many until RUNS weren't cut short: a starved machine isn't a slow KVM */
};

/* As much slower than the host as a working KVM may look on a busy machine. */
#define FAST_RATIO    6.0
#define FAST_SLACK_NS 2.0

static const uint32_t steps[] = { 64, 1024, 65536 };

/* 1: dec ecx; jnz 1b; hlt */
static const uint8_t loop_code[] = { 0xff, 0xc9, 0x75, 0xfc, 0xf4 };

struct test {
    int vm_fd, vp_fd;
    struct kvm_run *run;
    size_t run_bytes;
    uint8_t *ram;
};

static void test_fini(struct test *test)
{
    if (test->run)
        (void)munmap(test->run, test->run_bytes);
    if (test->ram)
        (void)munmap(test->ram, TEST_RAM_BYTES);
    (void)hv_close(test->vp_fd);
    (void)hv_close(test->vm_fd);
}

static void put_u64(uint8_t *at, uint64_t value)
{
    memcpy(at, &value, sizeof(value));
}

static int map_ram(struct test *test)
{
    struct kvm_userspace_memory_region region = { .memory_size = TEST_RAM_BYTES };
    void *ram =
        mmap(NULL, TEST_RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (ram == MAP_FAILED)
        return -errno;
    test->ram = ram;
    put_u64(test->ram + PML4, PDPT | PTE_TABLE);
    put_u64(test->ram + PDPT, PAGE_DIRECTORY | PTE_TABLE);
    put_u64(test->ram + PAGE_DIRECTORY, PTE_LARGE);
    memcpy(test->ram + CODE, loop_code, sizeof(loop_code));
    region.userspace_addr = (uintptr_t)test->ram;
    return hvkvm_ioctl(test->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

static int test_init(struct test *test, int kvm_fd)
{
    int bytes = hvkvm_ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
    void *run;

    *test = (struct test){ .vm_fd = -1, .vp_fd = -1 };
    if (bytes < 0)
        return bytes;
    test->vm_fd = hvkvm_ioctl(kvm_fd, KVM_CREATE_VM, NULL);
    if (test->vm_fd < 0)
        return test->vm_fd;
    /* Intel processors without unrestricted guest mode ask for it. */
    (void)hvkvm_ioctl(test->vm_fd, KVM_SET_TSS_ADDR, (void *)(uintptr_t)0xfffbd000U);
    test->vp_fd = hvkvm_ioctl(test->vm_fd, KVM_CREATE_VCPU, NULL);
    if (test->vp_fd < 0)
        return test->vp_fd;
    run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, test->vp_fd, 0);
    if (run == MAP_FAILED)
        return -errno;
    test->run = run;
    test->run_bytes = (size_t)bytes;
    return map_ram(test);
}

/* Long mode, flat, at the loop, with `count` to go. */
static int set_registers(const struct test *test, uint32_t count)
{
    struct kvm_regs regs = { .rip = CODE, .rcx = count, .rsp = CODE, .rflags = 2 };
    struct kvm_sregs sregs;
    int r = hvkvm_ioctl(test->vp_fd, KVM_GET_SREGS, &sregs);

    if (r < 0)
        return r;
    sregs.cs = (struct kvm_segment){
        .limit = UINT32_MAX, .selector = 8, .type = 11, .s = 1, .present = 1, .l = 1, .g = 1
    };
    sregs.ss = sregs.ds = sregs.es = (struct kvm_segment){
        .limit = UINT32_MAX, .selector = 16, .type = 3, .s = 1, .present = 1, .db = 1, .g = 1
    };
    sregs.cr0 = 0x80050033;
    sregs.cr3 = PML4;
    sregs.cr4 = 0x20;
    sregs.efer = 0x500;
    r = hvkvm_ioctl(test->vp_fd, KVM_SET_SREGS, &sregs);
    return r < 0 ? r : hvkvm_ioctl(test->vp_fd, KVM_SET_REGS, &regs);
}

/* Nanoseconds that the loop took, or a negative errno: -EINTR when it was cut short. */
static int64_t run_loop(const struct test *test, uint32_t count)
{
    uint64_t began;
    int r = set_registers(test, count);

    if (r < 0)
        return r;
    began = hv_clock_monotonic_ns();
    if (ioctl(test->vp_fd, KVM_RUN, 0) < 0)
        return -errno;
    if (test->run->exit_reason != KVM_EXIT_HLT)
        return -EPROTO;
    return (int64_t)(hv_clock_monotonic_ns() - began);
}

__attribute__((noinline)) static int64_t run_loop_on_host(uint32_t count)
{
    uint64_t began = hv_clock_monotonic_ns();

    __asm__ volatile("1: decl %0\n\tjnz 1b" : "+r"(count) : : "cc");
    return (int64_t)(hv_clock_monotonic_ns() - began);
}

/* The best of a few, for a busy machine makes each longer, never shorter. */
static double host_ns_per_iteration(void)
{
    const uint32_t count = steps[HV_ARRAY_SIZE(steps) - 1];
    int64_t best = INT64_MAX;

    for (unsigned i = 0; i < RUNS; i++) {
        int64_t ns = run_loop_on_host(count);

        best = ns < best ? ns : best;
    }
    return (double)best / count;
}

/* A step of the test. Returns the best time in ns, WATCHDOG_NS when all were cut short, or a
 * negative errno. */
static int64_t run_step(const struct test *test, uint32_t count)
{
    int64_t best = WATCHDOG_NS;
    unsigned n_whole = 0;

    for (unsigned i = 0; i < TRIES && n_whole < RUNS; i++) {
        int64_t ns = run_loop(test, count);

        if (ns == -EINTR)
            continue;
        if (ns < 0)
            return ns;
        best = ns < best ? ns : best;
        n_whole++;
    }
    return best;
}

/* What an iteration takes, by the difference of two steps: to enter the guest at all takes its
 * time, too, and on a busy machine that can be long. */
static double run_steps(const struct test *test)
{
    double ns_per_iteration = 0;
    uint32_t count_before = 0;
    int64_t ns_before = 0;

    for (unsigned i = 0; i < HV_ARRAY_SIZE(steps); i++) {
        int64_t ns = run_step(test, steps[i]);

        if (ns < 0)
            return (double)ns;
        ns_per_iteration =
            (double)(ns > ns_before ? ns - ns_before : 0) / (steps[i] - count_before);
        if (ns == WATCHDOG_NS || (i > 0 && ns - ns_before > STEP_SLOW_NS))
            break;
        count_before = steps[i];
        ns_before = ns;
    }
    return ns_per_iteration;
}

/* Kicks this thread again and again, so that none is missed on the way into KVM_RUN. */
static int start_watchdog(timer_t *ret)
{
    struct itimerspec when = { .it_value.tv_nsec = WATCHDOG_NS,
                               .it_interval.tv_nsec = WATCHDOG_NS };
    struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = HVKVM_KICK_SIGNAL };

    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    if (timer_create(CLOCK_MONOTONIC, &event, ret) < 0)
        return -errno;
    return timer_settime(*ret, 0, &when, NULL) < 0 ? -errno : 0;
}

static double test_speed(int kvm_fd)
{
    sigset_t kick, before;
    struct test test;
    timer_t watchdog;
    double ns;

    hvkvm_install_kick();
    (void)sigemptyset(&kick);
    (void)sigaddset(&kick, HVKVM_KICK_SIGNAL);
    ns = test_init(&test, kvm_fd);
    if (ns >= 0) {
        (void)pthread_sigmask(SIG_UNBLOCK, &kick, &before);
        ns = start_watchdog(&watchdog);
        if (ns >= 0) {
            ns = run_steps(&test);
            (void)timer_delete(watchdog);
        }
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    test_fini(&test);
    return ns;
}

static void judge_speed(int kvm_fd, struct hvkvm_probe *probe)
{
    double ns = test_speed(kvm_fd);

    if (ns < 0) {
        (void)snprintf(probe->text, sizeof(probe->text),
                       "KVM is there but failed its self-test: %s.", strerror((int)-ns));
        return;
    }
    probe->ns_per_iteration = ns;
    probe->host_ns_per_iteration = host_ns_per_iteration();
    probe->is_fast = ns <= probe->host_ns_per_iteration * FAST_RATIO + FAST_SLACK_NS;
    if (!probe->is_fast)
        (void)snprintf(probe->text, sizeof(probe->text),
                       "KVM is there but takes %.1f ns for a loop that takes %.1f ns outside: it "
                       "emulates.",
                       ns, probe->host_ns_per_iteration);
}

void hvkvm_probe(int kvm_fd, struct hvkvm_probe *ret)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    hv_autofd int fd = hvkvm_open(kvm_fd);
    struct hvkvm_probe probe = { 0 };
    int r;

    if (fd < 0) {
        (void)snprintf(probe.text, sizeof(probe.text), "/dev/kvm cannot be opened: %s.",
                       strerror(-fd));
        *ret = probe;
        return;
    }
    r = hvkvm_check_capabilities(fd, &error);
    if (r < 0) {
        (void)snprintf(probe.text, sizeof(probe.text), "%s", hv_error_message(error, r));
        *ret = probe;
        return;
    }
    probe.is_usable = true;
    r = hvkvm_ioctl(fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_MAX_VCPUS);
    probe.max_vps = r > 0 ? (unsigned)r : 1;
    judge_speed(fd, &probe);
    *ret = probe;
}
