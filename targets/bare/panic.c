/* SPDX-License-Identifier: MIT */
/* One CPU reports why the OS cannot go on, then all CPUs halt. */
#include "panic.h"

#include <stdarg.h>

#include "../agent/line.h"
#include "console.h"
#include "cpu.h"
#include "print.h"
#include "subject_text.h"
#include "x86.h"

#define STACK_WORDS 16
#define MAPPED_END 0x100000000ull

static bool panicking;

static void __attribute__((noreturn)) halt(void)
{
	for (;;)
		asm volatile("cli; hlt");
}

void panic_join(void)
{
	if (__atomic_load_n(&panicking, __ATOMIC_SEQ_CST))
		halt();
}

/* The first CPU that gets here reports. Others halt, and so does the first one if its report panics. */
static void begin(void)
{
	asm volatile("cli");
	if (__atomic_test_and_set(&panicking, __ATOMIC_SEQ_CST))
		halt();
	console_fresh_line();
}

static void __attribute__((noreturn)) end(void)
{
	unsigned int self = os_this_cpu();

	for (unsigned int i = 0; i < os_cpus(); i++)
		if (cpu_blocks[i] && i != self && cpu_blocks[i]->up)
			os_send_nmi(i);
	halt();
}

/* The event `!1 panic` (PROTOCOL.md), which precedes the report for people. */
static void send_event(const struct probe_frame *frame, const char *text)
{
	char buffer[256];
	struct line_writer event;

	line_start(&event, buffer, sizeof(buffer));
	line_add(&event, "!1 panic");
	line_add_decimal(&event, "cpu", os_this_cpu());
	if (frame) {
		line_add_hex_wide(&event, "vec", frame->vector & 0xff, 2);
		line_add_hex(&event, "rip", frame->rip);
		if (rip_is_in_subject(frame))
			line_add(&event, " in=subject");
	}
	if (text) {
		line_add(&event, " text=");
		line_add_printable(&event, text);
	}
	os_write(buffer, line_finish(&event));
}

void panic(const char *format, ...)
{
	char text[160];
	va_list arguments;

	begin();
	va_start(arguments, format);
	print_format(text, sizeof(text), format, arguments);
	va_end(arguments);
	send_event(NULL, text);
	end();
}

static char panic_stack[4096] __attribute__((aligned(16)));
extern char boot_pml4[];

/* On the panic stack and with the boot page tables, which are valid whatever the caller changed. */
static void __attribute__((noreturn, used)) panic_with_report(const char *report)
{
	begin();
	while (*report)
		os_write(report++, 1);
	os_write("\n", 1);
	send_event(NULL, "see the line before");
	end();
}

void os_panic(const char *report)
{
	asm volatile("cli\n\t"
		     "mov %0, %%cr3\n\t"
		     "mov %1, %%rsp\n\t"
		     "call panic_with_report"
		     :
		     : "r"(boot_pml4), "r"(panic_stack + sizeof(panic_stack)), "D"(report),
		       /* makes a frame, so that the autopsy's backtrace has the caller */
		       "r"(__builtin_frame_address(0))
		     : "memory");
	__builtin_unreachable();
}

static void print_stack(uint64_t rsp)
{
	/* Memory outside of the identity map cannot be read without another exception. */
	if (rsp % 8 || rsp < 4096 || rsp > MAPPED_END - STACK_WORDS * 8)
		return;
	for (unsigned int i = 0; i < STACK_WORDS; i += 4) {
		const uint64_t *word = (const uint64_t *)rsp + i;

		os_print("panic: stack %016lx: %016lx %016lx %016lx %016lx", (uint64_t)word,
			 word[0], word[1], word[2], word[3]);
	}
}

void panic_at(const struct probe_frame *frame)
{
	const uint64_t *gpr = frame->gpr;

	begin();
	send_event(frame, NULL);
	os_print("panic: vector %u rip %016lx error %lx cpu %u cs %lx rflags %lx",
		 (unsigned int)(frame->vector & 0xff), frame->rip, frame->error, os_this_cpu(),
		 frame->cs, frame->rflags);
	os_print("panic: cr2 %016lx cr3 %lx cr4 %lx", x86_read_cr2(), x86_read_cr3(),
		 x86_read_cr4());
	os_print("panic: rax %016lx rcx %016lx rdx %016lx rbx %016lx", gpr[0], gpr[1], gpr[2],
		 gpr[3]);
	os_print("panic: rsp %016lx rbp %016lx rsi %016lx rdi %016lx", frame->rsp, gpr[5], gpr[6],
		 gpr[7]);
	os_print("panic: r8  %016lx r9  %016lx r10 %016lx r11 %016lx", gpr[8], gpr[9], gpr[10],
		 gpr[11]);
	os_print("panic: r12 %016lx r13 %016lx r14 %016lx r15 %016lx", gpr[12], gpr[13], gpr[14],
		 gpr[15]);
	print_stack(frame->rsp);
	end();
}
