/* SPDX-License-Identifier: MIT */
/* Boot, and then the agent. */
#include "../agent/agent.h"
#include "cpu.h"

void os_main(const void *multiboot);
void os_serve(void);

/* On the boot CPU's own stack. */
void os_serve(void)
{
	char byte;

	agent_ready();
	console_enable_interrupt();
	for (;;) {
		while (console_read(&byte))
			agent_take(byte);
		cpu_sleep();
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
