/* SPDX-License-Identifier: Apache-2.0 */
/* Ten ticks of the interval timer through the 8259 pair, each out of HLT. */
#include "guest.inc"

        .set TICKS, 10

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
        outb_imm 0x43, 0x34     /* counter 0, mode 2, 11932 clocks: 100 Hz */
        outb_imm 0x40, 0x9c
        outb_imm 0x40, 0x2e
1:      sti
        hlt
        cli
        cmpl $TICKS, ticks
        jb 1b
        say "ten ticks\n"
        exit 0

tick:   pushl %eax
        incl ticks
        outb_imm 0x20, 0x20     /* end of interrupt */
        popl %eax
        iret

        .bss
ticks:  .long 0
