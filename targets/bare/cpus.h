/* SPDX-License-Identifier: MIT */
#ifndef BARE_CPUS_H
#define BARE_CPUS_H

/* Where the start-up IPI sends a CPU: a page below 1 MiB. */
#define TRAMPOLINE 0x8000

#ifndef __ASSEMBLER__

/* Set up the boot CPU, then start all others. */
void cpus_start(void);

#endif

#endif
