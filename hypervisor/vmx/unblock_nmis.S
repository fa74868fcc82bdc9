/* SPDX-License-Identifier: MIT */
/*
 * void vmx_unblock_nmis(void): an NMI that exits, or comes in host mode, leaves NMIs blocked until
 * IRET or the next VM entry (SDM 3C 27.7.1, 28.4), but Bochs does not unblock them at VM entry. An
 * IRET unblocks them at once.
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
