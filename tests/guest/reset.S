/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resets the machine: through the 8042, port 0xcf9, port 0x92, or (HOW = 3) a triple fault.
 * Memory must be empty after a reset, so a mark in it may not survive.
 */
#include "guest.inc"

        .set MARK, 0x200000

main:   cmpl $0x12345678, MARK
        jne 1f
        say "memory survived\n"
        exit 1
1:      movl $0x12345678, MARK
        say "resetting\n"
#if HOW == 0
        movb $0xfe, %al
        outb %al, $0x64
#elif HOW == 1
        movw $0xcf9, %dx
        movb $2, %al
        outb %al, %dx
        movb $6, %al
        outb %al, %dx
#elif HOW == 2
        inb $0x92, %al
        orb $1, %al
        outb %al, $0x92
#else
        lidt no_idt
        ud2
        .data
no_idt: .word 0
        .long 0
        .text
#endif
2:      pause
        jmp 2b
