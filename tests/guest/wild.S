/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs pseudo-random bytes as code with every exception going back into more of them, until the
 * VM ends by triple fault, by itself, or by the test's timeout. Only the worker's health counts.
 */
#include "guest.inc"

        .set ARENA, 0x300000
        .set ARENA_BYTES, 0x100000

main:   rdtsc
        orl $1, %eax
        movl %eax, seed
        movl $ARENA, %edi
        movl $ARENA_BYTES / 4, %ecx
1:      call random
        stosl
        loop 1b
        xorl %ebp, %ebp
2:      movl %ebp, %eax
        movl $again, %ebx
        call set_gate
        incl %ebp
        cmpl $256, %ebp
        jb 2b
        lidt idt_pointer
again:  movl $stack_top, %esp
        movl $0x10, %eax
        movw %ax, %ds
        movw %ax, %es
        decl rounds
        jz done
        call random
        andl $ARENA_BYTES - 1, %eax
        addl $ARENA, %eax
        jmp *%eax
done:   exit 0

random: movl seed, %eax
        imull $1664525, %eax
        addl $1013904223, %eax
        movl %eax, seed
        bswapl %eax
        ret

        .data
        .balign 4
seed:   .long 0
rounds: .long 100000
