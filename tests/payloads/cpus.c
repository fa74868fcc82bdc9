/* SPDX-License-Identifier: MIT */
/*
 * A Multiboot program that starts the other CPUs, all at once and then again one by one, and says of each whether it is as
 * INIT and a start-up IPI leave it, and in the same hands as the boot CPU. Its last argument is the number of CPUs; with `x` before it,
 * all of them are in x2APIC mode.
 */
#include "report.h"

typedef unsigned int u32;
typedef unsigned long long u64;

#define MOST_CPUS 8
#define FIRST_PAGE 0x6000
/* Above 64 KiB. */
#define SECOND_PAGE 0x27000
#define CODE16 0x28
#define ADDITIONS 1000
#define VECTOR 0x40
#define VECTOR_UD 6
#define VECTOR_GP 13

#define CPUID_X2APIC (1u << 21)
#define CPUID_XSAVE (1u << 26)
#define CR0_CD_NW 0x60000000u
#define CR4_OSXSAVE (1u << 18)
#define ARITHMETIC_FLAGS 0x8d5u
#define MSR_PAT 0x277
/* The lower half of the page attribute table as a CPU leaves it; after a reset it is 00070406. */
#define PAT_LEFT 0x00070405u
#define MSR_APIC_BASE 0x1b
#define APIC_BASE_X2APIC 0x400
#define MSR_EFER 0xc0000080

/* Registers of the local APIC, in x2APIC mode MSRs, and commands to it (SDM 3A 11.6.1, 11.12). */
#define MSR_X2APIC(offset) (0x800 + (offset) / 16)
#define APIC_ID 0x20
#define APIC_EOI 0xb0
#define APIC_SPURIOUS 0xf0
#define APIC_COMMAND 0x300
#define APIC_DESTINATION 0x310
#define SENDING 0x1000
#define INIT 0x4500
#define STARTUP 0x4600
#define FIXED 0x4000
#define ALL_OTHERS 0xc0000

volatile u32 numbers_given, interrupts;
static volatile u32 counter, added, waiting, go, left, others;
static u32 x2apic;
static volatile struct cpu {
	u32 apic_id, page, registers, cr0, cr4, efer, hypervisor;
	u32 edx, signature, cr2, dr6, dr7, flags, idt_limit, idt_base, pat, xcr0;
} cpus[MOST_CPUS];
static u64 idt[VECTOR + 1];

extern const char start_page[], start_page_end[], store16[], real_undefined[], interrupt[],
	undefined[], refused[];
void boot_cpu(u32 magic, const u32 *information);
void other_cpu(u32 number, u32 registers, u32 cr0, u32 cs, u32 edx, u32 flags);
__attribute__((noreturn)) void end_with_exception(void);
__attribute__((noreturn)) void end_in_ring3(void);

/* By the PIT's second counter, at 1.193 MHz: at most 50,000 microseconds. */
static void wait(u32 microseconds)
{
	u32 ticks = microseconds + microseconds / 5;

	out8(0x61, (unsigned char)((in8(0x61) & ~2) | 1));
	out8(0x43, 0xb0);
	out8(0x42, (unsigned char)ticks);
	out8(0x42, (unsigned char)(ticks >> 8));
	while (!(in8(0x61) & 0x20))
		;
}

static u32 rdmsr(u32 msr)
{
	u32 low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return low;
}

static void wrmsr(u32 msr, u32 low, u32 high)
{
	asm volatile("wrmsr" : : "c"(msr), "a"(low), "d"(high) : "memory");
}

static volatile u32 *apic(u32 offset)
{
	return (volatile u32 *)(0xfee00000 + offset);
}

static u32 id(void)
{
	return x2apic ? rdmsr(MSR_X2APIC(APIC_ID)) : *apic(APIC_ID) >> 24;
}

static void write_apic(u32 offset, u32 value)
{
	if (x2apic)
		wrmsr(MSR_X2APIC(offset), value, 0);
	else
		*apic(offset) = value;
}

static void send(u32 to, u32 command)
{
	if (x2apic) {
		wrmsr(MSR_X2APIC(APIC_COMMAND), command, to);
		return;
	}
	*apic(APIC_DESTINATION) = to << 24;
	*apic(APIC_COMMAND) = command;
	while (*apic(APIC_COMMAND) & SENDING)
		;
}

void take_interrupt(void);
void take_interrupt(void)
{
	asm volatile("lock incl %0" : "+m"(interrupts));
	write_apic(APIC_EOI, 0);
}

/* MP initialisation protocol (SDM 3A 9.4.4.1). */
static void start(u32 to, u32 shorthand, u32 page)
{
	send(to, shorthand | INIT);
	wait(10000);
	send(to, shorthand | STARTUP | page >> 12);
	wait(200);
	send(to, shorthand | STARTUP | page >> 12);
}

static void cpuid(u32 leaf, u32 *a, u32 *b)
{
	u32 c = 0, d;

	asm volatile("cpuid" : "=a"(*a), "=b"(*b), "+c"(c), "=d"(d) : "0"(leaf));
}

static u32 features(void)
{
	u32 a = 1, b, c = 0, d;

	asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return c;
}

static void add(void)
{
	for (u32 i = 0; i < ADDITIONS; i++)
		asm volatile("lock incl %0" : "+m"(counter));
	asm volatile("lock incl %0" : "+m"(added));
}

struct __attribute__((packed)) table_register {
	unsigned short limit;
	u32 base;
};

static void enable_interrupts(void)
{
	struct table_register idtr = { sizeof(idt) - 1, (u32)idt };

	asm volatile("lidt %0" : : "m"(idtr));
	if (x2apic)
		wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2APIC, 0);
	write_apic(APIC_SPURIOUS, 0x1ff);
}

static void see(volatile struct cpu *cpu)
{
	struct table_register idtr;
	u32 value;

	asm volatile("mov %%cr2, %0" : "=r"(value));
	cpu->cr2 = value;
	asm volatile("mov %%cr4, %0" : "=r"(value));
	cpu->cr4 = value;
	asm volatile("mov %%dr6, %0" : "=r"(value));
	cpu->dr6 = value;
	asm volatile("mov %%dr7, %0" : "=r"(value));
	cpu->dr7 = value;
	asm volatile("sidt %0" : "=m"(idtr));
	cpu->idt_limit = idtr.limit;
	cpu->idt_base = idtr.base;
	cpu->efer = rdmsr(MSR_EFER);
	cpu->pat = rdmsr(MSR_PAT);
}

/* What a CPU can write, INIT takes back: set it to other values than those. */
static void leave_state(void)
{
	u32 value;

	asm volatile("mov %0, %%cr2" : : "r"(0x1000));
	asm volatile("mov %0, %%dr0; mov %1, %%dr6; mov %2, %%dr7"
		     :
		     : "r"(0x1000), "r"(0xffff4ff1u), "r"(0x402));
	wrmsr(MSR_PAT, PAT_LEFT, 0x00070406);
	asm volatile("wbinvd; mov %%cr0, %0" : "=r"(value));
	asm volatile("mov %0, %%cr0" : : "r"(value | CR0_CD_NW));
}

/* Whether XCR0 can be written, or is not there. */
static u32 can_write_xcr0(void)
{
	u32 cr4, low, high;

	if (!(features() & CPUID_XSAVE))
		return 1;
	asm volatile("mov %%cr4, %0" : "=r"(cr4));
	asm volatile("mov %0, %%cr4" : : "r"(cr4 | CR4_OSXSAVE));
	asm volatile("xsetbv" : : "c"(0), "a"(3), "d"(0));
	asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	asm volatile("xsetbv" : : "c"(0), "a"(1), "d"(0));
	return low == 3;
}

void other_cpu(u32 number, u32 registers, u32 cr0, u32 cs, u32 edx, u32 flags)
{
	volatile struct cpu *cpu = &cpus[number];
	u32 a, b;

	see(cpu);
	enable_interrupts();
	cpu->apic_id = id();
	cpu->page = cs << 4;
	cpu->registers = registers;
	cpu->cr0 = cr0;
	cpu->edx = edx;
	cpu->flags = flags & ~ARITHMETIC_FLAGS;
	cpuid(1, &a, &b);
	cpu->signature = a;
	cpuid(0x40000000, &a, &b);
	cpu->hypervisor = b;
	cpu->xcr0 = can_write_xcr0();
	asm volatile("lock incl %0" : "+m"(waiting));
	while (!go)
		asm volatile("pause");
	add();
	/* Not in HLT: a start-up IPI ends that on QEMU, though it starts nothing. */
	asm volatile("sti");
	while (interrupts < others)
		asm volatile("pause");
	asm volatile("cli");
	leave_state();
	asm volatile("lock incl %0" : "+m"(left));
	if (number & 1)
		end_with_exception();
	end_in_ring3();
}

/* Whether all the others are as they should be behind a start in this page. */
static void check_state(u32 count, u32 page, u32 hypervisor, int again)
{
	u32 places = 1, registers = 1, modes = 1, same = 1, edx = 1, caches = 1, rest = 1, pat = 1,
	    xcr0 = 1;

	for (u32 i = 1; i < count; i++) {
		volatile struct cpu *cpu = &cpus[i];

		places &= cpu->page == page;
		registers &= !cpu->registers;
		/* INIT keeps CD and NW. */
		modes &= (cpu->cr0 & ~CR0_CD_NW) == 0x10 && !cpu->cr4 && !cpu->efer;
		same &= cpu->hypervisor == hypervisor;
		/* Bochs leaves 0. */
		edx &= !cpu->edx || cpu->edx == cpu->signature;
		rest &= !cpu->cr2 && cpu->dr6 == 0xffff0ff0 && cpu->dr7 == 0x400 &&
			cpu->flags == 2 && cpu->idt_limit == 0xffff && !cpu->idt_base;
		xcr0 &= cpu->xcr0;
		/* What leave_state() has set and INIT leaves alone. */
		caches &= !again || (cpu->cr0 & CR0_CD_NW) == CR0_CD_NW;
		pat &= !again || cpu->pat == PAT_LEFT;
	}
	check(places, "they start where the start-up IPI says");
	check(registers, "their general registers are 0, but for EDX");
	check(modes, "their CR0, CR4 and EFER are those after INIT");
	check(same, "they are in the hands of the hypervisor of the boot CPU, or of none");
	check(edx, "their EDX is the signature of CPUID leaf 1");
	check(rest, "their CR2, DR6, DR7, RFLAGS and IDTR are those after INIT");
	check(caches, "their CR0.CD and CR0.NW have not been cleared");
	check(pat, "their PAT is what it was before INIT");
	check(xcr0, "they can write XCR0");
}

static void begin(u32 page)
{
	u32 handler = (u32)(real_undefined - start_page);

	numbers_given = counter = added = waiting = interrupts = go = left = 0;
	for (u32 i = 0; i < MOST_CPUS; i++)
		cpus[i].page = 0;
	for (u32 i = 0; i < (u32)(start_page_end - start_page); i++)
		((volatile char *)page)[i] = start_page[i];
	/* By its address, which the compiler must not know: it is in the first page. */
	asm volatile("movl %0, (%1)"
		     :
		     : "r"(page >> 4 << 16 | handler), "r"(VECTOR_UD * 4)
		     : "memory");
}

static void work(u32 count)
{
	go = 1;
	add();
	while (added < count)
		asm volatile("pause");
	check(counter == count * ADDITIONS, "none of their locked additions is lost");
	/* To none that waits for one. Whoever has taken the interrupt has seen the start-up IPI. */
	send(0, ALL_OTHERS | STARTUP | FIRST_PAGE >> 12);
	for (u32 i = 1; i < count; i++)
		send(cpus[i].apic_id, FIXED | VECTOR);
	while (interrupts < count - 1)
		asm volatile("pause");
	check(1, "each of them takes an interrupt");
	while (left < count - 1)
		asm volatile("pause");
	check(numbers_given == count - 1, "a start-up IPI without INIT starts none");
}

/* The store that a hypervisor may have to decode, in a code segment whose operands have 16 bits. */
static void write_from_16_bit_code(u32 offset, u32 value)
{
	struct __attribute__((packed)) {
		u32 offset;
		unsigned short selector;
	} code = { FIRST_PAGE + (u32)(store16 - start_page), CODE16 };

	asm volatile("lcall *%0" : : "m"(code), "a"(value), "d"(apic(offset)) : "memory");
}

static void end(void)
{
	while (!(in8(0x3fd) & 0x40))
		;
	asm volatile("outl %0, %1" : : "a"(21), "Nd"((unsigned short)0xf4));
	for (const char *off = "Shutdown"; *off; off++)
		out8(0x8900, (unsigned char)*off);
	for (;;)
		asm volatile("cli; hlt");
}

void boot_cpu(u32 magic, const u32 *information)
{
	const char *line = (const char *)information[4];
	u32 a, hypervisor, count, ids[MOST_CPUS];

	(void)magic;
	for (; line[1]; line++)
		x2apic |= *line == 'x';
	count = (u32)*line - '0';
	for (u32 i = 0; i <= VECTOR; i++) {
		u32 handler = (u32)(i == VECTOR_UD   ? undefined
				    : i == VECTOR_GP ? refused
						     : interrupt);

		idt[i] = (handler & 0xffff) | 0x8e0000080000ull | (u64)(handler >> 16) << 48;
	}
	if (x2apic && !(features() & CPUID_X2APIC)) {
		say("SKIP: x2APIC mode\n");
		end();
	}
	others = count - 1;
	enable_interrupts();
	cpuid(0x40000000, &a, &hypervisor);

	begin(FIRST_PAGE);
	if (!x2apic) {
		write_from_16_bit_code(APIC_SPURIOUS, 0x1fe);
		check(*apic(APIC_SPURIOUS) == 0x1fe, "code of 16 bits writes to the local APIC");
		*apic(APIC_SPURIOUS) = 0x1ff;
	}
	start(0, ALL_OTHERS, FIRST_PAGE);
	while (waiting < count - 1)
		asm volatile("pause");
	check(numbers_given == count - 1, "all other CPUs start, each once");
	check_state(count, FIRST_PAGE, hypervisor, 0);
	work(count);

	for (u32 i = 1; i < count; i++)
		ids[i] = cpus[i].apic_id;
	begin(SECOND_PAGE);
	for (u32 i = 1; i < count; i++) {
		start(ids[i], 0, SECOND_PAGE);
		while (waiting < i)
			asm volatile("pause");
	}
	check(numbers_given == count - 1, "they start again, one by one");
	check_state(count, SECOND_PAGE, hypervisor, 1);
	work(count);
	end();
}
