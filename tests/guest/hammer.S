/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Touches everything there is outside RAM: every port and every page from 3 to 4 GiB, in every
 * size. With WRITES, pseudo-random values go to the ports too, except to the few that end the VM
 * at once; without, each is only read.
 */
#include "guest.inc"

main:   xorl %edx, %edx
1:      inb %dx, %al
        inw %dx, %ax
        inl %dx, %eax
#ifdef WRITES
        call ends_the_vm
        je 2f
        call random
        outb %al, %dx
        call random
        cmpw $0xcf5, %dx        /* wide writes that reach 0xcf9 or the exit port */
        jb 3f
        cmpw $0xcf9, %dx
        jbe 2f
3:      cmpw $0xf1, %dx
        je 2f
        cmpw $0x91, %dx
        je 2f
        cmpw $0x8f, %dx
        jb 4f
        cmpw $0x92, %dx
        jbe 2f
4:      cmpw $0x61, %dx
        jb 5f
        cmpw $0x64, %dx
        jbe 2f
5:      cmpw $0xee, %dx
        jb 6f
        cmpw $0xf7, %dx
        jbe 2f
6:      cmpw $0x601, %dx
        jb 7f
        cmpw $0x605, %dx
        jbe 2f
7:      outw %ax, %dx
        outl %eax, %dx
2:
#endif
        incw %dx
        jnz 1b
        movl $0xc0000000, %edi
8:      movb 1(%edi), %al
        movw 3(%edi), %ax
        movl (%edi), %eax
        movl 0xffc(%edi), %eax
        movl 0xff6(%edi), %eax
        movb %al, 5(%edi)
        movl %eax, 0x10(%edi)
        movl %eax, 0x3fe(%edi)
        addl $0x1000, %edi
        cmpl $0xfee00000, %edi  /* a wild LAPIC is a test of its own */
        jne 9f
        addl $0x1000, %edi
9:      testl %edi, %edi
        jnz 8b
        movb $3, %al            /* COM1 as it was */
        movw $COM1 + 3, %dx
        outb %al, %dx
        movw $COM1 + 4, %dx
        xorl %eax, %eax
        outb %al, %dx
        say "still here\n"
        exit 0

        /* zero flag: dx is 0xf4-0xf7 (exit), 0x64 (8042), 0x92, 0xcf9, 0x604-0x605 (power) */
ends_the_vm:
        movl %edx, %eax
        andw $0xfffc, %ax
        cmpw $0xf4, %ax
        je 1f
        cmpw $0x64, %dx
        je 1f
        cmpw $0x92, %dx
        je 1f
        cmpw $0xcf9, %dx
        je 1f
        andw $0xfffe, %ax
        cmpw $0x604, %ax
1:      ret

random: movl seed, %eax
        imull $1664525, %eax
        addl $1013904223, %eax
        movl %eax, seed
        bswapl %eax
        ret

        .data
        .balign 4
seed:   .long 12345
