/* SPDX-License-Identifier: Apache-2.0 */
/* Powers off through the ACPI PM1 control register. */
#include "guest.inc"

main:   say "good night\n"
        movw $0x604, %dx
        movw $(1 << 13) | (5 << 10), %ax
        outw %ax, %dx
1:      hlt
        jmp 1b
