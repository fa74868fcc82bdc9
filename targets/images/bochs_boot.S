/* SPDX-License-Identifier: MIT */
/*
 * Boot sector of a Linux machine in Bochs: reads the SECTORS sectors behind it to LOAD, adds the memory map of the BIOS to
 * the start info there, and enters the kernel at its PVH entry point (the x86/HVM direct boot ABI).
 *
 * It drives the ATA disk itself, because INT 13h can read only into low memory, and reads two bytes at a time.
 */
	.set	MEMORY_MAP, 0x8000
	.set	MEMORY_MAP_ENTRY, 24
	.set	MEMORY_MAP_ENTRIES, 48		/* offset of hvm_start_info.memmap_entries */
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

	.include "boot_sector_entry.S"

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

	mov	$START_INFO, %ebx
	mov	entries, %eax
	mov	%eax, MEMORY_MAP_ENTRIES(%ebx)
	mov	$ENTRY, %eax
	jmp	*%eax

	.code16
in_real_mode:
	/* An entry of the start info is an entry of E820 with a reserved field added. */
	xor	%ebx, %ebx
	mov	$MEMORY_MAP, %di
1:	mov	$0xe820, %eax
	mov	$0x534d4150, %edx
	mov	$20, %ecx
	int	$0x15
	jc	2f
	movl	$0, 20(%di)
	add	$MEMORY_MAP_ENTRY, %di
	incl	entries
	test	%ebx, %ebx
	jnz	1b
2:	ret

	.balign	4
entries:
	.long	0

	.org	510
	.word	0xaa55
