/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cpu/host.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

/* Offsets in the XSAVE image of a signal frame; spec: Intel SDM vol. 1, 13.4 */
enum {
    HOST_XSTATE_BV = 512,
    HOST_YMM_HIGH = 576,
    HOST_FX_SOFTWARE = 464, /* of the legacy area: the kernel's own from here on */
    HOST_X87_SSE_AVX = 7
};

enum { HOST_DATA_SELECTOR = 0x2b };
enum { HOST_STACK_BYTES = 1 << 16, HOST_FX_MAX_BYTES = 8192 };

/* The program is one thread that runs one case at a time; the signal handler has no other way to
 * know it. */
static struct {
    struct cpu_state *state;
    struct cpu_end *end;
    uint16_t cs;
    bool is_inside;
    /* main's own context while the case runs */
    greg_t gregs[__NGREG];
    _Alignas(64) uint8_t fpregs[HOST_FX_MAX_BYTES];
    unsigned fp_bytes;
} host;

/* Seen by the stub below. */
uint64_t host_fs_base, host_next_fs_base, host_seen_fs_base;
void host_signal_entry(int signal, siginfo_t *info, void *context);
void host_signal(int signal, siginfo_t *info, void *context);

/* FS is the C library's: it is put right before C code runs, and set as wanted after it. AC and NT
 * may be left by the code under test; C code can't bear the first, and the kernel lets the second
 * stay. */
__asm__(".text\n"
        ".globl host_signal_entry\n"
        ".type host_signal_entry, @function\n"
        "host_signal_entry:\n"
        "    pushfq\n"
        "    andl $~0x244000, (%rsp)\n"
        "    popfq\n"
        "    rdfsbase %rax\n"
        "    mov %rax, host_seen_fs_base(%rip)\n"
        "    mov host_fs_base(%rip), %rax\n"
        "    wrfsbase %rax\n"
        "    sub $8, %rsp\n"
        "    call host_signal\n"
        "    add $8, %rsp\n"
        "    mov host_next_fs_base(%rip), %rax\n"
        "    wrfsbase %rax\n"
        "    ret\n");

static uint64_t host_read_fs(void)
{
    uint64_t base;

    __asm__ volatile("rdfsbase %0" : "=r"(base));
    return base;
}

/* 32-bit code needs data segments; a 64-bit program starts without. The bases survive. */
static void host_load_segments(void)
{
    const uint64_t fs_base = host_read_fs();

    __asm__ volatile("mov %1, %%ds; mov %1, %%es; mov %1, %%gs\n"
                     "mov %1, %%fs; wrfsbase %0" ::"r"(fs_base),
                     "r"(HOST_DATA_SELECTOR)
                     : "memory");
}

static void host_get_selectors(uint16_t ret[HV_N_SEGMENTS])
{
    ret[HV_CS] = ret[HV_SS] = 0;
    __asm__ volatile("mov %%es, %0" : "=r"(ret[HV_ES]));
    __asm__ volatile("mov %%ds, %0" : "=r"(ret[HV_DS]));
    __asm__ volatile("mov %%fs, %0" : "=r"(ret[HV_FS]));
    __asm__ volatile("mov %%gs, %0" : "=r"(ret[HV_GS]));
}

static uint64_t host_swap_gs(uint64_t base)
{
    uint64_t old;

    __asm__ volatile("rdgsbase %0; wrgsbase %1" : "=&r"(old) : "r"(base));
    return old;
}

/* enum hv_gpr to the frame's order */
static const uint8_t host_greg[HV_N_GPRS] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                              REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                              REG_R12, REG_R13, REG_R14, REG_R15 };

static unsigned host_fp_bytes(const struct _libc_fpstate *fp)
{
    uint32_t software[4];

    memcpy(software, (const uint8_t *)fp + HOST_FX_SOFTWARE, sizeof(software));
    /* the kernel's FP_XSTATE_MAGIC1 says that an extended image follows, and how long it is */
    return software[0] == 0x46505853 && software[1] <= HOST_FX_MAX_BYTES ? software[1] : 512;
}

static void host_set_fp(uint8_t *fp, const struct cpu_state *state)
{
    uint64_t bv;

    memcpy(fp, state->fx, HOST_FX_SOFTWARE);
    memcpy(fp + HOST_YMM_HIGH, state->ymm_high, sizeof(state->ymm_high));
    memcpy(&bv, fp + HOST_XSTATE_BV, sizeof(bv));
    bv |= HOST_X87_SSE_AVX;
    memcpy(fp + HOST_XSTATE_BV, &bv, sizeof(bv));
}

static void host_get_fp(const uint8_t *fp, struct cpu_state *state)
{
    uint64_t bv;

    memcpy(&bv, fp + HOST_XSTATE_BV, sizeof(bv));
    memset(state->fx, 0, sizeof(state->fx));
    memcpy(state->fx, fp, HOST_FX_SOFTWARE);
    memset(state->ymm_high, 0, sizeof(state->ymm_high));
    if (bv & 4)
        memcpy(state->ymm_high, fp + HOST_YMM_HIGH, sizeof(state->ymm_high));
}

static void host_enter(ucontext_t *context)
{
    greg_t *gregs = context->uc_mcontext.gregs;
    uint8_t *fp = (uint8_t *)context->uc_mcontext.fpregs;

    memcpy(host.gregs, gregs, sizeof(host.gregs));
    host.fp_bytes = host_fp_bytes(context->uc_mcontext.fpregs);
    memcpy(host.fpregs, fp, host.fp_bytes);
    for (unsigned i = 0; i < HV_N_GPRS; i++)
        gregs[host_greg[i]] = (greg_t)host.state->gpr[i];
    gregs[REG_RIP] = (greg_t)host.state->rip;
    gregs[REG_EFL] = (greg_t)host.state->rflags;
    gregs[REG_CSGSFS] = (gregs[REG_CSGSFS] & ~(greg_t)0xffff) | host.cs;
    host_set_fp(fp, host.state);
    host_swap_gs(host.state->gs_base);
    host_next_fs_base = host.state->fs_base;
}

static void host_leave(ucontext_t *context)
{
    greg_t *gregs = context->uc_mcontext.gregs;
    uint8_t *fp = (uint8_t *)context->uc_mcontext.fpregs;

    for (unsigned i = 0; i < HV_N_GPRS; i++)
        host.state->gpr[i] = (uint64_t)gregs[host_greg[i]];
    host.state->rip = (uint64_t)gregs[REG_RIP];
    host.state->rflags = (uint64_t)gregs[REG_EFL];
    host_get_selectors(host.state->selector);
    host.state->gs_base = host_swap_gs(0);
    host.state->fs_base = host_seen_fs_base;
    host_get_fp(fp, host.state);
    host.end->vector = (unsigned)gregs[REG_TRAPNO];
    host.end->error_code = (uint32_t)gregs[REG_ERR];
    host.end->address = (uint64_t)gregs[REG_CR2];
    memcpy(gregs, host.gregs, sizeof(host.gregs));
    memcpy(fp, host.fpregs, host.fp_bytes);
    host_next_fs_base = host_fs_base;
}

void host_signal(int signal, siginfo_t *info, void *context)
{
    if (!host.is_inside && !host.state) { /* not ours: a bug of the program */
        host_next_fs_base = host_fs_base;
        abort();
    }
    if (host.is_inside)
        host_leave(context);
    else
        host_enter(context);
    host.is_inside = !host.is_inside;
}

int host_cpu_init(void)
{
    static const int signals[] = { SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGTRAP };
    struct sigaction action = { .sa_sigaction = host_signal_entry,
                                .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
    stack_t stack = { .ss_size = HOST_STACK_BYTES };

    host_fs_base = host_read_fs();
    host_load_segments();
    stack.ss_sp =
        mmap(NULL, HOST_STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack.ss_sp == MAP_FAILED || sigaltstack(&stack, NULL) < 0)
        return -errno;
    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        if (sigaction(signals[i], &action, NULL) < 0)
            return -errno;
    }
    return 0;
}

void host_cpu_run(struct cpu_state *state, uint16_t cs, struct cpu_end *ret)
{
    host.state = state;
    host.end = ret;
    host.cs = cs;
    host_load_segments();
    /* the kernel's sigreturn leaves NT and ID as they are */
    __asm__ volatile(
        "sub $128, %%rsp; pushfq; andl $~0x244000, (%%rsp); popfq; add $128, %%rsp; int3" ::
            : "memory", "cc");
    host.state = NULL;
}
