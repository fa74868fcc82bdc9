// SPDX-License-Identifier: MIT
/* See core/start_cpus.c. */
#include "start.h"

#include "../core/host.h"
#include "../core/local_apic.h"
#include "../core/start_cpus.h"
#include "svm_cpu.h"

#define CODE64 0x00af9b000000ffffull
#define DATA 0x00cf93000000ffffull
#define CODE32 0x00cf9b000000ffffull

/* Attributes in a VMCB (APM2 15.5.1): present, and what the type says. */
#define ATTRIBUTES_CODE 0x9b
#define ATTRIBUTES_DATA 0x93
#define REAL_LIMIT 0xffff

struct parameters {
	u8 gdtr[8];
	struct far_pointer {
		u32 offset;
		u16 selector, unused;
	} protected, long_mode;
	u32 cr0, cr3, cr4, efer;
	u64 entry;
	u64 gdt[4];
};

#define ASSERT_PARAMETER(member, offset) \
	_Static_assert(START_PARAMETERS + offsetof(struct parameters, member) == (offset), #member)
ASSERT_PARAMETER(gdtr, START_GDTR);
ASSERT_PARAMETER(protected, START_PROTECTED);
ASSERT_PARAMETER(long_mode, START_LONG);
ASSERT_PARAMETER(cr0, START_CR0);
ASSERT_PARAMETER(cr3, START_CR3);
ASSERT_PARAMETER(cr4, START_CR4);
ASSERT_PARAMETER(efer, START_EFER);
ASSERT_PARAMETER(entry, START_ENTRY);
ASSERT_PARAMETER(gdt, START_GDT);

void svm_prepare_start(struct vcpu *vcpu)
{
	char *page = host_start_page();
	struct parameters *parameters = (struct parameters *)(page + START_PARAMETERS);
	u32 base = (u32)(u64)page, gdt = base + START_GDT;
	u16 limit = sizeof(parameters->gdt) - 1;

	remember_apic_id(vcpu);
	if (vcpu->cpu)
		return;
	__builtin_memcpy(page, svm_start_code, (size_t)(svm_start_code_end - svm_start_code));
	*parameters = (struct parameters){
		.protected = { base + (u32)(svm_start_code_protected - svm_start_code),
			       START_CODE32, 0 },
		.long_mode = { base + (u32)(svm_start_code_long - svm_start_code), START_CODE64,
			       0 },
		.cr0 = (u32)vcpu->host_cr0,
		.cr3 = (u32)vcpu->host_cr3,
		.cr4 = (u32)vcpu->host_cr4,
		/* LMA is the processor's to set. */
		.efer = (u32)(vcpu->host_efer & ~(u64)EFER_LMA),
		.entry = (u64)svm_started,
		.gdt = { 0, CODE64, DATA, CODE32 },
	};
	__builtin_memcpy(parameters->gdtr, &limit, sizeof(limit));
	__builtin_memcpy(parameters->gdtr + sizeof(limit), &gdt, sizeof(gdt));
}

struct vcpu *svm_this_vcpu(void)
{
	return vcpu_of_apic_id(this_apic_id());
}

static struct vmcb_segment real_segment(u16 selector, u16 attributes)
{
	return (struct vmcb_segment){
		.selector = selector,
		.attributes = attributes,
		.limit = REAL_LIMIT,
		.base = (u64)selector << 4,
	};
}

/*
 * APM2 14.1.3 and table 14-1; 15.27.8: the start-up IPI begins in the page of its vector. What VMRUN does not load (FS,
 * GS, LDTR, TR and MSRs) is the processor's as INIT has left it.
 */
void svm_start_guest(struct vcpu *vcpu, u64 cr0)
{
	u8 vector = __atomic_load_n(&vcpu->start_vector, __ATOMIC_ACQUIRE);
	struct svm_cpu *svm = svm_of(vcpu);
	struct vmcb *vmcb = vcpu->vmcb;
	u32 a, b, c, d;

	write_msr(MSR_VM_HSAVE_PA, svm->host_save_area_physical);
	cpuid(1, 0, &a, &b, &c, &d);
	vcpu->regs = (struct regs){ .rdx = a };
	vcpu->pending_nmis = 0;
	vcpu->machine_check_pending = false;
	vmcb->cs = real_segment((u16)(vector << 8), ATTRIBUTES_CODE);
	vmcb->ds = real_segment(0, ATTRIBUTES_DATA);
	vmcb->es = real_segment(0, ATTRIBUTES_DATA);
	vmcb->ss = real_segment(0, ATTRIBUTES_DATA);
	vmcb->gdtr = (struct vmcb_segment){ .limit = REAL_LIMIT };
	vmcb->idtr = (struct vmcb_segment){ .limit = REAL_LIMIT };
	vmcb->cpl = 0;
	vmcb->cr0 = cr0;
	vmcb->cr2 = 0;
	vmcb->cr3 = 0;
	vmcb->cr4 = 0;
	vmcb->efer = EFER_SVME;
	vmcb->dr6 = DR6_RESET;
	vmcb->dr7 = DR7_RESET;
	vmcb->rflags = RFLAGS_ALWAYS;
	vmcb->rip = 0;
	vmcb->rsp = 0;
	vmcb->interrupt_shadow = 0;
	vmcb->event_injection = 0;
	vmcb->tlb_control = VMCB_TLB_FLUSH_ALL;
}
