/* SPDX-License-Identifier: MIT */
/* Instructions that the agent and the tiny OS of the bare targets have no other way to execute. */
#ifndef AGENT_X86_H
#define AGENT_X86_H

#include "types.h"

#define MSR_EFER 0xc0000080

#define CR0_PE (1ull << 0)
#define CR0_PG (1ull << 31)
#define CR4_PAE (1ull << 5)
#define CR4_OSFXSR (1ull << 9)
#define CR4_OSXMMEXCPT (1ull << 10)
#define CR4_OSXSAVE (1ull << 18)

struct x86_cpuid {
	uint32_t eax, ebx, ecx, edx;
};

static inline struct x86_cpuid x86_cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct x86_cpuid r;

	asm volatile("cpuid"
		     : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
		     : "a"(leaf), "c"(subleaf));
	return r;
}

static inline uint64_t x86_rdmsr(uint32_t msr)
{
	uint32_t low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

static inline void x86_wrmsr(uint32_t msr, uint64_t value)
{
	asm volatile("wrmsr"
		     :
		     : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
		     : "memory");
}

static inline uint16_t x86_read_ss(void)
{
	uint16_t selector;

	__asm__ volatile("mov %%ss, %0" : "=r"(selector));
	return selector;
}

static inline uint64_t x86_read_cr0(void)
{
	uint64_t value;

	asm volatile("mov %%cr0, %0" : "=r"(value));
	return value;
}

static inline uint64_t x86_read_cr2(void)
{
	uint64_t value;

	asm volatile("mov %%cr2, %0" : "=r"(value));
	return value;
}

static inline uint64_t x86_read_cr3(void)
{
	uint64_t value;

	asm volatile("mov %%cr3, %0" : "=r"(value));
	return value;
}

static inline void x86_write_cr3(uint64_t value)
{
	asm volatile("mov %0, %%cr3" : : "r"(value) : "memory");
}

static inline uint64_t x86_read_cr4(void)
{
	uint64_t value;

	asm volatile("mov %%cr4, %0" : "=r"(value));
	return value;
}

static inline void x86_write_cr4(uint64_t value)
{
	asm volatile("mov %0, %%cr4" : : "r"(value) : "memory");
}

static inline uint64_t x86_read_cr8(void)
{
	uint64_t value;

	asm volatile("mov %%cr8, %0" : "=r"(value));
	return value;
}

static inline uint64_t x86_read_xcr0(void)
{
	uint32_t low, high;

	asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}

/* What SIDT stores and LIDT loads. */
struct x86_table {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

static inline struct x86_table x86_sgdt(void)
{
	struct x86_table table;

	asm volatile("sgdt %0" : "=m"(table));
	return table;
}

static inline void x86_lgdt(struct x86_table table)
{
	asm volatile("lgdt %0" : : "m"(table));
}

static inline struct x86_table x86_sidt(void)
{
	struct x86_table table;

	asm volatile("sidt %0" : "=m"(table));
	return table;
}

static inline void x86_lidt(struct x86_table table)
{
	asm volatile("lidt %0" : : "m"(table));
}

static inline void x86_pause(void)
{
	asm volatile("pause" : : : "memory");
}

#endif
