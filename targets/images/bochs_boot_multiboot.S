/* SPDX-License-Identifier: MIT */
/*
 * Boot sector of a machine in Bochs with a payload: reads the SECTORS sectors behind it to LOAD, and enters the bare image
 * among them at ENTRY, as a Multiboot loader would, with the information at INFORMATION.
 */
	.set	MULTIBOOT_LOADED, 0x2badb002

	.include "boot_sector_entry.S"

	.include "bochs_read_disk.S"

	mov	$MULTIBOOT_LOADED, %eax
	mov	$INFORMATION, %ebx
	mov	$ENTRY, %ecx
	jmp	*%ecx

	.code16
in_real_mode:
	ret

	.org	510
	.word	0xaa55
