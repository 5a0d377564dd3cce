/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker on disk images may call: one thread, one socket, files that are open already. */
#include "hvcore/base/own.h"
#include "vmwp/sandbox/seccomp_priv.h"

#include <fcntl.h>
#include <sys/mman.h>

/* clang-format off */
static const struct wp_right rights[] = {
    /* control: one connected socket, over which the files come */
    CALL(poll),             /* sd-bus: has anything come */
    CALL(ppoll),            /* the same, waiting */
    CALL(recvmsg),          /* sd-bus reads */
    CALL(sendmsg),          /* sd-bus writes */
    CALL(recvfrom),
    CALL(sendto),
    CALL(read),
    CALL(write),            /* a line in the log */
    CALL(shutdown),
    CALL(getsockopt),       /* sd-bus asks who is there */
    CALL(setsockopt),       /* sd-bus wants peer credentials */
    CALL(getsockname),      /* sd-bus: what kind of socket is this */
    CALL(close),            /* a file that came goes */
    CALL_IF(fcntl, 1, ~UINT64_C(0), F_GETFL),
    CALL_IF(fcntl, 1, ~UINT64_C(0), F_SETFL),
    CALL_IF(fcntl, 1, ~UINT64_C(0), F_GETFD),
    CALL_IF(fcntl, 1, ~UINT64_C(0), F_SETFD),
    CALL_IF(fcntl, 1, ~UINT64_C(0), F_DUPFD_CLOEXEC), /* a disk owns its descriptors */
    CALL(getpid),           /* sd-bus: has it been forked */
    CALL(gettid),           /* before abort(); sd-bus */
    CALL(getrandom),        /* identities of new images, hash seeds */

    /* images */
    CALL(fstat),            /* length and kind */
    CALL(newfstatat),       /* fstat as Debian 12's C library calls it */
    CALL(lseek),            /* where the holes are */
    CALL(pread64),
    CALL(pwrite64),
    CALL(preadv2),
    CALL(pwritev2),
    CALL(fsync),
    CALL(fdatasync),
    CALL(ftruncate),
    CALL(fallocate),        /* space for, zeroes in, holes out of an image */

    /* memory: none of it executable */
    CALL(brk),
    CALL_IF(mmap, 2, PROT_EXEC, 0),
    CALL_IF(mprotect, 2, PROT_EXEC, 0),
    CALL(munmap),
    CALL(mremap),
    CALL(madvise),

    /* time, locks, signals, the end */
    CALL(clock_gettime),    /* when the fast way isn't there */
    CALL(futex),            /* locks of the images' layers */
    CALL(restart_syscall),
    CALL(rt_sigreturn),
    CALL(rt_sigprocmask),
    CALL(rt_sigaction),
    CALL(exit),
    CALL(exit_group),
};
/* clang-format on */

int wp_seccomp_load_image(void)
{
    return wp_seccomp_apply(rights, HV_ARRAY_SIZE(rights), FOR_ALL);
}
