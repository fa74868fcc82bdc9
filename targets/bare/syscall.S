/* SPDX-License-Identifier: MIT */
	.text
	.globl	os_syscall_entry
os_syscall_entry:
	ud2

	.section .note.GNU-stack, "", @progbits
