/* SPDX-License-Identifier: MIT */
/*
 * From the boot loader (multiboot v1, or our boot sector, which looks the
 * same) and from the start-up IPI into 64-bit C.
 */
#include "cpu.h"
#include "cpus.h"

#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_MEMORY_INFO 0x2

#define PRESENT_WRITE 0x03
#define USER 0x04
#define UNCACHED 0x18
#define LARGE 0x80

#define CR0_SET 0x80010023	/* PG WP NE MP PE */
#define CR0_CLEAR 0x6004000c	/* CD NW AM TS EM */
#define CR4_PAE 0x20
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100

	.section .boot, "ax"
	.code32
	.globl	_start
_start:
	jmp	1f
	.balign	4
	.long	MULTIBOOT_MAGIC, MULTIBOOT_MEMORY_INFO, -(MULTIBOOT_MAGIC + MULTIBOOT_MEMORY_INFO)

1:	cli
	cld
	mov	%ebx, %esi
	mov	$os_bss_start, %edi
	mov	$os_bss_end, %ecx
	sub	%edi, %ecx
	shr	$2, %ecx
	xor	%eax, %eax
	rep stosl

	/* Identity map of 4 GiB in 2 MiB pages; from the I/O APIC on up uncached. */
	mov	$boot_pd, %edi
	mov	$PRESENT_WRITE | LARGE, %eax
2:	mov	%eax, (%edi)
	add	$8, %edi
	add	$0x200000, %eax
	cmp	$0xfec00000 | PRESENT_WRITE | LARGE, %eax
	jb	2b
	or	$UNCACHED, %eax
3:	mov	%eax, (%edi)
	add	$8, %edi
	add	$0x200000, %eax
	jnc	3b
	/* User accesses must be allowed at every level (SDM 3A 4.6): the slots are mapped for ring 3, too. */
	movl	$boot_pd + 0x0000 + PRESENT_WRITE + USER, boot_pdpt + 0
	movl	$boot_pd + 0x1000 + PRESENT_WRITE + USER, boot_pdpt + 8
	movl	$boot_pd + 0x2000 + PRESENT_WRITE + USER, boot_pdpt + 16
	movl	$boot_pd + 0x3000 + PRESENT_WRITE + USER, boot_pdpt + 24
	movl	$boot_pdpt + PRESENT_WRITE + USER, boot_pml4

	xor	%ebp, %ebp
	lgdt	boot_gdt_pointer
	ljmp	$0x18, $enter_long

/* %ebp: 0 on the boot CPU, 1 on the others. No stack yet. */
enter_long:
	mov	$0x10, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	xor	%eax, %eax
	mov	%eax, %fs
	mov	%eax, %gs
	mov	%cr4, %eax
	or	$CR4_PAE, %eax
	mov	%eax, %cr4
	mov	$boot_pml4, %eax
	mov	%eax, %cr3
	mov	$MSR_EFER, %ecx
	rdmsr
	or	$EFER_LME, %eax
	wrmsr
	mov	%cr0, %eax
	and	$~CR0_CLEAR, %eax
	or	$CR0_SET, %eax
	mov	%eax, %cr0
	ljmp	$0x08, $long_mode

	.code64
long_mode:
	fninit
	test	%ebp, %ebp
	jnz	3f
	mov	$boot_stack_end, %rsp
	mov	%esi, %edi
	call	os_main
2:	cli
	hlt
	jmp	2b

	/* Find this CPU's block by its local APIC id. */
3:	mov	$0xfee00020, %eax
	mov	(%rax), %eax
	shr	$24, %eax
	mov	cpu_block_of_apic(, %rax, 8), %rdi
	test	%rdi, %rdi
	jz	2b
	lea	CPU_MAIN_STACK(%rdi), %rsp
	call	os_ap_main
	jmp	2b

	.section .rodata
/* Copied to TRAMPOLINE, where the start-up IPI sends the other CPUs. */
	.globl	trampoline_start, trampoline_end
	.code16
trampoline_start:
	cli
	xor	%ax, %ax
	mov	%ax, %ds
	lgdtl	TRAMPOLINE + trampoline_gdt_pointer - trampoline_start
	mov	%cr0, %eax
	or	$1, %eax
	mov	%eax, %cr0
	ljmpl	$0x18, $TRAMPOLINE + trampoline_32 - trampoline_start
	.code32
trampoline_32:
	mov	$1, %ebp
	mov	$enter_long, %eax
	jmp	*%eax
	.balign	4
trampoline_gdt_pointer:
	.word	boot_gdt_end - boot_gdt - 1
	.long	boot_gdt
trampoline_end:

	.balign	8
	.globl	boot_gdt_pointer
boot_gdt_pointer:
	.word	boot_gdt_end - boot_gdt - 1
	.long	boot_gdt
	.balign	8
boot_gdt:
	.quad	0
	.quad	0x00af9b000000ffff
	.quad	0x00cf93000000ffff
	.quad	0x00cf9b000000ffff
boot_gdt_end:

	.section .bss.pages, "aw", @nobits
	.balign	4096
	.globl	boot_pml4, boot_pdpt, boot_pd
boot_pml4:
	.skip	4096
boot_pdpt:
	.skip	4096
boot_pd:
	.skip	4 * 4096
boot_stack:
	.skip	4096
boot_stack_end:

	.section .note.GNU-stack, "", @progbits
