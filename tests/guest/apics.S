/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes pseudo-random values to every register of the local APIC and the I/O APIC, over and over,
 * with interrupts on: storms of interrupts, and IPIs to any processor.
 * Only the worker's health counts.
 */
#include "guest.inc"

        .set LAPIC, 0xfee00000
        .set IOAPIC, 0xfec00000

main:   xorl %ebp, %ebp
1:      movl %ebp, %eax
        movl $ignore, %ebx
        call set_gate
        incl %ebp
        cmpl $256, %ebp
        jb 1b
        lidt idt_pointer
        movl $0x1ff, LAPIC + 0xf0
        movb $0x34, %al         /* some ticks to be delivered */
        outb %al, $0x43
        movb $0xff, %al
        outb %al, $0x40
        movb $1, %al
        outb %al, $0x40
2:      sti
        call random
        movl %eax, %edi
        andl $0xff0, %edi
        call random
        andl $~0x400, %eax      /* no delivery as INIT, which would end the test early */
        movl %eax, LAPIC(%edi)
        movl LAPIC(%edi), %eax
        call random
        andl $0x3f, %eax
        movl %eax, IOAPIC
        call random
        andl $~0x400, %eax
        movl %eax, IOAPIC + 0x10
        movl %eax, IOAPIC + 0x40
        movl $0, LAPIC + 0xb0
        decl rounds
        jnz 2b
        exit 0

ignore: movl $stack_top, %esp   /* whatever it was, with or without an error code */
        movl $0, LAPIC + 0xb0
        jmp 2b

random: movl seed, %eax
        imull $1664525, %eax
        addl $1013904223, %eax
        movl %eax, seed
        bswapl %eax
        ret

        .data
        .balign 4
seed:   .long 4711
rounds: .long 300000
