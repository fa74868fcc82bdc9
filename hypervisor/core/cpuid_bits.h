/* SPDX-License-Identifier: MIT */
/* Bits that CPUID answers with, by leaf, subleaf if it is not 0, and register (SDM 2A CPUID, APM3 appendix E). */
#ifndef VENEER_CPUID_BITS_H
#define VENEER_CPUID_BITS_H

#define CPUID_1_ECX_VMX (1u << 5)
#define CPUID_1_ECX_SMX (1u << 6)
#define CPUID_1_ECX_XSAVE (1u << 26)
#define CPUID_1_ECX_OSXSAVE (1u << 27)
#define CPUID_1_ECX_HYPERVISOR (1u << 31)
#define CPUID_1_EDX_MCE (1u << 7)
#define CPUID_1_EDX_MTRR (1u << 12)
#define CPUID_1_EDX_DS (1u << 21)
#define CPUID_7_EBX_INVPCID (1u << 10)
#define CPUID_7_ECX_OSPKE (1u << 4)
#define CPUID_7_ECX_WAITPKG (1u << 5)
#define CPUID_7_ECX_CET_SS (1u << 7)
#define CPUID_7_ECX_RDPID (1u << 22)
#define CPUID_7_EDX_PCONFIG (1u << 18)
#define CPUID_7_1_EAX_MSRLIST (1u << 27)
#define CPUID_D_1_EAX_XSAVES (1u << 3)
#define CPUID_80000001_ECX_SVM (1u << 2)
#define CPUID_80000001_ECX_SKINIT (1u << 12)
#define CPUID_80000001_EDX_SYSCALL (1u << 11)
#define CPUID_80000001_EDX_NX (1u << 20)
#define CPUID_80000001_EDX_PAGE1GB (1u << 26)
#define CPUID_80000001_EDX_RDTSCP (1u << 27)
#define CPUID_80000008_EAX_PHYSICAL_BITS 0xffu
#define CPUID_80000008_EBX_INVLPGB (1u << 3)
#define CPUID_80000021_EAX_USER_DIS (1u << 17)
#define CPUID_8000000A_EDX_NP (1u << 0)
#define CPUID_8000000A_EDX_SPEC_CTRL (1u << 20)

#endif
