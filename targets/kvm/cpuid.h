/* SPDX-License-Identifier: MIT */
/* The CPUID that the guest sees: all that KVM supports on this processor, but no virtualization of its own. */
#ifndef KVM_CPUID_H
#define KVM_CPUID_H

/* Set the CPUID of a CPU, which has this index of so many. Ends the process if KVM refuses. */
void cpuid_set(int kvm, int cpu, unsigned int index, unsigned int cpus);

#endif
