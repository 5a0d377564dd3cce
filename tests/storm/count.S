/* SPDX-License-Identifier: Apache-2.0 */
/* Counts for ever, twenty lines of eight hex digits a second, asleep in between. */
#include "guest.inc"

        .macro outb_imm port, value
        movb $\value, %al
        outb %al, $\port
        .endm

main:   outb_imm 0x20, 0x11     /* ICW1 to 4: vectors 0x20 and 0x28, 8086 mode */
        outb_imm 0x21, 0x20
        outb_imm 0x21, 0x04
        outb_imm 0x21, 0x01
        outb_imm 0xa0, 0x11
        outb_imm 0xa1, 0x28
        outb_imm 0xa1, 0x02
        outb_imm 0xa1, 0x01
        outb_imm 0x21, 0xfe     /* line 0 alone */
        outb_imm 0xa1, 0xff
        movl $0x20, %eax
        movl $tick, %ebx
        call set_gate
        lidt idt_pointer
        outb_imm 0x43, 0x34     /* counter 0, mode 2, 59659 clocks: 20 Hz */
        outb_imm 0x40, 0x0b
        outb_imm 0x40, 0xe9
        xorl %ebp, %ebp
1:      sti
        hlt
        cli
        incl %ebp
        movl $8, %ecx
        movl %ebp, %ebx
2:      roll $4, %ebx
        movl %ebx, %eax
        andl $15, %eax
        movb digits(%eax), %al
        call putc
        loop 2b
        movb $'\n', %al
        call putc
        jmp 1b

tick:   pushl %eax
        outb_imm 0x20, 0x20     /* end of interrupt */
        popl %eax
        iret

        .section .rodata
digits: .ascii "0123456789abcdef"
