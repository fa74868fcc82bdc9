/* SPDX-License-Identifier: MIT */
#ifndef VENEER_LINUX_STATE_H
#define VENEER_LINUX_STATE_H

/* Longest answer to a request: 48 entries of a trace. */
#define ANSWER_BYTES 4096

/*
 * Veneer as a whole. Each returns 0, or a negative errno with the
 * reason in why, which has ANSWER_BYTES; the kernel's log has it as well.
 */
int state_load(char *why);
int state_unload(char *why);
int state_query(char *answer);
/* cpu is Linux' number. */
int state_exits(unsigned int cpu, char *answer);
int state_trace(unsigned int cpu, unsigned int count, char *answer);
/*
 * Unload, and refuse to load until state_resume(), which loads again if Veneer was loaded; after a
 * reboot notification, for good.
 */
void state_suspend(const char *why);
void state_resume(void);

#endif
