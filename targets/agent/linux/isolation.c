// SPDX-License-Identifier: MIT
/*
 * NMIs and machine checks can arrive at any time, so the descriptor tables are exchanged in an order in which
 * they can be handled between any two instructions:
 *
 * - The transition GDT is a copy of Linux's with our code segment and our TSS added, so that Linux's handlers
 *   and ours work with it. Our handlers' code segment has the same selector in the probes' GDT.
 * - Our TSS has Linux's stacks in the IST entries that Linux's IDT uses, and our stacks in other entries,
 *   so that it fits either IDT.
 *
 * This file is built without the stack protector and without tracing, because GS may hold a value of the
 * probe between isolation_enter() and isolation_leave().
 */
#define pr_fmt(format) KBUILD_MODNAME ": " format

#include <linux/bitmap.h>
#include <linux/cc_platform.h>
#include <linux/cpumask.h>
#include <linux/kernel.h>
#include <linux/string.h>
#include <linux/version.h>
#include <asm/apic.h>
#include <asm/apicdef.h>
#include <asm/cpufeature.h>
#include <asm/irq_vectors.h>
#include <asm/msr-index.h>
#include <asm/segment.h>
#include <asm/trapnr.h>

#include "isolation.h"

#include "../limits.h"
#include "../x86.h"

#define TSS_AVAILABLE (9ull << 40)
#define TSS_TYPE (15ull << 40)
#define DR7_ENABLED 0xffull
#define CR4_CET (1ul << 23)
#define CR4_FRED (1ul << 32)
#define S_CET 0x6a2
#define VECTOR_FIRST_EXTERNAL 32

static idt_gate idt[IDT_VECTORS];

static const u32 system_call_msrs[SYSTEM_CALL_MSRS] = {
	MSR_STAR,
	MSR_LSTAR,
	MSR_CSTAR,
	MSR_SYSCALL_MASK,
	MSR_IA32_SYSENTER_CS,
	MSR_IA32_SYSENTER_ESP,
	MSR_IA32_SYSENTER_EIP,
};

static unsigned int ist_of(unsigned int vector)
{
	switch (vector) {
	case X86_TRAP_DB:
	case X86_TRAP_MC:
		return IST_DEBUG;
	case X86_TRAP_NMI:
		return IST_NMI;
	default:
		return IST_EXCEPTION;
	}
}

int isolation_init(void)
{
	if (__read_cr4() & CR4_FRED) {
		pr_err("events come through FRED on this machine, not through an IDT\n");
		return -ENODEV;
	}
	if (boot_cpu_has(X86_FEATURE_XENPV)) {
		pr_err("a Xen PV guest has no descriptor tables of its own\n");
		return -ENODEV;
	}
	if (cc_platform_has(CC_ATTR_GUEST_STATE_ENCRYPT)) {
		pr_err("an encrypted guest's #VC handler cannot be replaced\n");
		return -ENODEV;
	}
	fill_probe_idt(idt, BOTH_CS, ist_of);
	/* Its pages that hold no code are no-execute: without NXE, that bit is reserved, and each access a #PF. */
	limits_begin(EFER_NX);
	return 0;
}

void isolation_prepare(struct isolated_cpu *cpu)
{
	u64 block = (u64)cpu;

	fill_probe_gdt(cpu->gdt);
	cpu->gdt[BOTH_CS / 8] = DESCRIPTOR_KERNEL_CS;
	cpu->tss.sp0 = block + CPU_BLOCK_EXCEPTION_STACK;
	cpu->tss.ist[IST_DEBUG - 1] = block + CPU_BLOCK_DEBUG_STACK;
	cpu->tss.ist[IST_NMI - 1] = block + CPU_BLOCK_NMI_STACK;
	cpu->tss.ist[IST_EXCEPTION - 1] = block + CPU_BLOCK_EXCEPTION_STACK;
	cpu->tss.io_bitmap_base = sizeof(cpu->tss);
}

static void load_gdt_at(const void *table, u16 size)
{
	struct desc_ptr pointer = { .size = size - 1, .address = (unsigned long)table };

	asm volatile("lgdt %0" : : "m"(pointer));
}

static void load_task(u16 selector)
{
	asm volatile("ltr %0" : : "r"(selector) : "memory");
}

static void load_code_and_stack(u64 code, u64 stack)
{
	u64 scratch;

	asm volatile("mov %%rsp, %0\n\t"
		     "push %3\n\t"
		     "push %0\n\t"
		     "pushfq\n\t"
		     "push %2\n\t"
		     "lea 1f(%%rip), %0\n\t"
		     "push %0\n\t"
		     "iretq\n"
		     "1:"
		     : "=&r"(scratch), ASM_CALL_CONSTRAINT
		     : "r"(code), "r"(stack)
		     : "cc", "memory");
}

/* Load a null SS, which is valid with every GDT in 64-bit mode (SDM 3A 3.7.2). */
static void load_no_stack(void)
{
	asm volatile("mov %0, %%ss" : : "r"(0));
}

/* With the FSGSBASE instructions where there are any, because an access to an MSR may exit. */
static void save_bases(struct linux_state *state)
{
	if (state->has_fsgsbase) {
		asm volatile("rdfsbase %0" : "=r"(state->fs_base));
		asm volatile("rdgsbase %0" : "=r"(state->gs_base));
		asm volatile("swapgs; rdgsbase %0; swapgs" : "=r"(state->kernel_gs_base));
	} else {
		state->fs_base = x86_rdmsr(MSR_FS_BASE);
		state->gs_base = x86_rdmsr(MSR_GS_BASE);
		state->kernel_gs_base = x86_rdmsr(MSR_KERNEL_GS_BASE);
	}
}

static void put_back_bases(const struct linux_state *state)
{
	if (state->has_fsgsbase) {
		asm volatile("wrfsbase %0" : : "r"(state->fs_base));
		asm volatile("swapgs; wrgsbase %0; swapgs; wrgsbase %1"
			     :
			     : "r"(state->kernel_gs_base), "r"(state->gs_base)
			     : "memory");
	} else {
		x86_wrmsr(MSR_FS_BASE, state->fs_base);
		x86_wrmsr(MSR_KERNEL_GS_BASE, state->kernel_gs_base);
		x86_wrmsr(MSR_GS_BASE, state->gs_base);
	}
}

static void save(struct linux_state *state)
{
	u64 cr4 = x86_read_cr4();

	asm volatile("sgdt %0" : "=m"(state->gdtr));
	asm volatile("sidt %0" : "=m"(state->idtr));
	asm volatile("str %0" : "=r"(state->tr));
	asm volatile("sldt %0" : "=r"(state->ldtr));
	asm volatile("mov %%cs, %0" : "=r"(state->cs));
	asm volatile("mov %%ss, %0" : "=r"(state->ss));
	asm volatile("mov %%ds, %0" : "=r"(state->ds));
	asm volatile("mov %%es, %0" : "=r"(state->es));
	asm volatile("mov %%fs, %0" : "=r"(state->fs));
	asm volatile("mov %%gs, %0" : "=r"(state->gs));
	state->has_fsgsbase = cr4 & X86_CR4_FSGSBASE;
	save_bases(state);
	state->cr3 = x86_read_cr3();
	asm volatile("mov %%dr7, %0" : "=r"(state->dr7));
	state->s_cet = cr4 & CR4_CET ? x86_rdmsr(S_CET) : 0;
	state->has_pkru = cr4 & X86_CR4_PKE;
	if (state->has_pkru) {
		u32 unused;

		asm volatile("rdpkru" : "=a"(state->pkru), "=d"(unused) : "c"(0));
	}
}

static u64 base_of(const u64 *descriptor)
{
	return (descriptor[0] >> 16 & 0xffffff) | (descriptor[0] >> 56) << 24 | descriptor[1] << 32;
}

/* Built for every probe, because Linux may have changed its GDT and TSS since the last one. */
static void make_transition(struct isolated_cpu *cpu)
{
	struct linux_state *state = &cpu->linux_state;
	u64 *linux_tss = &cpu->transition[state->tr / 8];

	memset(cpu->transition, 0, sizeof(cpu->transition));
	memcpy(cpu->transition, (const void *)state->gdtr.address,
	       min_t(size_t, state->gdtr.size + 1, BOTH_CS));
	/* LTR raises #GP for a busy TSS (SDM 2A, LTR). Linux's own GDT is not changed. */
	linux_tss[0] = (linux_tss[0] & ~TSS_TYPE) | TSS_AVAILABLE;
	cpu->transition[BOTH_CS / 8] = DESCRIPTOR_KERNEL_CS;
	fill_tss_descriptor(&cpu->transition[BOTH_TSS / 8], &cpu->tss, sizeof(cpu->tss));
	fill_tss_descriptor(&cpu->gdt[PROBE_TSS / 8], &cpu->tss, sizeof(cpu->tss));
	memcpy(cpu->tss.ist, ((const struct x86_hw_tss *)base_of(linux_tss))->ist,
	       LINUX_ISTS * sizeof(u64));
}

static void isolation_enter(struct isolated_cpu *cpu)
{
	struct linux_state *state = &cpu->linux_state;
	struct desc_ptr own_idt = { .size = sizeof(idt) - 1, .address = (unsigned long)idt };
	const u64 *linux_root = __va(state->cr3 & CR3_ADDR_MASK);

	make_transition(cpu);
	/* Copy the top level of the kernel half. The levels below are shared with Linux, and thus up to date. */
	memcpy(cpu->root + 256, linux_root + 256, 256 * sizeof(u64));
	/* Disable Linux's breakpoints, and CET, because our indirect branch targets have no ENDBR64. */
	if (state->dr7 & DR7_ENABLED)
		asm volatile("mov %0, %%dr7" : : "r"(DR7_RESET));
	if (state->s_cet)
		x86_wrmsr(S_CET, 0);

	load_gdt_at(cpu->transition, sizeof(cpu->transition));
	load_task(BOTH_TSS);
	asm volatile("lidt %0" : : "m"(own_idt));
	load_code_and_stack(BOTH_CS, 0);
	load_gdt_at(cpu->gdt, sizeof(cpu->gdt));
	load_task(PROBE_TSS);
	if (state->ldtr)
		asm volatile("lldt %w0" : : "r"(0));
	/* This uses PCID 0, which Linux does not, and flushes its TLB entries (SDM 3A 4.10.4.1). */
	x86_write_cr3(__sme_set(__pa(cpu->root)));
}

static void isolation_leave(struct isolated_cpu *cpu)
{
	const struct linux_state *state = &cpu->linux_state;
	u16 selector;

	x86_write_cr3(state->cr3);
	load_no_stack();
	load_gdt_at(cpu->transition, sizeof(cpu->transition));
	load_code_and_stack(state->cs, state->ss);
	if (state->ldtr)
		asm volatile("lldt %0" : : "r"(state->ldtr));
	asm volatile("mov %0, %%ds" : : "r"((u32)state->ds));
	asm volatile("mov %0, %%es" : : "r"((u32)state->es));
	asm volatile("mov %%fs, %0" : "=r"(selector));
	if (selector != state->fs)
		asm volatile("mov %0, %%fs" : : "r"((u32)state->fs));
	asm volatile("mov %%gs, %0" : "=r"(selector));
	if (selector != state->gs)
		asm volatile("mov %0, %%gs" : : "r"((u32)state->gs));
	put_back_bases(state);
	asm volatile("lidt %0" : : "m"(state->idtr));
	load_task(state->tr);
	asm volatile("lgdt %0" : : "m"(state->gdtr));
	if (state->has_pkru)
		asm volatile("wrpkru" : : "a"(state->pkru), "c"(0), "d"(0));
	if (state->s_cet)
		x86_wrmsr(S_CET, state->s_cet);
	if (state->dr7 & DR7_ENABLED)
		asm volatile("mov %0, %%dr7" : : "r"(state->dr7));
}

static bool holds_system_call(const u8 *code, u32 size)
{
	u32 i;

	for (i = 0; i + 1 < size; i++)
		if (code[i] == 0x0f && (code[i + 1] == 0x05 || code[i + 1] == 0x34))
			return true;
	return false;
}

/*
 * SYSCALL and SYSENTER of a probe must not lead into Linux's entry code. Changed only if the probe's code or
 * memory contains one of them, because accesses to these MSRs may exit, and would be counted by a check
 * that counts exits.
 */
static void take_system_calls(struct isolated_cpu *cpu, const struct probe_request *request)
{
	struct linux_state *state = &cpu->linux_state;
	u64 entry = (u64)isolation_system_call;
	const u64 ours[SYSTEM_CALL_MSRS] = {
		PROBE_STAR,  entry,	      entry,
		PROBE_FMASK, PROBE_KERNEL_CS, (u64)cpu + CPU_BLOCK_EXCEPTION_STACK,
		entry,
	};
	u32 i;

	state->system_calls_taken = holds_system_call(request->code, request->code_size);
	for (i = 0; i < request->memory_count; i++)
		if (holds_system_call(request->data + request->memory[i].data,
				      request->memory[i].size))
			state->system_calls_taken = true;
	if (!state->system_calls_taken)
		return;
	for (i = 0; i < SYSTEM_CALL_MSRS; i++) {
		probe_try_rdmsr(system_call_msrs[i], &state->system_calls[i]);
		probe_try_wrmsr(system_call_msrs[i], ours[i]);
	}
}

static void give_back_system_calls(const struct linux_state *state)
{
	u32 i;

	if (state->system_calls_taken)
		for (i = 0; i < SYSTEM_CALL_MSRS; i++)
			probe_try_wrmsr(system_call_msrs[i], state->system_calls[i]);
}

/*
 * Take an interrupt that the local APIC delivered because the probe set RFLAGS.IF, and remember it for
 * hand_over(). Returns false if the vector is not in service: then an INT instruction raised it.
 */
static bool take_interrupt(struct isolated_cpu *cpu, unsigned int vector)
{
	u32 reg = APIC_ISR + vector / 32 * 0x10;
	u32 in_service = x2apic_mode ? (u32)x86_rdmsr(APIC_BASE_MSR + (reg >> 4))
				     : native_apic_mem_read(reg);

	if (!(in_service >> vector % 32 & 1))
		return false;
	__set_bit(vector, cpu->interrupts);
	if (x2apic_mode)
		x86_wrmsr(APIC_BASE_MSR + (APIC_EOI >> 4), 0);
	else
		native_apic_mem_write(APIC_EOI, 0);
	return true;
}

static struct isolated_cpu *cpu_of_stack(void)
{
	return block_of_stack(CPU_BLOCK_SIZE);
}

struct probe_context *platform_interrupt(struct probe_frame *frame)
{
	struct isolated_cpu *cpu = cpu_of_stack();
	unsigned int vector = frame->vector & 0xff;

	if (vector == X86_TRAP_NMI)
		cpu->nmis++;
	if (vector == X86_TRAP_MC) {
		cpu->machine_check = true;
		if (!cpu->probe.active)
			return NULL;
	}
	if (vector >= VECTOR_FIRST_EXTERNAL && frame->rflags & X86_EFLAGS_IF &&
	    take_interrupt(cpu, vector))
		return NULL;
	return &cpu->probe;
}

void platform_unexpected(struct probe_frame *frame)
{
	unsigned int vector = frame->vector & 0xff;

	isolation_leave(cpu_of_stack());
	panic("touchstone_agent: vector %u at %pS (%llx), error code %llx, outside of a probe",
	      vector, (void *)frame->rip, frame->rip, frame->error);
}

static void send_to_self(struct isolated_cpu *cpu, int vector)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	__apic_send_IPI_mask(cpumask_of(cpu->number), vector);
#else
	apic->send_IPI_mask(cpumask_of(cpu->number), vector);
#endif
}

static void hand_over(struct isolated_cpu *cpu)
{
	unsigned int vector;

	if (cpu->machine_check) {
		cpu->machine_check = false;
		isolation_machine_check();
	}
	for (; cpu->nmis; cpu->nmis--)
		send_to_self(cpu, NMI_VECTOR);
	for_each_set_bit(vector, cpu->interrupts, 256)
	{
		__clear_bit(vector, cpu->interrupts);
		send_to_self(cpu, vector);
	}
}

void isolation_run(struct isolated_cpu *cpu, const struct probe_request *request,
		   struct probe_outcome *outcome, void (*meet)(void *), void *arg)
{
	save(&cpu->linux_state);
	isolation_enter(cpu);
	take_system_calls(cpu, request);
	probe_run(&cpu->probe, request, outcome, meet, arg);
	give_back_system_calls(&cpu->linux_state);
	isolation_leave(cpu);
	hand_over(cpu);
}
