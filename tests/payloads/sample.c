/* SPDX-License-Identifier: MIT */
/* A Multiboot program that reports as kvm-unit-tests does. It lies at 1 MiB, as most do. */
#include "report.h"

typedef unsigned int u32;
typedef unsigned long long u64;

volatile u32 ticks;
static u64 idt[33];

u32 bios_memory(void);
extern char timer_interrupt[];
void sample(u32 magic, const u32 *information);

/* The PIT's interrupts, by the first PIC. */
static void await_ticks(u32 wanted)
{
	static const unsigned char to[][2] = { { 0x20, 0x11 }, { 0x21, 0x20 }, { 0x21, 4 },
					       { 0x21, 1 },    { 0x21, 0xfe }, { 0x43, 0x34 },
					       { 0x40, 0xff }, { 0x40, 0x0f } };
	struct __attribute__((packed)) {
		unsigned short limit;
		void *base;
	} idtr = { sizeof(idt) - 1, idt };
	u64 handler = (u32)timer_interrupt;

	idt[32] = (handler & 0xffff) | 0x8e0000080000ull | handler >> 16 << 48;
	asm volatile("lidt %0" : : "m"(idtr));
	for (u32 i = 0; i < sizeof(to) / sizeof(*to); i++)
		out8(to[i][0], to[i][1]);
	while (ticks < wanted)
		asm volatile("sti; hlt; cli" : : : "memory");
}

/* A port that ends with its machine takes along what it has not sent. */
static void flush(void)
{
	while (!(in8(0x3fd) & 0x40))
		;
}

/* A triple fault. */
static void die(void)
{
	static const struct __attribute__((packed)) {
		unsigned short limit;
		void *base;
	} none;

	flush();
	asm volatile("lidt %0; int3" : : "m"(none));
}

static int contains(const char *text, char letter)
{
	while (*text && *text != letter)
		text++;
	return *text;
}

/* Its name is `sample`. An argument D has it die at once, G only if it is a hypervisor's guest. */
void sample(u32 magic, const u32 *information)
{
	const char *line = (const char *)information[4];
	u32 cr0, leaf = 0x40000000, name, ecx = 0, edx;
	int guest;

	asm volatile("mov %%cr0, %0" : "=r"(cr0));
	asm volatile("cpuid" : "+a"(leaf), "=b"(name), "+c"(ecx), "=d"(edx));
	guest = name == 0x656e6556; /* "Vene" */
	check(magic == 0x2badb002 && !(cr0 >> 31), "entered as by a Multiboot loader");
	check(*line == 's', "command line");
	if (contains(line, 'D') || (guest && contains(line, 'G')))
		die();
	report(information[5] ? "PASS" : "SKIP", "a module");
	await_ticks(3);
	check(1, "interrupts of the timer");
	check(bios_memory() >= 512, "the BIOS in real mode");
	check(0, "what no machine does");
	check(!guest, "no hypervisor says its name");
	check(1, guest ? "printed by a guest" : "printed without a hypervisor");
	flush();
	asm volatile("outl %0, %1" : : "a"(21), "Nd"((unsigned short)0xf4));
	for (const char *off = "Shutdown"; *off; off++)
		out8(0x8900, (unsigned char)*off);
	for (;;)
		asm volatile("cli; hlt");
}
