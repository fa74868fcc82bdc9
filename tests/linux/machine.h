/* SPDX-License-Identifier: MIT */
/* What the files of the test machine's init process share. Every function reports an error by powering off. */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdbool.h>
#include <stddef.h>

#define CPUS_MOST 64

/* machine.c: print what is wrong, and power off. */
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
/* The kernel's log must not contain warnings or reports of bugs. */
void expect_clean_log(void);
/* Clear the kernel's log of what happened before Veneer was loaded. */
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
/* Whether the hypervisor leaf of CPUID on a CPU has Veneer's signature; and by how much its exit counter grows. */
bool signature_on(int cpu);
long count_exits(int cpu, const char *reason);
void expect_loaded(int cpus);
void expect_unloaded(void);

/* KVM's modules in the order of their dependencies; the last one is the vendor's. Returns its error. */
int insert_kvm(void);
void remove_kvm(void);
void set_online(int cpu, bool online);

/* poke.c: the only thing that runs with poke=N on the command line. */
void poke(int rounds);

/* load.c: processes that load the machine and check their own results. */
void start_load(void);
void stop_load(void);

/*
 * checks.c, or agent.c with agent=1 on the command line; with refused=1, those of a processor that Veneer refuses. The
 * last entry has no name.
 */
struct test {
	const char *name;
	void (*run)(void);
};
extern const struct test tests[], refused_tests[], agent_tests[];

#endif
