// SPDX-License-Identifier: MIT
#include "vcpus.h"

struct vcpu **vcpus;
unsigned int vcpu_count;

struct vcpu *vcpu_of_stack(u64 address)
{
	for (unsigned int cpu = 0; cpu < vcpu_count; cpu++) {
		if (address >= stack_bottom(vcpus[cpu]) && address <= (u64)vcpus[cpu])
			return vcpus[cpu];
	}
	return NULL;
}
