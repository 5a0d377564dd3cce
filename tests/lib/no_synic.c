/* SPDX-License-Identifier: Apache-2.0 */
/* Loaded before a program's libraries: it finds a KVM without a synthetic interrupt controller, as
 * before Linux 4.14, and has to bring its own. It says so, for tests. */
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...)
{
    unsigned long argument;
    va_list list;

    va_start(list, request);
    argument = va_arg(list, unsigned long);
    va_end(list);
    if (request != KVM_CHECK_EXTENSION || argument != KVM_CAP_HYPERV_SYNIC2)
        return (int)syscall(SYS_ioctl, fd, request, argument);
    (void)dprintf(STDERR_FILENO, "no SynIC here\n");
    return 0;
}
