/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads every MSR of the architectural, AMD and synthetic ranges, and writes pseudo-random values to
 * each but those by which the guest itself runs (EFER, the APIC's base and its registers, as x2APIC's
 * and the hypervisor's, the hypercall page). Guest idle isn't read: that ends by an interrupt, and none
 * is to come. What isn't there is a #GP, after which the guest goes on.
 */
#include "guest.inc"

main:   movl $13, %eax
        movl $skip, %ebx
        call set_gate
        lidt idt_pointer
        movl $ranges, %esi
1:      movl (%esi), %ecx
        movl 4(%esi), %edi
        addl $8, %esi
        testl %edi, %edi
        jz done
2:      cmpl $0x400000f0, %ecx
        je 3f
        rdmsr
        nop
        call is_ours
        je 3f
        call random
        movl %eax, %edx
        call random
        wrmsr
        call random
        xorl %edx, %edx
        andl $7, %eax
        wrmsr
3:      incl %ecx
        cmpl %edi, %ecx
        jne 2b
        jmp 1b
done:   say "still here\n"
        exit 0

        /* #GP: rdmsr and wrmsr have two bytes */
skip:   addl $4, %esp
        addl $2, (%esp)
        iret

        /* zero flag: ecx is one of those by which the guest runs */
is_ours:
        cmpl $0x1b, %ecx
        je 4f
        cmpl $0xc0000080, %ecx
        je 4f
        cmpl $0x40000001, %ecx
        je 4f
        movl %ecx, %eax
        andl $0xfffffffc, %eax          /* EOI, ICR, TPR */
        cmpl $0x40000070, %eax
        je 4f
        movl %ecx, %eax
        andl $0xffffff00, %eax
        cmpl $0x800, %eax
4:      ret

random: movl seed, %eax
        imull $1664525, %eax
        addl $1013904223, %eax
        movl %eax, seed
        bswapl %eax
        ret

        .section .rodata
        .balign 4
ranges: .long 0, 0x2000
        .long 0x40000000, 0x40000200
        .long 0x4b564d00, 0x4b564d10
        .long 0xc0000000, 0xc0002000
        .long 0xc0010000, 0xc0012000
        .long 0, 0

        .data
        .balign 4
seed:   .long 12345
