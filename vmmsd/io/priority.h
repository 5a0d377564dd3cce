/* SPDX-License-Identifier: Apache-2.0 */
/* Before guests on the processors: a guest that never halts must not hold up who manages it. */
#pragma once

/* For the calling thread and those that it makes from now on; where the process has the right to
 * it, else nothing changes. Programs that are started inherit it. */
void vmms_priority_raise(void);
/* As everybody else, in a child before its program runs. Async-signal-safe. */
void vmms_priority_drop(void);
