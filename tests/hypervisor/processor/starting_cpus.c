// SPDX-License-Identifier: MIT
/* SVM: a CPU that the OS starts anew comes back into guest mode, in the page that the OS has meant. */
#include <string.h>
#include <sys/mman.h>

#include "core/memory.h"
#include "core/vcpus.h"
#include "fake_processor.h"
#include "svm/exit.h"
#include "svm/start.h"
#include "svm/svm_cpu.h"

#define APIC_ID 5
#define CODE 0x2000
#define COMMAND_LOW 0x300
#define COMMAND_HIGH 0x310

/* The entry of the nested page tables for an address, and how much of it it maps. */
static u64 nested_entry(const struct vcpu *vcpu, u64 address, u64 *size)
{
	u64 table = vcpu->vmcb->nested_cr3;

	for (*size = 1ull << 39;; *size >>= 9) {
		const u64 *entries = physical_to_host(table & ENTRY_ADDRESS);
		u64 entry = entries[address / *size % 512];

		if (*size == KIB4 || entry & ENTRY_LARGE)
			return entry;
		table = entry;
	}
}

/* An exit of 32-bit code with a 16-bit stack and without paging, by MOV [EBX], EAX to the local APIC. */
static void write_apic_with(struct vcpu *vcpu, u32 offset, u32 value, u64 rflags)
{
	struct vmcb *vmcb = vcpu->vmcb;

	memcpy(physical_to_host(CODE), "\x89\x03", 2);
	vmcb->efer = EFER_SVME;
	vmcb->cr0 = CR0_PE;
	vmcb->cs = (struct vmcb_segment){ .attributes = CS_DEFAULT_32 };
	vmcb->ss = (struct vmcb_segment){ 0 };
	vmcb->rip = CODE;
	vmcb->rflags = rflags;
	vmcb->exit_code = VMEXIT_NPF;
	vmcb->exit_info1 = 7;
	vmcb->exit_info2 = FAKE_APIC + offset;
	vcpu->regs.rax = value;
	svm_handle_exit(vcpu, vmcb);
	CHECK(vmcb->rip == CODE + 2);
}

static void write_apic(struct vcpu *vcpu, u32 offset, u32 value)
{
	write_apic_with(vcpu, offset, value, RFLAGS_ALWAYS);
	CHECK(!vcpu->vmcb->event_injection);
}

static u32 apic(u32 offset)
{
	return *(u32 *)physical_to_host(FAKE_APIC + offset);
}

static void check_writes(struct vcpu *vcpu)
{
	write_apic(vcpu, 0xb0, 0);
	CHECK(apic(0xb0) == 0);
	/* A write is an instruction that can be single-stepped. */
	write_apic_with(vcpu, 0x80, 0x20, RFLAGS_ALWAYS | RFLAGS_TF);
	CHECK(apic(0x80) == 0x20 && vcpu->vmcb->dr6 & DR6_BS);
	CHECK(vcpu->vmcb->event_injection == (EVENT_VALID | EVENT_EXCEPTION | VECTOR_DB));
	/* An INIT is sent as it is; so is a fixed interrupt with a vector. */
	write_apic(vcpu, COMMAND_HIGH, (u32)APIC_ID << 24);
	write_apic(vcpu, COMMAND_LOW, 0x4500);
	CHECK(apic(COMMAND_LOW) == 0x4500 && apic(COMMAND_HIGH) == (u32)APIC_ID << 24);
	write_apic(vcpu, COMMAND_LOW, 0x4041);
	CHECK(apic(COMMAND_LOW) == 0x4041 && !vcpu->start_vector);
	/* A start-up IPI to this CPU, to one that is not there, and to all others. */
	write_apic(vcpu, COMMAND_LOW, 0x4687);
	CHECK(apic(COMMAND_LOW) == (0x4600 | FAKE_START_PAGE >> 12) && vcpu->start_vector == 0x87);
	write_apic(vcpu, COMMAND_HIGH, 7u << 24);
	write_apic(vcpu, COMMAND_LOW, 0x4688);
	CHECK(apic(COMMAND_LOW) == (0x4600 | FAKE_START_PAGE >> 12) && vcpu->start_vector == 0x87);
	write_apic(vcpu, COMMAND_LOW, 0xc4689);
	CHECK(apic(COMMAND_LOW) == (0xc4600 | FAKE_START_PAGE >> 12) && vcpu->start_vector == 0x89);
}

/* In x2APIC mode the command register is an MSR, of which writes exit. */
static void write_command(struct vcpu *vcpu, u64 value)
{
	struct vmcb *vmcb = vcpu->vmcb;

	vmcb->exit_code = VMEXIT_MSR;
	vmcb->exit_info1 = 1;
	vmcb->rip = CODE;
	vmcb->next_rip = CODE + 2;
	vcpu->regs.rcx = MSR_X2APIC_COMMAND;
	vcpu->regs.rax = (u32)value;
	vcpu->regs.rdx = value >> 32;
	svm_handle_exit(vcpu, vmcb);
	CHECK(vmcb->rip == CODE + 2);
}

/* What the function that fake_processor.c replaces consists of. */
static __attribute__((noinline)) void fence(void)
{
	real_order_before_x2apic_write();
}

/* MFENCE; LFENCE. */
static bool is_fence(const u8 *code)
{
	static const u8 fences[] = { 0x0f, 0xae, 0xf0, 0x0f, 0xae, 0xe8 };

	for (unsigned int i = 0; i < 32; i++) {
		if (!memcmp(code + i, fences, sizeof(fences)))
			return true;
	}
	return false;
}

static void check_x2apic(struct vcpu *vcpu)
{
	const u8 *msrpm = physical_to_host(vcpu->vmcb->msrpm_base);

	CHECK(is_fence((const u8 *)fence));
	fake_watched = &vcpu->start_vector;
	CHECK((msrpm[0x830 / 4] >> 2 * (0x830 % 4) & 3) == 2);
	set_msr(MSR_X2APIC_COMMAND, 0);
	write_command(vcpu, (u64)APIC_ID << 32 | 0x4500);
	CHECK(get_msr(MSR_X2APIC_COMMAND) == ((u64)APIC_ID << 32 | 0x4500));
	write_command(vcpu, 7ull << 32 | 0x4633);
	CHECK(get_msr(MSR_X2APIC_COMMAND) == (7ull << 32 | 0x4600 | FAKE_START_PAGE >> 12));
	CHECK(vcpu->start_vector == 0x89);
	write_command(vcpu, (u64)APIC_ID << 32 | 0x4634);
	CHECK(get_msr(MSR_X2APIC_COMMAND) == ((u64)APIC_ID << 32 | 0x4600 | FAKE_START_PAGE >> 12));
	/* The vector is there before the command can start the CPU. */
	CHECK(vcpu->start_vector == 0x34 && fake_at_command == 0x34);
	write_command(vcpu, 0xffffffffull << 32 | 0x4689);
	CHECK(vcpu->start_vector == 0x89);
}

static void check_start(struct vcpu *vcpu)
{
	const struct vmcb *vmcb = vcpu->vmcb;

	CHECK(svm_this_vcpu() == vcpu);
	set_msr(MSR_VM_HSAVE_PA, 0);
	vcpu->regs.rbx = 1;
	svm_start_guest(vcpu, 0x60000010);
	CHECK(get_msr(MSR_VM_HSAVE_PA) == svm_of(vcpu)->host_save_area_physical);
	CHECK(vmcb->cs.selector == 0x8900 && vmcb->cs.base == 0x89000 && vmcb->rip == 0);
	CHECK(vmcb->cr0 == 0x60000010 && !vmcb->cr3 && !vmcb->cr4 && vmcb->efer == EFER_SVME);
	CHECK(vmcb->ss.attributes == 0x93 && vmcb->ds.limit == 0xffff && !vmcb->ds.base);
	CHECK(vmcb->gdtr.limit == 0xffff && vmcb->idtr.limit == 0xffff && !vmcb->idtr.base);
	CHECK(vmcb->rflags == 2 && vmcb->dr7 == DR7_RESET && vmcb->dr6 == DR6_RESET);
	CHECK(!vcpu->regs.rbx && vcpu->regs.rdx == 0x800f12 && !vmcb->rsp && !vmcb->cpl);
}

void test_starting_cpus(void)
{
	struct vcpu *vcpu;
	u64 size;

	/* Where the OS starts no CPUs, nothing of the local APIC exits. */
	set_up_amd();
	vcpu = enter_amd();
	CHECK(nested_entry(vcpu, FAKE_APIC, &size) & ENTRY_WRITABLE && size == GIB1);
	forget_vcpu();

	fake_start_page = mmap((void *)FAKE_START_PAGE, PAGE_BYTES, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(fake_start_page == (void *)FAKE_START_PAGE);
	set_up_amd();
	set_cpuid(1, 0, 0x800f12, (u32)APIC_ID << 24, 0, 1u << 7);
	vcpu = enter_amd();
	vcpus = &vcpu;
	vcpu_count = 1;
	CHECK(!(nested_entry(vcpu, FAKE_APIC, &size) & ENTRY_WRITABLE) && size == KIB4);
	CHECK(nested_entry(vcpu, FAKE_APIC - 1, &size) & ENTRY_WRITABLE && size == MIB2);
	CHECK(nested_entry(vcpu, FAKE_APIC + KIB4, &size) & ENTRY_WRITABLE && size == KIB4);
	CHECK(nested_entry(vcpu, FAKE_APIC + MIB2, &size) & ENTRY_WRITABLE && size == MIB2);
	CHECK(nested_entry(vcpu, 1ull << 32, &size) & ENTRY_WRITABLE && size == GIB1);
	check_writes(vcpu);
	check_x2apic(vcpu);
	check_start(vcpu);
	vcpus = NULL;
	vcpu_count = 0;
	fake_start_page = NULL;
	forget_vcpu();
}
