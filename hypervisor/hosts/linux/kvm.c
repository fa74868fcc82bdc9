// SPDX-License-Identifier: MIT
/*
 * KVM and Veneer need the same hardware. Until Linux 6.12 KVM enables it with the first virtual
 * machine and not when it is loaded, and does not check again: a kvm_amd loaded before Veneer
 * would run into #GP and #UD. So Veneer registers the minor number of /dev/kvm while it is loaded:
 * that fails while KVM is loaded, and keeps virtual machines from being made until Veneer is
 * unloaded.
 *
 * A KVM that is loaded meanwhile reads the features that the kernel found when it booted. They are
 * changed to what CPUID reports now, so that KVM refuses to load before it accesses an MSR;
 * /proc/cpuinfo shows the same.
 */
#include "kvm.h"

#include <linux/bitops.h>
#include <linux/cpumask.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

#include <asm/processor.h>

static const unsigned int features[] = { X86_FEATURE_SVM, X86_FEATURE_VMX };
static bool hidden[ARRAY_SIZE(features)];

static int refuse_open(struct inode *inode, struct file *file)
{
	return -EBUSY;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = refuse_open,
};

static struct miscdevice place = {
	.minor = KVM_MINOR,
	.name = "kvm-kept-out-by-veneer",
	.fops = &operations,
	.mode = 0600,
};

static void set_feature(struct cpuinfo_x86 *info, unsigned int feature, bool there)
{
	unsigned long *bits = (unsigned long *)info->x86_capability;

	if (there)
		set_bit(feature, bits);
	else
		clear_bit(feature, bits);
}

static void set_features(struct cpuinfo_x86 *info, bool there)
{
	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		if (hidden[i])
			set_feature(info, features[i], there);
	}
}

void kvm_hide_features_of(unsigned int cpu)
{
	set_features(&cpu_data(cpu), false);
}

void kvm_hide_features(void)
{
	unsigned int cpu;

	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		hidden[i] = boot_cpu_has(features[i]);
	set_features(&boot_cpu_data, false);
	for_each_present_cpu(cpu) kvm_hide_features_of(cpu);
}

void kvm_show_features(void)
{
	unsigned int cpu;

	set_features(&boot_cpu_data, true);
	for_each_present_cpu(cpu) set_features(&cpu_data(cpu), true);
}

int kvm_keep_out(void)
{
	return misc_register(&place);
}

void kvm_let_in(void)
{
	misc_deregister(&place);
}
