/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a Multiboot 1 entry to 64-bit C: identity mapping of the first 4 GiB by 2 MiB pages, a GDT in
 * sysret's order, a TSS, 256 gates, and ways to run something that faults.
 */
        .set CODE64, 0x08
        .set DATA, 0x10
        .set USER_DATA, 0x2b
        .set USER_CODE, 0x33

        .section .multiboot, "a"
        .balign 4
        .long 0x1badb002, 0, -0x1badb002

        .bss
        .balign 4096
        .globl pml4, pdpt, pds
pml4:   .space 4096
pdpt:   .space 4096
pds:    .space 4 * 4096
        .globl stacks
stacks: .space 64 * 16384       /* of processor n: from stacks + n * 16384 up */
        .globl ist_stack, user_stack
        .space 8192
ist_stack:
        .space 8192
user_stack:
        .space 16

        .text
        .code32
        .globl _start
_start: cld
        movl $stacks + 16384, %esp
        movl $pdpt + 7, pml4
        movl $pds + 7, %eax
        movl $pdpt, %edi
        movl $4, %ecx
1:      movl %eax, (%edi)
        addl $4096, %eax
        addl $8, %edi
        loop 1b
        movl $0x87, %eax
        movl $pds, %edi
        movl $2048, %ecx
2:      movl %eax, (%edi)
        addl $0x200000, %eax
        addl $8, %edi
        loop 2b
        call enter_long_mode
        .code64
        movl $256, %ecx
        movq $stub_0, %rax
        movq $idt, %rdi
3:      movw %ax, (%rdi)
        movw $CODE64, 2(%rdi)
        movw $0x8e00, 4(%rdi)
        shrq $16, %rax
        movw %ax, 6(%rdi)
        shlq $16, %rax
        movw (%rdi), %ax
        addq $16, %rdi
        addq $16, %rax
        loop 3b
        movw $0xee00, idt + 0x80 * 16 + 4       /* user code's way back */
        lidt idt_pointer
        leaq tss(%rip), %rax
        movw %ax, gdt_tss + 2
        shrq $16, %rax
        movb %al, gdt_tss + 4
        movb %ah, gdt_tss + 7
        movw $0x38, %ax
        ltr %ax
        movq $stacks + 16384 - 4096, tss + 4    /* for ring 0 from ring 3 */
        movq $ist_stack, tss + 0x24
        /* SSE, as C may use it */
        movq %cr4, %rax
        orl $0x600, %eax
        movq %rax, %cr4
        call guest_main
        movl %eax, %edi
        jmp guest_exit

        /* 32-bit code, paging off: come back in 64-bit mode. */
        .code32
enter_long_mode:
        lgdt gdt_pointer
        movl %cr4, %eax
        orl $0x20, %eax
        movl %eax, %cr4
        movl $pml4, %eax
        movl %eax, %cr3
        movl $0xc0000080, %ecx
        rdmsr
        orl $0x901, %eax
        wrmsr
        movl %cr0, %eax
        orl $0x80010000, %eax
        andl $~0x6, %eax
        movl %eax, %cr0
        popl %edx
        ljmp $CODE64, $1f
        .code64
1:      movw $DATA, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        xorl %eax, %eax
        movw %ax, %fs
        movw %ax, %gs
        jmp *%rdx

        .globl guest_exit
guest_exit:
        movl %edi, %eax
        outl %eax, $0xf4
1:      cli
        hlt
        jmp 1b

        /* ---- Exceptions ---- */
        .balign 16
stub_0:
        .set vector, 0
        .rept 256
        .balign 16
        .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)
        pushq $0
        .endif
        pushq $vector
        jmp common
        .set vector, vector + 1
        .endr

common: pushq %rax
        pushq %rcx
        pushq %rdx
        pushq %rbx
        pushq %rbp
        pushq %rsi
        pushq %rdi
        pushq %r8
        pushq %r9
        pushq %r10
        pushq %r11
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        cld
        movq %rsp, %rdi
        movq %rsp, %rbx
        andq $~15, %rsp
        call guest_trap         /* 1: go on where it came from */
        movq %rbx, %rsp
        testl %eax, %eax
        jz give_up
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %r11
        popq %r10
        popq %r9
        popq %r8
        popq %rdi
        popq %rsi
        popq %rbp
        popq %rbx
        popq %rdx
        popq %rcx
        popq %rax
        addq $16, %rsp
        .globl guest_iretq
guest_iretq:
        iretq

        /* Back to who called attempt or attempt_user, with the processor's state put right. */
give_up:
        movq recover_rsp, %rsp
        movw $DATA, %ax
        movw %ax, %ss
        movw %ax, %ds
        movw %ax, %es
        pushq $0x2
        popfq
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %rbp
        popq %rbx
        ret

        /* attempt(fn, a, b): call fn(a, b); whatever trap ends it is in `trap`. */
        .globl attempt
attempt:
        pushq %rbx
        pushq %rbp
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        movq %rsp, recover_rsp
        movq $-1, trap
        movq %rdi, %rax
        movq %rsi, %rdi
        movq %rdx, %rsi
        subq $8, %rsp
        call *%rax
        jmp give_up

        /* attempt_user(fn, a, b): the same at CPL 3. */
        .globl attempt_user
attempt_user:
        pushq %rbx
        pushq %rbp
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        movq %rsp, recover_rsp
        movq $-1, trap
        movq %rdi, %rax
        movq %rsi, %rdi
        movq %rdx, %rsi
        movq user_flags, %rcx
        pushq $USER_DATA
        pushq $user_stack - 8
        pushq %rcx
        pushq $USER_CODE
        pushq %rax
        movq $user_return, user_stack - 8
        iretq
        .globl user_return
user_return:
        int $0x80

        .globl bare_ret, bare_ret_end
bare_ret:
        ret

        /* ---- Application processors: real mode at 0x8000 ---- */
        .code16
        .globl trampoline, trampoline_end
trampoline:
        cli
        xorw %ax, %ax
        movw %ax, %ds
        lgdtl 0x8000 + ap_gdt_pointer - trampoline
        movl %cr0, %eax
        orb $1, %al
        movl %eax, %cr0
        ljmpl $0x18, $ap_32
        .balign 4
ap_gdt_pointer:
        .word gdt_end - gdt - 1
        .long gdt
trampoline_end:
        .code32
ap_32:  movw $DATA, %ax
        movw %ax, %ds
        movw %ax, %ss
        movw %ax, %es
        movl $1, %eax
        lock xaddl %eax, n_aps
        incl %eax
        movl %eax, %ebp
        shll $14, %eax
        leal stacks + 16384(%eax), %esp
        call enter_long_mode
        .code64
        lidt idt_pointer
        movq %cr4, %rax
        orl $0x600, %eax
        movq %rax, %cr4
        movl %ebp, %edi
        call guest_ap
1:      cli
        hlt
        jmp 1b

        .data
        .globl user_flags, recover_rsp, trap, n_aps, tss, gdt, idt
        .balign 16
user_flags: .quad 0x2
recover_rsp: .quad 0
trap:   .space 8 * 9
n_aps:  .long 0
        .balign 8
gdt:    .quad 0
        .quad 0x00af9b000000ffff        /* 08 kernel code */
        .quad 0x00cf93000000ffff        /* 10 kernel data */
        .quad 0x00cf9b000000ffff        /* 18 kernel code, 32 bits */
        .quad 0x00cffb000000ffff        /* 20 user code, 32 bits */
        .quad 0x00cff3000000ffff        /* 28 user data */
        .quad 0x00affb000000ffff        /* 30 user code */
gdt_tss:
        .quad 0x0000890000000067        /* 38 TSS */
        .quad 0
gdt_end:
gdt_pointer:
        .word gdt_end - gdt - 1
        .quad gdt
idt_pointer:
        .word 256 * 16 - 1
        .quad idt
        .balign 16
        .long 0, 0, 0                   /* so that the 8-byte fields are aligned */
tss:    .space 0x68
        .bss
        .balign 16
idt:    .space 256 * 16
        .section .note.GNU-stack, "", @progbits
