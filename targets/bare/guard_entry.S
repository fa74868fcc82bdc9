/* SPDX-License-Identifier: MIT */
/*
 * int call_guarded(void (*function)(void *), void *argument, uint64_t *rsp): 0, or 1 if an exception has ended the
 * function. Meanwhile *rsp is where guard_ended() finds what is to be put back.
 */
	.text
	.globl	call_guarded
	.type	call_guarded, @function
call_guarded:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	push	%rdx
	mov	%rsp, (%rdx)
	mov	%rdi, %rax
	mov	%rsi, %rdi
	call	*%rax
	xor	%eax, %eax
1:	pop	%rdx
	movq	$0, (%rdx)
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret
	.size	call_guarded, . - call_guarded

	.globl	guard_ended
guard_ended:
	mov	$1, %eax
	jmp	1b

	.section .note.GNU-stack, "", @progbits
