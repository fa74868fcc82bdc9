/* SPDX-License-Identifier: MIT */
/*
 * void vmx_unblock_nmis(void): an exit by an NMI leaves NMIs blocked until an IRET
 * (SDM 3C 28.4), or until the next entry; so it is written, but Bochs
 * forgets the entry. With an IRET the next NMI is counted right now.
 */
	.intel_syntax noprefix
	.text
	.globl vmx_unblock_nmis
vmx_unblock_nmis:
	mov rax, rsp
	mov ecx, ss
	push rcx
	push rax
	pushfq
	mov ecx, cs
	push rcx
	lea rcx, [rip + 1f]
	push rcx
	iretq
1:
	ret

	.section .note.GNU-stack, "", @progbits
