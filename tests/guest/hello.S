/* SPDX-License-Identifier: Apache-2.0 */
/* Says something on COM1 and ends with status 16. */
#include "guest.inc"

main:   say "hello from the guest\n"
        exit 16
