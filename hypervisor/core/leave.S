/* SPDX-License-Identifier: MIT */
/*
 * void resume_context(struct vcpu *vcpu): leave host mode and load the state in vcpu->context.
 * struct vcpu and this code are mapped at the same addresses before and after the change of CR3,
 * since the guest executes the hypercall stub in our own image.
 */
#include "offsets.h"
#include "registers.h"

	.intel_syntax noprefix
	.text
	.globl resume_context
resume_context:
	lea rdi, [rdi + VCPU_CONTEXT]
	/* CR4.PCIDE can only be set while CR3[11:0] is 0 (SDM 3A 4.10.1). */
	mov rax, [rdi + CONTEXT_CR3]
	mov rcx, rax
	and rcx, ~0xfff
	mov cr3, rcx
	/* From here until RSP is the guest's there is no usable stack. */
	mov rsp, [rdi + CONTEXT_REGS + 8 * 4]
	/* CR4.CET comes last: CR0.WP cannot be cleared while it is set (SDM 3A 2.5). */
	mov rcx, [rdi + CONTEXT_CR4]
	and rcx, ~CR4_CET
	mov cr4, rcx
	mov cr3, rax
	/*
	 * An NMI may come at any time. Until the OS' TSS is loaded, neither the OS' IDT nor
	 * Veneer's IDT with IST entries can be used.
	 */
	lidt [rdi + VCPU_EARLY_IDTR - VCPU_CONTEXT]
	lgdt [rdi + CONTEXT_GDTR]

	/*
	 * LTR faults on a busy TSS: clear bit 1 of the type first (SDM 3A
	 * 8.2.2), with CR0.WP off, since an OS may keep its GDT read-only.
	 */
	mov rdx, [rdi + CONTEXT_CR0]
	mov rax, rdx
	and rax, ~CR0_WP
	mov cr0, rax
	movzx eax, word ptr [rdi + CONTEXT_TR]
	test eax, eax
	jz 1f
	mov rcx, [rdi + CONTEXT_GDTR + 2]
	/* The selector may have an RPL, which is no part of the descriptor's address. */
	mov esi, eax
	and esi, ~7
	and byte ptr [rcx + rsi + 5], ~2
	ltr ax
1:
	mov cr0, rdx
	mov rcx, [rdi + CONTEXT_CR4]
	mov cr4, rcx
	lldt word ptr [rdi + CONTEXT_LDTR]
	mov ss, word ptr [rdi + CONTEXT_SS]
	mov ds, word ptr [rdi + CONTEXT_DS]
	mov es, word ptr [rdi + CONTEXT_ES]
	mov fs, word ptr [rdi + CONTEXT_FS]
	mov gs, word ptr [rdi + CONTEXT_GS]
	mov ecx, MSR_FS_BASE
	mov eax, [rdi + CONTEXT_FS_BASE]
	mov edx, [rdi + CONTEXT_FS_BASE + 4]
	wrmsr
	mov ecx, MSR_GS_BASE
	mov eax, [rdi + CONTEXT_GS_BASE]
	mov edx, [rdi + CONTEXT_GS_BASE + 4]
	wrmsr
	/* An OS' NMI handler inspects GS.base, so its IDT is loaded only after GS.base. */
	lidt [rdi + CONTEXT_IDTR]

	/* STGI is an SVM instruction: it needs EFER.SVME, so it comes first (APM2 15.17). */
	cmp byte ptr [rdi + CONTEXT_STGI], 0
	je 2f
	stgi
2:
	mov ecx, MSR_EFER
	mov eax, [rdi + CONTEXT_EFER]
	mov edx, [rdi + CONTEXT_EFER + 4]
	wrmsr
	mov rax, [rdi + CONTEXT_DR7]
	mov dr7, rax

	/*
	 * POPF and a far return, since IRET would unblock NMIs: one that came on the way is blocking the
	 * next until replay_nmis().
	 */
	movzx eax, word ptr [rdi + CONTEXT_CS]
	push rax
	push qword ptr [rdi + CONTEXT_RIP]
	push qword ptr [rdi + CONTEXT_RFLAGS]

	mov rax, [rdi + CONTEXT_REGS + 8 * 0]
	mov rcx, [rdi + CONTEXT_REGS + 8 * 1]
	mov rdx, [rdi + CONTEXT_REGS + 8 * 2]
	mov rbx, [rdi + CONTEXT_REGS + 8 * 3]
	mov rbp, [rdi + CONTEXT_REGS + 8 * 5]
	mov rsi, [rdi + CONTEXT_REGS + 8 * 6]
	mov r8, [rdi + CONTEXT_REGS + 8 * 8]
	mov r9, [rdi + CONTEXT_REGS + 8 * 9]
	mov r10, [rdi + CONTEXT_REGS + 8 * 10]
	mov r11, [rdi + CONTEXT_REGS + 8 * 11]
	mov r12, [rdi + CONTEXT_REGS + 8 * 12]
	mov r13, [rdi + CONTEXT_REGS + 8 * 13]
	mov r14, [rdi + CONTEXT_REGS + 8 * 14]
	mov r15, [rdi + CONTEXT_REGS + 8 * 15]
	mov rdi, [rdi + CONTEXT_REGS + 8 * 7]
	popfq
	rex.w retf

	.section .note.GNU-stack, "", @progbits
