/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests of the backend conformance test: a few instructions each, position-independent, copied to
 * where the test wants them. Port 0x600 takes what a guest reports, port 0xf4 ends the run. FS is a
 * flat segment over the LAPIC page where a guest uses it.
 */
        .section .rodata

        .macro  guest name
        .globl  \name
        .hidden \name
\name:
        .endm
        .macro  guest_end name
        .globl  \name\()_end
        .hidden \name\()_end
\name\()_end:
        .endm

        .code16

/* Each width, in and out, and a string of bytes. */
guest guest_ports
        movw    $0x600, %dx
        movb    $0x12, %al
        outb    %al, %dx
        movw    $0x3456, %ax
        outw    %ax, %dx
        movl    $0x789abcde, %eax
        outl    %eax, %dx
        inb     $0x40, %al
        outb    %al, %dx
        movw    $0x642, %dx
        inw     %dx, %ax
        movw    $0x600, %dx
        outw    %ax, %dx
        movw    $0x640, %dx
        inl     %dx, %eax
        movw    $0x600, %dx
        outl    %eax, %dx
        cld
        movw    $0x3000, %si
        movw    $3, %cx
        rep outsb
        movw    $0x3100, %di
        movw    $0x640, %dx
        movw    $2, %cx
        rep insw
        movw    $0x600, %dx
        movl    0x3100, %eax
        outl    %eax, %dx
        outb    %al, $0xf4
        hlt
guest_end guest_ports

/* DS is 0xa000: no RAM there. */
guest guest_mmio
        movw    $0xa000, %ax
        movw    %ax, %ds
        movl    $0x11223344, 0x10
        movw    $0x5566, 0x20
        movb    $0x77, 0x30
        movw    $0x600, %dx
        movl    0x40, %eax
        outl    %eax, %dx
        movzbl  0x41, %eax
        outl    %eax, %dx
        orb     $0x80, 0x50
        outb    %al, $0xf4
        hlt
guest_end guest_mmio

/* No interrupt may come between STI and the HLT after it (SDM vol. 2B, STI), which would then sleep on. A handler that
 * finds a HLT to go back to reports 4 and steps over it. */
        .macro  see_that_hlt_came_first
        movw    %sp, %bx
        movw    (%bx), %si
        cmpb    $0xf4, (%si)
        jne     1f
        incw    (%bx)
        movb    $4, %al
        outb    %al, %dx
1:
        .endm

/* Sleep; the handler, at vector 0x30, is guest_handler. */
guest guest_sleep
        movw    $0x600, %dx
        movb    $1, %al
        outb    %al, %dx
        sti
        hlt
        movb    $3, %al
        outb    %al, %dx
        outb    %al, $0xf4
        hlt
guest_end guest_sleep

guest guest_handler
        see_that_hlt_came_first
        movb    $2, %al
        outb    %al, %dx
        movl    $0, %fs:0xb0
        iretw
guest_end guest_handler

/* For an interrupt of the 8259 pair there is no EOI to the LAPIC. */
guest guest_pic_handler
        see_that_hlt_came_first
        movb    $2, %al
        outb    %al, %dx
        movb    $0x20, %al
        outb    %al, $0x20
        iretw
guest_end guest_pic_handler

/* INIT and start-up to processor 1, which begins at 0x2000; then sleep. */
guest guest_start_other
        movl    $0x01000000, %fs:0x310
        movl    $0x00004500, %fs:0x300
        movl    $0x01000000, %fs:0x310
        movl    $0x00004602, %fs:0x300
        cli
        hlt
guest_end guest_start_other

guest guest_started
        movw    $0x600, %dx
        movw    %cs, %ax
        outw    %ax, %dx
        outb    %al, $0xf4
        hlt
guest_end guest_started

guest guest_spin
1:      incl    %ebx
        jmp     1b
guest_end guest_spin

/* An empty interrupt table, and an exception. */
guest guest_triple_fault
        lidtw   %cs:0x1100
        ud2
guest_end guest_triple_fault

/* CPUID and MSRs; #GP's handler, at vector 13, steps over the two bytes and counts in BX. */
guest guest_msrs
        movw    $0x600, %dx
        pushw   %dx
        movl    $0x40000000, %eax
        cpuid
        movl    %ebx, %eax
        popw    %dx
        outl    %eax, %dx
        movl    $0x40000002, %ecx
        call    report_msr
        movl    $0x40000022, %ecx
        call    report_msr
        movl    $0x40000023, %ecx
        call    report_msr
        xorw    %bx, %bx
        movl    $0x12345, %ecx
        rdmsr
        wrmsr
        movl    $0x40000020, %ecx       /* read only */
        wrmsr
        movw    $0x600, %dx
        movw    %bx, %ax
        outw    %ax, %dx
        outb    %al, $0xf4
        hlt
report_msr:
        rdmsr
        movw    $0x600, %dx
        outl    %eax, %dx
        ret
guest_end guest_msrs

guest guest_gp_handler
        incw    %bx
        pushw   %bp
        movw    %sp, %bp
        addw    $2, 2(%bp)
        popw    %bp
        iretw
guest_end guest_gp_handler

/* A doorbell at port 0x700 (2 bytes) and one at 0xa0000 (4 bytes), each rung twice. */
guest guest_doorbells
        movw    $0xa000, %ax
        movw    %ax, %ds
        movw    $0x700, %dx
        movl    $0, 0
        outw    %ax, %dx
        movl    $0, 0
        outw    %ax, %dx
        outb    %al, %dx                /* another width: not the bell */
        outb    %al, $0xf4
        hlt
guest_end guest_doorbells

        .code64

/* Long mode at CPL 0: find the hypercall interface and make a call that nobody offers. */
guest guest_hypercall
        movl    $0x40000000, %ecx
        movl    $0x8100, %edx
        shll    $16, %edx
        xorl    %eax, %eax
        wrmsr
        movl    $0x40000001, %ecx
        xorl    %edx, %edx
        movl    $0x5001, %eax
        wrmsr
        movl    $0x7777, %ecx
        xorl    %edx, %edx
        xorl    %r8d, %r8d
        movl    $0x5000, %ebx
        call    *%rbx
        movw    $0x600, %dx
        outl    %eax, %dx
        shrq    $32, %rax
        outl    %eax, %dx
        outb    %al, $0xf4
        hlt
guest_end guest_hypercall

/* Long mode: report the low half of the TSC's distance between two reads with a stop between. */
guest guest_tsc
1:      rdtsc
        movl    %eax, %ebx
        movw    $0x600, %dx
        outl    %eax, %dx
        outb    %al, $0xf4
        jmp     1b
guest_end guest_tsc

        .macro  set_msr number, value
        movl    $\number, %ecx
        xorl    %edx, %edx
        movl    $\value, %eax
        wrmsr
        .endm
        .macro  report_eax
        movw    $0x600, %dx
        outl    %eax, %dx
        .endm

/* Long mode: post the message at 0x4000 and signal connection 0x1234, report both; then report each
 * message that comes to SINT2, and at last its event flags. Interrupts do no more than wake it. */
guest guest_synic
        set_msr 0x40000000, 1
        set_msr 0x40000001, 0x5001
        set_msr 0x40000083, 0x6001
        set_msr 0x40000082, 0x7001
        set_msr 0x40000092, 0x53
        set_msr 0x40000080, 1
        movl    $0x5c, %ecx
        movl    $0x4000, %edx
        xorl    %r8d, %r8d
        movl    $0x5000, %ebx
        call    *%rbx
        report_eax
        movl    $0x1005d, %ecx
        movl    $0x1234, %edx
        xorl    %r8d, %r8d
        call    *%rbx
        report_eax
1:      cli
        cmpl    $0, 0x6200
        jne     2f
        cmpl    $0, 0x7200
        jne     3f
        sti
        hlt
        jmp     1b
2:      movl    0x6210, %eax
        report_eax
        movl    $0, 0x6200
        mfence
        testb   $1, 0x6205
        jz      1b
        set_msr 0x40000084, 0
        jmp     1b
3:      movl    0x7200, %eax
        report_eax
        outb    %al, $0xf4
        hlt
guest_end guest_synic

/* Long mode: what a kernel does as it panics with a text of 5 bytes at 0x3000. */
guest guest_crash
        set_msr 0x40000100, 11
        set_msr 0x40000103, 0x3000
        set_msr 0x40000104, 5
        movl    $0x40000105, %ecx
        rdmsr
        movl    %edx, %eax
        movl    %eax, %ebx
        report_eax
        movl    %ebx, %edx
        xorl    %eax, %eax
        movl    $0x40000105, %ecx
        wrmsr
        outb    %al, $0xf4
        hlt
guest_end guest_crash

/* Long mode: end the interrupt by the hypervisor's MSR where it is offered, else by x2APIC's. */
guest guest_synic_handler
        pushq   %rax
        pushq   %rbx
        pushq   %rcx
        pushq   %rdx
        movl    $0x40000003, %eax
        cpuid
        testb   $0x10, %al
        jz      1f
        set_msr 0x40000070, 0
        jmp     2f
1:      set_msr 0x1b, 0xfee00d00
        set_msr 0x80b, 0
2:      popq    %rdx
        popq    %rcx
        popq    %rbx
        popq    %rax
        iretq
guest_end guest_synic_handler

        .section .note.GNU-stack, "", @progbits
