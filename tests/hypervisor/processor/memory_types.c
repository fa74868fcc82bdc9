// SPDX-License-Identifier: MIT
/* EPT and MTRRs that the guest changes: every address has the type that the MTRRs give it now (SDM 3C 29.3.7). */
#include "core/memory.h"
#include "fake_processor.h"
#include "vmx/mtrr.h"
#include "vmx/vmcs.h"

#define RANGES 8
#define WRITE_BITMAP 0x800
#define WRITE_COMBINING 1

static u8 type_of(u64 address)
{
	u64 entry = fake_vmcs[VMCS_EPT_POINTER];

	for (unsigned int shift = 39;; shift -= 9) {
		const u64 *entries = physical_to_host(entry & ENTRY_ADDRESS);

		entry = entries[address >> shift & 511];
		CHECK((entry & 7) == 7);
		if (shift == 12 || (shift < 39 && entry & ENTRY_LARGE)) {
			u64 mask = (1ull << shift) - 1;

			CHECK((entry & ENTRY_ADDRESS & ~mask) == (address & ~mask));
			return entry >> 3 & 7;
		}
	}
}

static void write(struct vcpu *vcpu, u32 msr, u64 value)
{
	const u8 *bitmap = physical_to_host(fake_vmcs[VMCS_MSR_BITMAP]);

	CHECK(bitmap[WRITE_BITMAP + msr / 8] >> msr % 8 & 1);
	vcpu->regs = (struct regs){ .rax = (u32)value, .rdx = value >> 32, .rcx = msr };
	fake_invepts = 0;
	exit_by(vcpu, REASON_WRMSR, 0, 0, 2);
	CHECK(get_msr(msr) == value && !fake_vmcs[VMCS_ENTRY_EVENT]);
	CHECK(fake_invepts == 1);
}

static void set_range(struct vcpu *vcpu, unsigned int range, u64 base, u64 size, u8 type)
{
	write(vcpu, MSR_MTRR_PHYSBASE0 + 2 * range, base | type);
	write(vcpu, MSR_MTRR_PHYSBASE0 + 2 * range + 1,
	      size ? (((1ull << 39) - size) | MTRR_MASK_VALID) : 0);
}

void test_memory_types(void)
{
	const u64 gib = 1ull << 30, mib = 1ull << 20;
	struct vcpu *vcpu;
	const u8 *bitmap;

	set_up_intel();
	set_cpuid(1, 0, 0, 0, 1u << 5, 1u << 7 | 1u << 12);
	set_msr(MSR_MTRR_CAP, RANGES | MTRR_CAP_FIXED);
	set_msr(MSR_MTRR_DEF_TYPE, MTRR_DEF_TYPE_ENABLED | MEMORY_TYPE_WB);
	for (u32 msr = MSR_MTRR_PHYSBASE0; msr < MSR_MTRR_PHYSBASE0 + 2 * RANGES; msr++)
		set_msr(msr, 0);
	for (u32 msr = MSR_MTRR_FIX64K_00000; msr <= MSR_MTRR_FIX4K_C0000 + 7; msr++)
		set_msr(msr, 0);
	vcpu = enter_intel();
	CHECK(type_of(5 * gib) == MEMORY_TYPE_WB && type_of(0) == MEMORY_TYPE_WB);

	/* Whole pages, and pages that must be split once and twice. */
	set_range(vcpu, 0, 4 * gib, 2 * gib, MEMORY_TYPE_UC);
	set_range(vcpu, 1, 8 * gib + 256 * mib, 256 * mib, MEMORY_TYPE_WT);
	set_range(vcpu, 2, 16 * gib + 4096 * 3, 4096, MEMORY_TYPE_UC);
	CHECK(type_of(4 * gib - 1) == MEMORY_TYPE_WB && type_of(4 * gib) == MEMORY_TYPE_UC);
	CHECK(type_of(6 * gib - 1) == MEMORY_TYPE_UC && type_of(6 * gib) == MEMORY_TYPE_WB);
	CHECK(type_of(8 * gib + 256 * mib - 1) == MEMORY_TYPE_WB);
	CHECK(type_of(8 * gib + 256 * mib) == MEMORY_TYPE_WT);
	CHECK(type_of(8 * gib + 512 * mib) == MEMORY_TYPE_WB);
	CHECK(type_of(16 * gib + 4096 * 3 - 1) == MEMORY_TYPE_WB);
	CHECK(type_of(16 * gib + 4096 * 3) == MEMORY_TYPE_UC);
	CHECK(type_of(16 * gib + 4096 * 4) == MEMORY_TYPE_WB);
	/* Gone again, in what was split as well; disabled, and enabled with another default type. */
	set_range(vcpu, 1, 0, 0, 0);
	CHECK(type_of(8 * gib + 256 * mib) == MEMORY_TYPE_WB);
	write(vcpu, MSR_MTRR_DEF_TYPE, MEMORY_TYPE_WB);
	CHECK(type_of(100 * gib) == MEMORY_TYPE_UC && type_of(16 * gib) == MEMORY_TYPE_UC);
	write(vcpu, MSR_MTRR_FIX64K_00000, 0x0606060606060604);
	write(vcpu, MSR_MTRR_DEF_TYPE,
	      MTRR_DEF_TYPE_ENABLED | MTRR_DEF_TYPE_FIXED_ENABLED | MEMORY_TYPE_WT);
	CHECK(type_of(0) == MEMORY_TYPE_WT && type_of(0x10000) == MEMORY_TYPE_WB);
	CHECK(type_of(0x80000) == MEMORY_TYPE_UC && type_of(0x100000) == MEMORY_TYPE_WT);
	CHECK(type_of(100 * gib) == MEMORY_TYPE_WT);
	/* More borders than there are spare tables: uncached where it cannot be told, whatever it was before. */
	write(vcpu, MSR_MTRR_DEF_TYPE, MTRR_DEF_TYPE_ENABLED | WRITE_COMBINING);
	for (u64 i = 0; i < 100; i++)
		set_range(vcpu, 3, (32 + i) * gib + 4096, 4096, MEMORY_TYPE_UC);
	CHECK(type_of(131 * gib) == MEMORY_TYPE_UC && type_of(131 * gib + 4096) == MEMORY_TYPE_UC);
	CHECK(type_of(150 * gib) == WRITE_COMBINING);

	/* Neither reads nor PAT exit, and writes of all MTRRs up to the last; a write that faults changes nothing. */
	bitmap = physical_to_host(fake_vmcs[VMCS_MSR_BITMAP]);
	CHECK(!(bitmap[MSR_MTRR_PHYSBASE0 / 8] & 1));
	for (u32 msr = 0x200; msr < 0x270; msr++)
		CHECK(bitmap[WRITE_BITMAP + msr / 8] >> msr % 8 & 1);
	CHECK(bitmap[WRITE_BITMAP + 0x2ff / 8] >> 0x2ff % 8 & 1);
	CHECK(!(bitmap[WRITE_BITMAP + 0x270 / 8] & 1));
	CHECK(!(bitmap[WRITE_BITMAP + MSR_PAT / 8] >> MSR_PAT % 8 & 1));
	fake_invepts = 0;
	vcpu->regs = (struct regs){ .rcx = MSR_MTRR_PHYSBASE0 + 2 * RANGES };
	exit_by(vcpu, REASON_WRMSR, 0, 0, 2);
	CHECK(fake_vmcs[VMCS_ENTRY_EVENT] & EVENT_VALID && !fake_invepts);
	forget_vcpu();
}
