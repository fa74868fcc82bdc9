// SPDX-License-Identifier: MIT
#include "serial.h"

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

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

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t room = PTHREAD_COND_INITIALIZER;
static uint8_t registers[REGISTERS];
static uint8_t input[4096], output[4096];
static size_t taken, given; /* of the input, since the start */
static size_t written;
static int machine = -1;
static bool raised;

bool serial_has(uint16_t port)
{
	return port >= COM1 && port < COM1 + REGISTERS;
}

static void write_out(void)
{
	for (size_t done = 0; done < written;) {
		ssize_t count = write(STDOUT_FILENO, output + done, written - done);

		if (count < 0 && errno != EINTR)
			_exit(1); /* nobody listens any more */
		done += count > 0 ? (size_t)count : 0;
	}
	written = 0;
}

static void update_interrupt(void)
{
	bool wanted = (registers[INTERRUPT_ENABLE] & ENABLE_RECEIVED) && taken != given;
	struct kvm_irq_level level = { .irq = IRQ, .level = wanted };

	if (wanted == raised || machine < 0)
		return;
	raised = wanted;
	ioctl(machine, KVM_IRQ_LINE, &level);
}

static uint8_t read_data(void)
{
	uint8_t byte = 0;

	if (taken != given)
		byte = input[taken++ % sizeof(input)];
	pthread_cond_signal(&room);
	return byte;
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
	output[written++] = value;
	if (value == '\n' || written == sizeof(output))
		write_out();
}

void serial_access(uint16_t port, uint8_t *value, bool write)
{
	pthread_mutex_lock(&lock);
	if (write)
		write_register(port - COM1, *value);
	else
		*value = read_register(port - COM1);
	update_interrupt();
	pthread_mutex_unlock(&lock);
}

void serial_flush(void)
{
	pthread_mutex_lock(&lock);
	write_out();
	pthread_mutex_unlock(&lock);
}

void serial_serve(int of_machine)
{
	uint8_t bytes[512];
	ssize_t count;

	pthread_mutex_lock(&lock);
	machine = of_machine;
	pthread_mutex_unlock(&lock);
	while ((count = read(STDIN_FILENO, bytes, sizeof(bytes))) > 0 ||
	       (count < 0 && errno == EINTR)) {
		pthread_mutex_lock(&lock);
		for (ssize_t i = 0; i < count; i++) {
			while (given - taken == sizeof(input))
				pthread_cond_wait(&room, &lock);
			input[given++ % sizeof(input)] = bytes[i];
		}
		update_interrupt();
		pthread_mutex_unlock(&lock);
	}
	exit(0);
}
