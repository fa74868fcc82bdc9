// SPDX-License-Identifier: MIT
#include "virtio.h"

#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "../formats/virtio_console.h"
#include "console.h"

#define CONFIG_SIZE 256
#define CAPABILITY 0x40
#define MSIX_TABLE_IN_BAR1 1

#define PORTS 32    /* bytes of BAR 0 */
#define MEMORY 4096 /* bytes of BAR 1 */

#define ENTRIES 128
struct queue {
	uint32_t page;
	uint16_t vector, seen;
};

static uint8_t config[CONFIG_SIZE] = {
	[0x00] = VIRTIO_VENDOR & 0xff,
	[0x01] = VIRTIO_VENDOR >> 8,
	[0x02] = VIRTIO_LEGACY_CONSOLE & 0xff,
	[0x03] = VIRTIO_LEGACY_CONSOLE >> 8,
	[0x06] = 0x10,	   /* status: it has capabilities */
	[0x0b] = 0x07,	   /* class: communication */
	[PCI_BAR0] = 0x01, /* ports */
	[PCI_CAPABILITIES] = CAPABILITY,
	[CAPABILITY] = PCI_CAPABILITY_MSIX, /* the only one, with one vector */
	[CAPABILITY + 4] = MSIX_TABLE_IN_BAR1,
};
static uint32_t config_address;
static uint32_t table[4]; /* the MSI-X vector: address, its upper half, data, masked */
static struct queue queues[VIRTIO_QUEUES];
static uint16_t selected;
static uint8_t status;
static int machine;
static uint8_t *memory;
static uint64_t memory_size;

void virtio_connect(int to, uint8_t *its_memory, uint64_t size)
{
	machine = to;
	memory = its_memory;
	memory_size = size;
}

bool virtio_is_set_up(void)
{
	return status & VIRTIO_STATUS_DRIVER_OK;
}

static uint32_t config_word(unsigned int at)
{
	uint32_t value;

	memcpy(&value, config + at, sizeof(value));
	return value;
}

static uint32_t ports_at(void)
{
	return config_word(PCI_BAR0) & ~3u;
}

/* The guest's memory, or nothing where it has none. */
static void *at(uint64_t address, uint64_t size)
{
	return address <= memory_size && size <= memory_size - address ? memory + address : NULL;
}

static uint8_t *queue_at(const struct queue *queue)
{
	return queue->page ? at((uint64_t)queue->page * VIRTIO_PAGE, VIRTIO_QUEUE_BYTES(ENTRIES))
			   : NULL;
}

static struct virtio_available *available_of(uint8_t *start)
{
	return (struct virtio_available *)(start + VIRTIO_AVAILABLE_AT(ENTRIES));
}

/* The next buffer that the driver offers; NULL if there is none. */
static struct virtio_descriptor *next_buffer(struct queue *queue, uint8_t *start, uint16_t *id)
{
	struct virtio_available *available = available_of(start);

	if (__atomic_load_n(&available->index, __ATOMIC_SEQ_CST) == queue->seen)
		return NULL;
	*id = available->ring[queue->seen % ENTRIES] % ENTRIES;
	return (struct virtio_descriptor *)start + *id;
}

static void give_back(struct queue *queue, uint8_t *start, uint16_t id, uint32_t length)
{
	struct virtio_used *used = (struct virtio_used *)(start + VIRTIO_USED_AT(ENTRIES));
	struct kvm_msi message = {
		.address_lo = table[0],
		.address_hi = table[1],
		.data = table[2],
	};

	used->ring[used->index % ENTRIES].id = id;
	used->ring[used->index % ENTRIES].length = length;
	__atomic_store_n(&used->index, used->index + 1, __ATOMIC_SEQ_CST);
	queue->seen++;
	if (!(__atomic_load_n(&available_of(start)->flags, __ATOMIC_SEQ_CST) &
	      VIRTIO_NO_INTERRUPT) &&
	    queue->vector != VIRTIO_NO_VECTOR && !(table[3] & 1))
		ioctl(machine, KVM_SIGNAL_MSI, &message);
}

static void transmit(void)
{
	struct queue *queue = &queues[VIRTIO_TRANSMIT];
	uint8_t *start = queue_at(queue);
	struct virtio_descriptor *buffer;
	uint16_t id;

	while (start && (buffer = next_buffer(queue, start, &id))) {
		const void *bytes = at(buffer->address, buffer->length);

		if (bytes)
			console_write(bytes, buffer->length);
		give_back(queue, start, id, 0);
	}
}

size_t virtio_give(const uint8_t *bytes, size_t count)
{
	struct queue *queue = &queues[VIRTIO_RECEIVE];
	uint8_t *start = queue_at(queue);
	struct virtio_descriptor *buffer;
	size_t done = 0;
	uint16_t id;

	while (start && done < count && (buffer = next_buffer(queue, start, &id))) {
		uint32_t part = count - done < buffer->length ? (uint32_t)(count - done)
							      : buffer->length;
		void *to = at(buffer->address, part);

		if (to)
			memcpy(to, bytes + done, part);
		done += part;
		give_back(queue, start, id, part);
	}
	return done;
}

static uint32_t read_register(unsigned int offset)
{
	struct queue *queue = selected < VIRTIO_QUEUES ? &queues[selected] : NULL;

	switch (offset) {
	case VIRTIO_QUEUE_PAGE:
		return queue ? queue->page : 0;
	case VIRTIO_QUEUE_SIZE:
		return queue ? ENTRIES : 0;
	case VIRTIO_QUEUE_SELECT:
		return selected;
	case VIRTIO_STATUS:
		return status;
	case VIRTIO_QUEUE_VECTOR:
		return queue ? queue->vector : VIRTIO_NO_VECTOR;
	default:
		return 0;
	}
}

static void write_register(unsigned int offset, uint32_t value)
{
	struct queue *queue = selected < VIRTIO_QUEUES ? &queues[selected] : NULL;

	if (offset == VIRTIO_QUEUE_PAGE && queue)
		*queue = (struct queue){ .page = value, .vector = VIRTIO_NO_VECTOR };
	else if (offset == VIRTIO_QUEUE_SELECT)
		selected = (uint16_t)value;
	else if (offset == VIRTIO_QUEUE_VECTOR && queue)
		queue->vector = value ? VIRTIO_NO_VECTOR : 0; /* there is one vector */
	else if (offset == VIRTIO_STATUS)
		status = (uint8_t)value;
	else if (offset == VIRTIO_QUEUE_NOTIFY && value == VIRTIO_TRANSMIT)
		transmit();
}

static void access_config(unsigned int offset, uint8_t *data, unsigned int size, bool write)
{
	bool ours = (config_address & ~0xffu) == PCI_ENABLE && offset + size <= CONFIG_SIZE;

	if (!write) {
		memset(data, 0xff, size);
		if (ours)
			memcpy(data, config + offset, size);
		return;
	}
	if (!ours || size != 4)
		return;

	uint32_t value;

	memcpy(&value, data, size);
	if (offset == PCI_BAR0)
		value = (value & ~(PORTS - 1u)) | 1;
	else if (offset == PCI_BAR1)
		value &= ~(MEMORY - 1u);
	else if (offset == CAPABILITY)
		value = (config_word(CAPABILITY) & 0xffff) | (value & 0xc0000000u);
	else if (offset != PCI_COMMAND)
		return;
	memcpy(config + offset, &value, size);
}

bool virtio_has_port(uint16_t port)
{
	return (port >= PCI_ADDRESS && port < PCI_DATA + 4) ||
	       (ports_at() && port >= ports_at() && port < ports_at() + PORTS);
}

void virtio_access_port(uint16_t port, uint8_t *data, unsigned int size, bool write)
{
	uint32_t value = 0;

	if (port >= PCI_DATA && port < PCI_DATA + 4) {
		access_config((config_address & 0xfc) + port - PCI_DATA, data, size, write);
		return;
	}
	if (write) {
		memcpy(&value, data, size);
		if (port == PCI_ADDRESS && size == 4)
			config_address = value;
		else if (port >= PCI_DATA + 4)
			write_register(port - ports_at(), value);
		return;
	}
	value = port == PCI_ADDRESS ? config_address
		: port < PCI_DATA   ? 0xffffffff
				    : read_register(port - ports_at());
	memcpy(data, &value, size);
}

bool virtio_has_memory(uint64_t address)
{
	uint32_t start = config_word(PCI_BAR1);

	return start && address >= start && address < (uint64_t)start + MEMORY;
}

void virtio_access_memory(uint64_t address, uint8_t *data, unsigned int size, bool write)
{
	uint64_t offset = address - config_word(PCI_BAR1);

	if (offset + size > sizeof(table)) {
		if (!write)
			memset(data, 0, size);
	} else if (write) {
		memcpy((uint8_t *)table + offset, data, size);
	} else {
		memcpy(data, (uint8_t *)table + offset, size);
	}
}
