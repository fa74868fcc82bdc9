/* SPDX-License-Identifier: MIT */
/*
 * The beginning of a boot sector: calls in_real_mode() of the file that includes this one, with all segments at 0, the direction flag
 * clear and a stack below the sector; then continues behind the #include in protected mode, with flat segments of 4 GiB,
 * A20 enabled and interrupts off.
 */
	.code16
	.globl	_start
_start:
	ljmp	$0, $1f
1:	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	mov	$0x7c00, %sp
	cld
	call	in_real_mode

	mov	$0x2401, %ax
	int	$0x15
	in	$0x92, %al
	or	$2, %al
	and	$0xfe, %al
	out	%al, $0x92

	cli
	lgdtl	gdt_pointer
	mov	%cr0, %eax
	or	$1, %eax
	mov	%eax, %cr0
	ljmpl	$0x08, $2f

	.balign	8
gdt:
	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
gdt_pointer:
	.word	. - gdt - 1
	.long	gdt

	.code32
2:	mov	$0x10, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
