/* SPDX-License-Identifier: MIT */
/* What belongs to one CPU, in one block of memory that its stacks lie in too. */
#ifndef BARE_CPU_H
#define BARE_CPU_H

/*
 * The block, aligned to its size: a stack pointer anywhere in it leads to
 * struct cpu at its start, whatever GS, TR and the APIC have become.
 */
#define CPU_BLOCK_SIZE 0x8000
#define CPU_NMI_STACK 0x1800
#define CPU_INTERRUPT_STACK 0x2000
#define CPU_ABORT_STACK 0x3000
#define CPU_DEBUG_STACK 0x4000
#define CPU_EXCEPTION_STACK 0x5000
#define CPU_MAIN_STACK 0x8000

#define GDT_ENTRIES 10
#define SELECTOR_TSS 0x40

#define VECTOR_CONSOLE 0x24
#define VECTOR_WAKE 0xf0
#define VECTOR_TIMER 0xf1
#define VECTOR_SPURIOUS 0xff

#define TRAMPOLINE 0x8000

#ifndef __ASSEMBLER__

#include <stdbool.h>
#include <stdint.h>

#include "../agent/probe.h"
#include "os.h"

struct tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7];
	uint64_t reserved2;
	uint16_t reserved3;
	uint16_t io_map;
} __attribute__((packed));

struct cpu {
	unsigned int index;
	uint8_t apic_id;
	bool up;
	uint64_t nmis;
	/* Work for this CPU: set by the boot CPU, fn cleared when it is done. */
	void (*fn)(void *);
	void *arg;
	uint64_t gdt[GDT_ENTRIES];
	struct tss tss;
	struct probe_context probe;
};

_Static_assert(sizeof(struct cpu) <= 0x1000, "struct cpu runs into the NMI stack");

/* cpus.c */
extern struct cpu *cpu_blocks[OS_MAX_CPUS];
void cpus_start(void);
/* Wait for an interrupt; returns with interrupts off again. */
void cpu_sleep(void);
/* Address of its HLT. */
extern const uint64_t cpu_halt;
/*
 * Count the caller in, and wait until `expected` CPUs have been. For CPUs that run
 * a broadcast; sleeps if it takes longer.
 */
void cpus_meet(unsigned int *arrived, unsigned int expected, uint64_t mask);

/* Of the CPU whose block the stack pointer is in: for its own stacks only. */
static inline struct cpu *cpu_of_stack(void)
{
	uint64_t rsp;

	asm("mov %%rsp, %0" : "=r"(rsp));
	return (struct cpu *)((rsp - 1) & ~(CPU_BLOCK_SIZE - 1ull));
}

/* trap.c */
void traps_init(void);
/* GDT, IDT, TSS, control registers and MSRs of this CPU, as an OS has them. */
void cpu_init(struct cpu *cpu);

/* panic.c: report, and halt all CPUs. */
__attribute__((noreturn, format(printf, 1, 2))) void panic(const char *format, ...);
__attribute__((noreturn)) void panic_at(const struct probe_frame *frame);
/* Halts this CPU if another one has panicked. */
void panic_join(void);

/* apic.c */
void apic_init(uint64_t io_apic);
void apic_init_this_cpu(void);
uint8_t apic_id(void);
void apic_end_of_interrupt(void);
void apic_send(uint8_t apic_id, uint32_t command);
void apic_start_timer(uint32_t count);
#define APIC_FIXED 0x4000u
#define APIC_NMI 0x4400u
#define APIC_INIT 0x4500u
#define APIC_STARTUP 0x4600u

/* acpi.c: fills ids with the enabled CPUs' APIC ids, in the MADT's order. */
struct acpi_cpus {
	unsigned int count;
	uint8_t id[OS_MAX_CPUS];
	uint64_t io_apic;
};
void acpi_find_cpus(struct acpi_cpus *cpus);

/* memory.c */
void memory_init(const void *multiboot);
/* Map the slots of `count` CPUs, and take page 0 away. */
void memory_map_slots(unsigned int count);
uint64_t memory_slot(unsigned int cpl);

/* console.c: the virtual machine's console if it has one, else COM1. */
void console_init(void);
/* From now on what comes in wakes the boot CPU. */
void console_enable_interrupt(void);
bool console_read(char *byte);
/* Sleep until something came in, or something else wakes this CPU. */
void console_wait(void);
/* Send LF unless the last byte was one. */
void console_fresh_line(void);

/* virtio_console.c */
bool virtio_console_init(void);
/* How many bytes it has taken. */
size_t virtio_console_write(const char *text, size_t length);
bool virtio_console_read(char *byte);
/* Have it interrupt, or not, for what comes in from now on; whether nothing has come in so far. */
bool virtio_console_awaits_interrupt(bool wanted);

#endif /* __ASSEMBLER__ */
#endif
