/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/hvcore/emu/exec/simd/native.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

/* The instruction, then a jump through the address behind it. */
static uint8_t *page;
static uint8_t signal_stack[65536];

struct native native_state __attribute__((visibility("hidden")));
uint64_t native_saved_rsp __attribute__((visibility("hidden")));
uint64_t native_entry __attribute__((visibility("hidden")));
void native_enter(void);
void native_after(void);

__asm__(".text\n"
        ".globl native_enter, native_after\n"
        "native_enter:\n"
        "    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "    mov %rsp, native_saved_rsp(%rip)\n"
        "    mov $7, %eax\n"
        "    xor %edx, %edx\n"
        "    lea native_state(%rip), %rbx\n"
        "    xrstor64 192(%rbx)\n"
        "    push 128(%rbx)\n"
        "    popf\n"
        "    mov 0(%rbx), %rax; mov 8(%rbx), %rcx; mov 16(%rbx), %rdx\n"
        "    mov 32(%rbx), %rsp; mov 40(%rbx), %rbp; mov 48(%rbx), %rsi; mov 56(%rbx), %rdi\n"
        "    mov 64(%rbx), %r8; mov 72(%rbx), %r9; mov 80(%rbx), %r10; mov 88(%rbx), %r11\n"
        "    mov 96(%rbx), %r12; mov 104(%rbx), %r13; mov 112(%rbx), %r14; mov 120(%rbx), %r15\n"
        "    mov 24(%rbx), %rbx\n"
        "    jmp *native_entry(%rip)\n"
        "native_after:\n"
        "    mov %rax, native_state(%rip); mov %rcx, native_state+8(%rip)\n"
        "    mov %rdx, native_state+16(%rip); mov %rbx, native_state+24(%rip)\n"
        "    mov %rsp, native_state+32(%rip); mov %rbp, native_state+40(%rip)\n"
        "    mov %rsi, native_state+48(%rip); mov %rdi, native_state+56(%rip)\n"
        "    mov %r8, native_state+64(%rip); mov %r9, native_state+72(%rip)\n"
        "    mov %r10, native_state+80(%rip); mov %r11, native_state+88(%rip)\n"
        "    mov %r12, native_state+96(%rip); mov %r13, native_state+104(%rip)\n"
        "    mov %r14, native_state+112(%rip); mov %r15, native_state+120(%rip)\n"
        "    mov native_saved_rsp(%rip), %rsp\n"
        "    pushf\n"
        "    pop native_state+128(%rip)\n"
        "    mov $7, %eax\n"
        "    xor %edx, %edx\n"
        "    lea native_state(%rip), %rbx\n"
        "    xsave64 192(%rbx)\n"
        "    fninit\n"
        "    push $0x1f80\n"
        "    ldmxcsr (%rsp)\n"
        "    pop %rax\n"
        "    vzeroupper\n"
        "    cld\n"
        "    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "    ret\n");
_Static_assert(__builtin_offsetof(struct native, xsave) == 192, "as in the assembly above");

static void caught(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;

    (void)number;
    (void)info;
    native_state.has_faulted = true;
    native_state.vector = (uint32_t)uc->uc_mcontext.gregs[REG_TRAPNO];
    native_state.error_code = (uint32_t)uc->uc_mcontext.gregs[REG_ERR];
    uc->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)native_after;
}

bool native_init(void)
{
    static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE };
    stack_t stack = { .ss_sp = signal_stack, .ss_size = sizeof(signal_stack) };
    struct sigaction action = { .sa_sigaction = caught, .sa_flags = SA_SIGINFO | SA_ONSTACK };

    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED || sigaltstack(&stack, NULL))
        return false;
    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        if (sigaction(signals[i], &action, NULL))
            return false;
    return true;
}

void native_run(const uint8_t *bytes, unsigned length, struct native *state)
{
    static const uint8_t jump[] = { 0xff, 0x25, 0, 0, 0, 0 };
    void (*after)(void) = native_after;

    memcpy(page, bytes, length);
    memcpy(page + length, jump, sizeof(jump));
    memcpy(page + length + sizeof(jump), &after, sizeof(after));
    native_entry = (uint64_t)(uintptr_t)page;
    native_state = *state;
    native_state.has_faulted = false;
    native_enter();
    *state = native_state;
}
