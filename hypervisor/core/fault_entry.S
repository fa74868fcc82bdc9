/* SPDX-License-Identifier: MIT */
/*
 * Entry points of Veneer's IDT, 16 bytes each. Each pushes 0 where the CPU pushes no error code,
 * and the vector.
 */
#include "offsets.h"

	.intel_syntax noprefix
	.text

	.balign 16
	.globl fault_entries
fault_entries:
	.set vector, 0
	.rept 256
	.balign 16
	/* The OS may have indirect branch tracking on while Veneer catches faults (SDM 1 18.3). */
	endbr64
	/* #DF, #TS to #PF, #AC, #CP, #VC, #SX push an error code (SDM 3A table 6-1, APM2 table 8-1). */
	.if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
	push 0
	.endif
	push vector
	jmp fault_common
	.set vector, vector + 1
	.endr

	.balign 16
fault_common:
	push r15
	push r14
	push r13
	push r12
	push r11
	push r10
	push r9
	push r8
	push rdi
	push rsi
	push rbp
	push rsp
	push rbx
	push rdx
	push rcx
	push rax
	cld
	mov rdi, rsp
	call host_fault
	/*
	 * Without IRET, which would unblock NMIs (SDM 3A 6.7.1, APM2 8.2.3): on SVM inside of a guest's
	 * NMI handler, since there is no blocking of its own for the guest; on VMX while the NMI that
	 * ends here has not been delivered yet (nmi.c). RFLAGS and RIP fit below the interrupted RSP,
	 * where this frame ends at the latest, or a stack of the TSS is in use.
	 */
	mov rbx, [rsp + FAULT_RSP]
	mov rcx, [rsp + FAULT_RIP]
	mov rdx, [rsp + FAULT_RFLAGS]
	mov [rbx - 8], rcx
	mov [rbx - 16], rdx
	sub rbx, 16
	/* Behind the GPRs, where the vector was: popped last. */
	mov [rsp + FAULT_VECTOR], rbx
	pop rax
	pop rcx
	pop rdx
	pop rbx
	add rsp, 8
	pop rbp
	pop rsi
	pop rdi
	pop r8
	pop r9
	pop r10
	pop r11
	pop r12
	pop r13
	pop r14
	pop r15
	pop rsp
	popfq
	ret

	.section .note.GNU-stack, "", @progbits
