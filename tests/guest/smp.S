/* SPDX-License-Identifier: Apache-2.0 */
/* Starts all application processors by INIT and SIPI; the exit status is how many came. */
#include "guest.inc"

        .set LAPIC, 0xfee00000
        .set TRAMPOLINE, 0x8000
        .set ICR_LOW, LAPIC + 0x300

main:   movl $trampoline, %esi
        movl $TRAMPOLINE, %edi
        movl $trampoline_end - trampoline, %ecx
        rep movsb
        movl $0x1ff, LAPIC + 0xf0
        movl $0x000c4500, ICR_LOW       /* INIT to all but me */
        movl $200000, %ecx
1:      pause
        loop 1b
        movl $0x000c4600 | (TRAMPOLINE >> 12), ICR_LOW
        /* wait until the count has stood still for a while: 100 ms by the PM timer */
        movl arrived, %ebx
2:      call now
        movl %eax, %edi
3:      pause
        cmpl arrived, %ebx
        movl arrived, %ebx
        jne 2b
        call now
        subl %edi, %eax
        cmpl $357954, %eax
        jb 3b
        say "processors are up\n"
        movl arrived, %eax
        jmp exit_with_eax

now:    movw $0x608, %dx
        inl %dx, %eax
        andl $0xffffff, %eax
        ret

        /* real mode, at 0x8000: into protected mode, count, and sleep */
        .code16
trampoline:
        cli
        xorw %ax, %ax
        movw %ax, %ds
        lgdtl TRAMPOLINE + ap_gdt_pointer - trampoline
        movl %cr0, %eax
        orb $1, %al
        movl %eax, %cr0
        ljmpl $0x08, $ap_main
        .balign 4
ap_gdt_pointer:
        .word 23
        .long gdt
trampoline_end:
        .code32
ap_main:
        movw $0x10, %ax
        movw %ax, %ds
        lock incl arrived
1:      cli
        hlt
        jmp 1b

        .bss
        .balign 4
arrived: .long 0
