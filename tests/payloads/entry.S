/* SPDX-License-Identifier: MIT */
/* Entry of a Multiboot program, an interrupt handler, and a call of the BIOS in real mode. */
#define CODE 0x08
#define DATA 0x10
#define CODE_16 0x18
#define DATA_16 0x20
#define REAL 0x7000	/* where the code of real mode is copied to */

	.section .header, "ax"
	.long	0x1badb002, 0, -0x1badb002
	.globl	_start
_start:
	mov	$stack_end, %esp
	lgdt	gdt_pointer
	ljmp	$CODE, $1f
1:	push	%ebx
	push	%eax
	call	sample

	.globl	timer_interrupt
timer_interrupt:
	push	%eax
	incl	ticks
	mov	$0x20, %al
	out	%al, $0x20
	pop	%eax
	iret

/* u32 bios_memory(void): KiB of memory below 1 MiB, which INT 12h tells in real mode. */
	.globl	bios_memory
bios_memory:
	pusha
	mov	$real, %esi
	mov	$REAL, %edi
	mov	$real_end - real, %ecx
	rep movsb
	sidt	idt_pointer
	lidt	real_idt_pointer
	ljmp	$CODE_16, $REAL

	.code16
real:
	mov	$DATA_16, %ax
	mov	%ax, %ds
	mov	%ax, %ss
	mov	%cr0, %eax
	and	$~1, %al
	mov	%eax, %cr0
	ljmp	$0, $1f - real + REAL
1:	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %ss
	mov	%esp, %ebx
	mov	$REAL, %sp
	int	$0x12
	movzx	%ax, %edx
	mov	%ebx, %esp
	mov	%cr0, %eax
	or	$1, %al
	mov	%eax, %cr0
	ljmpl	$CODE, $back
real_end:

	.code32
back:
	mov	$DATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	lidt	idt_pointer
	mov	%edx, 28(%esp)	/* EAX of POPA */
	popa
	ret

	.data
	.balign	8
gdt:	.quad	0, 0xcf9b000000ffff, 0xcf93000000ffff, 0x9b000000ffff, 0x93000000ffff
gdt_pointer:
	.word	. - gdt - 1
	.long	gdt
idt_pointer:
	.word	0
	.long	0
real_idt_pointer:
	.word	0x3ff
	.long	0

	.bss
	.balign	16
	.skip	4096
stack_end:

	.section .note.GNU-stack, "", @progbits
