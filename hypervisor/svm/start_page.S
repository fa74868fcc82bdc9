/* SPDX-License-Identifier: MIT */
/*
 * The start page: from the start-up IPI into host mode. start.c copies this to the beginning of a page below 1 MiB, with
 * the parameters behind it. %si, later %esi, is CR0 as INIT has left it, for the guest.
 */
#include "../core/offsets.h"
#include "start.h"

#define MSR_EFER 0xc0000080
#define CR0_PE 1
#define CR0_CD_NW 0x60000000

	.intel_syntax noprefix
	.section .rodata
	.globl svm_start_code, svm_start_code_protected, svm_start_code_long, svm_start_code_end
	.code16
svm_start_code:
	cli
	xor	ebx, ebx
	mov	bx, cs
	mov	ds, bx
	shl	ebx, 4
	mov	esi, cr0
	lgdtd	ds:[START_GDTR]
	mov	eax, esi
	and	eax, ~CR0_CD_NW
	or	eax, CR0_PE
	mov	cr0, eax
	jmp	fword ptr ds:[START_PROTECTED]

	.code32
svm_start_code_protected:
	mov	eax, START_DATA
	mov	ds, eax
	mov	es, eax
	mov	ss, eax
	mov	eax, [ebx + START_CR4]
	mov	cr4, eax
	mov	eax, [ebx + START_CR3]
	mov	cr3, eax
	mov	ecx, MSR_EFER
	mov	eax, [ebx + START_EFER]
	xor	edx, edx
	wrmsr
	mov	eax, [ebx + START_CR0]
	mov	cr0, eax
	jmp	fword ptr [ebx + START_LONG]

	.code64
svm_start_code_long:
	/* EFER.SVME is set. No NMI comes from here on, as in any host mode (APM2 15.17). */
	clgi
	mov	ebx, ebx
	lea	rsp, [rbx + 0x1000]
	jmp	qword ptr [rbx + START_ENTRY]
svm_start_code_end:

	.text
	.globl	svm_started
svm_started:
	mov	ebp, esi
	/* On the end of the start page, which only one CPU at a time can use. */
1:	mov	eax, 1
	lock xchg dword ptr [rip + stack_is_taken], eax
	test	eax, eax
	jz	2f
	pause
	jmp	1b
2:	call	svm_this_vcpu
	mov	dword ptr [rip + stack_is_taken], 0
	test	rax, rax
	jz	3f
	mov	rsp, rax
	mov	rdi, rax
	lgdt	[rdi + VCPU_HOST_GDTR]
	lidt	[rdi + VCPU_HOST_IDTR]
	mov	ss, word ptr [rdi + VCPU_HOST_SS]
	movzx	eax, word ptr [rdi + VCPU_CONTEXT + CONTEXT_CS]
	push	rax
	lea	rax, [rip + 4f]
	push	rax
	rex.w retf
	/* A CPU that is not Veneer's, for it was not there at loading: it stays out of the guest's sight. */
3:	cli
	hlt
	jmp	3b
4:	xor	eax, eax
	mov	ds, eax
	mov	es, eax
	mov	esi, ebp
	call	svm_start_guest
	jmp	svm_resume

	.data
	.balign	4
stack_is_taken:
	.long	0

	.section .note.GNU-stack, "", @progbits
