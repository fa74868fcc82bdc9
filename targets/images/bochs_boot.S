/* SPDX-License-Identifier: MIT */
/*
 * Boot sector of a Linux machine in Bochs: reads the SECTORS sectors behind it to LOAD, adds the memory map of the BIOS to
 * the start info there, and enters the kernel at its PVH entry point (the x86/HVM direct boot ABI).
 */
	.set	MEMORY_MAP, 0x8000
	.set	MEMORY_MAP_ENTRY, 24
	.set	MEMORY_MAP_ENTRIES, 48		/* offset of hvm_start_info.memmap_entries */

	.include "boot_sector_entry.S"

	.include "bochs_read_disk.S"

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
