/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/io/priority.h"

#include "hvcore/base/own.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { NICE = -15 };

/* Where the kernel groups processes by session (sched(7)), niceness counts within the group only,
 * and the group has its own. A session that is not ours alone is left as it is. */
static void raise_group(void)
{
    hv_autofd int fd = -1;
    char text[8];
    int length = snprintf(text, sizeof(text), "%d", NICE);

    if (getsid(0) != getpid())
        return;
    fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, text, (size_t)length) < 0)
        return; /* it takes a right that we have not */
}

void vmms_priority_raise(void)
{
    if (setpriority(PRIO_PROCESS, 0, NICE) == 0)
        raise_group();
}

void vmms_priority_drop(void)
{
    if (getpriority(PRIO_PROCESS, 0) < 0)
        (void)setpriority(PRIO_PROCESS, 0, 0);
}
