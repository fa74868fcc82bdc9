// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "kvm.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

/* Documentation/admin-guide/devices.txt */
#define MISC_MAJOR 10
#define KVM_MINOR 232
#define PORT 0x10
#define VALUE 0x2a
#define CODE_AT 0x1000
/* How often KVM_RUN may return for other reasons than the guest's, such as a signal. */
#define EXITS_MOST 1000
#define NEEDED_MOST 16

static const unsigned char code[] = {
	0xb0, VALUE, /* mov al, VALUE */
	0xe6, PORT,  /* out PORT, al */
	0xf4,	     /* hlt */
};

/* The answer that is being written. */
static char *answer;
static size_t answer_size;
static char complaint[160];
/* Modules that modprobe inserts for KVM, in that order. */
static char needed[NEEDED_MOST][64];
static unsigned int needed_count;

static void add(const char *key, const char *value)
{
	size_t used = strlen(answer);

	snprintf(answer + used, answer_size - used, " %s=%s", key, value);
}

static bool add_result(const char *key, bool good)
{
	const char *name = strerrorname_np(errno);

	add(key, good ? "ok" : name ? name : "EIO");
	return good;
}

static const char *vendor_module(void)
{
	unsigned int eax, ebx = 0, ecx, edx;

	__get_cpuid(0, &eax, &ebx, &ecx, &edx);
	return ebx == signature_INTEL_ebx ? "kvm_intel" : "kvm_amd";
}

static bool is_there(const char *module)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/module/%s", module);
	return !access(path, F_OK);
}

static void keep_complaint(char *line)
{
	snprintf(complaint, sizeof(complaint), "%s", line);
}

/* Take a line like "insmod /lib/modules/.../kvm-amd.ko.xz", and remember the module unless it is loaded. */
static void note_needed(char *line)
{
	char *name = strrchr(line, '/'), *end;

	if (!name || needed_count == NEEDED_MOST)
		return;
	name++;
	end = strstr(name, ".ko");
	if (!end || (size_t)(end - name) >= sizeof(needed[0]))
		return;
	*end = '\0';
	for (char *at = name; *at; at++)
		if (*at == '-')
			*at = '_';
	if (!is_there(name))
		strcpy(needed[needed_count++], name);
}

/* Run modprobe and give every line of its output to take(). Returns its exit status. */
static int modprobe(const char *option, const char *module, void (*take)(char *line))
{
	char line[512];
	int streams[2], status = -1;
	FILE *said;
	pid_t child;

	if (pipe2(streams, O_CLOEXEC))
		return -1;
	child = fork();
	if (!child) {
		dup2(streams[1], STDOUT_FILENO);
		dup2(streams[1], STDERR_FILENO);
		execl("/sbin/modprobe", "modprobe", option, module, (char *)NULL);
		_exit(127);
	}
	close(streams[1]);
	said = fdopen(streams[0], "r");
	while (said && fgets(line, sizeof(line), said)) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0])
			take(line);
	}
	if (said)
		fclose(said);
	if (child > 0)
		waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Remove the modules that were inserted, the last one first, because it uses the ones before it. */
static void remove_needed(void)
{
	while (needed_count)
		syscall(SYS_delete_module, needed[--needed_count], O_NONBLOCK);
}

/* Through a node of our own: a subject that keeps KVM out may have removed /dev/kvm. */
static int open_kvm(void)
{
	char path[64];
	int file;

	snprintf(path, sizeof(path), "/dev/touchstone-kvm-%d", getpid());
	if (mknod(path, S_IFCHR | 0600, makedev(MISC_MAJOR, KVM_MINOR)))
		return -1;
	file = open(path, O_RDWR | O_CLOEXEC);

	int error = errno;

	unlink(path);
	errno = error;
	return file;
}

/* A virtual machine with one page and one CPU. Returns the CPU's file. */
static int create_machine(int kvm, struct kvm_run **run)
{
	int machine = ioctl(kvm, KVM_CREATE_VM, 0), cpu;
	void *page;

	if (machine < 0)
		return -1;
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return -1;
	memcpy(page, code, sizeof(code));

	struct kvm_userspace_memory_region region = {
		.guest_phys_addr = CODE_AT,
		.memory_size = 4096,
		.userspace_addr = (uintptr_t)page,
	};

	if (ioctl(machine, KVM_SET_USER_MEMORY_REGION, &region))
		return -1;
	cpu = ioctl(machine, KVM_CREATE_VCPU, 0);
	if (cpu < 0)
		return -1;
	*run = mmap(NULL, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE,
		    MAP_SHARED, cpu, 0);
	return *run == MAP_FAILED ? -1 : cpu;
}

/* Run the guest in real mode from CODE_AT to its HLT. Sets errno to EPROTO if it does anything else. */
static bool run_guest(int cpu, struct kvm_run *run)
{
	struct kvm_regs registers = { .rip = CODE_AT, .rflags = 2 };
	struct kvm_sregs special;
	bool written = false;

	if (ioctl(cpu, KVM_GET_SREGS, &special))
		return false;
	special.cs.selector = 0;
	special.cs.base = 0;
	if (ioctl(cpu, KVM_SET_SREGS, &special) || ioctl(cpu, KVM_SET_REGS, &registers))
		return false;
	for (int exits = 0; exits < EXITS_MOST; exits++) {
		if (ioctl(cpu, KVM_RUN, 0)) {
			if (errno == EINTR)
				continue;
			return false;
		}
		if (run->exit_reason == KVM_EXIT_HLT && written)
			return true;
		if (run->exit_reason != KVM_EXIT_IO || run->io.port != PORT ||
		    *((unsigned char *)run + run->io.data_offset) != VALUE) {
			snprintf(complaint, sizeof(complaint), "the guest's exit has reason %u",
				 run->exit_reason);
			break;
		}
		written = true;
	}
	errno = EPROTO;
	return false;
}

static void run_everywhere(int cpu, struct kvm_run *run)
{
	unsigned int count = 0;
	bool good = true;
	char number[16];
	cpu_set_t all;

	sched_getaffinity(0, sizeof(all), &all);
	for (int at = 0; good && at < CPU_SETSIZE; at++) {
		cpu_set_t one;

		if (!CPU_ISSET(at, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(at, &one);
		sched_setaffinity(0, sizeof(one), &one);
		good = run_guest(cpu, run);
		count += good;
	}
	add_result("run", good);
	snprintf(number, sizeof(number), "%u", count);
	add("cpus", number);
}

static void use(void)
{
	struct kvm_run *run = NULL;
	int kvm, cpu;

	kvm = open_kvm();
	if (!add_result("open", kvm >= 0))
		return;
	cpu = create_machine(kvm, &run);
	if (add_result("vm", cpu >= 0))
		run_everywhere(cpu, run);
	/* The files are closed when this process exits. */
}

/* In a child process, whose exit closes all files of KVM, so that the module can be removed. */
static void use_in_child(int stream)
{
	int status;
	pid_t child = fork();

	if (!child) {
		use();
		if (complaint[0])
			add("text", complaint);
		if (write(stream, answer, strlen(answer)) < 0)
			_exit(1);
		_exit(0);
	}
	if (child > 0)
		waitpid(child, &status, 0);
}

/* In a session of its own, so that modules are removed again even if a signal ends the agent. */
__attribute__((noreturn)) static void try_all(int stream)
{
	const char *module = vendor_module();

	setsid();
	if (is_there(module))
		add("insert", "there");
	else if (modprobe("-D", module, note_needed))
		add("insert", "none");
	else if (!modprobe("-q", module, keep_complaint))
		add("insert", "ok");
	else
		add("insert", "refused");
	if (write(stream, answer, strlen(answer)) < 0)
		_exit(1);
	answer[0] = '\0';
	use_in_child(stream);
	remove_needed();
	_exit(0);
}

int kvm_try(char *text, size_t size)
{
	int streams[2], error = 0;
	size_t used = 0;
	ssize_t got;
	pid_t child;

	answer = text;
	answer_size = size;
	text[0] = complaint[0] = '\0';
	if (pipe2(streams, O_CLOEXEC))
		return -errno;
	child = fork();
	if (!child) {
		close(streams[0]);
		try_all(streams[1]);
	}
	if (child < 0)
		error = -errno;
	close(streams[1]);
	while (used < size - 1 && ((got = read(streams[0], text + used, size - 1 - used)) > 0 ||
				   (got < 0 && errno == EINTR)))
		used += got > 0 ? (size_t)got : 0;
	text[used] = '\0';
	close(streams[0]);
	if (child > 0)
		waitpid(child, NULL, 0);
	return error;
}
