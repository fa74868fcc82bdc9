// SPDX-License-Identifier: MIT
/* CPUs that wait for each other under Linux and UEFI, where nothing could wake one that sleeps with interrupts off. */
#include "core/host.h"
#include "core/x86.h"

void host_meet(unsigned int *arrived, unsigned int expected)
{
	__atomic_add_fetch(arrived, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(arrived, __ATOMIC_ACQUIRE) < expected)
		pause();
}
