/* SPDX-License-Identifier: MIT */
/*
 * Part of a boot sector, in protected mode: reads the SECTORS sectors behind it to LOAD.
 *
 * It drives the ATA disk itself, because INT 13h can read only into low memory, and reads two bytes at a time.
 */
	.set	ATA_DATA, 0x1f0
	.set	ATA_COUNT, 0x1f2
	.set	ATA_COMMAND, 0x1f7
	.set	ATA_CONTROL, 0x3f6
	.set	ATA_NO_INTERRUPT, 2
	.set	ATA_LBA, 0xe0
	.set	ATA_READ_SECTORS, 0x20
	.set	ATA_BUSY, 0x80
	.set	ATA_DATA_REQUEST, 8
	.set	SECTORS_AT_ONCE, 256

	mov	$ATA_CONTROL, %edx
	mov	$ATA_NO_INTERRUPT, %al
	out	%al, %dx
	mov	$LOAD, %edi
	mov	$1, %esi			/* next sector */
	mov	$SECTORS, %ebp			/* sectors left */
1:	mov	$SECTORS_AT_ONCE, %ebx
	cmp	%ebp, %ebx
	jbe	2f
	mov	%ebp, %ebx
2:	sub	%ebx, %ebp
	mov	$ATA_COUNT, %edx
	mov	%bl, %al			/* 0 stands for 256 */
	out	%al, %dx
	mov	%esi, %eax
	add	%ebx, %esi
	mov	$3, %ecx
3:	inc	%edx				/* the lower 24 bits of the sector, then the rest with the mode */
	out	%al, %dx
	shr	$8, %eax
	loop	3b
	inc	%edx
	or	$ATA_LBA, %al
	out	%al, %dx
	inc	%edx
	mov	$ATA_READ_SECTORS, %al
	out	%al, %dx
4:	mov	$ATA_COMMAND, %edx
5:	in	%dx, %al
	test	$ATA_BUSY, %al
	jnz	5b
	test	$ATA_DATA_REQUEST, %al
	jz	5b
	mov	$ATA_DATA, %edx
	mov	$128, %ecx
	rep insl
	dec	%ebx
	jnz	4b
	test	%ebp, %ebp
	jnz	1b
