// SPDX-License-Identifier: MIT
#include "decode.h"

#include "memory.h"

#define LONGEST_INSTRUCTION 15
#define REX_W 8
#define REX_R 4

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

/* 32-bit paging (SDM 3A 4.3, APM2 5.2.2); `pse`: there are pages of 4 MiB, here within the first 4 GiB. */
static const u8 *walk_narrow(u64 table, u32 linear, bool pse)
{
	const u32 *entries = physical_to_host(table & 0xfffff000);
	u32 entry = entries[linear >> 22];

	if (!(entry & ENTRY_PRESENT))
		return NULL;
	if (pse && entry & ENTRY_LARGE)
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
	return walk_narrow(cr3, linear, cr4 & CR4_PSE);
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

static struct code_reader read_code(struct vcpu *vcpu, bool long_mode)
{
	return (struct code_reader){
		.vcpu = vcpu,
		.linear = vcpu->rip + (long_mode ? 0 : vcpu->backend->read[GUEST_CS_BASE](vcpu)),
		.mask = long_mode ? ~0ull : 0xffffffff,
	};
}

/* What an instruction has in front of its opcode that matters to a store. */
struct prefixes {
	bool operand_size, address_size;
	/* 0: none. It is one only directly before the opcode (SDM 2A 2.2.1). */
	u8 rex;
};

/* False: the code cannot be read. */
static bool fetch_prefixes(struct code_reader *reader, bool long_mode, struct prefixes *found,
			   u8 *opcode)
{
	*found = (struct prefixes){ 0 };
	for (;;) {
		if (!fetch(reader, opcode))
			return false;
		if (!is_prefix(*opcode, long_mode))
			return true;
		found->rex = long_mode && *opcode >= 0x40 && *opcode <= 0x4f ? *opcode : 0;
		found->operand_size |= *opcode == 0x66;
		found->address_size |= *opcode == 0x67;
	}
}

/* `count` bytes, as a number. */
static bool fetch_number(struct code_reader *reader, unsigned int count, u32 *number)
{
	u8 byte;

	*number = 0;
	for (unsigned int i = 0; i < count; i++) {
		if (!fetch(reader, &byte))
			return false;
		if (i < sizeof(*number))
			*number |= (u32)byte << 8 * i;
	}
	return true;
}

/* The rest of an operand in memory, behind its ModRM byte (SDM 2A 2.1.5, tables 2-1 to 2-3). */
static bool skip_operand(struct code_reader *reader, u8 modrm, unsigned int address_bits)
{
	unsigned int mode = modrm >> 6, base = modrm & 7;
	unsigned int displacement = mode == 1 ? 1 : mode == 2 ? (address_bits == 16 ? 2 : 4) : 0;
	u32 skipped;
	u8 sib;

	if (address_bits == 16) {
		if (!mode && base == 6)
			displacement = 2;
	} else if (base == 4) {
		if (!fetch(reader, &sib))
			return false;
		if (!mode && (sib & 7) == 5)
			displacement = 4;
	} else if (!mode && base == 5) {
		displacement = 4;
	}
	return fetch_number(reader, displacement, &skipped);
}

static unsigned int address_bits_of(unsigned int code_bits, bool prefix)
{
	if (code_bits == 64)
		return prefix ? 32 : 64;
	return (code_bits == 32) != prefix ? 32 : 16;
}

bool decode_store(struct vcpu *vcpu, struct store *store)
{
	unsigned int bits = vcpu->backend->read[GUEST_CODE_BITS](vcpu), address_bits, number;
	struct code_reader reader = read_code(vcpu, bits == 64);
	struct prefixes prefixes;
	u32 skipped;
	u8 opcode, modrm;

	if (!fetch_prefixes(&reader, bits == 64, &prefixes, &opcode) ||
	    prefixes.operand_size != (bits == 16) || prefixes.rex & REX_W)
		return false;
	address_bits = address_bits_of(bits, prefixes.address_size);
	/* MOV moffs32, EAX */
	if (opcode == 0xa3) {
		store->value = (u32)vcpu->regs.rax;
		if (!fetch_number(&reader, address_bits / 8, &skipped))
			return false;
		store->length = reader.length;
		return true;
	}
	/* MOV r/m32, r32, and MOV r/m32, imm32 */
	if ((opcode != 0x89 && opcode != 0xc7) || !fetch(&reader, &modrm) || modrm >> 6 == 3 ||
	    !skip_operand(&reader, modrm, address_bits))
		return false;
	number = (modrm >> 3 & 7) | (prefixes.rex & REX_R ? 8 : 0);
	if (opcode == 0x89) {
		/* RSP is not among the saved registers. */
		if (number == 4)
			return false;
		store->value = (u32)(&vcpu->regs.rax)[number];
	} else if (number & 7 || !fetch_number(&reader, 4, &store->value)) {
		return false;
	}
	store->length = reader.length;
	return true;
}

bool decode_instruction(struct vcpu *vcpu, struct instruction *instruction)
{
	bool long_mode = vcpu->backend->read[GUEST_CODE_BITS](vcpu) == 64;
	struct code_reader reader = read_code(vcpu, long_mode);
	u8 byte;

	/* Not fetch_prefixes(): on a processor without NRIPS this is part of every exit. */
	do {
		if (!fetch(&reader, &byte))
			return false;
	} while (is_prefix(byte, long_mode));
	/* Only opcodes 0f xx, and 0f 01 with a ModRM byte. */
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
