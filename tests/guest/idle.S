/* SPDX-License-Identifier: Apache-2.0 */
/* Says so on COM1, and sleeps for good: interrupts are on, and none will come. */
#include "guest.inc"

main:   say "asleep\n"
        movb $0xff, %al
        outb %al, $0x21
        outb %al, $0xa1
        sti
1:      hlt
        jmp 1b
