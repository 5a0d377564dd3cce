/* SPDX-License-Identifier: Apache-2.0 */
/* What goes through the kernel: calls, faults, processes, signals, files; and code that changes. */
#include "bench.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

static uint64_t getppid_call(uint64_t units)
{
    while (units-- > 0)
        (void)syscall(SYS_getppid);
    return 1;
}

static uint64_t clock_gettime_vdso(uint64_t units)
{
    struct timespec ts;

    while (units-- > 0)
        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return 1;
}

static uint64_t rdtsc(uint64_t units)
{
    uint64_t last = 0, backwards = 0;

    while (units-- > 0) {
        uint64_t now = __rdtsc();

        backwards += now < last;
        last = now;
    }
    return backwards;
}

static uint64_t page_fault(uint64_t units)
{
    enum { PAGES = 256 };
    uint64_t sum = 0;

    for (uint64_t done = 0; done < units; done += PAGES) {
        volatile uint8_t *p =
            mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        for (unsigned i = 0; i < PAGES; i++)
            p[i * 4096] = 1;
        sum += p[4096];
        munmap((void *)(uintptr_t)p, PAGES * 4096);
    }
    return sum;
}

static uint64_t mprotect_pair(uint64_t units)
{
    enum { BYTES = 16 * 4096 };
    uint8_t *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    memset(p, 1, BYTES);
    for (uint64_t u = 0; u < units; u++) {
        mprotect(p, BYTES, PROT_READ);
        mprotect(p, BYTES, PROT_READ | PROT_WRITE);
        p[(u & 15) * 4096] = 2;
    }
    munmap(p, BYTES);
    return 1;
}

static uint64_t fork_exec(uint64_t units)
{
    uint64_t sum = 0;
    int status;

    while (units-- > 0) {
        pid_t pid = fork();

        if (pid == 0) {
            (void)execl("/proc/self/exe", "bench", "--nothing", (char *)NULL);
            _exit(1);
        }
        waitpid(pid, &status, 0);
        sum += (uint64_t)WEXITSTATUS(status);
    }
    return sum;
}

static uint64_t fork_cow(uint64_t units)
{
    enum { PAGES = 256 };
    uint8_t *p =
        mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t sum = 0;
    int status;

    memset(p, 1, PAGES * 4096);
    while (units-- > 0) {
        pid_t pid = fork();

        if (pid == 0) {
            for (unsigned i = 0; i < PAGES; i++)
                p[i * 4096]++;
            _exit(p[4096]);
        }
        waitpid(pid, &status, 0);
        sum += (uint64_t)WEXITSTATUS(status);
    }
    munmap(p, PAGES * 4096);
    return sum;
}

static uint64_t pipe_pp(uint64_t units)
{
    int there[2], back[2], status;
    char c = 'x';
    pid_t pid;

    if (pipe(there) < 0 || pipe(back) < 0)
        return 0;
    pid = fork();
    if (pid == 0) {
        close(there[1]);
        while (read(there[0], &c, 1) == 1)
            if (write(back[1], &c, 1) != 1)
                break;
        _exit(0);
    }
    for (uint64_t u = 0; u < units; u++)
        if (write(there[1], &c, 1) != 1 || read(back[0], &c, 1) != 1)
            return 0;
    close(there[1]);
    close(there[0]);
    close(back[0]);
    close(back[1]);
    waitpid(pid, &status, 0);
    return units;
}

static volatile sig_atomic_t signals;

static void on_signal(int number)
{
    (void)number;
    signals++;
}

static uint64_t signal_self(uint64_t units)
{
    signals = 0;
    signal(SIGUSR1, on_signal);
    for (uint64_t u = 0; u < units; u++)
        (void)raise(SIGUSR1);
    return (uint64_t)signals;
}

static uint64_t file_io(uint64_t units)
{
    static char buffer[16384];
    char path[] = "/tmp/bench.XXXXXX";
    uint64_t sum = 0;
    int fd = mkstemp(path);

    unlink(path);
    for (uint64_t u = 0; u < units; u++) {
        buffer[u & 16383] = (char)u;
        if (pwrite(fd, buffer, sizeof(buffer), (off_t)(u & 7) * 16384) < 0 ||
            pread(fd, buffer, sizeof(buffer), (off_t)(u & 7) * 16384) < 0)
            break;
        sum += (uint8_t)buffer[u & 16383];
    }
    close(fd);
    return sum;
}

/* mov eax, imm32; ret */
static uint64_t jit_patch(uint64_t units)
{
    uint8_t *code =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint32_t (*call)(void);
    uint64_t sum = 0;

    memcpy(&call, &code, sizeof(call));
    code[0] = 0xb8;
    code[5] = 0xc3;
    for (uint64_t u = 0; u < units; u++) {
        uint32_t value = (uint32_t)u * 3;

        memcpy(code + 1, &value, sizeof(value));
        __asm__ volatile("" : : : "memory");
        sum += call();
    }
    munmap(code, 4096);
    return sum;
}

/* A loop that stores to its own page, far from its code: inc dword [rip+..] would do; here
 * mov [rdi], esi; dec rsi; jnz; ret. */
static uint64_t smc_data(uint64_t units)
{
    static const uint8_t loop[] = { 0x89, 0x37, 0x48, 0xff, 0xce, 0x75, 0xf9, 0xc3 };
    uint8_t *code =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void (*call)(void *, uint64_t);
    uint64_t sum;

    memcpy(code, loop, sizeof(loop));
    memcpy(&call, &code, sizeof(call));
    call(code + 2048, units);
    sum = code[2048];
    munmap(code, 4096);
    return sum;
}

static uint64_t atomic_one(uint64_t units)
{
    _Atomic uint64_t counter = 0;

    while (units-- > 0)
        atomic_fetch_add(&counter, 3);
    return counter;
}

struct shared {
    _Atomic uint64_t counter;
    uint64_t units;
};

static void *add_many(void *opaque)
{
    struct shared *shared = opaque;

    for (uint64_t u = 0; u < shared->units; u++)
        atomic_fetch_add(&shared->counter, 1);
    return NULL;
}

static uint64_t atomic_two(uint64_t units)
{
    struct shared shared = { .units = units / 2 };
    pthread_t thread;

    pthread_create(&thread, NULL, add_many, &shared);
    (void)add_many(&shared);
    pthread_join(thread, NULL);
    return shared.counter;
}

struct baton {
    _Atomic uint32_t turn;
    uint64_t units;
};

static void hand_over(struct baton *baton, uint32_t me)
{
    for (uint64_t u = 0; u < baton->units; u++) {
        while (atomic_load(&baton->turn) != me)
            (void)syscall(SYS_futex, &baton->turn, FUTEX_WAIT, 1 - me, NULL, NULL, 0);
        atomic_store(&baton->turn, 1 - me);
        (void)syscall(SYS_futex, &baton->turn, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
}

static void *second_hand(void *opaque)
{
    hand_over(opaque, 1);
    return NULL;
}

static uint64_t futex_pp(uint64_t units)
{
    struct baton baton = { .units = units / 2 };
    pthread_t thread;

    pthread_create(&thread, NULL, second_hand, &baton);
    hand_over(&baton, 0);
    pthread_join(thread, NULL);
    return units;
}

const struct bench bench_system[] = {
    { "getppid", "call", 200000, getppid_call },
    { "clock_gettime", "call", 1000000, clock_gettime_vdso },
    { "rdtsc", "read", 4000000, rdtsc },
    { "page_fault", "fault", 25600, page_fault },
    { "mprotect", "pair", 10000, mprotect_pair },
    { "fork_exec", "exec", 60, fork_exec },
    { "fork_cow", "fork", 60, fork_cow },
    { "pipe_pp", "round trip", 5000, pipe_pp },
    { "signal", "signal", 30000, signal_self },
    { "file_io", "pair", 10000, file_io },
    { "jit_patch", "patch", 30000, jit_patch },
    { "smc_data", "store", 1000000, smc_data },
    { "atomic_one", "op", 10000000, atomic_one },
    { "atomic_two", "op", 4000000, atomic_two },
    { "futex_pp", "hand-off", 10000, futex_pp },
};
const unsigned bench_n_system = sizeof(bench_system) / sizeof(bench_system[0]);
