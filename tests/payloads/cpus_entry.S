/* SPDX-License-Identifier: MIT */
/* Entry of cpus.c on the boot CPU, the page in which the others start, and their interrupt handler. */
#define CODE 0x08
#define DATA 0x10
#define STACK_BYTES 4096
#define CPUS 8

	.section .header, "ax"
	.long	0x1badb002, 0, -0x1badb002
	.globl	_start
_start:
	mov	$stacks + STACK_BYTES, %esp
	lgdt	gdt_pointer
	ljmp	$CODE, $1f
1:	push	%ebx
	push	%eax
	call	boot_cpu

/* Copied to the page that a start-up IPI names. No memory of its own: several CPUs run it at once. */
	.globl	start_page, start_page_end
	.code16
start_page:
	or	%ebx, %eax
	or	%ecx, %eax
	or	%esi, %eax
	or	%edi, %eax
	or	%ebp, %eax
	or	%esp, %eax
	mov	%eax, %esi
	mov	%cr0, %ebx
	mov	%cs, %ecx
	lgdtl	%cs:start_gdt_pointer - start_page
	mov	%ebx, %eax
	or	$1, %al
	mov	%eax, %cr0
	ljmpl	$CODE, $protected
start_gdt_pointer:
	.word	gdt_pointer - gdt - 1
	.long	gdt
start_page_end:

	.code32
protected:
	mov	$DATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	$1, %eax
	lock xadd %eax, numbers_given
	inc	%eax
	imul	$STACK_BYTES, %eax, %esp
	add	$stacks + STACK_BYTES, %esp
	push	%ecx
	push	%ebx
	push	%esi
	push	%eax
	call	other_cpu

	.globl	interrupt
interrupt:
	pusha
	call	take_interrupt
	popa
	iret

	.data
	.balign	8
gdt:	.quad	0, 0xcf9b000000ffff, 0xcf93000000ffff
gdt_pointer:
	.word	. - gdt - 1
	.long	gdt

	.bss
	.balign	16
stacks:	.skip	STACK_BYTES * CPUS

	.section .note.GNU-stack, "", @progbits
