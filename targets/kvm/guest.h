/* SPDX-License-Identifier: MIT */
/* A virtual machine of KVM with the memory, the CPUs and the interrupt controllers of a PC. */
#ifndef KVM_GUEST_H
#define KVM_GUEST_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* As many as xAPIC has identifiers for (SDM 3A 11.4.6). */
#define GUEST_MAX_CPUS 255

struct guest_cpu {
	unsigned int index;
	int file;
	struct kvm_run *run;
	pthread_t thread;
	volatile bool report; /* it is to say where it is */
};

struct guest {
	int kvm, machine;
	uint8_t *memory;
	uint64_t memory_size;
	unsigned int cpus;
	struct guest_cpu cpu[GUEST_MAX_CPUS];
};

/* Make a machine, without code. Ends the process with a message if KVM refuses. */
void guest_create(struct guest *guest, unsigned int cpus, uint64_t memory_size);

/* Load a Multiboot image of 32-bit ELF, and have the first CPU start in it. */
void guest_load(struct guest *guest, const char *path);

/* Run the CPUs, each in a thread. On SIGUSR1, each of them says on standard error where it is, and goes on. */
void guest_start(struct guest *guest);

/* End the process before the guest runs: what could not be done, and errno's text. */
__attribute__((noreturn)) void cannot(const char *what);

#endif
