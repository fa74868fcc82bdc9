/* SPDX-License-Identifier: MIT */
#ifndef VENEER_LINUX_CPUS_H
#define VENEER_LINUX_CPUS_H

/* Linux' CPU numbers have gaps, Veneer's do not. Number those that are present. */
void cpus_number(void);
/* Veneer's number of a CPU; -1: it has none. */
int cpus_find(unsigned int linux_cpu);
unsigned int cpus_linux_number(unsigned int cpu);

#endif
