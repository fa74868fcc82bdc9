/* SPDX-License-Identifier: MIT */
/*
 * Layout of a legacy virtio console on PCI (Virtual I/O Device 1.0, 2.2.3, 2.4, 4.1.4.8, 5.3): the bare OS drives it,
 * and the guest program of KVM is such a device.
 */
#ifndef FORMATS_VIRTIO_CONSOLE_H
#define FORMATS_VIRTIO_CONSOLE_H

#include <stdint.h>

#define PCI_ADDRESS 0xcf8
#define PCI_DATA 0xcfc
#define PCI_ENABLE 0x80000000u
#define PCI_COMMAND 0x04
#define PCI_BAR0 0x10
#define PCI_BAR1 0x14
#define PCI_CAPABILITIES 0x34
#define PCI_CAPABILITY_MSIX 0x11

#define VIRTIO_VENDOR 0x1af4
#define VIRTIO_LEGACY_CONSOLE 0x1003

/* Registers of the legacy interface, with MSI-X enabled (4.1.4.8). */
#define VIRTIO_GUEST_FEATURES 4
#define VIRTIO_QUEUE_PAGE 8
#define VIRTIO_QUEUE_SIZE 12
#define VIRTIO_QUEUE_SELECT 14
#define VIRTIO_QUEUE_NOTIFY 16
#define VIRTIO_STATUS 18
#define VIRTIO_QUEUE_VECTOR 22

#define VIRTIO_STATUS_DRIVER 3 /* ACKNOWLEDGE and DRIVER */
#define VIRTIO_STATUS_DRIVER_OK 4
#define VIRTIO_NO_VECTOR 0xffff

/* The queues of port 0 (5.3.2). */
enum {
	VIRTIO_RECEIVE,
	VIRTIO_TRANSMIT,
	VIRTIO_QUEUES
};

#define VIRTIO_PAGE 4096
#define VIRTIO_WRITABLE 2     /* VIRTQ_DESC_F_WRITE */
#define VIRTIO_NO_INTERRUPT 1 /* VIRTQ_AVAIL_F_NO_INTERRUPT */

struct virtio_descriptor {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
};

struct virtio_available {
	uint16_t flags, index, ring[];
};

struct virtio_used {
	uint16_t flags, index;
	struct {
		uint32_t id, length;
	} ring[];
};

/* In a queue of so many entries: descriptors, the available ring, and the used ring, which begins a page (2.4.2). */
#define VIRTIO_AVAILABLE_AT(entries) (16u * (entries))
#define VIRTIO_USED_AT(entries) ((18u * (entries) + 6 + VIRTIO_PAGE - 1) & ~(VIRTIO_PAGE - 1u))
#define VIRTIO_QUEUE_BYTES(entries) (VIRTIO_USED_AT(entries) + 8u * (entries) + 6)

#endif
