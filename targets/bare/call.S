/* SPDX-License-Identifier: MIT */
/*
 * void call_with_registers(void (*function)(void *), void *argument, struct probe_call *registers): call it with these
 * registers, and note with which ones it returns.
 */
#include "../agent/probe.h"

	.text
	.globl	call_with_registers
	.type	call_with_registers, @function
call_with_registers:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	push	%rdx
	mov	%rdi, %rax
	mov	%rsi, %rdi
	push	CALL_RFLAGS_AT(%rdx)
	mov	CALL_GPR_AT + 0 * 8(%rdx), %rbx
	mov	CALL_GPR_AT + 1 * 8(%rdx), %rbp
	mov	CALL_GPR_AT + 2 * 8(%rdx), %r12
	mov	CALL_GPR_AT + 3 * 8(%rdx), %r13
	mov	CALL_GPR_AT + 4 * 8(%rdx), %r14
	mov	CALL_GPR_AT + 5 * 8(%rdx), %r15
	popfq
	call	*%rax
	pushfq
	/* The OS runs with interrupts off, and with DF clear. */
	push	$2
	popfq
	mov	8(%rsp), %rdx
	pop	CALL_RFLAGS_AT(%rdx)
	pop	%rdx
	mov	%rbx, CALL_GPR_AT + 0 * 8(%rdx)
	mov	%rbp, CALL_GPR_AT + 1 * 8(%rdx)
	mov	%r12, CALL_GPR_AT + 2 * 8(%rdx)
	mov	%r13, CALL_GPR_AT + 3 * 8(%rdx)
	mov	%r14, CALL_GPR_AT + 4 * 8(%rdx)
	mov	%r15, CALL_GPR_AT + 5 * 8(%rdx)
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret
	.size	call_with_registers, . - call_with_registers

	.section .note.GNU-stack, "", @progbits
