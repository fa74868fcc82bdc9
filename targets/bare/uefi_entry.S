/* SPDX-License-Identifier: MIT */
/* From 64-bit mode under the firmware's page tables into the image, as a Multiboot loader enters it. */
#define MSR_EFER 0xc0000080
#define CR0_PG 0x80000000

	.section .rodata
	.balign	16
	.globl	bare_image, bare_image_end
bare_image:
	.incbin	IMAGE
bare_image_end:

	.text
/* void uefi_enter(uint32_t entry, const struct multiboot *multiboot): all of us lies below 4 GiB. */
	.globl	uefi_enter
uefi_enter:
	mov	%edi, %ebp
	mov	%rsi, %rbx
	lea	gdt(%rip), %rax
	mov	%rax, gdt_pointer + 2(%rip)
	lgdt	gdt_pointer(%rip)
	lea	protected_mode(%rip), %rax
	push	$0x08
	push	%rax
	lretq

	.code32
protected_mode:
	mov	$0x10, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	%eax, %fs
	mov	%eax, %gs
	mov	%cr0, %eax
	and	$~CR0_PG, %eax
	mov	%eax, %cr0
	/* What the firmware has set in these, the other CPUs lose by INIT: all CPUs begin alike. */
	xor	%eax, %eax
	xor	%edx, %edx
	mov	$MSR_EFER, %ecx
	wrmsr
	mov	%eax, %cr4
	jmp	*%ebp

	.data
	.balign	8
gdt_pointer:
	.word	gdt_end - gdt - 1
	.quad	0
	.balign	8
gdt:
	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
gdt_end:

	.section .note.GNU-stack, "", @progbits
