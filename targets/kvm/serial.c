// SPDX-License-Identifier: MIT
#include "serial.h"

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "console.h"

#define COM1 0x3f8
#define REGISTERS 8
#define IRQ 4

enum {
	DATA,
	INTERRUPT_ENABLE,
	INTERRUPT_ID,
	LINE_CONTROL,
	MODEM_CONTROL,
	LINE_STATUS,
	MODEM_STATUS,
	SCRATCH
};

#define ENABLE_RECEIVED 0x01
#define DIVISOR_LATCH 0x80
#define ID_NONE 0xc1	 /* FIFOs are enabled, nothing is pending */
#define ID_RECEIVED 0xc4 /* data is there */
#define STATUS_DATA 0x01
#define STATUS_EMPTY 0x60
#define MODEM_READY 0xb0 /* DCD, DSR, CTS */

static uint8_t registers[REGISTERS];
static uint8_t input[4096];
static size_t taken, given; /* of the input, since the start */
static int machine;
static bool raised;

void serial_connect(int to)
{
	machine = to;
}

bool serial_has(uint16_t port)
{
	return port >= COM1 && port < COM1 + REGISTERS;
}

static void update_interrupt(void)
{
	bool wanted = (registers[INTERRUPT_ENABLE] & ENABLE_RECEIVED) && taken != given;
	struct kvm_irq_level level = { .irq = IRQ, .level = wanted };

	if (wanted == raised)
		return;
	raised = wanted;
	ioctl(machine, KVM_IRQ_LINE, &level);
}

static uint8_t read_data(void)
{
	return taken != given ? input[taken++ % sizeof(input)] : 0;
}

static uint8_t read_register(unsigned int index)
{
	bool latch = registers[LINE_CONTROL] & DIVISOR_LATCH;

	switch (index) {
	case DATA:
		return latch ? 0 : read_data();
	case INTERRUPT_ENABLE:
		return latch ? 0 : registers[index];
	case INTERRUPT_ID:
		return raised ? ID_RECEIVED : ID_NONE;
	case LINE_STATUS:
		return STATUS_EMPTY | (taken != given ? STATUS_DATA : 0);
	case MODEM_STATUS:
		return MODEM_READY;
	default:
		return registers[index];
	}
}

static void write_register(unsigned int index, uint8_t value)
{
	bool latch = registers[LINE_CONTROL] & DIVISOR_LATCH;

	if (latch && index <= INTERRUPT_ENABLE)
		return; /* it is as fast as it can be, at any rate */
	if (index != DATA) {
		registers[index] = value;
		return;
	}
	console_write_by_lines(value);
}

void serial_access(uint16_t port, uint8_t *value, bool write)
{
	if (write)
		write_register(port - COM1, *value);
	else
		*value = read_register(port - COM1);
	update_interrupt();
}

size_t serial_give(const uint8_t *bytes, size_t count)
{
	size_t done = 0;

	while (done < count && given - taken < sizeof(input))
		input[given++ % sizeof(input)] = bytes[done++];
	update_interrupt();
	return done;
}
