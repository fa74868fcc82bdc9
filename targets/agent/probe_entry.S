/* SPDX-License-Identifier: MIT */
/*
 * Entering a probe, the exception stubs, which end it, and instructions that may fault while a probe's
 * state is set up.
 */
#include "descriptors.h"
#include "probe.h"

#ifdef __KERNEL__
/* Linux' objtool requires these annotations for returns and for code labels without ENDBR64. */
#include <linux/linkage.h>
#include <linux/objtool.h>
#else
#define RET ret
	.macro ANNOTATE_NOENDBR
	.endm
	.macro STACK_FRAME_NON_STANDARD function
	.endm
#endif

	.text

/* void probe_enter(struct probe_context *context): comes back when the probe is over. */
	.globl	probe_enter, probe_enter_start, probe_enter_end, probe_leave_to
	.type	probe_enter, @function
probe_enter:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%ss, %eax
	push	%rax
	mov	%rsp, CONTEXT_RESUME(%rdi)
	/* Without a selector for the data segments, DS, ES and SS are those that are there. */
	mov	CONTEXT_SS(%rdi), %rcx
	cmpl	$0, CONTEXT_DATA(%rdi)
	cmove	%rax, %rcx
	push	%rcx
	push	CONTEXT_GPR + 4 * 8(%rdi)
	push	CONTEXT_RFLAGS(%rdi)
	push	CONTEXT_CS(%rdi)
	push	CONTEXT_RIP(%rdi)
	mov	CONTEXT_DATA(%rdi), %eax
	test	%eax, %eax
	jz	1f
	mov	%eax, %ds
	mov	%eax, %es
	/*
	 * From here on an exception ends the probe. One whose RIP is between probe_enter_start and
	 * probe_enter_end means that the probe's state cannot be entered.
	 */
1:	movl	$1, CONTEXT_ACTIVE(%rdi)
probe_enter_start:
	ANNOTATE_NOENDBR
	/* DR7 is loaded last, so that its breakpoints do not hit the code above. */
	cmpl	$0, CONTEXT_SET_DR7(%rdi)
	je	1f
	mov	CONTEXT_DR7(%rdi), %rax
	mov	%rax, %dr7
1:	mov	CONTEXT_GPR + 0 * 8(%rdi), %rax
	mov	CONTEXT_GPR + 1 * 8(%rdi), %rcx
	mov	CONTEXT_GPR + 2 * 8(%rdi), %rdx
	mov	CONTEXT_GPR + 3 * 8(%rdi), %rbx
	mov	CONTEXT_GPR + 5 * 8(%rdi), %rbp
	mov	CONTEXT_GPR + 6 * 8(%rdi), %rsi
	mov	CONTEXT_GPR + 8 * 8(%rdi), %r8
	mov	CONTEXT_GPR + 9 * 8(%rdi), %r9
	mov	CONTEXT_GPR + 10 * 8(%rdi), %r10
	mov	CONTEXT_GPR + 11 * 8(%rdi), %r11
	mov	CONTEXT_GPR + 12 * 8(%rdi), %r12
	mov	CONTEXT_GPR + 13 * 8(%rdi), %r13
	mov	CONTEXT_GPR + 14 * 8(%rdi), %r14
	mov	CONTEXT_GPR + 15 * 8(%rdi), %r15
	mov	CONTEXT_GPR + 7 * 8(%rdi), %rdi
	iretq
probe_enter_end:
	ANNOTATE_NOENDBR
	.size	probe_enter, . - probe_enter
STACK_FRAME_NON_STANDARD probe_enter

/*
 * One stub per vector. Each gate has an IST stack, so the CPU has aligned RSP to 16 bytes before it pushed five
 * quadwords, or six with an error code (SDM 3A 6.14.4). The alignment of RSP tells which: the vector
 * does not, because INT n pushes no error code for a vector that otherwise has one (SDM 3A 6.12.1.3).
 */
	.globl	probe_stubs
	.balign	PROBE_STUB_SIZE
	.type	probe_stubs, @function
probe_stubs:
	ANNOTATE_NOENDBR
	vector = 0
	.rept	256
	.balign	PROBE_STUB_SIZE
	testb	$8, %spl
	jz	1f
	push	$0
	push	$vector
	jmp	common
1:	push	$vector | PROBE_STUB_HAS_ERROR
	jmp	common
	vector = vector + 1
	.endr
	.size	probe_stubs, . - probe_stubs
STACK_FRAME_NON_STANDARD probe_stubs

	.type	common, @function
common:
	cld
	push	%r15
	push	%r14
	push	%r13
	push	%r12
	push	%r11
	push	%r10
	push	%r9
	push	%r8
	push	%rdi
	push	%rsi
	push	%rbp
	push	$0
	push	%rbx
	push	%rdx
	push	%rcx
	push	%rax
	mov	%rsp, %rdi
	/* 23 quadwords were pushed: align RSP to 16 bytes for the call. */
	sub	$8, %rsp
	call	probe_dispatch
	add	$8, %rsp
	test	%rax, %rax
	jnz	probe_leave_to
	pop	%rax
	pop	%rcx
	pop	%rdx
	pop	%rbx
	add	$8, %rsp
	pop	%rbp
	pop	%rsi
	pop	%rdi
	pop	%r8
	pop	%r9
	pop	%r10
	pop	%r11
	pop	%r12
	pop	%r13
	pop	%r14
	pop	%r15
	add	$16, %rsp
	iretq

/*
 * Return to the caller of probe_enter(), with DF clear, interrupts off, and its SS. The context is in RAX. DS and ES are
 * put back with the rest of the CPU's state.
 */
probe_leave_to:
	mov	CONTEXT_RESUME(%rax), %rsp
	pop	%rcx
	mov	%ecx, %ss
	push	$2
	popfq
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	RET
	.size	common, . - common
STACK_FRAME_NON_STANDARD common

	.globl	probe_unblock_nmis
	.type	probe_unblock_nmis, @function
probe_unblock_nmis:
	mov	%rsp, %rax
	mov	%ss, %ecx
	push	%rcx
	push	%rax
	pushfq
	mov	%cs, %ecx
	push	%rcx
	lea	1f(%rip), %rcx
	push	%rcx
	iretq
1:	ANNOTATE_NOENDBR
	RET
	.size	probe_unblock_nmis, . - probe_unblock_nmis
STACK_FRAME_NON_STANDARD probe_unblock_nmis

/* int probe_try_NAME(...): 0, or -1 through probe_fixups if the instruction faults. */
	.macro	try name, instruction:vararg
	.globl	probe_try_\name
	.type	probe_try_\name, @function
probe_try_\name:
try_\name:
	ANNOTATE_NOENDBR
	\instruction
	xor	%eax, %eax
	RET
	.size	probe_try_\name, . - probe_try_\name
	.endm

	try	cr0, mov %rdi, %cr0
	try	cr3, mov %rdi, %cr3
	try	cr4, mov %rdi, %cr4
	try	cr8, mov %rdi, %cr8
	try	dr0, mov %rdi, %dr0
	try	dr1, mov %rdi, %dr1
	try	dr2, mov %rdi, %dr2
	try	dr3, mov %rdi, %dr3
	try	dr6, mov %rdi, %dr6
	try	dr7, mov %rdi, %dr7

	.globl	probe_try_wrmsr, probe_try_rdmsr, probe_try_xsetbv
	.type	probe_try_wrmsr, @function
probe_try_wrmsr:
	mov	%edi, %ecx
	mov	%esi, %eax
	mov	%rsi, %rdx
	shr	$32, %rdx
try_wrmsr:
	ANNOTATE_NOENDBR
	wrmsr
	xor	%eax, %eax
	RET
	.size	probe_try_wrmsr, . - probe_try_wrmsr

	.type	probe_try_rdmsr, @function
probe_try_rdmsr:
	mov	%edi, %ecx
try_rdmsr:
	ANNOTATE_NOENDBR
	rdmsr
	mov	%eax, (%rsi)
	mov	%edx, 4(%rsi)
	xor	%eax, %eax
	RET
	.size	probe_try_rdmsr, . - probe_try_rdmsr

	.type	probe_try_xsetbv, @function
probe_try_xsetbv:
	xor	%ecx, %ecx
	mov	%edi, %eax
	mov	%rdi, %rdx
	shr	$32, %rdx
try_xsetbv:
	ANNOTATE_NOENDBR
	xsetbv
	xor	%eax, %eax
	RET
	.size	probe_try_xsetbv, . - probe_try_xsetbv

	.type	failed, @function
failed:
	ANNOTATE_NOENDBR
	mov	$-1, %eax
	RET
	.size	failed, . - failed

	.section .rodata
	.balign	8
	.globl	probe_fixups, probe_fixups_end
probe_fixups:
	.irp	name, cr0, cr3, cr4, cr8, dr0, dr1, dr2, dr3, dr6, dr7, wrmsr, rdmsr, xsetbv
	.quad	try_\name, failed
	.endr
probe_fixups_end:

	.section .note.GNU-stack, "", @progbits
