/* SPDX-License-Identifier: MIT */
/* Boot, and then the agent. */
#include "../agent/agent.h"
#include "console.h"
#include "cpu.h"
#include "cpus.h"
#include "memory.h"

void os_main(const void *multiboot);
void os_serve(void);

/*
 * How often to look for the rest of a line before sleeping: COM1 interrupts at once only for 14
 * bytes. No longer than that, and no PAUSE between: what the CPU does here keeps QEMU's
 * main loop from filling the port.
 */
#define LOOKS 20

/* On the boot CPU's own stack. */
void os_serve(void)
{
	int looks = LOOKS;
	char byte;

	agent_ready();
	console_enable_interrupt();
	for (;;) {
		if (console_read(&byte)) {
			agent_take(byte);
			looks = byte == '\n' ? LOOKS : 0;
		} else if (looks++ >= LOOKS) {
			console_wait();
		}
	}
}

void os_main(const void *multiboot)
{
	console_init();
	memory_init(multiboot);
	cpus_start();
	asm volatile("mov %0, %%rsp\n\t"
		     "call os_serve"
		     :
		     : "r"((uint64_t)cpu_blocks[0] + CPU_MAIN_STACK));
}
