/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every x87 instruction as a function, four bytes each: x87_reg[(escape - 0xd8) * 64 + modrm - 0xc0]
 * for registers, x87_mem[(escape - 0xd8) * 8 + reg field] with the operand's address in rdi.
 */
#define FN(name) .p2align 4; .globl name; .hidden name; .type name, @function; name:
#define END(name) .size name, . - name;

    .text
FN(x87_reg)
    .set escape, 0xd8
    .rept 8
    .set modrm, 0xc0
    .rept 64
    .byte escape, modrm, 0xc3, 0x90
    .set modrm, modrm + 1
    .endr
    .set escape, escape + 1
    .endr
END(x87_reg)

FN(x87_mem)
    .set escape, 0xd8
    .rept 8
    .set modrm, 0x07
    .rept 8
    .byte escape, modrm, 0xc3, 0x90
    .set modrm, modrm + 8
    .endr
    .set escape, escape + 1
    .endr
END(x87_mem)

/* uint32_t x87_call(void *memory, const void *thunk, uint32_t flags): flags as struct emu_cpu's
 * aflags, in (for fcmov; OF isn't) and out (of fcomi) */
FN(x87_call)
    movl %edx, %eax
    sahf
    call *%rsi
    movl $0, %eax
    lahf
    seto %al
    ret
END(x87_call)

/*
 * uint32_t x87_call_unmasked(void *memory, const void *thunk, uint32_t flags,
 *                            struct x87_unmasked { uint16_t cw, masked, sw; } *control)
 * The same under the guest's own control word. A pending exception is taken out of the host's
 * status word before any waiting instruction can meet it.
 */
FN(x87_call_unmasked)
    fldcw (%rcx)
    movl %edx, %eax
    sahf
    call *%rsi
    movl $0, %eax
    lahf
    seto %al
    fnstsw 4(%rcx)
    testb $0x80, 4(%rcx)
    jz 1f
    fnclex
1:  fldcw 2(%rcx)
    ret
END(x87_call_unmasked)

    .section .note.GNU-stack, "", @progbits
