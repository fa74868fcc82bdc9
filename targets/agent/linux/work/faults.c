// SPDX-License-Identifier: MIT
/* Page faults of every kind: their error codes, CR2 and siginfo, and the contents of the pages afterwards. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "work.h"

#define PAGE 4096
#define PAGES 32
#define RET 0xc3
/* Bits of a page fault's error code (SDM 3A 4.7). */
#define PRESENT 1
#define WRITE 2
#define USER 4
#define FETCH 16

static unsigned char *memory;
static struct {
	unsigned int count;
	void *address;
	int code;
	greg_t error, cr2, vector;
} seen;
/* The protection that the handler gives the page, so that the access succeeds. */
static int protection;

static void on_fault(int signal, siginfo_t *info, void *context)
{
	const greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;

	seen.count++;
	seen.address = info->si_addr;
	seen.code = info->si_code;
	seen.error = registers[REG_ERR];
	seen.cr2 = registers[REG_CR2];
	seen.vector = registers[REG_TRAPNO];
	/* A fault that repeats would never end. */
	if (seen.count > 1 || mprotect(memory, PAGE, protection))
		_exit(128 + signal);
}

static unsigned char byte_of(uint64_t seed, size_t page)
{
	return (unsigned char)(seed >> (page % 8 * 8)) ^ (unsigned char)page;
}

static bool holds(uint64_t seed, const char *when)
{
	for (size_t page = 0; page < PAGES; page++) {
		for (size_t at = page; at < PAGE; at += PAGE - 33) {
			unsigned char found = memory[page * PAGE + at];
			unsigned char wanted = seed ? byte_of(seed, page) : 0;

			if (found == wanted)
				continue;
			work_fail("%s, page %zu has %#x at %#zx, not %#x", when, page, found, at,
				  wanted);
			return false;
		}
	}
	return true;
}

static void fill(uint64_t seed)
{
	for (size_t page = 0; page < PAGES; page++)
		memset(memory + page * PAGE, byte_of(seed, page), PAGE);
}

/* A write of a child to pages that it shares copy-on-write must not be seen here. */
static void copy_on_write(uint64_t seed)
{
	pid_t child = work_fork();
	int status;

	if (!child) {
		bool good = holds(seed, "in the child");

		fill(~seed);
		_exit(good && holds(~seed, "in the child") ? 0 : 1);
	}
	fill(seed);
	if (child < 0)
		return;
	status = work_await(child);
	if (status)
		work_fail("the child that wrote to pages it shares ended with status %#x", status);
	holds(seed, "after a child wrote to its copy");
}

/* An access that the page's protection forbids: it must fault once and then succeed. */
static void fault(int before, int after, void (*use)(void), greg_t error, const char *what)
{
	memset(&seen, 0, sizeof(seen));
	protection = after;
	if (mprotect(memory, PAGE, before)) {
		work_fail("mprotect: %s", strerror(errno));
		return;
	}
	use();
	if (seen.count != 1 || seen.address != memory || seen.code != SEGV_ACCERR ||
	    seen.error != error || seen.cr2 != (greg_t)(uintptr_t)memory || seen.vector != 14)
		work_fail(
			"%s %p: %u signals, the last with address %p, code %d, error %#lx, CR2 %#lx, "
			"vector %ld; error %#lx is awaited",
			what, (void *)memory, seen.count, seen.address, seen.code,
			(unsigned long)seen.error, (unsigned long)seen.cr2, (long)seen.vector,
			(unsigned long)error);
}

static void store(void)
{
	*(volatile unsigned char *)memory = RET;
}

static void load(void)
{
	(void)*(volatile unsigned char *)memory;
}

static void call(void)
{
	((void (*)(void))(uintptr_t)memory)();
}

static void go_round(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO }, old;
	uint64_t seed = work_random() | 1;

	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	if (memory == MAP_FAILED) {
		work_fail("mmap: %s", strerror(errno));
		return;
	}
	holds(0, "new");
	fill(seed);
	holds(seed, "after being written");
	copy_on_write(seed);
	sigaction(SIGSEGV, &action, &old);
	fault(PROT_READ, PROT_READ | PROT_WRITE, store, USER | WRITE | PRESENT, "a store to");
	fault(PROT_NONE, PROT_READ, load, USER, "a load from");
	fault(PROT_READ, PROT_READ | PROT_EXEC, call, USER | FETCH | PRESENT, "a call of");
	sigaction(SIGSEGV, &old, NULL);
	mprotect(memory, PAGE, PROT_READ | PROT_WRITE);
	madvise(memory, PAGES * PAGE, MADV_DONTNEED);
	holds(0, "after MADV_DONTNEED");
	munmap(memory, PAGES * PAGE);
}

const struct work_kind work_faults = { .name = "faults", .round = go_round };
