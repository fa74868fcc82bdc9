// SPDX-License-Identifier: MIT
#include "fake_processor.h"

#include <setjmp.h>
#include <string.h>

#include "core/leave.h"
#include "core/safe_instructions.h"
#include "svm/enter.h"
#include "vmx/enter.h"
#include "vmx/unblock_nmis.h"

#define MOST 256

struct msr {
	u32 number;
	u64 value;
};

struct leaf {
	u32 leaf, subleaf, outputs[4];
};

u64 fake_vmcs[0x8000];
u64 fake_cr0, fake_cr2, fake_cr4, fake_dr[4], fake_dr6;
u16 fake_cs, fake_ss;
unsigned int fake_invepts, fake_invvpids, fake_vmxoffs, fake_machine_checks, fake_nmis;
bool fake_vmxon_fails, fake_vmclear_fails, fake_vmptrld_fails;
int (*fake_launch)(struct vcpu *vcpu);
u64 fake_missing_field = NO_FIELD;
void (*fake_interruption)(void);
const u8 *fake_watched;
int fake_at_command;
static int at_fence;
static jmp_buf left;
static struct msr msrs[MOST];
static struct leaf known_leaves[MOST];
static unsigned int msr_count, leaf_count;

void forget_processor(void)
{
	msr_count = leaf_count = 0;
	memset(fake_vmcs, 0, sizeof(fake_vmcs));
	fake_cr0 = CR0_PG | CR0_PE | CR0_WP | CR0_NE;
	fake_cr4 = CR4_PAE | CR4_OSXSAVE;
	fake_cr2 = 0;
	memset(fake_dr, 0, sizeof(fake_dr));
	fake_dr6 = DR6_RESET;
	fake_cs = 8;
	fake_ss = 16;
	fake_invepts = fake_invvpids = fake_vmxoffs = fake_machine_checks = fake_nmis = 0;
	fake_vmxon_fails = fake_vmclear_fails = fake_vmptrld_fails = false;
	fake_launch = NULL;
	fake_missing_field = NO_FIELD;
	fake_interruption = NULL;
	fake_watched = NULL;
	fake_at_command = at_fence = NOT_ORDERED;
}

static struct leaf *find_leaf(u32 leaf, u32 subleaf)
{
	for (unsigned int i = 0; i < leaf_count; i++) {
		if (known_leaves[i].leaf == leaf && known_leaves[i].subleaf == subleaf)
			return &known_leaves[i];
	}
	return NULL;
}

void set_cpuid(u32 leaf, u32 subleaf, u32 a, u32 b, u32 c, u32 d)
{
	struct leaf *found = find_leaf(leaf, subleaf);

	if (!found) {
		CHECK(leaf_count < MOST);
		found = &known_leaves[leaf_count++];
	}
	*found = (struct leaf){ leaf, subleaf, { a, b, c, d } };
}

void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	static const struct leaf nothing;
	const struct leaf *found = find_leaf(leaf, subleaf);

	if (!found)
		found = &nothing;
	*a = found->outputs[0];
	*b = found->outputs[1];
	*c = found->outputs[2];
	*d = found->outputs[3];
	/* AESKLE follows CR4.KL (SDM 2A CPUID, leaf 19H). */
	if (leaf == 0x19 && fake_cr4 & CR4_KL)
		*b |= 1;
}

void cpuid_wide(u32 leaf, u32 subleaf, u64 *a, u64 *b, u64 *c, u64 *d)
{
	u32 outputs[4];

	cpuid(leaf, subleaf, &outputs[0], &outputs[1], &outputs[2], &outputs[3]);
	*a = outputs[0];
	*b = outputs[1];
	*c = outputs[2];
	*d = outputs[3];
}

static struct msr *find_msr(u32 msr)
{
	for (unsigned int i = 0; i < msr_count; i++) {
		if (msrs[i].number == msr)
			return &msrs[i];
	}
	return NULL;
}

void set_msr(u32 msr, u64 value)
{
	struct msr *found = find_msr(msr);

	if (!found) {
		CHECK(msr_count < MOST);
		found = &msrs[msr_count++];
	}
	*found = (struct msr){ msr, value };
}

u64 get_msr(u32 msr)
{
	CHECK(find_msr(msr));
	return find_msr(msr)->value;
}

bool read_msr_safe(u32 msr, u64 *value)
{
	const struct msr *found = find_msr(msr);

	if (found)
		*value = found->value;
	return found;
}

bool write_msr_safe(u32 msr, u64 value)
{
	struct msr *found = find_msr(msr);

	if (found)
		found->value = value;
	if (msr == MSR_X2APIC_COMMAND) {
		fake_at_command = at_fence;
		at_fence = NOT_ORDERED;
	}
	return found;
}

void order_before_x2apic_write(void)
{
	at_fence = fake_watched ? *fake_watched : NOT_ORDERED;
}

static void fault_at_msr(u32 msr)
{
	fprintf(stderr, "MSR %x does not exist\n", msr);
	exit(1);
}

u64 read_msr(u32 msr)
{
	u64 value;

	if (!read_msr_safe(msr, &value))
		fault_at_msr(msr);
	return value;
}

void write_msr(u32 msr, u64 value)
{
	if (!write_msr_safe(msr, value))
		fault_at_msr(msr);
}

bool xsetbv_safe(u32 index, u64 value)
{
	return !index && value & 1;
}

bool vmxon_safe(const u64 *physical)
{
	(void)physical;
	return !fake_vmxon_fails;
}

u64 read_cr0(void)
{
	return fake_cr0;
}

void write_cr0(u64 value)
{
	fake_cr0 = value;
}

u64 read_cr2(void)
{
	return fake_cr2;
}

void write_cr2(u64 value)
{
	fake_cr2 = value;
}

u64 read_cr3(void)
{
	return 0x1000;
}

u64 read_cr4(void)
{
	return fake_cr4;
}

void write_cr4(u64 value)
{
	fake_cr4 = value;
}

u64 read_dr(unsigned int number)
{
	CHECK(number < COUNT_OF(fake_dr));
	return fake_dr[number];
}

void clear_breakpoints(void)
{
	memset(fake_dr, 0, sizeof(fake_dr));
}

u64 read_dr6(void)
{
	return fake_dr6;
}

void write_dr6(u64 value)
{
	fake_dr6 = value;
}

u64 read_dr7(void)
{
	return DR7_RESET;
}

void raise_nmi(void)
{
	fake_nmis++;
}

void fake_pause(void)
{
}

void raise_machine_check(void)
{
	fake_machine_checks++;
}

u16 read_cs(void)
{
	return fake_cs;
}

u16 read_ss(void)
{
	return fake_ss;
}

u16 read_fs(void)
{
	return 0;
}

u16 read_gs(void)
{
	return 0;
}

u16 read_ldtr(void)
{
	return 0;
}

u16 read_tr(void)
{
	return 0;
}

void write_back_invalidate(void)
{
}

u64 vmcs_read(u64 field)
{
	CHECK(field < COUNT_OF(fake_vmcs));
	return fake_vmcs[field];
}

void vmcs_read_into(u64 field, u64 *value)
{
	*value = vmcs_read(field);
}

void vmcs_write(u64 field, u64 value)
{
	void (*interruption)(void) = fake_interruption;

	CHECK(field < COUNT_OF(fake_vmcs));
	if (field == VMCS_PRIMARY_CONTROLS && interruption) {
		fake_interruption = NULL;
		interruption();
	}
	fake_vmcs[field] = value;
}

bool vmcs_write_safe(u64 field, u64 value)
{
	if (field == fake_missing_field)
		return false;
	vmcs_write(field, value);
	return true;
}

bool vmclear(u64 physical)
{
	(void)physical;
	return !fake_vmclear_fails;
}

bool vmptrld(u64 physical)
{
	(void)physical;
	return !fake_vmptrld_fails;
}

void vmxoff(void)
{
	fake_vmxoffs++;
}

void invept_all(void)
{
	fake_invepts++;
}

void invvpid_all(void)
{
	fake_invvpids++;
}

void vmsave(u64 physical)
{
	(void)physical;
}

/* In place of the files in assembly. */
const char vmx_exited[1], vmx_entry_refused[1], svm_entry_refused[1];
const char hypercall_svm_address[1], hypercall_vmx_address[1], fault_entries[1];

int vmx_launch(struct vcpu *vcpu)
{
	return fake_launch ? fake_launch(vcpu) : VMX_IN_GUEST_MODE;
}

int svm_launch(struct vcpu *vcpu, struct vmcb *vmcb)
{
	CHECK(vmcb == vcpu->vmcb);
	return fake_launch ? fake_launch(vcpu) : 0;
}

void vmx_unblock_nmis(void)
{
}

u64 hypercall_svm(u64 operation, u64 argument, u64 more[2])
{
	(void)operation;
	(void)argument;
	(void)more;
	return ~0ull;
}

u64 hypercall_vmx(u64 operation, u64 argument, u64 more[2])
{
	return hypercall_svm(operation, argument, more);
}

void resume_context(struct vcpu *vcpu)
{
	(void)vcpu;
	longjmp(left, 1);
}

bool leaves(struct vcpu *vcpu, void (*function)(struct vcpu *vcpu))
{
	if (setjmp(left))
		return true;
	function(vcpu);
	return false;
}

static void call_leave(struct vcpu *vcpu)
{
	vcpu->backend->leave(vcpu);
}

void leave(struct vcpu *vcpu)
{
	CHECK(leaves(vcpu, call_leave));
}
