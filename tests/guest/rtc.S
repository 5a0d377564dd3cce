/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the clock: a plausible century, and seconds that go on. */
#include "guest.inc"

main:   movb $0x32, %al
        call cmos
        cmpb $0x20, %al
        jne bad
        movb $0x09, %al         /* year, BCD */
        call cmos
        cmpb $0x26, %al
        jb bad
        xorl %eax, %eax
        call cmos
        movb %al, %bl
1:      pause
        xorl %eax, %eax
        call cmos
        cmpb %al, %bl
        je 1b
        say "the clock goes\n"
        exit 0
bad:    say "the clock is wrong\n"
        exit 1

cmos:   outb %al, $0x70
        inb $0x71, %al
        ret
