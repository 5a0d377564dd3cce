/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Says "ready", then obeys what is typed: d ends with status 21, p powers off, r resets, t is a
 * triple fault, f floods the console for ever; anything else comes back as an echo.
 */
#include "guest.inc"

main:   movw $COM1 + 2, %dx
        movb $7, %al
        outb %al, %dx
        say "ready\n"
1:      movw $COM1 + 5, %dx
        pause
        inb %dx, %al
        testb $1, %al
        jz 1b
        movw $COM1, %dx
        inb %dx, %al
        cmpb $'d', %al
        je debug
        cmpb $'p', %al
        je power
        cmpb $'r', %al
        je reset
        cmpb $'t', %al
        je triple
        cmpb $'f', %al
        je flood
        call putc
        jmp 1b

debug:  exit 21
power:  movw $0x604, %dx
        movw $(1 << 13) | (5 << 10), %ax
        outw %ax, %dx
2:      pause
        jmp 2b
reset:  movb $0xfe, %al
        outb %al, $0x64
3:      pause
        jmp 3b
triple: lidt no_idt
        ud2
flood:  movb $'.', %al
        call putc
        jmp flood

        .data
no_idt: .word 0
        .long 0
