/* SPDX-License-Identifier: MIT */
#ifndef BARE_TRAP_H
#define BARE_TRAP_H

#include "cpu.h"

/* Fill the IDT that all CPUs share. */
void traps_init(void);
/* Load this CPU's GDT, IDT and TSS, and set its control registers and MSRs as operating systems do. */
void cpu_init(struct cpu *cpu);

#endif
