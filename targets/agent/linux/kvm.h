/* SPDX-License-Identifier: MIT */
/* Whether Linux' own hypervisor can be used now: found out by using it. */
#ifndef AGENT_LINUX_KVM_H
#define AGENT_LINUX_KVM_H

#include <stddef.h>

/*
 * Insert KVM unless it is there, open it, create a virtual machine, run a few instructions in it on each CPU,
 * and leave everything as it was. What came of each step is in `text`: see PROTOCOL.md. Returns 0, or a
 * negative errno and the reason if nothing could be tried.
 */
int kvm_try(char *text, size_t size);

#endif
