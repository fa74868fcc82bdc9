/* SPDX-License-Identifier: MIT */
/* Descriptor tables, interrupts and exceptions. */
#include "trap.h"

#include "absent_msrs.h"
#include "apic.h"
#include "guard.h"
#include "panic.h"
#include "subject_text.h"
#include "x86.h"

#define DR6_BREAKPOINTS 0xfull
#define DR6_BS (1ull << 14)
#define RFLAGS_FIXED 0x2ull
#define RFLAGS_TF (1ull << 8)
#define VECTOR_MC 18

#define IST_EXCEPTION 1
#define IST_NMI 2
#define IST_ABORT 3
#define IST_DEBUG 4
#define IST_INTERRUPT 5

struct table_pointer {
	uint16_t limit;
	const void *base;
} __attribute__((packed));

void os_syscall_entry(void);

static idt_gate idt[IDT_VECTORS];

static unsigned int ist_of(unsigned int vector)
{
	if (vector >= 32)
		return IST_INTERRUPT;
	switch (vector) {
	case 1:
		return IST_DEBUG;
	case 2:
		return IST_NMI;
	case 8:
	case 18:
		return IST_ABORT;
	default:
		return IST_EXCEPTION;
	}
}

void traps_init(void)
{
	fill_probe_idt(idt, PROBE_KERNEL_CS, ist_of);
}

static void init_descriptors(struct cpu *cpu)
{
	uint64_t block = (uint64_t)cpu;
	struct table_pointer gdtr = { .limit = sizeof(cpu->gdt) - 1, .base = cpu->gdt };
	struct table_pointer idtr = { .limit = sizeof(idt) - 1, .base = idt };

	fill_probe_gdt(cpu->gdt);
	fill_tss_descriptor(&cpu->gdt[PROBE_TSS / 8], &cpu->tss, sizeof(cpu->tss));
	cpu->tss.rsp[0] = block + CPU_INTERRUPT_STACK;
	cpu->tss.ist[IST_EXCEPTION - 1] = block + CPU_EXCEPTION_STACK;
	cpu->tss.ist[IST_NMI - 1] = block + CPU_NMI_STACK;
	cpu->tss.ist[IST_ABORT - 1] = block + CPU_ABORT_STACK;
	cpu->tss.ist[IST_DEBUG - 1] = block + CPU_DEBUG_STACK;
	cpu->tss.ist[IST_INTERRUPT - 1] = block + CPU_INTERRUPT_STACK;
	cpu->tss.io_map = sizeof(cpu->tss);

	asm volatile("lgdt %0" : : "m"(gdtr));
	asm volatile("lidt %0" : : "m"(idtr));
	asm volatile("lldt %w0" : : "r"(0));
	asm volatile("ltr %w0" : : "r"(PROBE_TSS));
	asm volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%ss" : : "r"(PROBE_KERNEL_DS));
}

/* SYSCALL and SYSENTER lead to a UD2, so that a probe that executes one ends with #UD at CPL 0. */
static void init_system_calls(struct cpu *cpu)
{
	uint64_t entry = (uint64_t)os_syscall_entry;

	x86_wrmsr(MSR_STAR, PROBE_STAR);
	x86_wrmsr(MSR_LSTAR, entry);
	x86_wrmsr(MSR_CSTAR, entry);
	x86_wrmsr(MSR_FMASK, PROBE_FMASK);
	x86_wrmsr(MSR_SYSENTER_CS, PROBE_KERNEL_CS);
	x86_wrmsr(MSR_SYSENTER_ESP, (uint64_t)cpu + CPU_INTERRUPT_STACK);
	x86_wrmsr(MSR_SYSENTER_EIP, entry);
}

void cpu_init(struct cpu *cpu)
{
	uint64_t cr4 = x86_read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT, efer = EFER_SCE;

	init_descriptors(cpu);
	if (x86_cpuid(0x80000001, 0).edx >> 20 & 1)
		efer |= EFER_NXE;
	x86_wrmsr(MSR_EFER, x86_rdmsr(MSR_EFER) | efer);
	if (x86_cpuid(1, 0).ecx >> 26 & 1) {
		/* Of x87, SSE, AVX and AVX-512, what the CPU supports. */
		uint32_t xcr0 = x86_cpuid(0xd, 0).eax & 0xe7;

		x86_write_cr4(cr4 | CR4_OSXSAVE);
		asm volatile("xsetbv" : : "c"(0), "a"(xcr0), "d"(0));
	} else {
		x86_write_cr4(cr4);
	}
	init_system_calls(cpu);
}

/*
 * Bochs 2.7 delivers a single-step trap that was due in an SVM guest behind #VMEXIT, in host mode. TF is clear
 * there, so that no instruction of the host can have caused it. The instruction that exited was not executed, and no
 * trap is due (APM2 15.7).
 */
static bool is_guests_trap(const struct probe_frame *frame)
{
	uint64_t dr6;

	if ((frame->vector & 0xff) != PROBE_VECTOR_DB || frame->rflags & RFLAGS_TF)
		return false;
	asm volatile("mov %%dr6, %0" : "=r"(dr6));
	return (dr6 & (DR6_BS | DR6_BREAKPOINTS)) == DR6_BS;
}

/*
 * An exception in the subject's own code is never a probe's, although a subject whose host mode has the guest's IDT
 * leads it here. To end the probe would leave the CPU in host mode, and its next probes would be judged there. A
 * probe that jumps into the subject's code, such as to a hypercall's address, keeps its own stack.
 */
static bool is_fault_of_host_mode(const struct probe_frame *frame, const struct cpu *cpu)
{
	unsigned int vector = frame->vector & 0xff;
	bool on_probes_stack = frame->rsp - cpu->probe.slot[0] < SLOT_STRIDE;

	return vector < 32 && vector != PROBE_VECTOR_NMI && vector != VECTOR_MC &&
	       cpu->probe.active && !on_probes_stack;
}

/*
 * Not of a subject that lets interrupts in with the guest's IDT: its host mode has a stack of its own. But also in this
 * handler, before the end of the interrupt: QEMU's software CPU delivers an interrupt twice that a hypervisor has injected
 * (docs/kvm.md). The second frame is written over the first one, and leads back into the handler.
 */
static bool came_in_sleep(const struct probe_frame *frame, const struct cpu *cpu)
{
	uint64_t offset = frame->rsp - (uint64_t)cpu;

	return cpu->sleeps && (frame->rsp == cpu->sleeps ||
			       (offset > CPU_NMI_STACK && offset <= CPU_INTERRUPT_STACK));
}

/*
 * Behind the HLT, wherever the interrupt came: before HLT, it would then wait for another one. There it comes if something
 * has ended the shadow of STI, such as an NMI, or a hypervisor's exit on QEMU's software CPU (docs/kvm.md).
 */
static void wake_up(struct probe_frame *frame, const struct cpu *cpu)
{
	frame->rip = cpu_woken;
	frame->rsp = cpu->sleeps;
	frame->ss = PROBE_KERNEL_DS; /* the handler's is null on QEMU */
	frame->rflags = RFLAGS_FIXED;
}

struct probe_context *platform_interrupt(struct probe_frame *frame)
{
	struct cpu *cpu = cpu_of_stack();

	if (rip_is_in_subject(frame)) {
		if (is_guests_trap(frame) || absent_msr_takes(frame))
			return NULL;
		if (is_fault_of_host_mode(frame, cpu))
			panic_at(frame);
	}

	switch (frame->vector & 0xff) {
	case VECTOR_CONSOLE:
	case VECTOR_WAKE:
	case VECTOR_TIMER:
		/* These only wake the CPU from its HLT. */
		apic_end_of_interrupt();
		if (came_in_sleep(frame, cpu))
			wake_up(frame, cpu);
		return NULL;
	case VECTOR_SPURIOUS:
		return NULL;
	case PROBE_VECTOR_NMI:
		cpu->nmis++;
		panic_join();
		break;
	}
	return &cpu->probe;
}

void platform_unexpected(struct probe_frame *frame)
{
	if (!guard_takes(frame))
		panic_at(frame);
}
