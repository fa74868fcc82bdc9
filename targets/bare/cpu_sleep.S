/* SPDX-License-Identifier: MIT */
/*
 * void cpu_sleep(struct cpu *cpu): wait for an interrupt of the OS; returns with interrupts off again, and with the RFLAGS
 * and the SS of the call: a function of a subject's that waits for other CPUs may have been called with what a probe has
 * left (call.S). The interrupt's handler goes on at cpu_woken, with the RSP in cpu->sleeps, wherever it came (trap.c).
 */
#include "cpu.h"

	.text
	.globl	cpu_sleep
	.type	cpu_sleep, @function
cpu_sleep:
	/* A frame, so that backtraces show the caller. */
	push	%rbp
	mov	%rsp, %rbp
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	push	%rdi
	mov	%ss, %eax
	push	%rax
	pushfq
	mov	%rsp, CPU_SLEEPS(%rdi)
	/* STI delays interrupts until HLT has begun, so that no wake-up is lost between the two. */
	sti
	hlt
1:	popfq
	pop	%rax
	mov	%eax, %ss
	pop	%rdi
	movq	$0, CPU_SLEEPS(%rdi)
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	ret
	.size	cpu_sleep, . - cpu_sleep

	/* Data: backtraces would take a symbol in the code for a function. */
	.section .rodata
	.balign	8
	.globl	cpu_woken
cpu_woken:
	.quad	1b

	.section .note.GNU-stack, "", @progbits
