/* SPDX-License-Identifier: MIT */
/* Exception vectors and one-instruction wrappers (SDM 3A 2, 4, 6; APM2 1-5, 8). */
#ifndef VENEER_X86_H
#define VENEER_X86_H

#include "registers.h"
#include "types.h"

enum vector {
	VECTOR_DE = 0,
	VECTOR_DB = 1,
	VECTOR_NMI = 2,
	VECTOR_UD = 6,
	VECTOR_DF = 8,
	VECTOR_TS = 10,
	VECTOR_GP = 13,
	VECTOR_PF = 14,
	VECTOR_MC = 18,
};

/* Operand of LGDT, LIDT, SGDT and SIDT in 64-bit mode. */
struct table_register {
	u16 limit;
	u64 base;
} __attribute__((packed));

static inline void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	asm volatile("cpuid" : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d) : "a"(leaf), "c"(subleaf));
}

/* The same into 64-bit registers: CPUID clears the upper halves (SDM 2A CPUID). */
static inline void cpuid_wide(u32 leaf, u32 subleaf, u64 *a, u64 *b, u64 *c, u64 *d)
{
	asm volatile("cpuid" : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d) : "a"(leaf), "c"(subleaf));
}

static inline u64 read_msr(u32 msr)
{
	u32 low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return low | (u64)high << 32;
}

static inline void write_msr(u32 msr, u64 value)
{
	asm volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

/*
 * What was stored before is visible before a WRMSR to an MSR of x2APIC mode acts, which is not serializing, unlike a
 * store to the local APIC's page (SDM 3A 11.12.3, APM2 16.11.2).
 */
static inline void order_before_x2apic_write(void)
{
	asm volatile("mfence; lfence" : : : "memory");
}

static inline u64 read_cr0(void)
{
	u64 value;

	asm volatile("mov %%cr0, %0" : "=r"(value));
	return value;
}

static inline void write_cr0(u64 value)
{
	asm volatile("mov %0, %%cr0" : : "r"(value) : "memory");
}

static inline u64 read_cr2(void)
{
	u64 value;

	asm volatile("mov %%cr2, %0" : "=r"(value));
	return value;
}

static inline void write_cr2(u64 value)
{
	asm volatile("mov %0, %%cr2" : : "r"(value));
}

static inline u64 read_cr3(void)
{
	u64 value;

	asm volatile("mov %%cr3, %0" : "=r"(value));
	return value;
}

static inline u64 read_cr4(void)
{
	u64 value;

	asm volatile("mov %%cr4, %0" : "=r"(value));
	return value;
}

static inline void write_cr4(u64 value)
{
	asm volatile("mov %0, %%cr4" : : "r"(value) : "memory");
}

/* DR0 to DR3. */
static inline u64 read_dr(unsigned int number)
{
	u64 value;

	switch (number) {
	case 0:
		asm volatile("mov %%dr0, %0" : "=r"(value));
		break;
	case 1:
		asm volatile("mov %%dr1, %0" : "=r"(value));
		break;
	case 2:
		asm volatile("mov %%dr2, %0" : "=r"(value));
		break;
	default:
		asm volatile("mov %%dr3, %0" : "=r"(value));
		break;
	}
	return value;
}

/* DR0 to DR3 as INIT leaves them (SDM 3A table 9-1). */
static inline void clear_breakpoints(void)
{
	asm volatile("mov %0, %%dr0; mov %0, %%dr1; mov %0, %%dr2; mov %0, %%dr3" : : "r"(0ull));
}

static inline u64 read_dr6(void)
{
	u64 value;

	asm volatile("mov %%dr6, %0" : "=r"(value));
	return value;
}

static inline void write_dr6(u64 value)
{
	asm volatile("mov %0, %%dr6" : : "r"(value));
}

static inline u64 read_dr7(void)
{
	u64 value;

	asm volatile("mov %%dr7, %0" : "=r"(value));
	return value;
}

static inline u64 read_rflags(void)
{
	u64 value;

	asm volatile("pushfq; pop %0" : "=r"(value));
	return value;
}

static inline u64 read_tsc(void)
{
	u32 low, high;

	asm volatile("rdtsc" : "=a"(low), "=d"(high));
	return low | (u64)high << 32;
}

static inline u16 read_cs(void)
{
	u16 selector;

	asm volatile("mov %%cs, %0" : "=rm"(selector));
	return selector;
}

static inline u16 read_ss(void)
{
	u16 selector;

	asm volatile("mov %%ss, %0" : "=rm"(selector));
	return selector;
}

static inline u16 read_fs(void)
{
	u16 selector;

	asm volatile("mov %%fs, %0" : "=rm"(selector));
	return selector;
}

static inline u16 read_gs(void)
{
	u16 selector;

	asm volatile("mov %%gs, %0" : "=rm"(selector));
	return selector;
}

static inline u16 read_ldtr(void)
{
	u16 selector;

	asm volatile("sldt %0" : "=rm"(selector));
	return selector;
}

static inline u16 read_tr(void)
{
	u16 selector;

	asm volatile("str %0" : "=rm"(selector));
	return selector;
}

static inline void read_gdtr(struct table_register *gdtr)
{
	asm volatile("sgdt %0" : "=m"(*gdtr));
}

static inline void read_idtr(struct table_register *idtr)
{
	asm volatile("sidt %0" : "=m"(*idtr));
}

static inline void write_idtr(const struct table_register *idtr)
{
	asm volatile("lidt %0" : : "m"(*idtr));
}

/* Call the OS' NMI handler as if an NMI had come. */
static inline void raise_nmi(void)
{
	asm volatile("int $2" : : : "memory");
}

/* The same with its handler of machine checks, which push no error code either. */
static inline void raise_machine_check(void)
{
	asm volatile("int $18" : : : "memory");
}

static inline void disable_interrupts(void)
{
	asm volatile("cli" : : : "memory");
}

static inline void enable_interrupts(void)
{
	asm volatile("sti" : : : "memory");
}

static inline void pause(void)
{
	asm volatile("pause" : : : "memory");
}

static inline void write_back_invalidate(void)
{
	asm volatile("wbinvd" : : : "memory");
}

#endif
