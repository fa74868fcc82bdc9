/* SPDX-License-Identifier: MIT */
/* The first process of the test machine: what its files share. Every function ends the machine when something is wrong. */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdbool.h>
#include <stddef.h>

#define CPUS_MOST 64

/* machine.c: say what is wrong, and power off. */
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
#define CHECK(condition)                                                   \
	do {                                                               \
		if (!(condition))                                          \
			fail("%s:%d: %s", __FILE__, __LINE__, #condition); \
	} while (0)
void write_file(const char *path, const char *text);
void pin(int cpu);
int online_cpus(void);

/* How many CPUs have a feature, by /proc/cpuinfo. */
int count_cpu_flag(const char *flag);
/* The kernel's log has nothing that a healthy kernel does not say. */
void expect_clean_log(void);
/* What is in it now is not Veneer's doing. */
void forget_log(void);

/* 0, or the errno. */
int insert(const char *path);
int remove_module(const char *name);

/* veneer.c: one request to /dev/veneer; 0 or the errno, and the answer. */
int ask(const char *request, char *answer, size_t size);
/* The request must succeed. */
void order(const char *request);
/* What Veneer says about itself. */
long query(const char *key);
/* CPUID of hypervisors on a CPU has Veneer's signature; and the counter of its exits grows by this much. */
bool signature_on(int cpu);
void expect_loaded(int cpus);
void expect_unloaded(void);

/* KVM's modules in the order of their dependencies; the last one is the vendor's. Returns its error. */
int insert_kvm(void);
void remove_kvm(void);
void set_online(int cpu, bool online);

/* poke.c: with poke=N on the command line, this and nothing else. */
void poke(int rounds);

/* load.c: processes that would notice if the machine beneath them were not the same all the time. */
void start_load(void);
void stop_load(void);

/* checks.c, and agent.c for agent=1 on the command line; the last one has no name. */
struct test {
	const char *name;
	void (*run)(void);
};
extern const struct test tests[], agent_tests[];

#endif
