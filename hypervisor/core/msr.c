// SPDX-License-Identifier: MIT
#include "msr.h"

#include "completion.h"
#include "safe_instructions.h"
#include "start_cpus.h"

const struct msr_range guarded_msrs[] = {
	{ MSR_FEATURE_CONTROL, MSR_FEATURE_CONTROL },
	{ MSR_SMM_MONITOR_CTL, MSR_SMM_MONITOR_CTL },
	{ MSR_VMX_BASIC, MSR_VMX_LAST },
	{ MSR_EFER, MSR_EFER },
	{ MSR_TSC_RATIO, MSR_TSC_RATIO },
	{ MSR_VM_CR, MSR_VM_CR },
	{ MSR_VM_HSAVE_PA, MSR_SVM_KEY },
	{ MSR_AVIC_DOORBELL, MSR_AVIC_DOORBELL },
};
const unsigned int guarded_msr_count = COUNT_OF(guarded_msrs);

/* The MTRRs (SDM 4 table 2-2); PAT, 277h, is switched by exits and entries. */
const struct msr_range memory_type_msrs[] = {
	{ MSR_MTRR_PHYSBASE0, MSR_MTRR_FIX4K_C0000 + 7 },
	{ MSR_MTRR_DEF_TYPE, MSR_MTRR_DEF_TYPE },
};
const unsigned int memory_type_msr_count = COUNT_OF(memory_type_msrs);

static bool is_memory_type(u32 msr)
{
	for (unsigned int i = 0; i < memory_type_msr_count; i++) {
		if (msr >= memory_type_msrs[i].first && msr <= memory_type_msrs[i].last)
			return true;
	}
	return false;
}

/* A processor without VMX or SVM does not have these MSRs (SDM 4 2.1; APM2 15.29.2, 15.30). */
static bool is_hidden(const struct vcpu *vcpu, u32 msr)
{
	if (vcpu->backend->is_svm)
		return msr == MSR_VM_HSAVE_PA || msr == MSR_SVM_KEY || msr == MSR_TSC_RATIO ||
		       msr == MSR_AVIC_DOORBELL;
	return msr == MSR_SMM_MONITOR_CTL || (msr >= MSR_VMX_BASIC && msr <= MSR_VMX_LAST);
}

/* Reads that are answered otherwise than by the processor. False: #GP. */
static always_inlined bool read_guarded(const struct vcpu *vcpu, u32 msr, u64 *value)
{
	bool exists;

	if (is_hidden(vcpu, msr))
		return false;
	*value = 0;
	exists = read_msr_safe(msr, value);
	/*
	 * Disabled by firmware, and locked, which agrees with what CPUID says. Bochs 2.7 has SVM
	 * but no VM_CR.
	 */
	if (vcpu->backend->is_svm && msr == MSR_VM_CR) {
		*value |= VM_CR_LOCK | VM_CR_SVMDIS;
		return true;
	}
	if (!vcpu->backend->is_svm && msr == MSR_FEATURE_CONTROL)
		*value = (*value | FEATURE_CONTROL_LOCKED) &
			 ~(FEATURE_CONTROL_VMX | FEATURE_CONTROL_VMX_IN_SMX);
	return exists;
}

static always_inlined bool read_for_guest(const struct vcpu *vcpu, u32 msr, u64 *value)
{
	if (msr != MSR_EFER)
		return read_guarded(vcpu, msr, value);
	*value = vcpu->backend->read[GUEST_EFER](vcpu);
	return true;
}

/* Guarded MSRs, and those outside of the ranges that a bitmap covers (SDM 3C 25.6.9, APM2 15.11). */
void handle_rdmsr(struct vcpu *vcpu)
{
	struct regs *regs = &vcpu->regs;
	u64 value;

	if (!read_for_guest(vcpu, regs->rcx, &value)) {
		inject_exception(vcpu, VECTOR_GP, 0);
		return;
	}
	regs->rax = (u32)value;
	regs->rdx = value >> 32;
	complete_instruction(vcpu);
}

/* Immediate forms exit as the others do (SDM 2B RDMSR, 2D WRMSRNS). */
rarely_called void handle_rdmsr_immediate(struct vcpu *vcpu)
{
	u64 value;

	if (!read_for_guest(vcpu, vcpu->msr, &value)) {
		inject_exception(vcpu, VECTOR_GP, 0);
		return;
	}
	(&vcpu->regs.rax)[vcpu->msr_operand] = value;
	complete_instruction(vcpu);
}

/*
 * Only the processor knows which bits of EFER can be written: write them to the host's EFER,
 * together with the bits that host mode needs, and read back which it has accepted (APM2 3.1.7,
 * SDM 3A 2.2.1). The upper half is reserved.
 */
static always_inlined void write_efer(struct vcpu *vcpu, u64 value)
{
	const u64 needed = EFER_LME | EFER_LMA | EFER_SVME;
	u64 guest = vcpu->backend->read[GUEST_EFER](vcpu);
	u32 accepted;

	if (unlikely_((value ^ guest) & (EFER_LME | EFER_SVME))) {
		/* SVM is hidden; LME cannot change while paging is on. */
		if (value & EFER_SVME || vcpu->backend->read[GUEST_CR0](vcpu) & CR0_PG)
			goto refuse;
		guest ^= EFER_LME;
	}
	if (!write_msr_safe(MSR_EFER, value | (vcpu->host_efer & needed)))
		goto refuse;
	accepted = read_msr(MSR_EFER);
	write_msr(MSR_EFER, (u32)vcpu->host_efer);
	vcpu->backend->write_efer(vcpu, (accepted & ~needed) | (guest & needed));
	complete_instruction(vcpu);
	return;
refuse:
	inject_exception(vcpu, VECTOR_GP, 0);
}

static out_of_line void write_guarded(struct vcpu *vcpu, u32 msr, u64 value)
{
	bool done;

	if (is_hidden(vcpu, msr))
		done = false;
	else if (vcpu->backend->is_svm && msr == MSR_VM_CR)
		/* Locked: SVMDIS and LOCK cannot be changed any more, the others are ignored (APM2 15.30.1). */
		done = true;
	else if (!vcpu->backend->is_svm && msr == MSR_FEATURE_CONTROL)
		/* Locked: #GP (SDM 3C 24.7). */
		done = false;
	else if (vcpu->backend->is_svm && msr == MSR_X2APIC_COMMAND)
		done = write_msr_safe(msr, redirect_x2apic_command(value));
	else
		done = write_msr_safe(msr, value);
	if (done && vcpu->backend->change_memory_types && is_memory_type(msr))
		vcpu->backend->change_memory_types(vcpu);
	if (done)
		complete_instruction(vcpu);
	else
		inject_exception(vcpu, VECTOR_GP, 0);
}

static always_inlined void write_for_guest(struct vcpu *vcpu, u32 msr, u64 value)
{
	if (msr == MSR_EFER)
		write_efer(vcpu, value);
	else
		write_guarded(vcpu, msr, value);
}

void handle_wrmsr(struct vcpu *vcpu)
{
	const struct regs *regs = &vcpu->regs;

	write_for_guest(vcpu, regs->rcx, (u32)regs->rax | regs->rdx << 32);
}

rarely_called void handle_wrmsrns_immediate(struct vcpu *vcpu)
{
	write_for_guest(vcpu, vcpu->msr, (&vcpu->regs.rax)[vcpu->msr_operand]);
}
