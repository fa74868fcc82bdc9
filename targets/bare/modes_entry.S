/* SPDX-License-Identifier: MIT */
/*
 * Out of long mode into the mode of a probe, and back when an exception has ended it (SDM 3A 10.8.5.4, 10.9.2;
 * APM2 14.6, 14.7). Memory is identity mapped, so that paging can be switched anywhere.
 */
#include "../agent/descriptors.h"
#include "../agent/probe.h"
#include "modes.h"

#define CR0_PE 1
#define CR0_PG 0x80000000
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100
#define VECTOR_NMI 2

	.text
	.code64
/* void mode_enter(struct probe_context *context, struct mode_block *block): comes back when the probe is over. */
	.globl	mode_enter, mode_enter_start, mode_enter_end
	.type	mode_enter, @function
mode_enter:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%ss, %eax
	push	%rax
	mov	%rsp, CONTEXT_RESUME(%rdi)
	movl	$1, CONTEXT_ACTIVE(%rdi)
mode_enter_start:
	cmpl	$0, CONTEXT_SET_DR7(%rdi)
	je	1f
	mov	CONTEXT_DR7(%rdi), %rax
	mov	%rax, %dr7
1:	mov	%esi, %ebx
	push	$PROBE_KERNEL_CS32
	lea	2f(%rip), %rax
	push	%rax
	lretq
	.code32
2:	mov	$PROBE_KERNEL_DS, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	%cr0, %eax
	and	$~CR0_PG, %eax
	/* The one that a processor or a hypervisor may refuse, while the IDT of long mode is still loaded. */
	mov	%eax, %cr0
mode_enter_end:
	lidtl	MODE_IDTR(%ebx)
	mov	$MSR_EFER, %ecx
	rdmsr
	and	$~EFER_LME, %eax
	wrmsr
	mov	MODE_CR4(%ebx), %eax
	mov	%eax, %cr4
	mov	MODE_CR3(%ebx), %eax
	mov	%eax, %cr3
	mov	MODE_CR0(%ebx), %eax
	mov	%eax, %cr0
	jmp	3f
3:	xor	%eax, %eax
	mov	%eax, %fs
	mov	%eax, %gs
	cmpl	$0, MODE_IS_REAL(%ebx)
	jne	4f
	mov	MODE_KERNEL_STACK(%ebx), %esp
	test	%esp, %esp
	jz	5f
	testl	$EFLAGS_VM, MODE_EFLAGS(%ebx)
	jz	7f
	/* To virtual-8086 mode: IRET takes ESP, SS, ES, DS, FS and GS as well. */
	.rept	5
	pushl	MODE_CS(%ebx)
	.endr
	pushl	MODE_GPR + 4 * 4(%ebx)
	jmp	6f
	/* To CPL 3: IRET takes ESP and SS as well. */
7:	pushl	$PROBE_USER_DS
	pushl	MODE_GPR + 4 * 4(%ebx)
	mov	$PROBE_USER_DS, %eax
	mov	%eax, %ds
	mov	%eax, %es
	jmp	6f
5:	mov	MODE_GPR + 4 * 4(%ebx), %esp
6:	pushl	MODE_EFLAGS(%ebx)
	pushl	MODE_CS(%ebx)
	pushl	MODE_EIP(%ebx)
	mov	MODE_GPR + 0 * 4(%ebx), %eax
	mov	MODE_GPR + 1 * 4(%ebx), %ecx
	mov	MODE_GPR + 2 * 4(%ebx), %edx
	mov	MODE_GPR + 5 * 4(%ebx), %ebp
	mov	MODE_GPR + 6 * 4(%ebx), %esi
	mov	MODE_GPR + 7 * 4(%ebx), %edi
	mov	MODE_GPR + 3 * 4(%ebx), %ebx
	iretl

	/* Real mode keeps the limits of the segments that were loaded last in protected mode: 64 KiB. */
4:	mov	$MODES_REAL_DATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	%eax, %fs
	mov	%eax, %gs
	ljmp	$MODES_CODE, $REAL_CODE + real_enter - real_code
	.size	mode_enter, . - mode_enter

/* One stub per vector, for the gates of protected mode. The exceptions with an error code: SDM 3A table 6-1. */
	.globl	mode_stubs
	.balign	MODE_STUB_SIZE
	.type	mode_stubs, @function
mode_stubs:
	vector = 0
	.rept	256
	.balign	MODE_STUB_SIZE
	.if	(vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21)
	pushl	$vector | PROBE_STUB_HAS_ERROR
	.else
	pushl	$0
	pushl	$vector
	.endif
	jmp	mode_ended
	vector = vector + 1
	.endr
	.size	mode_stubs, . - mode_stubs

/* An exception in a protected mode: of CPL 0 on the stack of the probe, of CPL 3 and of virtual-8086 mode on that of the TSS. */
	.type	mode_ended, @function
mode_ended:
	push	%ds
	push	%eax
	mov	$MODES_BLOCK, %eax
	mov	%eax, %ds
	cmpl	$VECTOR_NMI, 8(%esp)
	jne	1f
	incl	MODE_NMIS
	pop	%eax
	pop	%ds
	add	$8, %esp
	iretl
1:	popl	MODE_END_GPR + 0 * 4
	mov	%ecx, MODE_END_GPR + 1 * 4
	mov	%edx, MODE_END_GPR + 2 * 4
	mov	%ebx, MODE_END_GPR + 3 * 4
	mov	%ebp, MODE_END_GPR + 5 * 4
	mov	%esi, MODE_END_GPR + 6 * 4
	mov	%edi, MODE_END_GPR + 7 * 4
	pop	%eax
	popl	MODE_END_VECTOR
	popl	MODE_END_ERROR
	popl	MODE_END_EIP
	popl	MODE_END_CS
	popl	MODE_END_EFLAGS
	/* In virtual-8086 mode CS is no selector, and SS follows in the same place. */
	testl	$EFLAGS_VM, MODE_END_EFLAGS
	jnz	2f
	testl	$3, MODE_END_CS
	jnz	2f
	mov	%esp, MODE_END_GPR + 4 * 4
	mov	%ss, MODE_END_SS
	jmp	3f
2:	popl	MODE_END_GPR + 4 * 4
	popl	MODE_END_SS
3:	mov	MODE_SELF, %ebx
mode_back:
	mov	$PROBE_KERNEL_DS, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	%cr0, %eax
	and	$~CR0_PG, %eax
	mov	%eax, %cr0
	mov	MODE_LONG_CR4(%ebx), %eax
	mov	%eax, %cr4
	mov	MODE_LONG_CR3(%ebx), %eax
	mov	%eax, %cr3
	mov	$MSR_EFER, %ecx
	rdmsr
	or	$EFER_LME, %eax
	wrmsr
	mov	MODE_LONG_CR0(%ebx), %eax
	mov	%eax, %cr0
	ljmp	$PROBE_KERNEL_CS, $1f
	.code64
	/* The upper halves of registers are undefined now (SDM 1 3.4.1.1). */
1:	lidt	MODE_LONG_IDTR(%ebx)
	mov	MODE_CONTEXT(%ebx), %eax
	jmp	probe_leave_to
	.size	mode_ended, . - mode_ended

/* Copied to REAL_CODE of a slot, which is the segment of all segment registers. */
	.section .rodata
	.balign	16
	.globl	real_code, real_stubs, real_code_end
	.code16
real_code:
real_stubs:
	vector = 0
	.rept	256
	.byte	0x68		/* push imm16 */
	.word	vector
	.byte	0xe9		/* jmp rel16 */
	.word	real_ended - (. + 2)
	vector = vector + 1
	.endr

/* In a 16-bit segment of protected mode with the base of the slot. */
real_enter:
	mov	%cr0, %eax
	and	$~CR0_PE, %eax
	mov	%eax, %cr0
	/* A far pointer to real_start. */
	ljmp	*REAL_BLOCK + MODE_SIZE
real_start:
	mov	%cs, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	xor	%ax, %ax
	mov	%ax, %fs
	mov	%ax, %gs
	mov	REAL_BLOCK + MODE_GPR + 4 * 4, %esp
	pushl	REAL_BLOCK + MODE_EFLAGS
	pushl	REAL_BLOCK + MODE_CS
	pushl	REAL_BLOCK + MODE_EIP
	mov	REAL_BLOCK + MODE_GPR + 0 * 4, %eax
	mov	REAL_BLOCK + MODE_GPR + 1 * 4, %ecx
	mov	REAL_BLOCK + MODE_GPR + 2 * 4, %edx
	mov	REAL_BLOCK + MODE_GPR + 3 * 4, %ebx
	mov	REAL_BLOCK + MODE_GPR + 5 * 4, %ebp
	mov	REAL_BLOCK + MODE_GPR + 6 * 4, %esi
	mov	REAL_BLOCK + MODE_GPR + 7 * 4, %edi
	iretl

/* An exception in real mode, on the stack of the probe: vector, IP, CS and FLAGS, 16 bits each. */
real_ended:
	push	%bp
	mov	%sp, %bp
	cmpw	$VECTOR_NMI, 2(%bp)
	jne	1f
	incl	%cs:REAL_BLOCK + MODE_NMIS
	pop	%bp
	add	$2, %sp
	iret
1:	pop	%bp
	mov	%eax, %cs:REAL_BLOCK + MODE_END_GPR + 0 * 4
	mov	%ecx, %cs:REAL_BLOCK + MODE_END_GPR + 1 * 4
	mov	%edx, %cs:REAL_BLOCK + MODE_END_GPR + 2 * 4
	mov	%ebx, %cs:REAL_BLOCK + MODE_END_GPR + 3 * 4
	mov	%ebp, %cs:REAL_BLOCK + MODE_END_GPR + 5 * 4
	mov	%esi, %cs:REAL_BLOCK + MODE_END_GPR + 6 * 4
	mov	%edi, %cs:REAL_BLOCK + MODE_END_GPR + 7 * 4
	popw	%cs:REAL_BLOCK + MODE_END_VECTOR
	popw	%cs:REAL_BLOCK + MODE_END_EIP
	popw	%cs:REAL_BLOCK + MODE_END_CS
	popw	%cs:REAL_BLOCK + MODE_END_EFLAGS
	mov	%esp, %cs:REAL_BLOCK + MODE_END_GPR + 4 * 4
	mov	%ss, %cs:REAL_BLOCK + MODE_END_SS
	mov	%cs:REAL_BLOCK + MODE_SELF, %ebx
	lgdtl	%cs:REAL_BLOCK + MODE_LONG_GDTR
	mov	%cr0, %eax
	or	$CR0_PE, %eax
	mov	%eax, %cr0
	ljmpl	$PROBE_KERNEL_CS32, $mode_back
real_code_end:
	.globl	real_start_offset
	.set	real_start_offset, real_start - real_code

	.section .note.GNU-stack, "", @progbits
