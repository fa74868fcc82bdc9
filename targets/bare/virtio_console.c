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

#include "../formats/virtio_console.h"
#include "apic.h"
#include "x86.h"

#define PCI_DEVICES 32
#define PCI_ID 0x00
#define MSIX_ENABLE (1u << 31)

#define CONSOLE_ID ((uint32_t)VIRTIO_LEGACY_CONSOLE << 16 | VIRTIO_VENDOR)

/* Addresses for the BARs when the firmware has not assigned any (qboot); they are free on QEMU's PCs. */
#define FREE_PORTS 0xc000u
#define FREE_MEMORY 0xfebf0000u

#define QUEUE_SIZE_MAX 1024 /* QEMU 10; 128 in QEMU 7. A legacy driver cannot choose the size. */
#define BUFFERS 8
#define BUFFER_SIZE 1024

/* How often to look for the device's answer. QEMU answers during our access to QUEUE_NOTIFY or soon after. */
#define ANSWER_POLLS 100000000

struct queue {
	uint16_t size;
	uint16_t seen; /* used buffers that were read completely */
	struct virtio_descriptor *descriptors;
	struct virtio_available *available;
	struct virtio_used *used;
};

static uint8_t pages[VIRTIO_QUEUES][(VIRTIO_QUEUE_BYTES(QUEUE_SIZE_MAX) + VIRTIO_PAGE - 1) &
				    ~(VIRTIO_PAGE - 1u)] __attribute__((aligned(VIRTIO_PAGE)));
static char received[BUFFERS][BUFFER_SIZE], sent[BUFFER_SIZE];
static struct queue queues[VIRTIO_QUEUES];
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

	/* The ID by CPUID: the local APIC itself is asked in another way in each mode, and is in none of ours yet. */
	entry[0] = 0xfee00000u | x86_cpuid(1, 0).ebx >> 24 << 12;
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

	x86_out16(ports + VIRTIO_QUEUE_SELECT, number);
	queue->size = x86_in16(ports + VIRTIO_QUEUE_SIZE);
	if (queue->size < BUFFERS || queue->size > QUEUE_SIZE_MAX)
		return false;
	queue->descriptors = (struct virtio_descriptor *)start;
	queue->available = (struct virtio_available *)(start + VIRTIO_AVAILABLE_AT(queue->size));
	queue->used = (struct virtio_used *)(start + VIRTIO_USED_AT(queue->size));
	x86_out32(ports + VIRTIO_QUEUE_PAGE, (uint32_t)((uint64_t)start / VIRTIO_PAGE));
	x86_out16(ports + VIRTIO_QUEUE_VECTOR, vector);
	return x86_in16(ports + VIRTIO_QUEUE_VECTOR) == vector;
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
	x86_out8(ports + VIRTIO_STATUS, 0);
	x86_out8(ports + VIRTIO_STATUS, VIRTIO_STATUS_DRIVER);
	x86_out32(ports + VIRTIO_GUEST_FEATURES, 0);
	if (!set_up_queue(VIRTIO_RECEIVE, 0) || !set_up_queue(VIRTIO_TRANSMIT, VIRTIO_NO_VECTOR))
		return false;
	for (uint16_t i = 0; i < BUFFERS; i++) {
		queues[VIRTIO_RECEIVE].descriptors[i] = (struct virtio_descriptor){
			.address = (uint64_t)received[i],
			.length = BUFFER_SIZE,
			.flags = VIRTIO_WRITABLE,
		};
		offer(&queues[VIRTIO_RECEIVE], i);
	}
	queues[VIRTIO_RECEIVE].available->flags = VIRTIO_NO_INTERRUPT;
	x86_out8(ports + VIRTIO_STATUS, VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_DRIVER_OK);
	x86_out16(ports + VIRTIO_QUEUE_NOTIFY, VIRTIO_RECEIVE);
	return true;
}

bool virtio_console_init(void)
{
	for (uint32_t device = 0; device < PCI_DEVICES; device++)
		if (pci_read(device, PCI_ID) == CONSOLE_ID)
			return set_up(device);
	return false;
}

void virtio_console_leave(void)
{
	x86_out8(ports + VIRTIO_STATUS, 0);
}

size_t virtio_console_write(const char *text, size_t length)
{
	struct queue *queue = &queues[VIRTIO_TRANSMIT];
	size_t done = 0;

	while (done < length) {
		size_t part = length - done < sizeof(sent) ? length - done : sizeof(sent);
		int i = 0;

		__builtin_memcpy(sent, text + done, part);
		queue->descriptors[0] = (struct virtio_descriptor){
			.address = (uint64_t)sent,
			.length = (uint32_t)part,
		};
		offer(queue, 0);
		x86_out16(ports + VIRTIO_QUEUE_NOTIFY, VIRTIO_TRANSMIT);
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
	struct queue *queue = &queues[VIRTIO_RECEIVE];
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
		x86_out16(ports + VIRTIO_QUEUE_NOTIFY, VIRTIO_RECEIVE);
	return true;
}

bool virtio_console_set_interrupt(bool wanted)
{
	struct queue *queue = &queues[VIRTIO_RECEIVE];

	__atomic_store_n(&queue->available->flags, wanted ? 0 : VIRTIO_NO_INTERRUPT,
			 __ATOMIC_SEQ_CST);
	return __atomic_load_n(&queue->used->index, __ATOMIC_SEQ_CST) == queue->seen;
}
