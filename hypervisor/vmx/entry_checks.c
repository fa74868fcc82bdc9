// SPDX-License-Identifier: MIT
#include "vmx.h"
void vmx_find_broken_rules(const struct vcpu *vcpu, char *buffer, size_t size)
{
	(void)vcpu;
	(void)size;
	buffer[0] = 0;
}
