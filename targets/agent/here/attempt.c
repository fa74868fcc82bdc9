/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "attempt.h"

#include <asm/prctl.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "../descriptors.h"
#include "../probe_data.h"
#include "../refuse.h"
#include "possible.h"

#define VECTOR_PF 14
/* Exceptions that push an error code (SDM 3A, table 6-1; APM2, table 8-1). */
#define WITH_ERROR \
	(1u << 8 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 17 | 1u << 21)
#define RFLAGS_IF 0x200ull
#define SIGNAL_STACK 0x20000

static struct shared {
	struct attempt attempts[ATTEMPTS_MOST];
	unsigned int arrived;
} * shared;

/* Of a process that runs a probe; it runs only one. */
static struct probe_context context;
static const struct probe_request *running;
static struct attempt *current;
static unsigned int expected;
static unsigned long own_fs;
static unsigned char signal_stack[SIGNAL_STACK] __attribute__((aligned(64)));

/* The registers of a signal's context in the order of their numbers in the encoding. */
static const int gregs[16] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8,	 REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

/* Not through libc, which needs FS to report an error. */
static void set_fs(unsigned long base)
{
	long result = SYS_arch_prctl;

	asm volatile("syscall"
		     : "+a"(result)
		     : "D"((long)ARCH_SET_FS), "S"(base)
		     : "rcx", "r11", "memory");
}

static void wait_for_others(void)
{
	__atomic_add_fetch(&shared->arrived, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&shared->arrived, __ATOMIC_SEQ_CST) < expected)
		sched_yield();
}

/* The return from this signal starts the probe: Linux loads its registers from the signal's context. */
static void start(int signal, siginfo_t *info, void *where)
{
	greg_t *registers = ((ucontext_t *)where)->uc_mcontext.gregs;

	(void)signal, (void)info;
	for (unsigned int i = 0; i < 16; i++)
		registers[gregs[i]] = (greg_t)context.gpr[i];
	registers[REG_RIP] = (greg_t)context.rip;
	registers[REG_EFL] = (greg_t)context.rflags;
	registers[REG_CSGSFS] = (greg_t)(context.cs | context.ss << 48);
	wait_for_others();
	asm volatile("mov %0, %%ds; mov %0, %%es" : : "r"((uint32_t)context.data_selector));
	set_fs(0);
}

/* An exception has ended the probe. */
static void end(int signal, siginfo_t *info, void *where)
{
	const greg_t *registers = ((ucontext_t *)where)->uc_mcontext.gregs;
	struct probe_frame *frame = &context.end;
	struct probe_outcome *outcome = &current->outcome;
	uint32_t vector = (uint32_t)registers[REG_TRAPNO] & 31;
	bool with_error = WITH_ERROR >> vector & 1;

	(void)signal;
	set_fs(own_fs);
	for (unsigned int i = 0; i < 16; i++)
		frame->gpr[i] = (uint64_t)registers[gregs[i]];
	frame->rsp = (uint64_t)registers[REG_RSP];
	frame->rip = (uint64_t)registers[REG_RIP];
	/* Linux has interrupts enabled in all programs, which probes elsewhere have not. */
	frame->rflags = (uint64_t)registers[REG_EFL] & ~RFLAGS_IF;
	frame->vector = vector | (with_error ? PROBE_STUB_HAS_ERROR : 0);
	frame->error = with_error ? (uint64_t)registers[REG_ERR] : 0;
	context.cr2 = vector == VECTOR_PF ? (uint64_t)registers[REG_CR2] : 0;
	outcome->refused = false;
	if (info->si_code <= 0)
		refuse(outcome, "another process has sent it a signal");
	else if (possible_to_report(&context, outcome))
		probe_report(&context, running, outcome);
	_exit(0);
}

static bool catch_signals(void)
{
	static const int of_exceptions[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };
	stack_t stack = { .ss_sp = signal_stack, .ss_size = sizeof(signal_stack) };
	struct sigaction action = { .sa_sigaction = start, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	if (sigaltstack(&stack, NULL) || sigaction(SIGUSR1, &action, NULL))
		return false;
	action.sa_sigaction = end;
	for (unsigned int i = 0; i < sizeof(of_exceptions) / sizeof(*of_exceptions); i++)
		if (sigaction(of_exceptions[i], &action, NULL))
			return false;
	return true;
}

static bool map(uint64_t at, size_t size)
{
	void *wanted = (void *)(uintptr_t)at;

	return mmap(wanted, size, PROT_READ | PROT_WRITE | PROT_EXEC,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE, -1,
		    0) == wanted;
}

static bool map_slot(unsigned int index)
{
	uint64_t slot = SLOT_USER_BASE + index * SLOT_STRIDE;

	context.slot[1] = slot;
	context.code = (uint8_t *)(uintptr_t)(slot + SLOT_CODE);
	context.scratch = (uint8_t *)(uintptr_t)(slot + SLOT_SCRATCH);
	context.stack = (uint8_t *)(uintptr_t)(slot + SLOT_STACK);
	context.dirty_to = SLOT_CODE_SIZE;
	return map(slot + SLOT_CODE, SLOT_CODE_SIZE) &&
	       map(slot + SLOT_SCRATCH, SLOT_SCRATCH_SIZE) &&
	       map(slot + SLOT_STACK, SLOT_STACK_SIZE);
}

static bool stay_on(int number)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)number, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

static bool failed(struct probe_outcome *outcome, const char *what)
{
	outcome->refused = true;
	snprintf(outcome->why, sizeof(outcome->why), "%s: %s", what, strerror(errno));
	return false;
}

static bool set_up(const struct probe_request *request, pid_t parent)
{
	const struct rlimit none = { 0, 0 };
	struct probe_outcome *outcome = &current->outcome;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	/* So that a signal to the probe's group does not reach the agent. */
	setpgid(0, 0);
	setrlimit(RLIMIT_CORE, &none);
	if (!stay_on(current->number))
		return failed(outcome, "staying on one CPU");
	if (!map_slot(current->index))
		return failed(outcome, "memory for the probe");
	context.start = context.slot[1] + SLOT_CODE + request->at;
	probe_fill_slot(&context, request);
	probe_fill_registers(&context, request);
	if (mprotect(context.code, SLOT_CODE_SIZE, PROT_READ | PROT_EXEC))
		return failed(outcome, "memory for the probe");
	if (syscall(SYS_arch_prctl, ARCH_GET_FS, &own_fs) || !catch_signals())
		return failed(outcome, "catching exceptions");
	outcome->dr7 = DR7_RESET;
	return true;
}

__attribute__((noreturn)) static void be_attempt(const struct probe_request *request, pid_t parent)
{
	running = request;
	if (set_up(request, parent)) {
		/* Until the end of the probe says otherwise. */
		refuse(&current->outcome, "its process ended in a way that Linux does not explain");
		raise(SIGUSR1);
	}
	/* So that nobody waits for it. */
	__atomic_add_fetch(&shared->arrived, 1, __ATOMIC_SEQ_CST);
	_exit(0);
}

struct attempt *attempt_create(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		return NULL;
	return shared->attempts;
}

void attempt_run(struct attempt *attempts, unsigned int count, const struct probe_request *request)
{
	pid_t parent = getpid(), children[ATTEMPTS_MOST];

	shared->arrived = 0;
	expected = count;
	for (unsigned int i = 0; i < count; i++) {
		struct probe_outcome *outcome = &attempts[i].outcome;

		children[i] = -1;
		memset(outcome, 0, __builtin_offsetof(struct probe_outcome, read));
		if (possible_to_run(request, outcome)) {
			current = &attempts[i];
			children[i] = fork();
			if (!children[i])
				be_attempt(request, parent);
			if (children[i] < 0)
				failed(outcome, "fork");
		}
		if (children[i] < 0)
			__atomic_add_fetch(&shared->arrived, 1, __ATOMIC_SEQ_CST);
	}
	for (unsigned int i = 0; i < count; i++) {
		int status = 0;

		while (children[i] > 0 && waitpid(children[i], &status, 0) < 0 && errno == EINTR)
			;
		if (WIFSIGNALED(status)) {
			attempts[i].outcome.refused = true;
			snprintf(attempts[i].outcome.why, sizeof(attempts[i].outcome.why),
				 "its process was ended by signal %d", WTERMSIG(status));
		}
	}
}
