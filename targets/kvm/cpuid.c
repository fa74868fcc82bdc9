// SPDX-License-Identifier: MIT
#include "cpuid.h"

#include <cpuid.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "guest.h"

#define ENTRIES_MOST 256

#define HYPERVISOR (1u << 31) /* leaf 1, ECX */
#define VMX (1u << 5)	      /* leaf 1, ECX */
#define HTT (1u << 28)	      /* leaf 1, EDX */
#define SVM (1u << 2)	      /* leaf 80000001h, ECX */

/*
 * The APIC's id and the count of CPUs are the machine's, and so are the frequencies of the TSC, which is not scaled here, and of
 * the processor: KVM leaves them to whoever makes it.
 */
static void place(struct kvm_cpuid_entry2 *entry, unsigned int index, unsigned int cpus)
{
	switch (entry->function) {
	case 1:
		entry->ebx = (entry->ebx & 0xffff) | cpus << 16 | index << 24;
		entry->ecx = (entry->ecx & ~VMX) | HYPERVISOR;
		entry->edx = cpus > 1 ? entry->edx | HTT : entry->edx & ~HTT;
		break;
	case 0xb:
	case 0x1f:
		entry->edx = index;
		break;
	case 0x15:
	case 0x16:
		__cpuid(entry->function, entry->eax, entry->ebx, entry->ecx, entry->edx);
		break;
	case 0x80000001:
		entry->ecx &= ~SVM;
		break;
	case 0x80000008:
		entry->ecx = (entry->ecx & ~0xffu) | (cpus - 1);
		break;
	case 0x8000000a:
		entry->eax = entry->ebx = entry->ecx = entry->edx = 0;
		break;
	case 0x8000001e:
		entry->eax = index;
		break;
	}
}

void cpuid_set(int kvm, int cpu, unsigned int index, unsigned int cpus)
{
	struct kvm_cpuid2 *table =
		calloc(1, sizeof(*table) + ENTRIES_MOST * sizeof(table->entries[0]));

	if (!table)
		cannot("allocate the table of CPUID");
	table->nent = ENTRIES_MOST;
	if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, table))
		cannot("ask KVM for the CPUID that it supports");
	for (unsigned int i = 0; i < table->nent; i++)
		place(&table->entries[i], index, cpus);
	if (ioctl(cpu, KVM_SET_CPUID2, table))
		cannot("set the CPUID of a CPU");
	free(table);
}
