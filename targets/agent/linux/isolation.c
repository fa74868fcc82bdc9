// SPDX-License-Identifier: MIT
/*
 * NMIs and machine checks come at any time, so the tables are exchanged in an order in
 * which each of them can be served between any two instructions:
 *
 * - The transition's GDT is Linux's with our code segment and our TSS behind it: Linux's
 *   handlers work under it, and so do ours, whose segment the probes' GDT has at the same place.
 * - Our TSS has Linux's stacks in the IST entries that Linux's IDT names, and ours in
 *   others: whichever IDT is loaded finds its own.
 *
 * This file is built without the stack protector and without tracing: GS is a probe's between
 * isolation_enter() and isolation_leave().
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

#define GATE_INTERRUPT 0x8e00ull
#define GATE_DPL3 0x6000ull
#define TSS_AVAILABLE (9ull << 40)
#define TSS_TYPE (15ull << 40)
#define CODE_64 0x00af9b000000ffffull
#define DR7_RESET 0x400ull
#define DR7_ENABLED 0xffull
#define CR4_CET (1ul << 23)
#define CR4_FRED (1ul << 32)
#define S_CET 0x6a2
#define SFMASK_AS_LINUX 0x47700
#define VECTOR_FIRST_EXTERNAL 32

static u64 idt[256][2];

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
	unsigned int vector;

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
	for (vector = 0; vector < 256; vector++) {
		u64 stub = (u64)probe_stubs + vector * PROBE_STUB_SIZE;
		/* INT3 and INTO are instructions of programs. */
		u64 type = GATE_INTERRUPT |
			   (vector == X86_TRAP_BP || vector == X86_TRAP_OF ? GATE_DPL3 : 0);

		idt[vector][0] = (stub & 0xffff) | BOTH_CS << 16 | (type | ist_of(vector)) << 32 |
				 (stub >> 16 & 0xffff) << 48;
		idt[vector][1] = stub >> 32;
	}
	return 0;
}

static void put_tss(u64 *descriptor, u64 base, u64 limit)
{
	descriptor[0] = limit | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
	descriptor[1] = base >> 32;
}

static void arm_tss(const struct isolated_cpu *cpu, u64 *descriptor)
{
	put_tss(descriptor, (u64)&cpu->tss, sizeof(cpu->tss) - 1);
}

void isolation_prepare(struct isolated_cpu *cpu)
{
	/* The selectors are part of the protocol. */
	static const u64 segments[] = {
		[1] = 0x00af9b000000ffff, [2] = 0x00cf93000000ffff, [3] = 0x00cf9b000000ffff,
		[4] = 0x00cffb000000ffff, [5] = 0x00cff3000000ffff, [6] = 0x00affb000000ffff,
		[BOTH_CS / 8] = CODE_64,
	};
	u64 block = (u64)cpu;

	memcpy(cpu->gdt, segments, sizeof(segments));
	cpu->tss.sp0 = block + CPU_BLOCK_EXCEPTION_STACK;
	cpu->tss.ist[IST_DEBUG - 1] = block + CPU_BLOCK_DEBUG_STACK;
	cpu->tss.ist[IST_NMI - 1] = block + CPU_BLOCK_NMI_STACK;
	cpu->tss.ist[IST_EXCEPTION - 1] = block + CPU_BLOCK_EXCEPTION_STACK;
	cpu->tss.io_bitmap_base = sizeof(cpu->tss);
}

static u64 get_msr(u32 msr)
{
	u32 low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (u64)high << 32 | low;
}

static void set_msr(u32 msr, u64 value)
{
	asm volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static u64 get_cr3(void)
{
	u64 value;

	asm volatile("mov %%cr3, %0" : "=r"(value));
	return value;
}

static void set_cr3(u64 value)
{
	asm volatile("mov %0, %%cr3" : : "r"(value) : "memory");
}

static u64 get_cr4(void)
{
	u64 value;

	asm volatile("mov %%cr4, %0" : "=r"(value));
	return value;
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

/* No segment: valid under every table (SDM 3A 3.7.2). */
static void load_no_stack(void)
{
	asm volatile("mov %0, %%ss" : : "r"(0));
}

/* Bases by instructions where there are any: an access to an MSR may cost an exit. */
static void save_bases(struct linux_state *state)
{
	if (state->has_fsgsbase) {
		asm volatile("rdfsbase %0" : "=r"(state->fs_base));
		asm volatile("rdgsbase %0" : "=r"(state->gs_base));
		asm volatile("swapgs; rdgsbase %0; swapgs" : "=r"(state->kernel_gs_base));
	} else {
		state->fs_base = get_msr(MSR_FS_BASE);
		state->gs_base = get_msr(MSR_GS_BASE);
		state->kernel_gs_base = get_msr(MSR_KERNEL_GS_BASE);
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
		set_msr(MSR_FS_BASE, state->fs_base);
		set_msr(MSR_KERNEL_GS_BASE, state->kernel_gs_base);
		set_msr(MSR_GS_BASE, state->gs_base);
	}
}

static void save(struct linux_state *state)
{
	u64 cr4 = get_cr4();

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
	state->cr3 = get_cr3();
	asm volatile("mov %%dr7, %0" : "=r"(state->dr7));
	state->s_cet = cr4 & CR4_CET ? get_msr(S_CET) : 0;
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

/* Linux's GDT and TSS may have changed since the last time: they are read anew. */
static void make_transition(struct isolated_cpu *cpu)
{
	struct linux_state *state = &cpu->linux_state;
	u64 *linux_tss = &cpu->transition[state->tr / 8];

	memset(cpu->transition, 0, sizeof(cpu->transition));
	memcpy(cpu->transition, (const void *)state->gdtr.address,
	       min_t(size_t, state->gdtr.size + 1, BOTH_CS));
	/* LTR wants it so; that of Linux's own table stays as it is. */
	linux_tss[0] = (linux_tss[0] & ~TSS_TYPE) | TSS_AVAILABLE;
	cpu->transition[BOTH_CS / 8] = CODE_64;
	arm_tss(cpu, &cpu->transition[BOTH_TSS / 8]);
	arm_tss(cpu, &cpu->gdt[PROBE_TSS / 8]);
	memcpy(cpu->tss.ist, ((const struct x86_hw_tss *)base_of(linux_tss))->ist,
	       LINUX_ISTS * sizeof(u64));
}

static void isolation_enter(struct isolated_cpu *cpu)
{
	struct linux_state *state = &cpu->linux_state;
	struct desc_ptr own_idt = { .size = sizeof(idt) - 1, .address = (unsigned long)idt };
	const u64 *linux_root = __va(state->cr3 & CR3_ADDR_MASK);

	make_transition(cpu);
	/* Whatever of the kernel is mapped now; the tables below are shared, and stay up to date. */
	memcpy(cpu->root + 256, linux_root + 256, 256 * sizeof(u64));
	/* Linux's breakpoints must not hit us, nor does anything of ours begin with ENDBR64. */
	if (state->dr7 & DR7_ENABLED)
		asm volatile("mov %0, %%dr7" : : "r"(DR7_RESET));
	if (state->s_cet)
		set_msr(S_CET, 0);

	load_gdt_at(cpu->transition, sizeof(cpu->transition));
	load_task(BOTH_TSS);
	asm volatile("lidt %0" : : "m"(own_idt));
	load_code_and_stack(BOTH_CS, 0);
	load_gdt_at(cpu->gdt, sizeof(cpu->gdt));
	load_task(PROBE_TSS);
	if (state->ldtr)
		asm volatile("lldt %w0" : : "r"(0));
	/* With PCIDs, this is number 0, which Linux does not use, and its entries are flushed here (SDM 3A 4.10.4.1). */
	set_cr3(__sme_set(__pa(cpu->root)));
}

static void isolation_leave(struct isolated_cpu *cpu)
{
	const struct linux_state *state = &cpu->linux_state;
	u16 selector;

	set_cr3(state->cr3);
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
		set_msr(S_CET, state->s_cet);
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
 * SYSCALL and SYSENTER must not lead into Linux's entry code. Only where the probe can use
 * them: each of these accesses may cost an exit, which a check that counts exits would see.
 */
static void take_system_calls(struct isolated_cpu *cpu, const struct probe_request *request)
{
	struct linux_state *state = &cpu->linux_state;
	u64 entry = (u64)isolation_system_call;
	const u64 ours[SYSTEM_CALL_MSRS] = {
		(u64)PROBE_KERNEL_CS << 32 | 0x23ull << 48,
		entry,
		entry,
		SFMASK_AS_LINUX,
		PROBE_KERNEL_CS,
		(u64)cpu + CPU_BLOCK_EXCEPTION_STACK,
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

static struct isolated_cpu *cpu_of_stack(void)
{
	u64 rsp;

	asm("mov %%rsp, %0" : "=r"(rsp));
	return (struct isolated_cpu *)((rsp - 1) & ~(CPU_BLOCK_SIZE - 1ull));
}

/*
 * An interrupt in service is Linux's, come in because the probe set RFLAGS.IF; anything else came
 * from an INT instruction. A level-triggered one comes again by itself, others we send again.
 */
static bool take_interrupt(struct isolated_cpu *cpu, unsigned int vector)
{
	u32 reg = APIC_ISR + vector / 32 * 0x10;
	u32 in_service = x2apic_mode ? (u32)get_msr(APIC_BASE_MSR + (reg >> 4))
				     : native_apic_mem_read(reg);

	if (!(in_service >> vector % 32 & 1))
		return false;
	__set_bit(vector, cpu->interrupts);
	if (x2apic_mode)
		set_msr(APIC_BASE_MSR + (APIC_EOI >> 4), 0);
	else
		native_apic_mem_write(APIC_EOI, 0);
	return true;
}

struct probe_context *platform_trap(struct probe_frame *frame)
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
	switch (probe_trap(&cpu->probe, frame)) {
	case PROBE_TRAP_RESUME:
		return NULL;
	case PROBE_TRAP_END:
		return &cpu->probe;
	default:
		break;
	}
	isolation_leave(cpu);
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
