/* SPDX-License-Identifier: MIT */
/*
 * int svm_launch(struct vcpu *vcpu, struct vmcb *vmcb): returns 0 in guest mode, or 1 outside of it
 * if VMRUN was refused. From here on this CPU's host mode is the loop below: run the guest, save the
 * GPRs, handle the exit, load the GPRs.
 *
 * TR, LDTR, FS, GS and the SYSCALL and SYSENTER MSRs are neither saved nor loaded by VMRUN and
 * #VMEXIT (APM2 15.5.1). Host mode does not use them, so the guest's stay loaded, which saves a
 * VMSAVE and two VMLOADs per exit. Therefore a fault in host mode must not switch to a stack of
 * the TSS (early_idt has no IST); and no NMI comes, since GIF is 0 (APM2 15.17).
 */
#include "../core/offsets.h"
#include "vmcb.h"

	.intel_syntax noprefix
	.text
	.globl svm_launch
svm_launch:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	mov [rsi + VMCB_RSP], rsp
	mov [rdi + VCPU_CONTEXT + CONTEXT_REGS + 8 * 4], rsp
	lea rax, [rip + in_guest_mode]
	mov [rsi + VMCB_RIP], rax

	clgi
	mov rax, [rdi + VCPU_HOST_CR4]
	mov rcx, [rdi + VCPU_HOST_CR3]
	/* CR4 first: without PCIDE, and with PGE off, the new CR3 leaves nothing of the OS in the TLB. */
	mov cr4, rax
	mov cr3, rcx
	mov rax, [rdi + VCPU_HOST_CR0]
	mov cr0, rax
	lgdt [rdi + VCPU_HOST_GDTR]
	lidt [rdi + VCPU_HOST_IDTR]
	mov ss, word ptr [rdi + VCPU_HOST_SS]
	xor eax, eax
	mov ds, eax
	mov es, eax
	/* The stack ends where struct vcpu begins. */
	mov rsp, rdi

	jmp svm_run

	.balign 16
	.globl svm_exited
svm_exited:
	/* VMRUN saves RAX and RSP in the VMCB (APM2 15.5.1); all other GPRs are still the guest's. */
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
	mov rsi, [rsp + VCPU_VMCB]
	mov rax, [rsi + VMCB_RAX]
	mov [rsp + 8 * 0], rax
	call svm_handle_exit
	.globl svm_resume
svm_resume:
	mov rdi, [rsp + VCPU_VMCB]
	mov rax, [rsp + 8 * 0]
	mov [rdi + VMCB_RAX], rax
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
svm_run:
	mov rax, [rsp + VCPU_VMCB_PHYSICAL]
	vmrun
	jmp svm_exited

	.globl svm_entry_refused
svm_entry_refused:
	mov eax, 1
	jmp 1f
in_guest_mode:
	xor eax, eax
1:
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret

	.section .note.GNU-stack, "", @progbits
