/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/sandbox/seccomp_priv.h"

#include "hvcore/base/own.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* clang-format off */
static const struct wp_right rights[] = {
    /* the loop */
    CALL(epoll_wait),       /* libuv waits */
    CALL(epoll_pwait),      /* the same, as newer libraries call it */
    CALL(epoll_ctl),        /* a connection or reader comes or goes */
    CALL(poll),             /* sd-bus and readers: is the other end there */
    CALL(read),             /* wake-ups of the loop */
    CALL(write),            /* wake-ups, log lines */
    CALL(close),            /* a connection or reader goes */
    CALL(eventfd2),         /* a channel that the guest asks for gets its doorbell */

    /* control and consoles: connected sockets only; nothing can be named or reached */
    CALL(accept4),          /* vmmsd comes back */
    CALL(recvmsg),          /* sd-bus reads */
    CALL(sendmsg),          /* sd-bus writes, with a reader's end */
    CALL(recvfrom),         /* a reader types */
    CALL(sendto),           /* a reader is fed */
    CALL(shutdown),         /* a reader or connection is dropped */
    CALL(getsockopt),       /* sd-bus asks who connected */
    CALL(setsockopt),       /* sd-bus wants peer credentials */
    CALL(getsockname),      /* sd-bus: what kind of socket is this */
    CALL_IF(socketpair, 0, ~UINT64_C(0), AF_UNIX), /* a reader's stream */
    IOCTL(FIONBIO, FOR_ALL),                       /* libuv, on a new connection */
    CALL(fstat),            /* sd-bus: is this a socket */
    CALL(newfstatat),       /* fstat as Debian 12's C library calls it. It can ask for a
                               file by path, too: there is none in an empty root */
    CALL_IF(fcntl, 1, ~UINT64_C(0), F_GETFL),         /* flags of a new connection */
    CALL_IF(fcntl, 1, ~UINT64_C(0), F_SETFL),
    CALL_IF(fcntl, 1, ~UINT64_C(0), F_GETFD),
    CALL_IF(fcntl, 1, ~UINT64_C(0), F_SETFD),
    CALL_IF(fcntl, 1, ~UINT64_C(0), F_DUPFD_CLOEXEC), /* sd-bus keeps a descriptor to send */
    CALL(getpid),           /* sd-bus: has it been forked */
    CALL(gettid),           /* before a signal to a thread of our own; sd-bus */
    CALL(getrandom),        /* hash seeds */

    /* files that are open already */
    CALL(pread64),          /* a reset reads kernel and initrd again */
    CALL(pwrite64),         /* the status file; a saved state */
    CALL(fstatfs),          /* is there room for one; it takes a descriptor, not a path */
    CALL_IF(fallocate, 1, ~UINT64_C(0), FALLOC_FL_KEEP_SIZE), /* that room is taken in advance */
    CALL_IF(fallocate, 1, ~UINT64_C(0), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE),
                            /* a reset gives guest memory back, a discard an image's space */
    CALL_IF(fallocate, 1, ~UINT64_C(0), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE), /* zeroing */
    CALL(preadv2),          /* disk images, from and to guest memory */
    CALL(pwritev2),
    CALL(fdatasync),        /* a guest's flush */
    CALL(fsync),            /* the same, where the image grew */
    CALL(ftruncate),        /* an image grows, or gives its end back */
    CALL(lseek),            /* where data lies in a sparse image */

    /* a thread made just now, before its first line of ours */
    CALL(rseq),             /* the C library's restartable sequences */
    CALL(set_robust_list),  /* its robust mutexes */
    CALL_IF(prctl, 0, ~UINT64_C(0), PR_SET_NAME),

    /* threads wait for each other and sleep */
    CALL(futex),
    CALL(clock_gettime),    /* when the fast way isn't there; CPU time of the VP threads */
    CALL(sched_yield),
    CALL_IF(sched_setscheduler, 1, ~UINT64_C(0), SCHED_OTHER), /* a disk's thread lets the VPs go */
    CALL_IF(sched_setscheduler, 1, ~UINT64_C(0), SCHED_BATCH), /* first, or no longer */
    CALL_IF(getrusage, 0, ~UINT64_C(0), RUSAGE_THREAD), /* how often it waited */
    CALL(restart_syscall),  /* the kernel goes on with a call that was interrupted */

    /* memory: none of it executable */
    CALL(brk),
    CALL_IF(mmap, 2, PROT_EXEC, 0),
    CALL_IF(mprotect, 2, PROT_EXEC, 0),
    CALL(munmap),
    CALL(mremap),
    CALL(madvise),

    /* signals: a handler returns, abort() prepares; sending is in add_signals() */
    CALL(rt_sigreturn),
    CALL(rt_sigprocmask),
    CALL(rt_sigaction),

    /* KVM, on the descriptors that the backend has made: run, interrupt, state out and in */
    IOCTL(KVM_RUN, FOR_KVM),
    IOCTL(KVM_INTERRUPT, FOR_KVM),
    IOCTL(KVM_SIGNAL_MSI, FOR_KVM),
    IOCTL(KVM_IRQ_LINE_STATUS, FOR_KVM), /* interrupts of the SynIC */
    IOCTL(KVM_SET_GSI_ROUTING, FOR_KVM), /* which vectors' ends the I/O APIC is told of */
    IOCTL(KVM_HYPERV_EVENTFD, FOR_KVM), /* a channel's signals, while channels come and go */
    IOCTL(KVM_GET_REGS, FOR_KVM),
    IOCTL(KVM_SET_REGS, FOR_KVM),
    IOCTL(KVM_GET_SREGS, FOR_KVM),
    IOCTL(KVM_SET_SREGS, FOR_KVM),
    IOCTL(KVM_GET_MSRS, FOR_KVM),
    IOCTL(KVM_SET_MSRS, FOR_KVM),
    IOCTL(KVM_GET_XSAVE, FOR_KVM),
    IOCTL(KVM_SET_XSAVE, FOR_KVM),
    IOCTL(KVM_GET_XCRS, FOR_KVM),
    IOCTL(KVM_SET_XCRS, FOR_KVM),
    IOCTL(KVM_GET_DEBUGREGS, FOR_KVM),
    IOCTL(KVM_SET_DEBUGREGS, FOR_KVM),
    IOCTL(KVM_GET_VCPU_EVENTS, FOR_KVM),
    IOCTL(KVM_SET_VCPU_EVENTS, FOR_KVM),
    IOCTL(KVM_GET_MP_STATE, FOR_KVM),
    IOCTL(KVM_SET_MP_STATE, FOR_KVM),
    IOCTL(KVM_GET_LAPIC, FOR_KVM),
    IOCTL(KVM_SET_LAPIC, FOR_KVM),
    IOCTL(KVM_GET_DEVICE_ATTR, FOR_KVM), /* the TSC's offset */
    IOCTL(KVM_SET_DEVICE_ATTR, FOR_KVM),
    IOCTL(KVM_HAS_DEVICE_ATTR, FOR_KVM),

    /* the end */
    CALL(exit),
    CALL(exit_group),
};
/* clang-format on */

static int add_right(scmp_filter_ctx filter, const struct wp_right *right)
{
    struct scmp_arg_cmp compare =
        SCMP_CMP64(right->argument, SCMP_CMP_MASKED_EQ, right->mask, right->value);

    if (!right->has_argument)
        return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, right->call, 0, NULL);
    return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, right->call, 1, &compare);
}

/* Signals to threads of our own: abort() on a broken invariant; KVM's VPs are kicked by one. */
static int add_signals(scmp_filter_ctx filter)
{
    const int signals[] = { SIGABRT, SIGRTMIN + 2 };
    int r = 0;

    for (unsigned i = 0; r >= 0 && i < HV_ARRAY_SIZE(signals); i++)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 2,
                             SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()),
                             SCMP_A2(SCMP_CMP_EQ, (scmp_datum_t)signals[i]));
    return r;
}

int wp_seccomp_apply(const struct wp_right *list, size_t count, unsigned wanted)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int r;

    if (!filter)
        return -ENOMEM;
    r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    r = r < 0 ? r : seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    r = r < 0 ? r : seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    for (size_t i = 0; r >= 0 && i < count; i++)
        if (list[i].backends & wanted)
            r = add_right(filter, &list[i]);
    r = r < 0 ? r : add_signals(filter);
    r = r < 0 ? r : seccomp_load(filter);
    seccomp_release(filter);
    return r;
}

int wp_seccomp_load(enum hv_backend backend)
{
    return wp_seccomp_apply(rights, HV_ARRAY_SIZE(rights),
                            backend == HV_BACKEND_KVM ? FOR_KVM : FOR_SOFT);
}
