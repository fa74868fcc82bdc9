// SPDX-License-Identifier: MIT
/*
 * It virtualises nothing, and does to the machine what a hypervisor with a grave fault does, as ROGUE says:
 * tests/acceptance/test_rogues.py.
 */
#include "os.h"
#include "subject.h"

#define COM1 0x3f8
#define UART_IER 1
#define UART_MCR 4
#define MSR_LSTAR 0xc0000082u

static int loaded;

static int is(const char *what)
{
	return !__builtin_strcmp(ROGUE, what);
}

static void spin(void *unused)
{
	(void)unused;
	for (;;)
		asm volatile("cli; pause");
}

static void port_write(uint16_t port, uint8_t value)
{
	asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t own_stack[4096];

/* Where SYSCALL leads: code and stack are the rogue's own, as in the host mode of a hypervisor. */
static void __attribute__((naked)) stray(void)
{
	asm volatile("mov %0, %%rsp\n\tud2" : : "i"(own_stack + sizeof(own_stack)));
}

static void __attribute__((naked)) linger(void)
{
	asm volatile("mov %0, %%rsp\n1:\tpause\n\tjmp 1b" : : "i"(own_stack + sizeof(own_stack)));
}

static void lead_astray(void *where)
{
	uint64_t entry = (uint64_t)where;

	asm volatile("wrmsr"
		     :
		     : "c"(MSR_LSTAR), "a"((uint32_t)entry), "d"((uint32_t)(entry >> 32)));
}

/* What the manuals give to every processor with VMX or SVM: IA32_DEBUGCTL, VM_CR. */
static void touch_msrs(void)
{
	uint32_t low, high;

	for (unsigned int i = 0; i < 2; i++)
		asm volatile("rdmsr"
			     : "=a"(low), "=d"(high)
			     : "c"(((const uint32_t[]){ 0x1d9, 0xc0010114 })[i]));
	asm volatile("wrmsr" : : "c"(0x1d9), "a"(0), "d"(0));
}

static int load(const char *option, char *why, size_t size)
{
	(void)option, (void)why, (void)size;
	if (is("park"))
		os_on_cpus(2, spin, NULL);
	if (is("hang"))
		spin(NULL);
	/* What is sent goes back to the sender: loopback mode, and no interrupt. */
	if (is("serial")) {
		port_write(COM1 + UART_IER, 0);
		port_write(COM1 + UART_MCR, 0x10);
	}
	if (is("msrs"))
		touch_msrs();
	if (is("panic"))
		os_panic("rogue: given up");
	if (is("stray"))
		os_on_every_cpu(lead_astray, (void *)stray);
	if (is("linger"))
		os_on_every_cpu(lead_astray, (void *)linger);
	loaded = 1;
	return 0;
}

static int unload(char *why, size_t size)
{
	(void)why, (void)size;
	return 0;
}

static int query(char *buffer, size_t size)
{
	os_snprintf(buffer, size, " loaded=%d name=rogue version=1.0 cpus=%u", loaded, os_cpus());
	return 0;
}

static const struct subject_ops rogue = {
	.name = "rogue",
	.load = load,
	.unload = unload,
	.query = query,
};

const struct subject_ops *const subject = &rogue;
