/* SPDX-License-Identifier: MIT */
/*
 * Taking a CPU from Linux while a probe runs: it gets our descriptor tables and page tables, and Linux's state
 * is restored afterwards.
 */
#ifndef AGENT_LINUX_ISOLATION_H
#define AGENT_LINUX_ISOLATION_H

/*
 * Selectors of our handlers' code segment and of our TSS in the transition GDT, behind Linux's own. BOTH_CS
 * is valid in the probes' GDT, too, so that the handlers work with either table.
 */
#define BOTH_CS 0x80
#define BOTH_TSS 0x90

/* IST entries. Our TSS repeats the first LINUX_ISTS entries of Linux's, which Linux's IDT uses. */
#define IST_DEBUG 5
#define IST_NMI 6
#define IST_EXCEPTION 7
#define LINUX_ISTS 4

/* The block that holds struct isolated_cpu and the stacks behind it, aligned to its size. */
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

/* Linux's state of a CPU, saved before a probe. */
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
	/* The transition GDT (see isolation.c), and the probes' GDT. */
	u64 transition[TRANSITION_ENTRIES];
	u64 gdt[TRANSITION_ENTRIES];
	struct x86_hw_tss tss;
	u64 *root;	     /* page table of the top level */
	struct page *pages;  /* code, scratch and stack of its slot */
	unsigned int number; /* what Linux calls it */
	/* What arrived while a probe ran, to be handed over to Linux. */
	unsigned int nmis;
	bool machine_check;
	DECLARE_BITMAP(interrupts, 256);
};

_Static_assert(sizeof(struct isolated_cpu) <= CPU_BLOCK_NMI_STACK - 0x1000,
	       "it runs into the NMI stack");

/* Fill the IDT. Returns 0, or -ENODEV on a machine whose exceptions do not go through an IDT that we could replace. */
int isolation_init(void);

/* Fill the descriptor tables of a CPU that has its page table and its slot already. */
void isolation_prepare(struct isolated_cpu *cpu);

/*
 * Run a probe on this CPU, to which `cpu` belongs; in process context, with interrupts off and between
 * kernel_fpu_begin() and kernel_fpu_end(). NMIs and interrupts that arrived meanwhile are raised again for Linux
 * before it returns. meet and arg are those of probe_run().
 */
void isolation_run(struct isolated_cpu *cpu, const struct probe_request *request,
		   struct probe_outcome *outcome, void (*meet)(void *), void *arg);

/* In switch.S. */
void isolation_machine_check(void);
extern char isolation_system_call[];

#endif /* __ASSEMBLER__ */
#endif
