// SPDX-License-Identifier: MIT
/*
 * Queued signals must arrive once each, in order and with their values; exceptions must raise their signals at the
 * right address; and a signal handler must not change the registers of the code that it interrupts.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "work.h"

#define QUEUED 16

static struct {
	int count, wrong;
	int values[QUEUED];
} queue;
static struct {
	int signal;
	greg_t vector;
	uintptr_t rip;
} trap;
static uintptr_t resume;

static void on_queued(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)context;
	if (info->si_code != SI_QUEUE || info->si_pid != getpid())
		queue.wrong++;
	if (queue.count < QUEUED)
		queue.values[queue.count] = info->si_value.sival_int;
	queue.count++;
}

static void on_trap(int signal, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)info;
	trap.signal = signal;
	trap.vector = registers[REG_TRAPNO];
	trap.rip = (uintptr_t)registers[REG_RIP];
	registers[REG_RIP] = (greg_t)resume;
}

static void on_disturbance(int signal)
{
	(void)signal;
	asm volatile("pxor %%xmm7, %%xmm7; pxor %%xmm15, %%xmm15; fninit" ::: "xmm7", "xmm15");
}

static void handle(int signal, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };

	sigaction(signal, &action, NULL);
}

static void take_queued(void)
{
	int base = (int)(work_random() & 0xffffff);
	sigset_t set;

	memset(&queue, 0, sizeof(queue));
	handle(SIGRTMIN, on_queued);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < QUEUED; i++) {
		if (sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = base + i }))
			work_fail("sigqueue: %s", strerror(errno));
	}
	if (queue.count)
		work_fail("%d signals were delivered while they were blocked", queue.count);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	if (queue.count != QUEUED || queue.wrong)
		work_fail("of %d queued signals %d were delivered, %d with a wrong code or sender",
			  QUEUED, queue.count, queue.wrong);
	for (int i = 0; i < QUEUED && i < queue.count; i++) {
		if (queue.values[i] == base + i)
			continue;
		work_fail("signal %d came with the value %#x, not %#x", i, queue.values[i],
			  base + i);
		break;
	}
}

static void expect_trap(const char *what, int signal, greg_t vector, uintptr_t rip)
{
	if (trap.signal != signal || trap.vector != vector || trap.rip != rip)
		work_fail(
			"%s gave signal %d, vector %ld, RIP %#lx; not signal %d, vector %ld, RIP %#lx",
			what, trap.signal, (long)trap.vector, (unsigned long)trap.rip, signal,
			(long)vector, (unsigned long)rip);
	memset(&trap, 0, sizeof(trap));
}

/* Execute an instruction that raises an exception. `where` gets its address; the handler continues behind it. */
#define RAISE(instruction)                                        \
	asm volatile("lea 1f(%%rip), %%rcx; mov %%rcx, %0;"       \
		     "lea 2f(%%rip), %%rcx; mov %%rcx, %1;"       \
		     "xor %%eax, %%eax; cpuid; xor %%ecx, %%ecx;" \
		     "1: " instruction "; 2:"                     \
		     : "=m"(where), "=m"(resume)                  \
		     :                                            \
		     : "rax", "rbx", "rcx", "rdx", "memory", "cc")

static void raise_exceptions(void)
{
	static const int signals[] = { SIGILL, SIGFPE, SIGSEGV, SIGTRAP };
	uintptr_t where;

	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		handle(signals[i], on_trap);
	RAISE("ud2");
	expect_trap("UD2", SIGILL, 6, where);
	RAISE("div %%ecx");
	expect_trap("DIV by zero", SIGFPE, 0, where);
	RAISE("hlt");
	expect_trap("HLT", SIGSEGV, 13, where);
	RAISE("int3");
	expect_trap("INT3", SIGTRAP, 3, where + 1);
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		signal(signals[i], SIG_DFL);
}

/* SIGUSR2 is delivered on return from the system call that sends it. */
static void keep_registers(void)
{
	uint64_t given[2] = { work_random(), work_random() }, low[2], high[2];
	uint64_t number = work_random() >> 2, x87;
	long result = SYS_tgkill;

	signal(SIGUSR2, on_disturbance);
	asm volatile("fildq %[number]\n"
		     "movdqu %[given], %%xmm7\n"
		     "movdqu %[given], %%xmm15\n"
		     "syscall\n"
		     "movdqu %%xmm7, %[low]\n"
		     "movdqu %%xmm15, %[high]\n"
		     "fistpq %[x87]\n"
		     : "+a"(result), [low] "=m"(low), [high] "=m"(high), [x87] "=m"(x87)
		     : [given] "m"(given), [number] "m"(number), "D"((long)getpid()),
		       "S"(syscall(SYS_gettid)), "d"((long)SIGUSR2)
		     : "rcx", "r11", "xmm7", "xmm15", "st", "memory", "cc");
	if (result)
		work_fail("tgkill: %s", strerror((int)-result));
	if (memcmp(low, given, sizeof(low)) || memcmp(high, given, sizeof(high)))
		work_fail("a handler changed XMM7 or XMM15 of what it interrupted");
	if (x87 != number)
		work_fail("a handler changed ST0 of what it interrupted: %#lx, not %#lx",
			  (unsigned long)x87, (unsigned long)number);
}

static void go_round(void)
{
	take_queued();
	raise_exceptions();
	keep_registers();
}

const struct work_kind work_signals = { .name = "signals", .round = go_round };
