/* SPDX-License-Identifier: MIT */
/*
 * Taking one CPU away from Linux for the time of a probe: descriptor tables and
 * page tables of our own, and everything put back afterwards.
 */
#ifndef AGENT_LINUX_ISOLATION_H
#define AGENT_LINUX_ISOLATION_H

/*
 * Selectors beyond PROTOCOL.md's. They are the same in the transition's table, which begins as Linux's
 * does, so our handlers and our TSS work under both.
 */
#define BOTH_CS 0x80
#define BOTH_TSS 0x90

/* IST entries: Linux uses the first five of its TSS, which ours repeats. */
#define IST_DEBUG 5
#define IST_NMI 6
#define IST_EXCEPTION 7
#define LINUX_ISTS 4

/* The block that struct isolated_cpu begins, aligned to its size; the stacks are in it. */
#define CPU_BLOCK_ORDER 3
#define CPU_BLOCK_SIZE 0x8000
#define CPU_BLOCK_NMI_STACK 0x4000
#define CPU_BLOCK_DEBUG_STACK 0x5000
#define CPU_BLOCK_EXCEPTION_STACK 0x8000

#ifndef __ASSEMBLER__

#include <asm/desc_defs.h>
#include <asm/processor.h>

#include "../descriptors.h"
#include "../probe.h"

#define TRANSITION_ENTRIES 20
#define SYSTEM_CALL_MSRS 7

/* What a CPU had when we took it. */
struct linux_state {
	struct desc_ptr gdtr, idtr;
	u16 tr, ldtr, cs, ss, ds, es, fs, gs;
	u64 fs_base, gs_base, kernel_gs_base;
	u64 cr3, dr7, s_cet;
	u32 pkru;
	bool has_fsgsbase, has_pkru;
	bool system_calls_taken;
	u64 system_calls[SYSTEM_CALL_MSRS];
};

struct isolated_cpu {
	struct probe_context probe;
	struct linux_state linux_state;
	/* Linux's table and ours behind it, and the probes' table. */
	u64 transition[TRANSITION_ENTRIES];
	u64 gdt[TRANSITION_ENTRIES];
	struct x86_hw_tss tss;
	u64 *root;	     /* page table of the top level */
	struct page *pages;  /* code, scratch and stack of its slot */
	unsigned int number; /* what Linux calls it */
	/* For Linux, once it has the CPU again. */
	unsigned int nmis;
	bool machine_check;
	DECLARE_BITMAP(interrupts, 256);
};

_Static_assert(sizeof(struct isolated_cpu) <= CPU_BLOCK_NMI_STACK - 0x1000,
	       "it runs into the NMI stack");

/* Fill the IDT. 0, or -ENODEV on a machine whose events we could not take over. */
int isolation_init(void);

/* The tables of a CPU whose root and slot are there already. */
void isolation_prepare(struct isolated_cpu *cpu);

/*
 * Run a probe on this CPU, which is cpu's; process context, interrupts off, and the FPU's registers
 * saved. What arrived meanwhile for Linux is handed over before it returns. meet and arg are probe_run()'s.
 */
void isolation_run(struct isolated_cpu *cpu, const struct probe_request *request,
		   struct probe_outcome *outcome, void (*meet)(void *), void *arg);

/* In switch.S. */
void isolation_machine_check(void);
extern char isolation_system_call[];

#endif /* __ASSEMBLER__ */
#endif
