// SPDX-License-Identifier: MIT
#define _GNU_SOURCE /* affinities */
/* Documentation/virt/kvm/api.rst describes the requests, and the exits that are handled here. */
#include "guest.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "acpi.h"
#include "console.h"
#include "cpuid.h"
#include "serial.h"
#include "virtio.h"

/* Multiboot Specification 0.6.96, 3.2 and 3.3. */
#define MULTIBOOT_MAGIC 0x2badb002
#define MULTIBOOT_HAS_MEMORY 1
#define MULTIBOOT_INFO 0x500
#define LOW_MEMORY_KIB 640
#define MIB 0x100000u

#define FLAT_CODE 0xb /* execute, read, accessed */
#define FLAT_DATA 0x3 /* read, write, accessed */
#define CR0_PE 0x1
#define CR0_ET 0x10

/* Pages that VMX needs for guests in real mode (KVM_SET_TSS_ADDR): below the BIOS, where no memory is. */
#define TSS_PAGES 0xfffbd000ul

#define GUEST_ENDED 3

void cannot(const char *what)
{
	fprintf(stderr, "cannot %s: %s\n", what, strerror(errno));
	exit(1);
}

static void create_cpu(struct guest *guest, unsigned int index, int run_size)
{
	struct guest_cpu *cpu = &guest->cpu[index];

	cpu->index = index;
	cpu->file = ioctl(guest->machine, KVM_CREATE_VCPU, index);
	if (cpu->file < 0)
		cannot("create a CPU");
	cpu->run = mmap(NULL, (size_t)run_size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->file, 0);
	if (cpu->run == MAP_FAILED)
		cannot("map a CPU");
	cpuid_set(guest->kvm, cpu->file, index, guest->cpus);
}

void guest_create(struct guest *guest, unsigned int cpus, uint64_t memory_size)
{
	guest->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (guest->kvm < 0)
		cannot("open /dev/kvm");
	guest->machine = ioctl(guest->kvm, KVM_CREATE_VM, 0);
	if (guest->machine < 0)
		cannot("create a machine");
	if (ioctl(guest->machine, KVM_SET_TSS_ADDR, TSS_PAGES) ||
	    ioctl(guest->machine, KVM_CREATE_IRQCHIP, 0))
		cannot("create interrupt controllers");
	guest->memory_size = memory_size;
	guest->memory = mmap(NULL, memory_size, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (guest->memory == MAP_FAILED)
		cannot("allocate the guest's memory");

	struct kvm_userspace_memory_region region = {
		.memory_size = memory_size,
		.userspace_addr = (uintptr_t)guest->memory,
	};

	if (ioctl(guest->machine, KVM_SET_USER_MEMORY_REGION, &region))
		cannot("give the guest its memory");
	serial_connect(guest->machine);
	virtio_connect(guest->machine, guest->memory, memory_size);
	acpi_write(guest->memory, cpus);
	guest->cpus = cpus;
	for (unsigned int i = 0; i < cpus; i++)
		create_cpu(guest, i, ioctl(guest->kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
}

static void refuse(const char *path, const char *why)
{
	fprintf(stderr, "cannot boot %s: %s\n", path, why);
	exit(1);
}

/* Copy what the program headers name. Returns the address of the first instruction. */
static uint32_t copy_image(struct guest *guest, const char *path, const uint8_t *image, size_t size)
{
	const Elf32_Ehdr *head = (const void *)image;

	if (size < sizeof(*head) || memcmp(head->e_ident, ELFMAG, SELFMAG) ||
	    head->e_ident[EI_CLASS] != ELFCLASS32 ||
	    (uint64_t)head->e_phoff + head->e_phnum * sizeof(Elf32_Phdr) > size)
		refuse(path, "it is no 32-bit ELF file");
	for (unsigned int i = 0; i < head->e_phnum; i++) {
		const Elf32_Phdr *part = (const Elf32_Phdr *)(image + head->e_phoff) + i;

		if (part->p_type != PT_LOAD)
			continue;
		if ((uint64_t)part->p_offset + part->p_filesz > size ||
		    part->p_filesz > part->p_memsz ||
		    (uint64_t)part->p_paddr + part->p_memsz > guest->memory_size)
			refuse(path, "a part of it is not in the file, or not in the memory");
		memcpy(guest->memory + part->p_paddr, image + part->p_offset, part->p_filesz);
	}
	return head->e_entry;
}

static struct kvm_segment flat(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.db = 1,
		.s = 1,
		.g = 1,
	};
}

/* The state of the machine that a Multiboot loader leaves (3.2). */
static void start_first_cpu(struct guest *guest, uint32_t entry)
{
	int cpu = guest->cpu[0].file;
	uint32_t info[] = {
		MULTIBOOT_HAS_MEMORY,
		LOW_MEMORY_KIB,
		(uint32_t)((guest->memory_size - MIB) / 1024),
	};
	struct kvm_regs registers = {
		.rip = entry,
		.rax = MULTIBOOT_MAGIC,
		.rbx = MULTIBOOT_INFO,
		.rflags = 2,
	};
	struct kvm_sregs special;

	memcpy(guest->memory + MULTIBOOT_INFO, info, sizeof(info));
	if (ioctl(cpu, KVM_GET_SREGS, &special))
		cannot("read the state of the first CPU");
	special.cs = flat(0x8, FLAT_CODE);
	special.ds = special.es = special.fs = special.gs = special.ss = flat(0x10, FLAT_DATA);
	special.cr0 = CR0_PE | CR0_ET;
	if (ioctl(cpu, KVM_SET_SREGS, &special) || ioctl(cpu, KVM_SET_REGS, &registers))
		cannot("set the state of the first CPU");
}

void guest_load(struct guest *guest, const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;

	if (file < 0 || fstat(file, &status))
		cannot("read the image");

	void *image = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);

	if (image == MAP_FAILED)
		cannot("read the image");
	start_first_cpu(guest, copy_image(guest, path, image, (size_t)status.st_size));
	munmap(image, (size_t)status.st_size);
	close(file);
}

/* What no device answers to: reads as ones. */
static void access_nothing(uint8_t *data, size_t size, bool write)
{
	if (!write)
		memset(data, 0xff, size);
}

static void access_ports(struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	bool write = run->io.direction == KVM_EXIT_IO_OUT;

	console_lock();
	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.size == 1 && serial_has(run->io.port))
			serial_access(run->io.port, data, write);
		else if (virtio_has_port(run->io.port))
			virtio_access_port(run->io.port, data, run->io.size, write);
		else
			access_nothing(data, run->io.size, write);
	}
	console_unlock();
}

static void access_memory(struct kvm_run *run)
{
	console_lock();
	if (virtio_has_memory(run->mmio.phys_addr))
		virtio_access_memory(run->mmio.phys_addr, run->mmio.data, run->mmio.len,
				     run->mmio.is_write);
	else
		access_nothing(run->mmio.data, run->mmio.len, run->mmio.is_write);
	console_unlock();
}

static void print_registers(int cpu)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	if (ioctl(cpu, KVM_GET_REGS, &r) || ioctl(cpu, KVM_GET_SREGS, &s))
		return;
	fprintf(stderr,
		"rax=%016llx rbx=%016llx rcx=%016llx rdx=%016llx\n"
		"rsi=%016llx rdi=%016llx rbp=%016llx rsp=%016llx\n"
		"r8 =%016llx r9 =%016llx r10=%016llx r11=%016llx\n"
		"r12=%016llx r13=%016llx r14=%016llx r15=%016llx\n"
		"rip=%016llx rfl=%016llx\n"
		"cr0=%016llx cr2=%016llx cr3=%016llx cr4=%016llx efer=%llx\n"
		"cs=%04x base=%llx l=%u db=%u dpl=%u  ss=%04x base=%llx dpl=%u\n",
		r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8, r.r9, r.r10, r.r11,
		r.r12, r.r13, r.r14, r.r15, r.rip, r.rflags, s.cr0, s.cr2, s.cr3, s.cr4, s.efer,
		s.cs.selector, s.cs.base, s.cs.l, s.cs.db, s.cs.dpl, s.ss.selector, s.ss.base,
		s.ss.dpl);
}

/* Where a CPU is that has been interrupted. */
static void report(struct guest_cpu *cpu)
{
	static const char *const states[] = {
		[KVM_MP_STATE_RUNNABLE] = "runs",
		[KVM_MP_STATE_UNINITIALIZED] = "was not started",
		[KVM_MP_STATE_INIT_RECEIVED] = "waits for a start-up IPI",
		[KVM_MP_STATE_HALTED] = "is in HLT",
		[KVM_MP_STATE_SIPI_RECEIVED] = "has received a start-up IPI",
	};
	struct kvm_mp_state state = { 0 };
	struct kvm_lapic_state apic;

	cpu->report = false;
	console_lock();
	if (!ioctl(cpu->file, KVM_GET_MP_STATE, &state) &&
	    state.mp_state < sizeof(states) / sizeof(*states))
		fprintf(stderr, "CPU %u %s\n", cpu->index, states[state.mp_state]);
	print_registers(cpu->file);
	if (!ioctl(cpu->file, KVM_GET_LAPIC, &apic))
		for (unsigned int i = 0; i < 8; i++) {
			uint32_t requested, in_service;

			memcpy(&requested, apic.regs + 0x200 + i * 0x10, sizeof(requested));
			memcpy(&in_service, apic.regs + 0x100 + i * 0x10, sizeof(in_service));
			if (requested || in_service)
				fprintf(stderr,
					"vectors from %02x: requested %08x, in service %08x\n",
					i * 32, requested, in_service);
		}
	console_unlock();
}

/* The guest has ended: say how in a line that begins with "guest:", after the registers. */
__attribute__((noreturn)) static void ended(struct guest_cpu *cpu, const char *how)
{
	console_flush();
	print_registers(cpu->file);
	fprintf(stderr, "guest: %s on CPU %u\n", how, cpu->index);
	exit(GUEST_ENDED);
}

static void describe_internal_error(const struct kvm_run *run, char *text, size_t size)
{
	int used = snprintf(text, size, "KVM gave up (KVM_EXIT_INTERNAL_ERROR, suberror %u)",
			    run->internal.suberror);

	if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION || run->internal.ndata < 1 ||
	    !(run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
		return;
	used += snprintf(text + used, size - (size_t)used, ": it cannot emulate the instruction");
	for (unsigned int i = 0; i < run->emulation_failure.insn_size && i < 15; i++)
		used += snprintf(text + used, size - (size_t)used, " %02x",
				 run->emulation_failure.insn_bytes[i]);
}

static void handle(struct guest_cpu *cpu)
{
	struct kvm_run *run = cpu->run;
	char text[160];

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		access_ports(run);
		return;
	case KVM_EXIT_MMIO:
		access_memory(run);
		return;
	case KVM_EXIT_INTR:
		return;
	case KVM_EXIT_SHUTDOWN:
		ended(cpu, "a triple fault (KVM_EXIT_SHUTDOWN)");
	case KVM_EXIT_INTERNAL_ERROR:
		describe_internal_error(run, text, sizeof(text));
		ended(cpu, text);
	case KVM_EXIT_FAIL_ENTRY:
		snprintf(text, sizeof(text),
			 "the processor refused to enter it (KVM_EXIT_FAIL_ENTRY, reason %llx)",
			 run->fail_entry.hardware_entry_failure_reason);
		ended(cpu, text);
	default:
		snprintf(text, sizeof(text), "an exit that nobody handles (reason %u)",
			 run->exit_reason);
		ended(cpu, text);
	}
}

static void *run(void *argument)
{
	struct guest_cpu *cpu = argument;

	for (;;) {
		char text[80];

		if (!ioctl(cpu->file, KVM_RUN, 0)) {
			handle(cpu);
			continue;
		}
		if (errno == EINTR && cpu->report) {
			report(cpu);
			continue;
		}
		/* A CPU that waited for its start-up IPI returns with EAGAIN. */
		if (errno != EINTR && errno != EAGAIN) {
			snprintf(text, sizeof(text), "KVM_RUN failed: %s", strerror(errno));
			ended(cpu, text);
		}
	}
}

/*
 * Each CPU of the guest stays on one of the box's. KVM leaves the guest's debug registers in the processor once the guest
 * has written them (KVM_DEBUGREG_WONT_EXIT), and QEMU's software CPU keeps the breakpoints of MOV to DR7 over #VMEXIT and
 * sets none at VMRUN: behind a move to another CPU they would be missing there, and stay here for whoever comes next.
 */
static void pin(unsigned int index, pthread_t thread)
{
	cpu_set_t all, one;
	int skip;

	if (sched_getaffinity(0, sizeof(all), &all))
		cannot("read which CPUs there are");
	skip = (int)index % CPU_COUNT(&all);
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all) && !skip--)
			CPU_SET(cpu, &one);
	errno = pthread_setaffinity_np(thread, sizeof(one), &one);
	if (errno)
		cannot("keep a CPU's thread on one CPU");
}

static void interrupted(int number)
{
	(void)number;
}

/* KVM_RUN returns with EINTR in a thread that is sent a signal. */
static void *serve_reports(void *argument)
{
	struct guest *guest = argument;
	sigset_t wanted;
	int number;

	sigemptyset(&wanted);
	sigaddset(&wanted, SIGUSR1);
	while (!sigwait(&wanted, &number))
		for (unsigned int i = 0; i < guest->cpus; i++) {
			guest->cpu[i].report = true;
			pthread_kill(guest->cpu[i].thread, SIGUSR2);
		}
	return NULL;
}

void guest_start(struct guest *guest)
{
	struct sigaction action = { .sa_handler = interrupted };
	pthread_t reporter;
	sigset_t wanted;

	sigemptyset(&wanted);
	sigaddset(&wanted, SIGUSR1);
	if (pthread_sigmask(SIG_BLOCK, &wanted, NULL) || sigaction(SIGUSR2, &action, NULL))
		cannot("set up signals");
	for (unsigned int i = 0; i < guest->cpus; i++) {
		if (pthread_create(&guest->cpu[i].thread, NULL, run, &guest->cpu[i]))
			cannot("start a thread for a CPU");
		pin(i, guest->cpu[i].thread);
	}
	if (pthread_create(&reporter, NULL, serve_reports, guest))
		cannot("start the thread that reports");
}
