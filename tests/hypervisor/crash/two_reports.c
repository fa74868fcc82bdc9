// SPDX-License-Identifier: MIT
/*
 * Two CPUs die at once: one writes its report, and the other waits until that one has stopped the machine. Each number of
 * the report is another one, as wide as it can be, and so is each of the last exits, which come with the oldest first; of
 * the stack, the report has what lies above RSP and is an address in Veneer's image, the first twelve of them.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/crash_report.h"
#include "core/host.h"
#include "core/vcpus.h"

#define EXITS 10
#define WORDS 20
#define RSP_WORD 3
#define IMAGE 0x200000ull
#define IMAGE_END 0x280000ull

static const char whole_report[] =
	"veneer: first rip=1111222233334444 rsp=%llx cr2=5555666677778888 cpu=17 exit=10a "
	"guest-rip=9999aaaabbbbcccc described=ddddeeeeffff0000 exits="
	"103:ffff800000003003,104:ffff800000003004,105:ffff800000003005,106:ffff800000003006,"
	"107:ffff800000003007,108:ffff800000003008,109:ffff800000003009,10a:ffff80000000300a "
	"stack=200000,27ffff,200005,200006,200007,200008,200009,20000a,20000b,20000c,20000d,20000e";
static bool first_is_reporting, second_waits;
static const char *first_report;
static char expected[1024];
/* The stack ends where the vcpu begins. */
static struct {
	u64 stack[WORDS];
	struct vcpu vcpu;
} first_cpu;

u64 read_cr2(void)
{
	return 0x5555666677778888;
}

/* Two parts, as a driver has whose firmware has put them in two places. */
bool host_image(unsigned int part, const char **start, const char **end)
{
	*start = (const char *)(part ? IMAGE + 0x1000 : IMAGE);
	*end = (const char *)(part ? IMAGE_END : IMAGE + 0x1000);
	return part < 2;
}

struct vcpu *vcpu_of_stack(u64 address)
{
	if (address >= (u64)first_cpu.stack && address <= (u64)&first_cpu.vcpu)
		return &first_cpu.vcpu;
	return NULL;
}

/* The second CPU only: the first has nothing to wait for. */
void fake_pause(void)
{
	__atomic_store_n(&second_waits, true, __ATOMIC_SEQ_CST);
}

static void *die_second(void *vcpu)
{
	while (!__atomic_load_n(&first_is_reporting, __ATOMIC_SEQ_CST))
		;
	die(vcpu, "second", 2, 2);
}

void host_die(const char *report)
{
	char copy[1024];

	if (__atomic_exchange_n(&first_is_reporting, true, __ATOMIC_SEQ_CST)) {
		fprintf(stderr, "two reports: %s, %s\n", first_report, report);
		exit(1);
	}
	first_report = report;
	snprintf(copy, sizeof(copy), "%s", report);
	while (!__atomic_load_n(&second_waits, __ATOMIC_SEQ_CST))
		;
	if (strcmp(copy, report) || strcmp(copy, expected)) {
		fprintf(stderr, "not the report of the first: %s\nbut: %s\n", expected, report);
		exit(1);
	}
	puts("all passed");
	exit(0);
}

static void describe(struct vcpu *vcpu, char *line, size_t size)
{
	snprintf(line, size, " described=%llx",
		 vcpu == &first_cpu.vcpu ? 0xddddeeeeffff0000ull : 0);
}

/* Below RSP, odd, in front of the image and behind it: none of them is in the report. */
static void fill_stack(u64 *stack)
{
	static const u64 values[WORDS] = {
		IMAGE + 1,     IMAGE + 2,  IMAGE + 3,  IMAGE,	   IMAGE - 1,
		IMAGE_END - 1, IMAGE_END,  IMAGE + 5,  IMAGE + 6,  0,
		IMAGE + 7,     IMAGE + 8,  ~0ull,      IMAGE + 9,  IMAGE + 10,
		IMAGE + 11,    IMAGE + 12, IMAGE + 13, IMAGE + 14, IMAGE + 15,
	};

	memcpy(stack, values, sizeof(values));
}

int main(void)
{
	static const struct backend backend = { .describe_exit = describe };
	static struct vcpu second = { .backend = &backend };
	struct vcpu *first = &first_cpu.vcpu;
	/* Between two words: the first whole one above it is the first that counts. */
	u64 rsp = (u64)&first_cpu.stack[RSP_WORD] - 3;
	pthread_t thread;

	first->backend = &backend;
	first->cpu = 17;
	first->rip = 0x9999aaaabbbbcccc;
	first->exits = EXITS;
	for (unsigned int i = 1; i <= EXITS; i++)
		first->trace[i % TRACE_ENTRIES] =
			(struct trace_entry){ .code = 0x100 + i, .rip = 0xffff800000003000 + i };
	fill_stack(first_cpu.stack);
	snprintf(expected, sizeof(expected), whole_report, rsp);
	if (pthread_create(&thread, NULL, die_second, &second))
		return 1;
	die(first, "first", 0x1111222233334444, rsp);
}
