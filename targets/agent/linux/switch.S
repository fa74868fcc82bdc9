/* SPDX-License-Identifier: MIT */
#include <linux/linkage.h>
#include <linux/objtool.h>

#include "isolation.h"

	.text

/* void isolation_machine_check(void): call Linux's handler of machine checks, which reads the MCA banks. */
	.globl	isolation_machine_check
	.type	isolation_machine_check, @function
isolation_machine_check:
	int	$18
	RET
	.size	isolation_machine_check, . - isolation_machine_check

/* Target of SYSCALL and SYSENTER while a probe runs: raises #UD. */
	.globl	isolation_system_call
	.type	isolation_system_call, @function
isolation_system_call:
	ANNOTATE_NOENDBR
	ud2
	.size	isolation_system_call, . - isolation_system_call
STACK_FRAME_NON_STANDARD isolation_system_call
