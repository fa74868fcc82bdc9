/* SPDX-License-Identifier: MIT */
/*
 * void payload_enter(uint32_t entry, uint32_t information): leave long mode, and enter a program with the machine in the
 * state that the Multiboot Specification 0.6.96, 3.2, asks for.
 */
#define MULTIBOOT_LOADED 0x2badb002
#define CR0_PE_ET 0x11
#define MSR_EFER 0xc0000080

	.section .rodata
	.balign	8
to_32_bit:
	.long	code_32
	.word	0x18
	.balign	8
	.word	0
real_mode_idt:
	.word	0x3ff
	.quad	0

	.text
	.globl	payload_enter
	.type	payload_enter, @function
payload_enter:
	cli
	cld
	mov	%edi, %ebp
	mov	%esi, %ebx
	xor	%eax, %eax
	mov	%rax, %cr8
	lldt	%ax
	lgdt	boot_gdt_pointer
	ljmpl	*to_32_bit

	.code32
code_32:
	mov	$0x10, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %fs
	mov	%eax, %gs
	mov	%eax, %ss
	mov	$CR0_PE_ET, %eax
	mov	%eax, %cr0
	mov	$MSR_EFER, %ecx
	xor	%eax, %eax
	xor	%edx, %edx
	wrmsr
	mov	%eax, %cr4
	mov	%eax, %cr3
	lidt	real_mode_idt
	xor	%ecx, %ecx
	xor	%esi, %esi
	xor	%edi, %edi
	xor	%esp, %esp
	mov	$MULTIBOOT_LOADED, %eax
	jmp	*%ebp
	.size	payload_enter, . - payload_enter

	.section .note.GNU-stack, "", @progbits
