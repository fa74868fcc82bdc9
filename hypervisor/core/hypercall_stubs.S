/* SPDX-License-Identifier: MIT */
/*
 * u64 hypercall_*(u64 operation, u64 argument, u64 more[2]): operation in RAX,
 * argument in RDI; the answer comes in RAX, RDX and RCX. They are called through
 * a pointer, in an OS that may have indirect branch tracking on: ENDBR64.
 */
	.intel_syntax noprefix
	.text

	.globl hypercall_svm, hypercall_svm_address
hypercall_svm:
	endbr64
	mov rax, rdi
	mov rdi, rsi
	mov rsi, rdx
hypercall_svm_address:
	vmmcall
	jmp store_answer

	.globl hypercall_vmx, hypercall_vmx_address
hypercall_vmx:
	endbr64
	mov rax, rdi
	mov rdi, rsi
	mov rsi, rdx
hypercall_vmx_address:
	vmcall
store_answer:
	mov [rsi], rdx
	mov [rsi + 8], rcx
	ret

	.section .note.GNU-stack, "", @progbits
