/* SPDX-License-Identifier: MIT */
/* Entry of cpus.c on the boot CPU, the page in which the others start, and their interrupt handler. */
#define CODE 0x08
#define DATA 0x10
#define USER_CODE 0x1b
#define USER_DATA 0x23
/* IOPL 3, AC and ID. */
#define LEFT_FLAGS 0x243002
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
	.globl	start_page, start_page_end, store16, real_undefined
	.code16
start_page:
	or	%ebx, %eax
	or	%ecx, %eax
	or	%esi, %eax
	or	%edi, %eax
	or	%ebp, %eax
	or	%esp, %eax
	mov	%eax, %esi
	mov	%edx, %edi
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
/* #UD in real mode, which nobody expects: seen in EDX. */
real_undefined:
	or	$-1, %edx
	jmp	start_page
/* A far call from 32-bit code: EAX to the address in EDX. */
store16:
	movl	%eax, (%edx)
	lretl
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
	pushf
	push	%edi
	push	%ecx
	push	%ebx
	push	%esi
	push	%eax
	call	other_cpu

/*
 * Ends a CPU in an exit that no other one follows: VMMCALL where a hypervisor has it intercepted, and VMCALL behind it, both
 * #UD. EBX is 0.
 */
	.globl	end_with_exception, undefined
end_with_exception:
	xor	%ebx, %ebx
	vmmcall
undefined:
	test	%ebx, %ebx
	jnz	1f
	inc	%ebx
	vmcall
1:	cli
	hlt
	jmp	1b

/* #GP of XSETBV: goes on behind it. */
	.globl	refused
refused:
	add	$4, %esp
	addl	$3, (%esp)
	iret

/*
 * Ends a CPU at CPL 3, now and then in the hypervisor. Not most of the time: an INIT that comes in VMX root operation stays
 * pending (SDM 3C 25.2), but Bochs, 3.0 as well, forgets it.
 */
	.globl	end_in_ring3
end_in_ring3:
	push	$USER_DATA
	push	%esp
	push	$LEFT_FLAGS
	push	$USER_CODE
	push	$1f
	iret
1:	mov	$20000, %ecx
2:	loop	2b
	xor	%eax, %eax
	cpuid
	jmp	1b

	.globl	interrupt
interrupt:
	pusha
	call	take_interrupt
	popa
	iret

	.data
	.balign	8
/* The last is CODE16 of cpus.c. */
gdt:	.quad	0, 0xcf9b000000ffff, 0xcf93000000ffff, 0xcffb000000ffff, 0xcff3000000ffff, 0x009b000000ffff
gdt_pointer:
	.word	. - gdt - 1
	.long	gdt

	.bss
	.balign	16
stacks:	.skip	STACK_BYTES * CPUS

	.section .note.GNU-stack, "", @progbits
