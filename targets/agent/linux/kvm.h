/* SPDX-License-Identifier: MIT */
/* Tries whether KVM can be used. */
#ifndef AGENT_LINUX_KVM_H
#define AGENT_LINUX_KVM_H

#include <stddef.h>

/*
 * Insert KVM unless it is loaded, open it, create a virtual machine, run a few instructions in it on each CPU,
 * and undo all of it. `text` gets the result of each step (PROTOCOL.md, `kvm`). Returns 0, or a negative errno
 * if nothing could be tried.
 */
int kvm_try(char *text, size_t size);

#endif
