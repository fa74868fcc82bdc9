// SPDX-License-Identifier: MIT
/*
 * touchstone-kvm IMAGE CPUS MEMORY_MIB: runs a Multiboot image as a guest of this Linux' KVM.
 *
 * Its console (COM1, and a virtio console once that is set up) is standard input and output; the end of the input ends the guest. Status 3 means that the guest ended by
 * itself, and the last line on standard error says how; 1, that it could not be started.
 */
#include <stdio.h>
#include <stdlib.h>

#include "console.h"
#include "guest.h"

#define MEMORY_MOST_MIB 3072

static struct guest guest;

static unsigned long number(const char *text, const char *what, unsigned long most)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || value < 1 || value > most) {
		fprintf(stderr, "cannot use %s as %s: it is a number from 1 to %lu\n", text, what,
			most);
		exit(1);
	}
	return value;
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: touchstone-kvm IMAGE CPUS MEMORY_MIB\n");
		return 1;
	}
	guest_create(&guest, (unsigned int)number(argv[2], "CPUS", GUEST_MAX_CPUS),
		     number(argv[3], "MEMORY_MIB", MEMORY_MOST_MIB) << 20);
	guest_load(&guest, argv[1]);
	guest_start(&guest);
	console_serve();
}
