/* SPDX-License-Identifier: MIT */
#ifndef VENEER_LINUX_KVM_H
#define VENEER_LINUX_KVM_H

/* Keep KVM out; -EBUSY: it is there. */
int kvm_keep_out(void);
void kvm_let_in(void);
/* The kernel's record of the CPUs' features, as CPUID has them with Veneer and without it; and of a CPU that has come. */
void kvm_hide_features(void);
void kvm_hide_features_of(unsigned int cpu);
void kvm_show_features(void);

#endif
