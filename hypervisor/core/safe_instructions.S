/* SPDX-License-Identifier: MIT */
/*
 * bool read_msr_safe(u32 msr, u64 *value), bool write_msr_safe(u32 msr, u64 value),
 * bool xsetbv_safe(u32 index, u64 value): true if it did not fault;
 * bool vmxon_safe(const u64 *physical): true if it succeeded. host_fault()
 * knows the instructions that may fault by their labels.
 */
	.intel_syntax noprefix
	.text

	.globl read_msr_safe, read_msr_safe_insn
read_msr_safe:
	mov ecx, edi
read_msr_safe_insn:
	rdmsr
	shl rdx, 32
	or rax, rdx
	mov [rsi], rax
	mov eax, 1
	ret

	.globl write_msr_safe, write_msr_safe_insn
write_msr_safe:
	mov ecx, edi
	mov eax, esi
	mov rdx, rsi
	shr rdx, 32
write_msr_safe_insn:
	wrmsr
	mov eax, 1
	ret

	.globl xsetbv_safe, xsetbv_safe_insn
xsetbv_safe:
	mov ecx, edi
	mov eax, esi
	mov rdx, rsi
	shr rdx, 32
xsetbv_safe_insn:
	xsetbv
	mov eax, 1
	ret

	.globl vmxon_safe, vmxon_safe_insn
vmxon_safe:
vmxon_safe_insn:
	vmxon [rdi]
	/* CF or ZF: VMfail (SDM 3C 31.2). */
	seta al
	ret

	.globl fault_return_false
fault_return_false:
	xor eax, eax
	ret

	.section .note.GNU-stack, "", @progbits
