/* SPDX-License-Identifier: MIT */
/*
 * int vmx_launch(struct vcpu *vcpu): returns VMX_IN_GUEST_MODE in guest mode, or outside of it why
 * the launch failed. From here on this CPU's host mode begins at vmx_exited, with RSP at struct
 * vcpu, the end of its stack: save the GPRs, handle the exit, load the GPRs, VMRESUME.
 */
#include "vmcs.h"

	.intel_syntax noprefix
	.text
	.globl vmx_launch, vmx_entry_refused
vmx_launch:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	mov eax, VMCS_GUEST_RSP
	vmwrite rax, rsp
	lea rcx, [rip + in_guest_mode]
	mov eax, VMCS_GUEST_RIP
	vmwrite rax, rcx
	vmlaunch
	/* Reached after VMfailInvalid or VMfailValid only (SDM 3C 31.2). */
	mov eax, 1
	jmp return_from_launch
vmx_entry_refused:
	mov eax, 2
	jmp return_from_launch
in_guest_mode:
	xor eax, eax
return_from_launch:
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret

	.balign 16
	.globl vmx_exited
vmx_exited:
	/* RSP is in the VMCS; all other GPRs are still the guest's (SDM 3C 28.3.3). */
	mov [rsp + 8 * 0], rax
	mov [rsp + 8 * 1], rcx
	mov [rsp + 8 * 2], rdx
	mov [rsp + 8 * 3], rbx
	mov [rsp + 8 * 5], rbp
	mov [rsp + 8 * 6], rsi
	mov [rsp + 8 * 7], rdi
	mov [rsp + 8 * 8], r8
	mov [rsp + 8 * 9], r9
	mov [rsp + 8 * 10], r10
	mov [rsp + 8 * 11], r11
	mov [rsp + 8 * 12], r12
	mov [rsp + 8 * 13], r13
	mov [rsp + 8 * 14], r14
	mov [rsp + 8 * 15], r15
	mov rdi, rsp
	call vmx_handle_exit
	mov rax, [rsp + 8 * 0]
	mov rcx, [rsp + 8 * 1]
	mov rdx, [rsp + 8 * 2]
	mov rbx, [rsp + 8 * 3]
	mov rbp, [rsp + 8 * 5]
	mov rsi, [rsp + 8 * 6]
	mov rdi, [rsp + 8 * 7]
	mov r8, [rsp + 8 * 8]
	mov r9, [rsp + 8 * 9]
	mov r10, [rsp + 8 * 10]
	mov r11, [rsp + 8 * 11]
	mov r12, [rsp + 8 * 12]
	mov r13, [rsp + 8 * 13]
	mov r14, [rsp + 8 * 14]
	mov r15, [rsp + 8 * 15]
	vmresume
	/* Reached if VMRESUME fails, which a correct VMCS rules out. */
	mov rdi, rsp
	call vmx_resume_failed
	ud2

	.section .note.GNU-stack, "", @progbits
