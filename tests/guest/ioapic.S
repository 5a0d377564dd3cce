/* SPDX-License-Identifier: Apache-2.0 */
/* Ten ticks of the interval timer through the I/O APIC's pin 2 and the local APIC. */
#include "guest.inc"

        .set IOAPIC, 0xfec00000
        .set LAPIC, 0xfee00000

main:   movl $0x21, %eax
        movl $tick, %ebx
        call set_gate
        lidt idt_pointer
        movb $0xff, %al         /* the 8259 pair is silent */
        outb %al, $0x21
        outb %al, $0xa1
        movl $0x1ff, LAPIC + 0xf0
        movl LAPIC + 0x20, %eax /* ID: the destination */
        movl $0x15, IOAPIC
        movl %eax, IOAPIC + 0x10
        movl $0x14, IOAPIC
        movl $0x21, IOAPIC + 0x10
        movb $0x34, %al
        outb %al, $0x43
        movb $0x9c, %al
        outb %al, $0x40
        movb $0x2e, %al
        outb %al, $0x40
1:      sti
        hlt
        cli
        cmpl $10, ticks
        jb 1b
        say "ten ticks\n"
        exit 0

tick:   incl ticks
        movl $0, LAPIC + 0xb0
        iret

        .bss
ticks:  .long 0
