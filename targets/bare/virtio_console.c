/* SPDX-License-Identifier: MIT */
/*
 * Driver of a legacy virtio console (Virtual I/O Device 1.0, 2.2.3, 4.1.4.8, 5.3), port 0 only. It is faster
 * than COM1: one port access per line instead of one per byte, each of which is a system call of
 * the emulator.
 *
 * The driver polls, so that it works with interrupts off and on any CPU, and carries a panic's report, too. The
 * caller sends to COM1 what the device does not take in time.
 */
#include "virtio_console.h"

#include "apic.h"
#include "x86.h"

#define PCI_ADDRESS 0xcf8
#define PCI_DATA 0xcfc
#define PCI_ENABLE 0x80000000u
#define PCI_DEVICES 32
#define PCI_ID 0x00
#define PCI_COMMAND 0x04
#define PCI_BAR0 0x10
#define PCI_BAR1 0x14
#define PCI_CAPABILITIES 0x34
#define PCI_CAPABILITY_MSIX 0x11
#define MSIX_ENABLE (1u << 31)

#define CONSOLE_ID 0x10031af4u

/* Addresses for the BARs when the firmware has not assigned any (qboot); they are free on QEMU's PCs. */
#define FREE_PORTS 0xc000u
#define FREE_MEMORY 0xfebf0000u

/* Registers of the legacy interface, with MSI-X enabled (4.1.4.8). */
#define GUEST_FEATURES 4
#define QUEUE_PAGE 8
#define QUEUE_SIZE 12
#define QUEUE_SELECT 14
#define QUEUE_NOTIFY 16
#define STATUS 18
#define QUEUE_VECTOR 22

#define STATUS_DRIVER 3 /* ACKNOWLEDGE and DRIVER */
#define STATUS_DRIVER_OK 4
#define NO_VECTOR 0xffff

#define RECEIVE 0
#define TRANSMIT 1

#define PAGE 4096
#define QUEUE_SIZE_MAX 1024 /* QEMU 10; 128 in QEMU 7. A legacy driver cannot choose the size. */
#define BUFFERS 8
#define BUFFER_SIZE 1024
#define WRITABLE 2     /* VIRTQ_DESC_F_WRITE */
#define NO_INTERRUPT 1 /* VIRTQ_AVAIL_F_NO_INTERRUPT */

/* How often to look for the device's answer. QEMU answers during our access to QUEUE_NOTIFY or soon after. */
#define ANSWER_POLLS 100000000

struct descriptor {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
};

struct available {
	uint16_t flags, index, ring[];
};

struct used {
	uint16_t flags, index;
	struct {
		uint32_t id, length;
	} ring[];
};

struct queue {
	uint16_t size;
	uint16_t seen; /* used buffers that were read completely */
	struct descriptor *descriptors;
	struct available *available;
	struct used *used;
};

/* Descriptors and the available ring, then the used ring, which begins a page (2.6.2). */
#define USED_AT(size) ((18 * (size) + 6 + PAGE - 1) & ~(PAGE - 1))
#define QUEUE_BYTES (USED_AT(QUEUE_SIZE_MAX) + 8 * QUEUE_SIZE_MAX + 6)

static uint8_t pages[2][(QUEUE_BYTES + PAGE - 1) & ~(PAGE - 1)] __attribute__((aligned(PAGE)));
static char received[BUFFERS][BUFFER_SIZE], sent[BUFFER_SIZE];
static struct queue queues[2];
static uint16_t ports;
static size_t taken; /* bytes read of the used buffer that is not read completely */

static uint32_t pci_read(uint32_t device, uint32_t offset)
{
	x86_out32(PCI_ADDRESS, PCI_ENABLE | device << 11 | offset);
	return x86_in32(PCI_DATA);
}

static void pci_write(uint32_t device, uint32_t offset, uint32_t value)
{
	x86_out32(PCI_ADDRESS, PCI_ENABLE | device << 11 | offset);
	x86_out32(PCI_DATA, value);
}

/* Route the interrupt of the receive queue to this CPU by MSI-X. Returns false without MSI-X. */
static bool route_interrupt(uint32_t device)
{
	uint32_t at = pci_read(device, PCI_CAPABILITIES) & 0xfc;

	while (at && (pci_read(device, at) & 0xff) != PCI_CAPABILITY_MSIX)
		at = pci_read(device, at) >> 8 & 0xfc;
	/* The table is at the start of BAR 1 in every QEMU. */
	if (!at || pci_read(device, at + 4) != 1)
		return false;
	if (!(pci_read(device, PCI_BAR1) & ~0xfu))
		pci_write(device, PCI_BAR1, FREE_MEMORY);
	pci_write(device, PCI_COMMAND, 0x7); /* ports, memory, bus master */

	volatile uint32_t *entry = (uint32_t *)(uint64_t)(pci_read(device, PCI_BAR1) & ~0xfu);

	entry[0] = 0xfee00000u | (uint32_t)apic_id() << 12;
	entry[1] = 0;
	entry[2] = VECTOR_CONSOLE;
	entry[3] = 0;
	pci_write(device, at, pci_read(device, at) | MSIX_ENABLE);
	return true;
}

static bool set_up_queue(uint16_t number, uint16_t vector)
{
	struct queue *queue = &queues[number];
	uint8_t *start = pages[number];

	x86_out16(ports + QUEUE_SELECT, number);
	queue->size = x86_in16(ports + QUEUE_SIZE);
	if (queue->size < BUFFERS || queue->size > QUEUE_SIZE_MAX)
		return false;
	queue->descriptors = (struct descriptor *)start;
	queue->available = (struct available *)(start + 16u * queue->size);
	queue->used = (struct used *)(start + USED_AT(queue->size));
	x86_out32(ports + QUEUE_PAGE, (uint32_t)((uint64_t)start / PAGE));
	x86_out16(ports + QUEUE_VECTOR, vector);
	return x86_in16(ports + QUEUE_VECTOR) == vector;
}

static void offer(struct queue *queue, uint16_t descriptor)
{
	queue->available->ring[queue->available->index % queue->size] = descriptor;
	__atomic_store_n(&queue->available->index, queue->available->index + 1, __ATOMIC_SEQ_CST);
}

static bool set_up(uint32_t device)
{
	if (!(pci_read(device, PCI_BAR0) & ~3u))
		pci_write(device, PCI_BAR0, FREE_PORTS);
	if (!route_interrupt(device))
		return false;
	ports = (uint16_t)(pci_read(device, PCI_BAR0) & ~3u);
	x86_out8(ports + STATUS, 0);
	x86_out8(ports + STATUS, STATUS_DRIVER);
	x86_out32(ports + GUEST_FEATURES, 0);
	if (!set_up_queue(RECEIVE, 0) || !set_up_queue(TRANSMIT, NO_VECTOR))
		return false;
	for (uint16_t i = 0; i < BUFFERS; i++) {
		queues[RECEIVE].descriptors[i] = (struct descriptor){
			.address = (uint64_t)received[i],
			.length = BUFFER_SIZE,
			.flags = WRITABLE,
		};
		offer(&queues[RECEIVE], i);
	}
	queues[RECEIVE].available->flags = NO_INTERRUPT;
	x86_out8(ports + STATUS, STATUS_DRIVER | STATUS_DRIVER_OK);
	x86_out16(ports + QUEUE_NOTIFY, RECEIVE);
	return true;
}

bool virtio_console_init(void)
{
	for (uint32_t device = 0; device < PCI_DEVICES; device++)
		if (pci_read(device, PCI_ID) == CONSOLE_ID)
			return set_up(device);
	return false;
}

size_t virtio_console_write(const char *text, size_t length)
{
	struct queue *queue = &queues[TRANSMIT];
	size_t done = 0;

	while (done < length) {
		size_t part = length - done < sizeof(sent) ? length - done : sizeof(sent);
		int i = 0;

		__builtin_memcpy(sent, text + done, part);
		queue->descriptors[0] = (struct descriptor){
			.address = (uint64_t)sent,
			.length = (uint32_t)part,
		};
		offer(queue, 0);
		x86_out16(ports + QUEUE_NOTIFY, TRANSMIT);
		while (__atomic_load_n(&queue->used->index, __ATOMIC_SEQ_CST) !=
		       queue->available->index)
			if (i++ == ANSWER_POLLS)
				return done;
		done += part;
	}
	return done;
}

bool virtio_console_read(char *byte)
{
	struct queue *queue = &queues[RECEIVE];
	uint16_t at = queue->seen % queue->size;

	if (__atomic_load_n(&queue->used->index, __ATOMIC_ACQUIRE) == queue->seen)
		return false;

	uint16_t buffer = (uint16_t)queue->used->ring[at].id;

	*byte = received[buffer % BUFFERS][taken++];
	if (taken < queue->used->ring[at].length)
		return true;
	taken = 0;
	queue->seen++;

	uint16_t before = queue->available->index;

	offer(queue, buffer);
	/* A device that had no buffer left has to be notified of the new one. */
	if (__atomic_load_n(&queue->used->index, __ATOMIC_SEQ_CST) == before)
		x86_out16(ports + QUEUE_NOTIFY, RECEIVE);
	return true;
}

bool virtio_console_set_interrupt(bool wanted)
{
	struct queue *queue = &queues[RECEIVE];

	__atomic_store_n(&queue->available->flags, wanted ? 0 : NO_INTERRUPT, __ATOMIC_SEQ_CST);
	return __atomic_load_n(&queue->used->index, __ATOMIC_SEQ_CST) == queue->seen;
}
