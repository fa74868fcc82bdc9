// SPDX-License-Identifier: MIT
#include "policy.h"

#define MSR_VMX_FIRST 0x480
#define MSR_VMX_LAST 0x493
#define MSR_VM_CR 0xc0010114
#define MSR_IGNNE 0xc0010115
#define MSR_VM_HSAVE_PA 0xc0010117
#define MSR_SVM_KEY 0xc0010118

#define FEATURE_CONTROL_LOCKED BIT_ULL_AT(0)
#define FEATURE_CONTROL_VMX_IN_SMX BIT_ULL_AT(1)
#define FEATURE_CONTROL_VMX BIT_ULL_AT(2)
#define VM_CR_LOCK BIT_ULL_AT(3)
#define VM_CR_SVMDIS BIT_ULL_AT(4)

const struct msr_range guarded_msrs[] = {
	{ MSR_FEATURE_CONTROL, MSR_FEATURE_CONTROL },
	{ MSR_VMX_FIRST, MSR_VMX_LAST },
	{ MSR_EFER, MSR_EFER },
	{ MSR_VM_CR, MSR_VM_CR },
	{ MSR_VM_HSAVE_PA, MSR_SVM_KEY },
};
const unsigned int guarded_msr_count = COUNT_OF(guarded_msrs);

static bool is_amd(const struct vcpu *vcpu)
{
	return vcpu->backend == &svm_backend;
}

/* A processor without VMX or SVM does not have these MSRs (SDM 4 2.1; APM2 15.30). */
static bool is_hidden(const struct vcpu *vcpu, u32 msr)
{
	if (is_amd(vcpu))
		return msr == MSR_VM_HSAVE_PA || msr == MSR_SVM_KEY;
	return msr >= MSR_VMX_FIRST && msr <= MSR_VMX_LAST;
}

/* False: #GP. */
static bool read_for_guest(struct vcpu *vcpu, u32 msr, u64 *value)
{
	if (is_hidden(vcpu, msr))
		return false;
	if (msr == MSR_EFER) {
		*value = vcpu->backend->read(vcpu, GUEST_EFER) & ~EFER_SVME;
		return true;
	}
	/*
	 * Firmware has switched it off and locked the switch: the story that CPUID
	 * tells as well. Bochs 2.7 has SVM but no VM_CR.
	 */
	if (is_amd(vcpu) && msr == MSR_VM_CR) {
		if (!read_msr_safe(msr, value))
			*value = 0;
		*value |= VM_CR_LOCK | VM_CR_SVMDIS;
		return true;
	}
	if (!read_msr_safe(msr, value))
		return false;
	if (!is_amd(vcpu) && msr == MSR_FEATURE_CONTROL)
		*value = (*value | FEATURE_CONTROL_LOCKED) &
			 ~(FEATURE_CONTROL_VMX | FEATURE_CONTROL_VMX_IN_SMX);
	return true;
}

/*
 * Which bits of EFER can be written depends on the processor: let it decide,
 * by writing the host's EFER with the bits that host mode needs, and reading
 * back what became of it (APM2 3.1.7, SDM 3A 2.2.1).
 */
static bool write_efer(struct vcpu *vcpu, u64 value)
{
	const u64 needed = EFER_LME | EFER_LMA | EFER_SVME;
	u64 guest = vcpu->backend->read(vcpu, GUEST_EFER);
	u64 host = read_msr(MSR_EFER);
	u64 accepted;

	if (value & EFER_SVME)
		return false;
	if ((value ^ guest) & EFER_LME && vcpu->backend->read(vcpu, GUEST_CR0) & CR0_PG)
		return false;
	if (!write_msr_safe(MSR_EFER, value | (host & needed)))
		return false;
	accepted = read_msr(MSR_EFER);
	write_msr(MSR_EFER, host);
	vcpu->backend->write(vcpu, GUEST_EFER,
			     (accepted & ~needed) | (value & EFER_LME) | (guest & EFER_LMA));
	return true;
}

static bool write_for_guest(struct vcpu *vcpu, u32 msr, u64 value)
{
	if (is_hidden(vcpu, msr))
		return false;
	if (msr == MSR_EFER)
		return write_efer(vcpu, value);
	/* Locked: SVMDIS and LOCK cannot be changed any more, the others are ignored (APM2 15.30.1). */
	if (is_amd(vcpu) && msr == MSR_VM_CR)
		return true;
	/* Locked: #GP (SDM 3C 24.7). */
	if (!is_amd(vcpu) && msr == MSR_FEATURE_CONTROL)
		return false;
	return write_msr_safe(msr, value);
}

/* Guarded MSRs, and those outside of the ranges that a bitmap covers (SDM 3C 25.6.9, APM2 15.11). */
bool handle_rdmsr(struct vcpu *vcpu)
{
	struct regs *regs = &vcpu->regs;
	u64 value;

	if (!read_for_guest(vcpu, regs->rcx, &value)) {
		inject_exception(vcpu, VECTOR_GP, 0);
		return false;
	}
	regs->rax = (u32)value;
	regs->rdx = value >> 32;
	complete_instruction(vcpu);
	return false;
}

bool handle_wrmsr(struct vcpu *vcpu)
{
	struct regs *regs = &vcpu->regs;

	if (!write_for_guest(vcpu, regs->rcx, (u32)regs->rax | regs->rdx << 32)) {
		inject_exception(vcpu, VECTOR_GP, 0);
		return false;
	}
	complete_instruction(vcpu);
	return false;
}
