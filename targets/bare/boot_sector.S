/* SPDX-License-Identifier: MIT */
/*
 * Boot sector: reads the image behind it (IMAGE_SECTORS sectors) and enters it at
 * 1 MiB as a multiboot loader would.
 */
#define STAGING_SEGMENT 0x1000
#define SECTORS_AT_ONCE 64
#define MULTIBOOT_INFO 0x7e00
#define MULTIBOOT_HAS_MEMORY 1
#define MULTIBOOT_LOADED 0x2badb002
#define LOW_MEMORY_KIB 639
#define COM1 0x3f8

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

	/* By INT 13h extensions into low memory, a chunk at a time. */
	mov	$IMAGE_SECTORS, %bp
2:	mov	$SECTORS_AT_ONCE, %ax
	cmp	%ax, %bp
	ja	3f
	mov	%bp, %ax
3:	mov	%ax, packet_count
	push	%ax
	mov	$packet, %si
	mov	$0x42, %ah
	int	$0x13
	pop	%ax
	jc	failed
	sub	%ax, %bp
	add	%ax, packet_sector
	shl	$5, %ax
	add	%ax, packet_segment
	test	%bp, %bp
	jnz	2b

	/* KiB above 1 MiB, up to the first hole. */
	xor	%cx, %cx
	xor	%dx, %dx
	mov	$0xe801, %ax
	int	$0x15
	jc	failed
	test	%ax, %ax
	jnz	4f
	mov	%cx, %ax
	mov	%dx, %bx
4:	movzx	%ax, %eax
	movzx	%bx, %ebx
	cmp	$0x3c00, %eax
	jb	5f
	shl	$6, %ebx
	add	%ebx, %eax
5:	movl	$MULTIBOOT_HAS_MEMORY, MULTIBOOT_INFO
	movl	$LOW_MEMORY_KIB, MULTIBOOT_INFO + 4
	mov	%eax, MULTIBOOT_INFO + 8

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
	ljmpl	$0x08, $6f

failed:
	mov	$message, %si
7:	lodsb
	test	%al, %al
	jz	8f
	mov	$COM1, %dx
	out	%al, %dx
	jmp	7b
8:	cli
	hlt
	jmp	8b

	.code32
6:	mov	$0x10, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	$STAGING_SEGMENT * 16, %esi
	mov	$0x100000, %edi
	mov	$IMAGE_SECTORS * 128, %ecx
	rep movsl
	mov	$MULTIBOOT_LOADED, %eax
	mov	$MULTIBOOT_INFO, %ebx
	mov	$0x100000, %ecx
	jmp	*%ecx

message:
	.asciz	"boot sector: the BIOS cannot read the disk, or does not know the memory\n"

	.balign	4
packet:
	.byte	16, 0
packet_count:
	.word	0
	.word	0
packet_segment:
	.word	STAGING_SEGMENT
packet_sector:
	.quad	1

	.balign	8
gdt:
	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
gdt_pointer:
	.word	. - gdt - 1
	.long	gdt

	.org	510
	.word	0xaa55
