// SPDX-License-Identifier: MIT
/* A debugger: a breakpoint in a debug register, single steps over instructions that exit, and an INT3. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "work.h"

/* stepped.S */
extern void work_stepped(void);
extern const uint64_t work_steps[], work_steps_count;

#define L0 1
#define B0 1

__attribute__((noreturn)) static void be_debugged(void)
{
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	raise(SIGSTOP);
	work_stepped();
	_exit(1);
}

static bool set_debug_register(pid_t child, size_t number, uint64_t value)
{
	size_t offset = offsetof(struct user, u_debugreg) + number * 8;

	if (!ptrace(PTRACE_POKEUSER, child, offset, value))
		return true;
	work_fail("setting DR%zu: %s", number, strerror(errno));
	return false;
}

/* Continue the child. SIGTRAP must stop it at this address. */
static bool go_on(pid_t child, int how, uint64_t rip, const char *what)
{
	struct user_regs_struct registers;
	int status;

	if (ptrace(how, child, 0, 0)) {
		work_fail("%s: ptrace: %s", what, strerror(errno));
		return false;
	}
	status = work_await(child);
	if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) {
		work_fail("%s ended with status %#x, not with SIGTRAP", what, status);
		return false;
	}
	ptrace(PTRACE_GETREGS, child, 0, &registers);
	if (registers.rip == rip)
		return true;
	work_fail("%s came to %#llx, not %#lx", what, registers.rip, (unsigned long)rip);
	return false;
}

static bool meet_breakpoint(pid_t child)
{
	size_t dr6 = offsetof(struct user, u_debugreg) + 6 * 8;
	long found;

	if (!set_debug_register(child, 0, work_steps[0]) || !set_debug_register(child, 7, L0))
		return false;
	if (!go_on(child, PTRACE_CONT, work_steps[0], "going on to the breakpoint"))
		return false;
	found = ptrace(PTRACE_PEEKUSER, child, dr6, 0);
	if (!(found & B0)) {
		work_fail("at the breakpoint DR6 is %#lx, without B0", found);
		return false;
	}
	return set_debug_register(child, 7, 0);
}

static void debug(pid_t child)
{
	int status = work_await(child);

	if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGSTOP) {
		work_fail("the child to be debugged ended with status %#x", status);
		return;
	}
	ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_EXITKILL);
	if (!meet_breakpoint(child))
		return;
	for (uint64_t step = 1; step < work_steps_count; step++) {
		if (!go_on(child, PTRACE_SINGLESTEP, work_steps[step], "a single step"))
			return;
	}
	go_on(child, PTRACE_CONT, work_steps[work_steps_count - 1] + 1, "going on to the INT3");
}

static void go_round(void)
{
	pid_t child = work_fork();

	if (!child)
		be_debugged();
	if (child < 0)
		return;
	debug(child);
	kill(child, SIGKILL);
	work_await(child);
}

const struct work_kind work_ptrace = { .name = "ptrace", .round = go_round };
