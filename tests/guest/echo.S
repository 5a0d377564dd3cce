/* SPDX-License-Identifier: Apache-2.0 */
/* Echoes COM1 until a newline, with the FIFO on, polling. */
#include "guest.inc"

main:   movw $COM1 + 2, %dx
        movb $7, %al
        outb %al, %dx
1:      movw $COM1 + 5, %dx
        inb %dx, %al
        testb $1, %al
        jz 1b
        movw $COM1, %dx
        inb %dx, %al
        call putc
        cmpb $'\n', %al
        jne 1b
        exit 0
