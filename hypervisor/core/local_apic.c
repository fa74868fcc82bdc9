// SPDX-License-Identifier: MIT
/*
 * An INIT that exits does not reset the local APIC (SDM 3C 26.2). This does, for all that software can write (SDM 3A
 * 11.4.7.3): not for interrupts that have been requested and not yet accepted.
 */
#include "local_apic.h"

#include "memory.h"
#include "safe_instructions.h"
#include "x86.h"

/* Registers by their number in x2APIC mode (SDM 3A table 11-6); 16 bytes apart in memory otherwise. */
#define TASK_PRIORITY 0x08
#define END_OF_INTERRUPT 0x0b
#define LOGICAL_DESTINATION 0x0d
#define DESTINATION_FORMAT 0x0e
#define SPURIOUS_INTERRUPT 0x0f
#define IN_SERVICE_FIRST 0x10
#define IN_SERVICE_LAST 0x17
#define ERROR_STATUS 0x28
#define TIMER 0x32
#define LVT_ERROR 0x37
#define TIMER_INITIAL_COUNT 0x38
#define TIMER_DIVIDE 0x3e
#define MASKED (1u << 16)
#define SPURIOUS_INTERRUPT_RESET 0xffu
#define VECTORS 256

static u32 read_register(u64 base, unsigned int number)
{
	if (base & APIC_BASE_X2APIC)
		return read_msr(MSR_X2APIC(number));
	return *(volatile u32 *)physical_to_host((base & APIC_BASE_ADDRESS) + 16 * number);
}

static void write_register(u64 base, unsigned int number, u32 value)
{
	if (base & APIC_BASE_X2APIC)
		/* #GP for an entry of the vector table that this processor does not have. */
		write_msr_safe(MSR_X2APIC(number), value);
	else
		*(volatile u32 *)physical_to_host((base & APIC_BASE_ADDRESS) + 16 * number) = value;
}

static bool is_in_service(u64 base)
{
	for (unsigned int number = IN_SERVICE_FIRST; number <= IN_SERVICE_LAST; number++) {
		if (read_register(base, number))
			return true;
	}
	return false;
}

void disable_local_apic(void)
{
	u64 base = read_msr(MSR_APIC_BASE);

	if (base & APIC_BASE_ENABLED)
		write_register(base, SPURIOUS_INTERRUPT, SPURIOUS_INTERRUPT_RESET);
}

void reset_local_apic(void)
{
	u64 base = read_msr(MSR_APIC_BASE);

	if (!(base & APIC_BASE_ENABLED))
		return;
	for (unsigned int i = 0; i < VECTORS && is_in_service(base); i++)
		write_register(base, END_OF_INTERRUPT, 0);
	write_register(base, TIMER_INITIAL_COUNT, 0);
	write_register(base, TIMER_DIVIDE, 0);
	for (unsigned int number = TIMER; number <= LVT_ERROR; number++)
		write_register(base, number, MASKED);
	write_register(base, TASK_PRIORITY, 0);
	write_register(base, ERROR_STATUS, 0);
	/* In x2APIC mode the one is read-only, and the other does not exist. */
	if (!(base & APIC_BASE_X2APIC)) {
		write_register(base, LOGICAL_DESTINATION, 0);
		write_register(base, DESTINATION_FORMAT, ~0u);
	}
	write_register(base, SPURIOUS_INTERRUPT, SPURIOUS_INTERRUPT_RESET);
}

u32 this_apic_id(void)
{
	u32 a, b, c, d;

	cpuid(0, 0, &a, &b, &c, &d);
	if (a >= 0xb) {
		cpuid(0xb, 0, &a, &b, &c, &d);
		if (b)
			return d;
	}
	cpuid(1, 0, &a, &b, &c, &d);
	return b >> 24;
}
