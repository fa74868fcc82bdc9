/* SPDX-License-Identifier: MIT */
/* Boots the OS, then gives every byte from the console to the agent. */
#include "../agent/agent.h"
#include "../agent/limits.h"
#include "console.h"
#include "cpu.h"
#include "cpus.h"
#include "memory.h"
#include "payload.h"

void os_main(const void *multiboot);
void os_serve(void);

/*
 * How often to poll the console for the rest of a line before sleeping: COM1 raises an interrupt at once only
 * for 14 bytes. Not more often, and without PAUSE: these accesses hold the lock that QEMU's main loop needs
 * to fill the port.
 */
#define POLLS 20

/* On the boot CPU's own stack. */
void os_serve(void)
{
	int polls = POLLS;
	char byte;

	limits_begin(0);
	agent_ready();
	console_enable_interrupt();
	for (;;) {
		if (console_read(&byte)) {
			agent_take(byte);
			polls = byte == '\n' ? POLLS : 0;
		} else if (polls++ >= POLLS) {
			console_wait();
		}
	}
}

void os_main(const void *multiboot)
{
	console_init();
	memory_init(multiboot);
	cpus_start();
	payload_find();
	asm volatile("mov %0, %%rsp\n\t"
		     "call os_serve"
		     :
		     : "r"((uint64_t)cpu_blocks[0] + CPU_MAIN_STACK));
}
