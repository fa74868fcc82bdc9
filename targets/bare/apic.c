/* SPDX-License-Identifier: MIT */
/*
 * Local APIC in xAPIC mode, or in x2APIC mode where the image is built for it (SDM 3A 11), and the serial port's line of the
 * I/O APIC.
 */
#include "apic.h"

#include "panic.h"
#include "x86.h"

#define LOCAL_APIC 0xfee00000ull
#define REGISTER_ID 0x20
#define REGISTER_TPR 0x80
#define REGISTER_EOI 0xb0
#define REGISTER_SPURIOUS 0xf0
#define REGISTER_IN_SERVICE 0x100
#define REGISTER_COMMAND_LOW 0x300
#define REGISTER_COMMAND_HIGH 0x310
#define REGISTER_TIMER 0x320
#define REGISTER_LINT0 0x350
#define REGISTER_LINT1 0x360
#define REGISTER_TIMER_COUNT 0x380
#define REGISTER_TIMER_DIVIDE 0x3e0

#define SPURIOUS_ENABLE 0x100
#define DELIVERY_PENDING 0x1000
#define LVT_MASKED 0x10000
#define LVT_NMI 0x400
#define LVT_EXTERNAL 0x700
#define DIVIDE_BY_ONE 0xb
#define APIC_BASE_ENABLE (1ull << 11)
#define APIC_BASE_X2APIC (1ull << 10)
#define MSR_X2APIC(reg) (0x800 + (reg) / 16)
#define CPUID_1_ECX_X2APIC (1u << 21)

/* Whether all CPUs are in x2APIC mode (Makefile). */
#ifdef X2APIC
static const bool x2apic = true;
#else
static const bool x2apic;
#endif

#define DEFAULT_IO_APIC 0xfec00000ull
#define IO_APIC_SELECT 0x00
#define IO_APIC_WINDOW 0x10
#define IO_APIC_REDIRECTION 0x10
#define SERIAL_IRQ 4

#define PIC_MASK_1 0x21
#define PIC_MASK_2 0xa1

/* As the firmware has left them. */
static uint64_t io_apic_base;
static uint8_t pic_masks[2];

static uint32_t local_read(unsigned int reg)
{
	return x2apic ? (uint32_t)x86_rdmsr(MSR_X2APIC(reg))
		      : *(volatile uint32_t *)(LOCAL_APIC + reg);
}

static void local_write(unsigned int reg, uint32_t value)
{
	if (x2apic)
		x86_wrmsr(MSR_X2APIC(reg), value);
	else
		*(volatile uint32_t *)(LOCAL_APIC + reg) = value;
}

static void io_apic_write(uint64_t base, uint32_t index, uint32_t value)
{
	*(volatile uint32_t *)(base + IO_APIC_SELECT) = index;
	*(volatile uint32_t *)(base + IO_APIC_WINDOW) = value;
}

uint8_t apic_id(void)
{
	return (uint8_t)(x2apic ? local_read(REGISTER_ID) : local_read(REGISTER_ID) >> 24);
}

void apic_init(uint64_t io_apic)
{
	uint64_t base = io_apic ? io_apic : DEFAULT_IO_APIC;

	io_apic_base = base;
	pic_masks[0] = x86_in8(PIC_MASK_1);
	pic_masks[1] = x86_in8(PIC_MASK_2);
	x86_out8(PIC_MASK_1, 0xff);
	x86_out8(PIC_MASK_2, 0xff);
	/* Edge, active high, physical destination: this CPU. */
	io_apic_write(base, IO_APIC_REDIRECTION + 2 * SERIAL_IRQ + 1, (uint32_t)apic_id() << 24);
	io_apic_write(base, IO_APIC_REDIRECTION + 2 * SERIAL_IRQ, VECTOR_CONSOLE);
}

static void enter_x2apic(void)
{
	if (!(x86_cpuid(1, 0).ecx & CPUID_1_ECX_X2APIC))
		panic("this processor has no x2APIC mode");
	x86_wrmsr(MSR_APIC_BASE, x86_rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
	/*
	 * The logical ID follows from the ID (SDM 3A 10.12.10.2). Bochs 2.7 derives it at the next write only: a probe
	 * that writes back what it reads would change it.
	 */
	x86_wrmsr(MSR_APIC_BASE, x86_rdmsr(MSR_APIC_BASE));
}

void apic_init_this_cpu(void)
{
	uint64_t base = x86_rdmsr(MSR_APIC_BASE);

	if (!(base & APIC_BASE_ENABLE))
		x86_wrmsr(MSR_APIC_BASE, base | APIC_BASE_ENABLE);
	if (x2apic)
		enter_x2apic();
	local_write(REGISTER_TPR, 0);
	local_write(REGISTER_LINT0, LVT_MASKED);
	local_write(REGISTER_TIMER, LVT_MASKED);
	local_write(REGISTER_SPURIOUS, SPURIOUS_ENABLE | VECTOR_SPURIOUS);
	/*
	 * LINT1 is the NMI line on a PC, and operating systems enable it on every CPU. A local vector can
	 * be unmasked only while the APIC is enabled by software, which was done just now (SDM 3A 10.4.7.2).
	 */
	local_write(REGISTER_LINT1, LVT_NMI);
}

void apic_leave(void)
{
	io_apic_write(io_apic_base, IO_APIC_REDIRECTION + 2 * SERIAL_IRQ, LVT_MASKED);
	io_apic_write(io_apic_base, IO_APIC_REDIRECTION + 2 * SERIAL_IRQ + 1, 0);
	local_write(REGISTER_TIMER_COUNT, 0);
	/* "Virtual wire" (MultiProcessor Specification 3.6.2.2): the PIC's interrupts come through LINT0. */
	local_write(REGISTER_LINT0, LVT_EXTERNAL);
	x86_out8(PIC_MASK_1, pic_masks[0]);
	x86_out8(PIC_MASK_2, pic_masks[1]);
}

void apic_end_of_interrupt(void)
{
	local_write(REGISTER_EOI, 0);
}

/*
 * The command register is written in two halves. Nothing that runs between the two may write the upper one:
 * interrupts are off, and the NMI handler sends nothing.
 */
void apic_send(uint8_t id, uint32_t command)
{
	if (x2apic) {
		/* No store is ordered before this WRMSR otherwise (SDM 3A 11.12.3). */
		asm volatile("mfence; lfence" : : : "memory");
		x86_wrmsr(MSR_X2APIC(REGISTER_COMMAND_LOW), (uint64_t)id << 32 | command);
		return;
	}
	local_write(REGISTER_COMMAND_HIGH, (uint32_t)id << 24);
	local_write(REGISTER_COMMAND_LOW, command);
	while (local_read(REGISTER_COMMAND_LOW) & DELIVERY_PENDING)
		x86_pause();
}

/*
 * The agent's use of the local APIC. A task priority of 2 keeps the console's interrupt out; the OS' others do not
 * come while a CPU runs a probe, but one that was sent to wake it up may still be pending.
 */
static void begin_probe(void)
{
	asm volatile("sti; nop; cli; mov %0, %%cr8" : : "r"(2ul) : "memory");
	/* The words of the suites that raise events write to the APIC's page: there is none in x2APIC mode. */
	if (!x2apic)
		local_write(REGISTER_COMMAND_HIGH, (uint32_t)apic_id() << 24);
}

static void end_interrupt_of_probe(uint8_t vector)
{
	if (local_read(REGISTER_IN_SERVICE + vector / 32 * 0x10) >> vector % 32 & 1)
		apic_end_of_interrupt();
}

/* An interrupt whose delivery failed, or whose handler did not end it, is still in service, and keeps out others. */
static void end_probe(void)
{
	apic_start_timer(0);
	for (unsigned int i = 0; i < 8; i++)
		for (uint32_t left = local_read(REGISTER_IN_SERVICE + i * 0x10); left;
		     left &= left - 1)
			apic_end_of_interrupt();
}

const struct probe_apic apic_of_probes = {
	.begin = begin_probe,
	.end_of_interrupt = end_interrupt_of_probe,
	.end = end_probe,
};

void apic_start_timer(uint32_t count)
{
	local_write(REGISTER_TIMER_DIVIDE, DIVIDE_BY_ONE);
	local_write(REGISTER_TIMER, count ? VECTOR_TIMER : LVT_MASKED);
	local_write(REGISTER_TIMER_COUNT, count);
}
