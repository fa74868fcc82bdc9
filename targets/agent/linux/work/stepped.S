/* SPDX-License-Identifier: MIT */
/*
 * void work_stepped(void): instructions to be single-stepped; some of them may exit. work_steps has the address
 * of each, and that of the INT3 behind them as its last entry.
 */
.intel_syntax noprefix
.section .rodata
.globl work_steps
.balign 8
work_steps:
.text

.macro step instruction:vararg
9:	\instruction
	.pushsection .rodata
	.quad 9b
	.popsection
.endm

.globl work_stepped
.type work_stepped, @function
work_stepped:
	step xor eax, eax
	step xor ecx, ecx
	step cpuid
	step nop
	step mov eax, 39	/* getpid */
	step syscall
	step push rax
	step mov eax, 1
	step cpuid
	step pop rax
	step rdtsc
	step xor eax, eax
	step xor ecx, ecx
	step cpuid
	step int3
.size work_stepped, . - work_stepped

.section .rodata
.globl work_steps_count
work_steps_count:
	.quad (. - work_steps) / 8

.section .note.GNU-stack, "", @progbits
