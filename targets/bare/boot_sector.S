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

#include "boot_sector_entry.S"

	mov	$STAGING_SEGMENT * 16, %esi
	mov	$0x100000, %edi
	mov	$IMAGE_SECTORS * 128, %ecx
	rep movsl
	mov	$MULTIBOOT_LOADED, %eax
	mov	$MULTIBOOT_INFO, %ebx
	mov	$0x100000, %ecx
	jmp	*%ecx

	.code16
in_real_mode:
	/* By INT 13h extensions into low memory, a chunk at a time. */
	mov	$IMAGE_SECTORS, %bp
1:	mov	$SECTORS_AT_ONCE, %ax
	cmp	%ax, %bp
	ja	2f
	mov	%bp, %ax
2:	mov	%ax, packet_count
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
	jnz	1b

	/* KiB above 1 MiB, up to the first hole. */
	xor	%cx, %cx
	xor	%dx, %dx
	mov	$0xe801, %ax
	int	$0x15
	jc	failed
	test	%ax, %ax
	jnz	3f
	mov	%cx, %ax
	mov	%dx, %bx
3:	movzx	%ax, %eax
	movzx	%bx, %ebx
	cmp	$0x3c00, %eax
	jb	4f
	shl	$6, %ebx
	add	%ebx, %eax
4:	movl	$MULTIBOOT_HAS_MEMORY, MULTIBOOT_INFO
	movl	$LOW_MEMORY_KIB, MULTIBOOT_INFO + 4
	mov	%eax, MULTIBOOT_INFO + 8
	ret

failed:
	mov	$message, %si
6:	lodsb
	test	%al, %al
	jz	7f
	mov	$COM1, %dx
	out	%al, %dx
	jmp	6b
7:	cli
	hlt
	jmp	7b

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

	.org	510
	.word	0xaa55
