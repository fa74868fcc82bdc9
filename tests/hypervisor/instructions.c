// SPDX-License-Identifier: MIT
/* Lengths of instructions, read through every kind of page table; and what completing one means. */
#include <string.h>

#include "core/completion.h"
#include "core/decode.h"
#include "harness.h"

#define P 1ull
#define LARGE 0x80ull

static struct vcpu vcpu = { .backend = &fake_backend };

static u64 *table(u64 physical)
{
	return fake_physical(physical);
}

static void set_long_mode(void)
{
	fake.fields[GUEST_EFER] = EFER_LMA | EFER_LME;
	fake.fields[GUEST_CR0] = CR0_PG | CR0_PE;
	fake.fields[GUEST_CR4] = CR4_PAE;
	fake.fields[GUEST_CR3] = 0x1000;
	fake.fields[GUEST_CODE_BITS] = 64;
	fake.fields[GUEST_CS_BASE] = 0;
}

/* 4-level tables that map linear 0x7f1234567000 and the page behind it to 0x10000 and 0x20000. */
static void map_two_pages(void)
{
	u64 linear = 0x7f1234567000;

	table(0x1000)[linear >> 39 & 511] = 0x2000 | P;
	table(0x2000)[linear >> 30 & 511] = 0x3000 | P;
	table(0x3000)[linear >> 21 & 511] = 0x4000 | P;
	table(0x4000)[linear >> 12 & 511] = 0x10000 | P | 1ull << 63;
	table(0x4000)[(linear >> 12 & 511) + 1] = 0x20000 | P;
	/* At the same address in 32 bits, too. */
	table(0x1000)[0] = 0x2000 | P;
	table(0x2000)[(u32)linear >> 30] = 0x3000 | P;
}

static bool decode(const char *bytes, unsigned int size, u64 rip, struct instruction *instruction)
{
	u64 offset = rip & 0xfff;
	unsigned int first = size > 0x1000 - offset ? 0x1000 - offset : size;

	memcpy((char *)fake_physical(0x10000) + offset, bytes, first);
	memcpy(fake_physical(0x20000), bytes + first, size - first);
	vcpu.rip = rip;
	return decode_instruction(&vcpu, instruction);
}

static void expect_length(const char *bytes, unsigned int size, unsigned int length, bool is_svm)
{
	struct instruction instruction;

	/* In one page, ending at its end, and across every border between two. */
	for (u64 offset = 0; offset < 0x1000; offset = offset ? offset + 1 : 0x1000 - 20) {
		CHECK(decode(bytes, size, 0x7f1234567000 + offset, &instruction));
		CHECK(instruction.length == length);
		CHECK(instruction.is_svm == is_svm);
	}
}

static void test_lengths(void)
{
	struct instruction instruction;

	set_long_mode();
	map_two_pages();
	expect_length("\x0f\xa2", 2, 2, false);
	expect_length("\x66\x0f\xa2", 3, 3, false);
	expect_length("\xf3\x48\x0f\xa2", 4, 4, false);
	expect_length("\x2e\x66\x67\xf2\x4f\x0f\xa2", 7, 7, false);
	expect_length("\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x0f\xa2", 15, 15,
		      false);
	expect_length("\x0f\x30", 2, 2, false);
	expect_length("\x0f\x32", 2, 2, false);
	expect_length("\x0f\x08", 2, 2, false);
	expect_length("\x0f\x01\xd1", 3, 3, false);
	expect_length("\x0f\x01\xd9", 3, 3, false);
	expect_length("\x0f\x01\xd8", 3, 3, true);
	expect_length("\xf2\x0f\x01\xdf", 4, 4, true);
	/* Sixteen bytes are no instruction; neither is what Veneer never asks about. */
	CHECK(!decode("\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x0f\xa2", 16,
		      0x7f1234567000, &instruction));
	CHECK(!decode("\x90\x0f\xa2", 3, 0x7f1234567000, &instruction));
	CHECK(!decode("\x0f\x0b", 2, 0x7f1234567000, &instruction));
	CHECK(!decode("\x0f\x01\xd0", 3, 0x7f1234567000, &instruction));
	/* A second page that is gone. */
	CHECK(decode("\x0f\xa2", 2, 0x7f1234567fff, &instruction));
	table(0x4000)[(0x7f1234567000 >> 12 & 511) + 1] = 0;
	CHECK(!decode("\x0f\xa2", 2, 0x7f1234567fff, &instruction));
	map_two_pages();
	/* Outside of 64-bit code a REX prefix is an INC or DEC. */
	fake.fields[GUEST_CODE_BITS] = 32;
	CHECK(decode("\x0f\xa2", 2, 0x34567000, &instruction));
	CHECK(!decode("\x48\x0f\xa2", 3, 0x34567000, &instruction));
}

static bool is_prefix_by_the_manual(unsigned int byte, bool long_mode)
{
	/* SDM 2A 2.1.1, 2.2.1: segments, sizes, LOCK and repetitions; REX. */
	return byte == 0x26 || byte == 0x2e || byte == 0x36 || byte == 0x3e || byte == 0x64 ||
	       byte == 0x65 || byte == 0x66 || byte == 0x67 || byte == 0xf0 || byte == 0xf2 ||
	       byte == 0xf3 || (long_mode && byte >= 0x40 && byte <= 0x4f);
}

/* Each byte in front of CPUID and of VMRUN: it is a prefix, or the opcode of something else. */
static void test_prefixes(void)
{
	struct instruction instruction;

	set_long_mode();
	map_two_pages();
	for (unsigned int bits = 64; bits >= 32; bits -= 32) {
		const u64 rip = bits == 64 ? 0x7f1234567000 : 0x34567000;

		fake.fields[GUEST_CODE_BITS] = bits;
		for (unsigned int byte = 0; byte < 256; byte++) {
			const char cpuid[] = { byte, 0x0f, 0xa2 };
			const char vmrun[] = { byte, 0x0f, 0x01, 0xd8 };
			bool is_prefix = is_prefix_by_the_manual(byte, bits == 64);

			CHECK(decode(cpuid, sizeof(cpuid), rip, &instruction) == is_prefix);
			CHECK(decode(vmrun, sizeof(vmrun), rip, &instruction) == is_prefix);
		}
	}
}

/* Whether there is an instruction that can be read at a linear address, where CS has base 0. */
static bool is_readable(u64 linear)
{
	struct instruction instruction;

	vcpu.rip = linear;
	return decode_instruction(&vcpu, &instruction);
}

/* The instruction is found at the linear address while it is at the physical one, and only then. */
static void expect_mapped(u64 linear, u64 physical)
{
	char *bytes = fake_physical(physical);
	char saved[2];

	memcpy(saved, bytes, 2);
	memcpy(bytes, "\x90\x90", 2);
	CHECK(!is_readable(linear));
	memcpy(bytes, "\x0f\xa2", 2);
	CHECK(is_readable(linear));
	memcpy(bytes, saved, 2);
}

static void test_paging_modes(void)
{
	u32 *narrow;

	set_long_mode();
	map_two_pages();
	expect_mapped(0x7f1234567abc, 0x10abc);
	CHECK(!is_readable(0x7f1234569000));
	CHECK(!is_readable(0));
	/* What lies at an address that is not canonical once its upper bits are ignored. */
	memcpy(fake_physical(0x10abc), "\x0f\xa2", 2);
	CHECK(is_readable(0x7f1234567abc));
	for (unsigned int bit = 47; bit < 64; bit++)
		CHECK(!is_readable(0x7f1234567abc ^ 1ull << bit));
	/* The upper half is canonical. */
	table(0x1000)[511] = 0x2000 | P;
	expect_mapped(0xffffff8000000000 | (0x7f1234567abc & 0x7fffffffff), 0x10abc);
	/* Large pages of both sizes, with the bit that is PAT in them set. */
	table(0x3000)[0] = 0x200000 | P | LARGE | 0x1000;
	table(0x2000)[1] = 0x0 | P | LARGE;
	table(0x1000)[0] = 0x2000 | P;
	table(0x2000)[0] = 0x3000 | P;
	expect_mapped(0x1234, 0x201234);
	expect_mapped(0x40000000 + 0x123456, 0x123456);
	/* Five levels. */
	fake.fields[GUEST_CR4] |= CR4_LA57;
	fake.fields[GUEST_CR3] = 0x5000;
	table(0x5000)[3] = 0x1000 | P;
	expect_mapped((3ull << 48) + 0x7f1234567abc, 0x10abc);
	CHECK(!is_readable((1ull << 57) + (3ull << 48) + 0x7f1234567abc));

	/* PAE: four pointers, 32-byte aligned, and no long mode. */
	fake.fields[GUEST_EFER] = 0;
	fake.fields[GUEST_CODE_BITS] = 32;
	fake.fields[GUEST_CR4] = CR4_PAE;
	fake.fields[GUEST_CR3] = 0x6020;
	table(0x6020)[2] = 0x7000 | P;
	table(0x7000)[1] = 0x400000 | P | LARGE;
	table(0x7000)[2] = 0x8000 | P;
	table(0x8000)[5] = 0x30000 | P;
	expect_mapped((2u << 30) + (1 << 21) + 0x123, 0x400123);
	expect_mapped((2u << 30) + (2 << 21) + (5 << 12) + 7, 0x30007);
	CHECK(!is_readable(3u << 30));
	/* The base of CS brings the address beyond 4 GiB: it wraps. */
	fake.fields[GUEST_CS_BASE] = 0xffff0000;
	expect_mapped((2u << 30) + (1 << 21) + 0x10123, 0x400123);
	fake.fields[GUEST_CS_BASE] = 0;

	/* 32-bit paging, with pages of 4 MiB and without, then none at all. */
	fake.fields[GUEST_CR4] = CR4_PSE;
	fake.fields[GUEST_CR3] = 0x9000;
	narrow = fake_physical(0x9000);
	narrow[1] = 0xa000 | P;
	narrow[2] = 0x800000 | P | LARGE;
	narrow = fake_physical(0xa000);
	narrow[3] = 0x40000 | P;
	expect_mapped((1 << 22) + (3 << 12) + 9, 0x40009);
	expect_mapped((2 << 22) + 0x12345, 0x812345);
	narrow = fake_physical(0x800000);
	narrow[0x12] = 0x50000 | P;
	fake.fields[GUEST_CR4] = 0;
	expect_mapped((2 << 22) + 0x12345, 0x50345);
	CHECK(!is_readable(0));
	fake.fields[GUEST_CR0] = CR0_PE;
	expect_mapped(0x54321, 0x54321);
}

/* length is what the hardware says; 0: it says nothing, and the bytes at RIP are read. */
static void complete(u64 rip, u64 rflags, unsigned int length)
{
	vcpu.rip = rip;
	vcpu.rflags = rflags;
	vcpu.next_rip = length ? rip + length : 0;
	fake.rip = 0;
	fake.rflags = rflags;
	fake.continued = fake.single_steps = 0;
	complete_instruction(&vcpu);
}

static void expect_completed(u64 rip, u64 rflags, int single_steps)
{
	CHECK(fake.continued == 1 && fake.rip == rip);
	CHECK(vcpu.rflags == rflags && fake.rflags == rflags);
	CHECK(fake.single_steps == single_steps);
}

static void test_completion(void)
{
	set_long_mode();
	map_two_pages();
	complete(0x1000, 2, 3);
	expect_completed(0x1003, 2, 0);
	complete(0x1000, 2 | RFLAGS_RF, 2);
	expect_completed(0x1002, 2, 0);
	complete(0x1000, 2 | RFLAGS_TF, 2);
	expect_completed(0x1002, 2 | RFLAGS_TF, 1);
	complete(0x1000, 2 | RFLAGS_TF | RFLAGS_RF, 2);
	expect_completed(0x1002, 2 | RFLAGS_TF, 1);
	/* The hardware does not say how long it was: 66 0f a2. */
	memcpy(fake_physical(0x10000), "\x66\x0f\xa2", 3);
	complete(0x7f1234567000, 2, 0);
	expect_completed(0x7f1234567003, 2, 0);
	/* The bytes cannot be read any more: nothing moves. */
	complete(0x7f1234569000, 2 | RFLAGS_TF, 0);
	CHECK(!fake.continued && !fake.single_steps);
	complete(0xfffffffe, 2, 2);
	expect_completed(0x100000000, 2, 0);
	complete(0x7fff00000000, 2, 2);
	expect_completed(0x7fff00000002, 2, 0);
	fake.fields[GUEST_CODE_BITS] = 32;
	complete(0xfffffffe, 2, 2);
	expect_completed(0, 2, 0);
}

static bool decode_bytes(const char *bytes, unsigned int size, struct store *store)
{
	memcpy(fake_physical(0x10000), bytes, size);
	vcpu.rip = fake.fields[GUEST_CODE_BITS] == 64 ? 0x7f1234567000 : 0x10000;
	return decode_store(&vcpu, store);
}

/* The first bytes of a store are at the end of a page, and the page behind it is not there. */
static void expect_cut_off(const char *bytes, unsigned int size)
{
	u64 *second = &table(0x4000)[(0x7f1234567000 >> 12 & 511) + 1];
	const u64 entry = *second;
	struct store store;

	*second = 0;
	memcpy((char *)fake_physical(0x10000) + 0x1000 - size, bytes, size);
	vcpu.rip = 0x7f1234568000 - size;
	CHECK(!decode_store(&vcpu, &store));
	*second = entry;
}

static void expect_store(const char *bytes, unsigned int size, u32 value)
{
	struct store store;

	CHECK(decode_bytes(bytes, size, &store));
	CHECK(store.length == size && store.value == value);
	for (unsigned int first = 1; first < size && fake.fields[GUEST_CODE_BITS] == 64; first++)
		expect_cut_off(bytes, first);
}

/* Stores of 32 bits, with every form of an operand in memory (SDM 2A 2.1.5). */
static void test_stores(void)
{
	struct store store;

	set_long_mode();
	map_two_pages();
	vcpu.regs = (struct regs){
		.rax = 0x1122334455667788, .rbx = 0xb, .rdi = 0xd, .r8 = 0x8, .r12 = 0xc
	};
	expect_store("\x89\x03", 2, 0x55667788);
	expect_store("\x89\x1f", 2, 0xb);
	expect_store("\x89\x3c\x24", 3, 0xd);
	expect_store("\x44\x89\x03", 3, 0x8);
	expect_store("\x44\x89\x63\x10", 4, 0xc);
	expect_store("\x41\x89\x83\x00\x03\x00\x00", 7, 0x55667788);
	expect_store("\x89\x05\x01\x02\x03\x04", 6, 0x55667788);
	expect_store("\x89\x04\x25\x00\x03\xe0\xfe", 7, 0x55667788);
	expect_store("\x89\x44\x8b\x10", 4, 0x55667788);
	expect_store("\xc7\x03\x45\x46\x0c\x00", 6, 0xc4645);
	expect_store("\xc7\x84\x8b\x00\x03\x00\x00\x45\x46\x0c\x00", 11, 0xc4645);
	expect_store("\x67\x89\x03", 3, 0x55667788);
	expect_store("\xa3\x00\x03\xe0\xfe\x00\x00\x00\x00", 9, 0x55667788);
	expect_store("\x67\xa3\x00\x03\xe0\xfe", 6, 0x55667788);
	/* A REX prefix counts directly before the opcode only. */
	expect_store("\x44\x2e\x89\x03", 4, 0x55667788);
	/* 64 and 16 bits, a register as the operand, RSP, the other forms of C7, and other instructions. */
	CHECK(!decode_bytes("\x48\x89\x03", 3, &store) && !decode_bytes("\x66\x89\x03", 3, &store));
	CHECK(!decode_bytes("\x89\xc3", 2, &store) && !decode_bytes("\x89\x23", 2, &store));
	CHECK(!decode_bytes("\xc7\x0b\x45\x46\x0c\x00", 6, &store));
	CHECK(!decode_bytes("\x8b\x03", 2, &store) && !decode_bytes("\x87\x03", 2, &store));

	/* Without paging. */
	fake.fields[GUEST_EFER] = 0;
	fake.fields[GUEST_CR0] = CR0_PE;
	fake.fields[GUEST_CODE_BITS] = 32;
	expect_store("\x89\x05\x00\x03\xe0\xfe", 6, 0x55667788);
	expect_store("\xa3\x00\x03\xe0\xfe", 5, 0x55667788);
	expect_store("\x67\x89\x46\x10", 4, 0x55667788);
	CHECK(!decode_bytes("\x44\x89\x03", 3, &store));
	fake.fields[GUEST_CODE_BITS] = 16;
	expect_store("\x66\x89\x06\x00\x03", 5, 0x55667788);
	expect_store("\x66\x89\x47\x10", 4, 0x55667788);
	expect_store("\x66\x89\x87\x00\x03", 5, 0x55667788);
	expect_store("\x66\x67\x89\x05\x00\x03\xe0\xfe", 8, 0x55667788);
	CHECK(!decode_bytes("\x89\x07", 2, &store));
}

void test_instructions(void)
{
	test_stores();
	test_lengths();
	test_prefixes();
	test_paging_modes();
	test_completion();
}
