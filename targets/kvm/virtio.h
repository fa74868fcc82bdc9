/* SPDX-License-Identifier: MIT */
/*
 * A legacy virtio console on PCI with one port (Virtual I/O Device 1.0, 2.2.3, 4.1.4.8, 5.3), whose received bytes
 * raise an MSI-X interrupt. A line of the guest's is one access to a port here, where COM1 takes one for each byte. All
 * functions with the console's lock.
 */
#ifndef KVM_VIRTIO_H
#define KVM_VIRTIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* It uses this machine's memory, and its interrupts go there. */
void virtio_connect(int machine, uint8_t *memory, uint64_t memory_size);

bool virtio_has_port(uint16_t port);
void virtio_access_port(uint16_t port, uint8_t *data, unsigned int size, bool write);

bool virtio_has_memory(uint64_t address);
void virtio_access_memory(uint64_t address, uint8_t *data, unsigned int size, bool write);

/* Whether the guest's driver uses it. */
bool virtio_is_set_up(void);

/* Give the guest bytes that have come for it. Returns how many fit into its buffers. */
size_t virtio_give(const uint8_t *bytes, size_t count);

#endif
