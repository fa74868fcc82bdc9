/* SPDX-License-Identifier: MIT */
#include "fpu.h"

#define SYS_sched_yield 24
/* Repetitions of a loop of two instructions in each turn. */
#define SPIN 3000

.intel_syntax noprefix
.text

/* rdi: given, rsi: found, rdx: turns. Leaves the stack with the caller's MXCSR and control word on it. */
.macro enter_and_load_x87
	push rbx
	push r12
	push r13
	push r14
	sub rsp, 8
	stmxcsr [rsp]
	fnstcw [rsp + 4]
	mov r12, rdi
	mov r13, rsi
	mov r14, rdx
	fninit
	fldcw [r12 + FPU_CONTROL]
	.irp n, 7, 6, 5, 4, 3, 2, 1, 0
	fld tbyte ptr [r12 + FPU_X87 + 16 * \n]
	.endr
	ldmxcsr [r12 + FPU_MXCSR]
.endm

.macro spend_time
1:	mov ecx, SPIN
2:	dec ecx
	jnz 2b
	mov eax, SYS_sched_yield
	syscall
	xor eax, eax
	xor ecx, ecx
	cpuid
	dec r14
	jnz 1b
	mov [r13 + FPU_CPUID], eax
	mov [r13 + FPU_CPUID + 4], ebx
	mov [r13 + FPU_CPUID + 8], ecx
	mov [r13 + FPU_CPUID + 12], edx
.endm

.macro store_x87_and_leave
	stmxcsr [r13 + FPU_MXCSR]
	fnstcw [r13 + FPU_CONTROL]
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7
	fstp tbyte ptr [r13 + FPU_X87 + 16 * \n]
	.endr
	fninit
	ldmxcsr [rsp]
	fldcw [rsp + 4]
	add rsp, 8
	pop r14
	pop r13
	pop r12
	pop rbx
	ret
.endm

.globl fpu_hold_sse
.type fpu_hold_sse, @function
fpu_hold_sse:
	enter_and_load_x87
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movdqu xmm\n, [r12 + FPU_VECTOR + 64 * \n]
	.endr
	spend_time
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movdqu [r13 + FPU_VECTOR + 64 * \n], xmm\n
	.endr
	store_x87_and_leave
.size fpu_hold_sse, . - fpu_hold_sse

.globl fpu_hold_avx
.type fpu_hold_avx, @function
fpu_hold_avx:
	enter_and_load_x87
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovdqu ymm\n, [r12 + FPU_VECTOR + 64 * \n]
	.endr
	spend_time
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovdqu [r13 + FPU_VECTOR + 64 * \n], ymm\n
	.endr
	vzeroupper
	store_x87_and_leave
.size fpu_hold_avx, . - fpu_hold_avx

.globl fpu_hold_avx512
.type fpu_hold_avx512, @function
fpu_hold_avx512:
	enter_and_load_x87
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovdqu64 zmm\n, [r12 + FPU_VECTOR + 64 * \n]
	.endr
	.irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	vmovdqu64 zmm\n, [r12 + FPU_VECTOR + 64 * \n]
	.endr
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7
	kmovw k\n, [r12 + FPU_MASK + 8 * \n]
	.endr
	spend_time
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7
	kmovw [r13 + FPU_MASK + 8 * \n], k\n
	.endr
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovdqu64 [r13 + FPU_VECTOR + 64 * \n], zmm\n
	.endr
	.irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	vmovdqu64 [r13 + FPU_VECTOR + 64 * \n], zmm\n
	.endr
	vzeroupper
	store_x87_and_leave
.size fpu_hold_avx512, . - fpu_hold_avx512

.section .note.GNU-stack, "", @progbits
