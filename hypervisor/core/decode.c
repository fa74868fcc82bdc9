// SPDX-License-Identifier: MIT
#include "decode.h"

#include "memory.h"

#define LONGEST_INSTRUCTION 15

/* Paging with 8-byte entries: 4-level, 5-level and PAE (SDM 3A 4.4, 4.5; APM2 5.2, 5.3). */
static const u8 *walk_wide(u64 table, u64 linear, unsigned int shift)
{
	for (;; shift -= 9) {
		const u64 *entries = physical_to_host(table & ENTRY_ADDRESS);
		u64 entry = entries[linear >> shift & 511];

		if (!(entry & ENTRY_PRESENT))
			return NULL;
		if (shift == 12 || (shift <= 30 && entry & ENTRY_LARGE)) {
			u64 offset_mask = (1ull << shift) - 1;

			return physical_to_host((entry & ENTRY_ADDRESS & ~offset_mask) |
						(linear & offset_mask));
		}
		table = entry;
	}
}

/* 32-bit paging (SDM 3A 4.3, APM2 5.2.2); PSE pages within the first 4 GiB. */
static const u8 *walk_narrow(u64 table, u32 linear)
{
	const u32 *entries = physical_to_host(table & 0xfffff000);
	u32 entry = entries[linear >> 22];

	if (!(entry & ENTRY_PRESENT))
		return NULL;
	if (entry & ENTRY_LARGE)
		return physical_to_host((entry & 0xffc00000u) | (linear & 0x3fffff));
	entries = physical_to_host(entry & 0xfffff000u);
	entry = entries[linear >> 12 & 1023];
	if (!(entry & ENTRY_PRESENT))
		return NULL;
	return physical_to_host((entry & 0xfffff000u) | (linear & 0xfff));
}

/* Bits 63 to the highest one that is translated are alike (SDM 1 3.3.7.1, APM2 5.3.1). */
static bool is_canonical(u64 linear, unsigned int bits)
{
	u64 upper = linear >> (bits - 1);

	return !upper || upper == ~0ull >> (bits - 1);
}

/*
 * Host pointer to the byte at a guest-linear address, through the guest's own page tables; NULL: not
 * present, or not canonical.
 */
static const u8 *guest_byte(struct vcpu *vcpu, u64 linear)
{
	const struct backend *backend = vcpu->backend;
	u64 cr3 = backend->read[GUEST_CR3](vcpu);
	u64 cr4;

	if (backend->read[GUEST_EFER](vcpu) & EFER_LMA) {
		cr4 = backend->read[GUEST_CR4](vcpu);
		if (!is_canonical(linear, cr4 & CR4_LA57 ? 57 : 48))
			return NULL;
		return walk_wide(cr3, linear, cr4 & CR4_LA57 ? 48 : 39);
	}
	if (!(backend->read[GUEST_CR0](vcpu) & CR0_PG))
		return physical_to_host((u32)linear);
	cr4 = backend->read[GUEST_CR4](vcpu);
	if (cr4 & CR4_PAE) {
		/* The page-directory-pointer table is 32-byte aligned and has no large pages. */
		const u64 *pointers = physical_to_host(cr3 & 0xffffffe0);
		u64 pointer = pointers[(u32)linear >> 30];

		return pointer & ENTRY_PRESENT ? walk_wide(pointer, (u32)linear, 21) : NULL;
	}
	return walk_narrow(cr3, linear);
}

static bool is_prefix(u8 byte, bool long_mode)
{
	switch (byte) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0x64 ... 0x67:
	case 0xf0:
	case 0xf2:
	case 0xf3:
		return true;
	default:
		return long_mode && byte >= 0x40 && byte <= 0x4f;
	}
}

/* Reads byte by byte, and walks the page tables again at a page boundary. */
struct code_reader {
	struct vcpu *vcpu;
	u64 linear;
	/* Outside of 64-bit code linear addresses wrap at 4 GiB (SDM 3A 3.3.1, APM2 4.5.3). */
	u64 mask;
	const u8 *source;
	unsigned int length;
};

static bool fetch(struct code_reader *reader, u8 *byte)
{
	if (!reader->source || !(reader->linear & (PAGE_BYTES - 1)))
		reader->source = guest_byte(reader->vcpu, reader->linear & reader->mask);
	if (!reader->source || reader->length == LONGEST_INSTRUCTION)
		return false;
	*byte = *reader->source++;
	reader->linear++;
	reader->length++;
	return true;
}

bool decode_instruction(struct vcpu *vcpu, struct instruction *instruction)
{
	bool long_mode = vcpu->backend->read[GUEST_CODE_BITS](vcpu) == 64;
	struct code_reader reader = {
		.vcpu = vcpu,
		.linear = vcpu->rip + (long_mode ? 0 : vcpu->backend->read[GUEST_CS_BASE](vcpu)),
		.mask = long_mode ? ~0ull : 0xffffffff,
	};
	u8 byte;

	do {
		if (!fetch(&reader, &byte))
			return false;
	} while (is_prefix(byte, long_mode));
	/* Veneer decodes only opcodes 0f xx, and 0f 01 with a ModRM byte. */
	if (byte != 0x0f || !fetch(&reader, &byte))
		return false;
	instruction->is_svm = false;
	switch (byte) {
	case 0x08: /* INVD */
	case 0x30: /* WRMSR */
	case 0x32: /* RDMSR */
	case 0xa2: /* CPUID */
		break;
	case 0x01:
		if (!fetch(&reader, &byte))
			return false;
		/*
		 * ModRM d1: XSETBV, d9: VMMCALL, the others from d8 to df: SVM instructions (APM3
		 * A.2.1).
		 */
		if (byte != 0xd1 && (byte < 0xd8 || byte > 0xdf))
			return false;
		instruction->is_svm = byte >= 0xd8 && byte != 0xd9;
		break;
	default:
		return false;
	}
	instruction->length = reader.length;
	return true;
}
