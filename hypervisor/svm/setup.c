// SPDX-License-Identifier: MIT
/* Enabling SVM, filling the VMCB, and disabling SVM. */
#include "setup.h"

#include "../core/context.h"
#include "../core/cpuid_bits.h"
#include "../core/features.h"
#include "../core/host.h"
#include "../core/host_state.h"
#include "../core/leave.h"
#include "../core/memory.h"
#include "../core/msr.h"
#include "../core/safe_instructions.h"
#include "../core/start_cpus.h"
#include "enter.h"
#include "start.h"
#include "svm_cpu.h"

/* Present, writable, user: nested page tables are walked as user accesses (APM2 15.25.5). */
#define NESTED_BITS (ENTRY_PRESENT | ENTRY_WRITABLE | ENTRY_USER)
#define MSRPM_PAGES 2
#define GUEST_ASID 1

/* Shared by all CPUs of a load; allocated with the first one. */
static u64 nested_cr3, msrpm_physical;

int svm_examine(struct refusal *refusal)
{
	u32 a, b, c, d;

	cpuid(0x80000000, 0, &a, &b, &c, &d);
	if (a < 0x8000000a)
		return refuse_with(refusal, -ENODEV,
				   "the processor has no SVM (CPUID 8000000A is missing)", a);
	cpuid(0x80000001, 0, &a, &b, &c, &d);
	if (!(c & CPUID_80000001_ECX_SVM))
		return refuse_with(refusal, -ENODEV,
				   "the processor has no SVM (CPUID 80000001 ECX.SVM)", c);
	cpuid(0x8000000a, 0, &a, &b, &c, &d);
	if (!(d & CPUID_8000000A_EDX_NP))
		return refuse_with(refusal, -ENODEV,
				   "the processor has no nested paging (CPUID 8000000A EDX.NP)", d);
	if (!has_gigabyte_pages() && physical_address_bits() > 40)
		return refuse_with(refusal, -ENODEV,
				   "more than 40 address bits, but no 1-GiB pages to map them with",
				   physical_address_bits());
	return 0;
}

/* Two bits per MSR, in three ranges of 0x2000 MSRs (APM2 15.11). */
static void guard_msr(u8 *msrpm, u32 msr)
{
	static const u32 bases[] = { 0, 0xc0000000, 0xc0010000 };

	for (unsigned int i = 0; i < COUNT_OF(bases); i++) {
		u32 index = msr - bases[i];

		if (index < 0x2000)
			msrpm[0x800 * i + index / 4] |= 3 << 2 * (index % 4);
	}
}

static int map(struct page_table *nested, u64 start, u64 end, u64 leaf)
{
	return page_table_map(nested, start, start, end - start, leaf, NESTED_BITS);
}

/*
 * The whole physical address space, devices included; memory types stay those of the guest's PAT and the MTRRs. Where
 * the OS starts CPUs, writes to the local APIC exit (core/start_cpus.c).
 */
static int map_all(struct page_table *nested, u64 end)
{
	const u64 apic = LOCAL_APIC_ADDRESS, in_2_mib = apic & ~(MIB2 - 1);
	const u64 in_1_gib = apic & ~(GIB1 - 1), leaf = has_gigabyte_pages() ? GIB1 : MIB2;
	int error;

	if (!host_start_page())
		return map(nested, 0, end, leaf);
	error = map(nested, 0, in_1_gib, leaf);
	if (!error)
		error = map(nested, in_1_gib, in_2_mib, MIB2);
	if (!error)
		error = map(nested, in_2_mib, in_2_mib + MIB2, KIB4);
	if (!error)
		error = page_table_map(nested, apic, apic, KIB4, KIB4,
				       NESTED_BITS & ~ENTRY_WRITABLE);
	if (!error && in_2_mib + MIB2 < in_1_gib + GIB1)
		error = map(nested, in_2_mib + MIB2, in_1_gib + GIB1, MIB2);
	if (!error && in_1_gib + GIB1 < end)
		error = map(nested, in_1_gib + GIB1, end, leaf);
	return error;
}

static int allocate_shared(void)
{
	struct page_table nested;
	unsigned int bits = physical_address_bits();
	u8 *msrpm = memory_alloc(MSRPM_PAGES);
	int error;

	if (!msrpm)
		return -ENOMEM;
	for (unsigned int i = 0; i < guarded_msr_count; i++) {
		for (u32 msr = guarded_msrs[i].first; msr <= guarded_msrs[i].last; msr++)
			guard_msr(msrpm, msr);
	}
	/* The second of an MSR's two bits: writes (APM2 15.11). */
	if (host_start_page())
		msrpm[MSR_X2APIC_COMMAND / 4] |= 2 << 2 * (MSR_X2APIC_COMMAND % 4);
	msrpm_physical = host_physical(msrpm);

	error = page_table_init(&nested, NESTED_BITS, ENTRY_PRESENT);
	/* Nested tables are walked with the paging mode of host mode (APM2 15.25.3). */
	if (has_five_level_paging())
		nested.levels = 5;
	if (!error)
		error = map_all(&nested, 1ull << (bits > 48 ? 48 : bits));
	nested_cr3 = error ? 0 : host_physical(nested.root);
	return error;
}

int svm_allocate(struct vcpu *vcpu)
{
	struct svm_cpu *svm = memory_alloc(1);
	int error;

	if (!svm)
		return -ENOMEM;
	if (!vcpu->cpu) {
		error = allocate_shared();
		if (error)
			return error;
	}
	vcpu->backend_data = svm;
	svm->nested_cr3 = nested_cr3;
	svm->msrpm = msrpm_physical;
	vcpu->vmcb = memory_alloc(1);
	svm->host_save_area = memory_alloc(1);
	if (!vcpu->vmcb || !svm->host_save_area)
		return -ENOMEM;
	svm->host_save_area_physical = host_physical(svm->host_save_area);
	return 0;
}

/* CPUID faulting (APM2 3.2.10, HWCR.CpuidUserDis; APM3 E.4.17). */
static void find_cpuid_faulting(struct vcpu *vcpu)
{
	if (!has_feature(0x80000021, 0, CPUID_EAX, CPUID_80000021_EAX_USER_DIS))
		return;
	vcpu->cpuid_fault_msr = MSR_HWCR;
	vcpu->cpuid_fault_bit = HWCR_CPUID_USER_DIS;
}

int svm_enable(struct vcpu *vcpu, struct refusal *refusal)
{
	struct svm_cpu *svm = svm_of(vcpu);
	u64 vm_cr, efer = read_msr(MSR_EFER);

	if (read_msr_safe(MSR_VM_CR, &vm_cr) && vm_cr & VM_CR_SVMDIS)
		return refuse_with(refusal, -EPERM, "firmware has switched SVM off (VM_CR.SVMDIS)",
				   vm_cr);
	if (efer & EFER_SVME)
		return refuse_with(refusal, -EBUSY,
				   "SVM is in use by another hypervisor (EFER.SVME)", efer);
	if (!write_msr_safe(MSR_EFER, efer | EFER_SVME))
		return refuse_with(refusal, -EPERM, "EFER.SVME cannot be set", efer);
	find_cpuid_faulting(vcpu);
	svm->old_host_save_area = read_msr(MSR_VM_HSAVE_PA);
	write_msr(MSR_VM_HSAVE_PA, svm->host_save_area_physical);
	return 0;
}

void svm_disable(struct vcpu *vcpu)
{
	write_msr(MSR_VM_HSAVE_PA, svm_of(vcpu)->old_host_save_area);
	write_msr(MSR_EFER, read_msr(MSR_EFER) & ~EFER_SVME);
}

static struct vmcb_segment vmcb_segment(const struct context *context, u16 selector)
{
	struct segment segment = read_segment(context, selector);

	return (struct vmcb_segment){
		.selector = segment.selector,
		.attributes = segment.attributes,
		.limit = segment.limit,
		.base = segment.base,
	};
}

/*
 * The guest's SPEC_CTRL lies in the VMCB, apart from the host's (APM2 appendix B, 2E0h of the state save
 * area); without this feature there is only one.
 */
static bool has_guest_spec_ctrl(void)
{
	return has_feature(0x8000000a, 0, CPUID_EDX, CPUID_8000000A_EDX_SPEC_CTRL);
}

/*
 * S_CET, SSP and the table of shadow stacks of interrupts are switched by VMRUN and #VMEXIT (APM2 15.5.1, table B-2).
 * SSP stays 0: Veneer is not loaded while supervisor shadow stacks are in use (core/obstacles.c), and without them
 * only CPL 3 has an SSP, which a return to it loads.
 */
static bool has_shadow_stacks(void)
{
	return has_feature(7, 0, CPUID_ECX, CPUID_7_ECX_CET_SS);
}

static void fill_guest_state(const struct vcpu *vcpu, struct vmcb *vmcb)
{
	const struct context *context = &vcpu->context;

	vmcb->es = vmcb_segment(context, context->es);
	vmcb->cs = vmcb_segment(context, context->cs);
	vmcb->ss = vmcb_segment(context, context->ss);
	vmcb->ds = vmcb_segment(context, context->ds);
	vmcb->gdtr.limit = context->gdtr.limit;
	vmcb->gdtr.base = context->gdtr.base;
	vmcb->idtr.limit = context->idtr.limit;
	vmcb->idtr.base = context->idtr.base;
	vmcb->efer = context->efer | EFER_SVME;
	vmcb->cr0 = context->cr0;
	vmcb->cr2 = read_cr2();
	vmcb->cr3 = context->cr3;
	vmcb->cr4 = context->cr4;
	vmcb->dr6 = read_dr6();
	vmcb->dr7 = context->dr7;
	vmcb->rflags = context->rflags;
	vmcb->guest_pat = read_msr(MSR_PAT);
	if (has_guest_spec_ctrl())
		vmcb->spec_ctrl = read_msr(MSR_SPEC_CTRL);
	if (has_shadow_stacks()) {
		vmcb->s_cet = read_msr(MSR_S_CET);
		vmcb->interrupt_ssp_table = read_msr(MSR_INTERRUPT_SSP_TABLE);
	}
	/*
	 * FS, GS, TR, LDTR and the other fields that VMSAVE stores, which VMRUN does not load: for
	 * a debugger that reads the VMCB.
	 */
	vmsave(host_physical(vmcb));
}

/* CPUID 80000008 EBX[3] (APM3 E.4.7). The bit of the VMCB is reserved on other processors. */
static bool has_invlpgb(void)
{
	u32 a, b, c, d;

	cpuid(0x80000008, 0, &a, &b, &c, &d);
	return b & CPUID_80000008_EBX_INVLPGB;
}

static void fill_controls(const struct svm_cpu *svm, struct vmcb *vmcb)
{
	/* NMIs, interrupts, INIT and SMIs are not intercepted: the guest handles them. */
	vmcb->intercept_misc1 = INTERCEPT_CPUID | INTERCEPT_INVD | INTERCEPT_INVLPGA |
				INTERCEPT_MSR | INTERCEPT_SHUTDOWN;
	vmcb->intercept_misc2 = INTERCEPT_VMRUN | INTERCEPT_VMMCALL | INTERCEPT_VMLOAD |
				INTERCEPT_VMSAVE | INTERCEPT_STGI | INTERCEPT_CLGI |
				INTERCEPT_SKINIT | INTERCEPT_XSETBV;
	/* See handle_gp_fault(). */
	vmcb->intercept_exceptions = BIT_ULL_AT(VECTOR_GP);
	vmcb->msrpm_base = svm->msrpm;
	vmcb->asid = GUEST_ASID;
	vmcb->tlb_control = VMCB_TLB_FLUSH_ALL;
	vmcb->nested_control = VMCB_NESTED_PAGING | (has_invlpgb() ? VMCB_INVLPGB : 0);
	vmcb->nested_cr3 = svm->nested_cr3;
}

/*
 * EFER.NXE where the processor has it: resume_context() still runs with host EFER when it uses the
 * guest's page tables, whose entries may have NX set although the OS had NXE clear at load.
 */
static u64 allowed_nxe(void)
{
	u32 a, b, c, d;

	cpuid(0x80000001, 0, &a, &b, &c, &d);
	return d & CPUID_80000001_EDX_NX ? EFER_NXE : 0;
}

int svm_enter(struct vcpu *vcpu, struct refusal *refusal)
{
	struct svm_cpu *svm = svm_of(vcpu);

	/* The guest's EFER is in the VMCB by now; a refused VMRUN restores the OS' from there. */
	fill_guest_state(vcpu, vcpu->vmcb);
	vcpu->host_efer = read_msr(MSR_EFER) | allowed_nxe();
	write_msr(MSR_EFER, vcpu->host_efer);
	fill_controls(svm, vcpu->vmcb);
	use_idt_without_stack_switch(vcpu);
	vcpu->vmcb_physical = host_physical(vcpu->vmcb);
	if (host_start_page())
		svm_prepare_start(vcpu);
	svm->launched = false;
	if (svm_launch(vcpu, vcpu->vmcb))
		return refuse_with(refusal, -EIO, "VMRUN was refused; the value is the exit code",
				   vcpu->vmcb->exit_code);
	svm->launched = true;
	return 0;
}

/* In host mode, GIF clear: load the guest state that VMRUN and #VMEXIT switch. */
void svm_leave(struct vcpu *vcpu)
{
	struct svm_cpu *svm = svm_of(vcpu);
	struct context *context = &vcpu->context;
	const struct vmcb *vmcb = vcpu->vmcb;

	/* Not switched by #VMEXIT, see enter.S. */
	context->fs_base = read_msr(MSR_FS_BASE);
	context->gs_base = read_msr(MSR_GS_BASE);
	context->fs = read_fs();
	context->gs = read_gs();
	context->ldtr = read_ldtr();
	context->tr = read_tr();

	context->regs = vcpu->regs;
	context->regs.rsp = vmcb->rsp;
	context->rip = vmcb->rip;
	context->rflags = vmcb->rflags;
	context->cr0 = vmcb->cr0;
	context->cr3 = vmcb->cr3;
	context->cr4 = vmcb->cr4;
	context->efer = vmcb->efer & ~EFER_SVME;
	context->dr7 = vmcb->dr7;
	context->gdtr =
		(struct table_register){ .limit = vmcb->gdtr.limit, .base = vmcb->gdtr.base };
	context->idtr =
		(struct table_register){ .limit = vmcb->idtr.limit, .base = vmcb->idtr.base };
	context->cs = vmcb->cs.selector;
	context->ss = vmcb->ss.selector;
	context->ds = vmcb->ds.selector;
	context->es = vmcb->es.selector;
	context->stgi = 1;
	write_cr2(vmcb->cr2);
	write_dr6(vmcb->dr6);
	write_msr(MSR_PAT, vmcb->guest_pat);
	if (has_guest_spec_ctrl())
		write_msr(MSR_SPEC_CTRL, vmcb->spec_ctrl);
	if (has_shadow_stacks()) {
		write_msr(MSR_S_CET, vmcb->s_cet);
		write_msr(MSR_INTERRUPT_SSP_TABLE, vmcb->interrupt_ssp_table);
	}
	write_msr(MSR_VM_HSAVE_PA, svm->old_host_save_area);
	resume_context(vcpu);
}

/*
 * A refused VMRUN exits with VMEXIT_INVALID and loads the host state (APM2 15.5.1). Bochs stores what
 * it had not yet loaded over the guest state in the VMCB, so that this returns with the context of
 * enable_on_this_cpu(), and the RSP of svm_launch(). svm_disable() follows, which finds EFER.SVME set.
 */
void svm_return_from_refused_entry(struct vcpu *vcpu)
{
	struct context *context = &vcpu->context;

	context->efer |= EFER_SVME;
	context->rip = (u64)svm_entry_refused;
	context->stgi = 1;
	resume_context(vcpu);
}
