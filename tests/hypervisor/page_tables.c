// SPDX-License-Identifier: MIT
/* The tables that Veneer builds, read back by a walk of the test's own. */
#include "core/memory.h"
#include "harness.h"

/* What an address maps to, and the size of its page; 0 if it is not mapped. */
static u64 look_up_from(u64 root, unsigned int levels, u64 address, u64 *size)
{
	u64 table = root;

	for (unsigned int shift = 3 + 9 * levels;; shift -= 9) {
		u64 entry = ((u64 *)(table & 0xffffffffff000))[address >> shift & 511];

		*size = 1ull << shift;
		if (!(entry & 1))
			return 0;
		if (shift == 12 || entry & 0x80)
			return (entry & 0xffffffffff000 & ~(*size - 1)) | (address & (*size - 1));
		table = entry;
	}
}

static u64 look_up(u64 root, u64 address, u64 *size)
{
	return look_up_from(root, 4, address, size);
}

/* Linux' direct map has other upper bits with five levels, ff11..., so that all 57 bits must count. */
static void test_five_levels(void)
{
	struct page_table table;
	u64 size;

	CHECK(!page_table_init(&table, 7, 1));
	table.levels = 5;
	CHECK(!page_table_map(&table, 0xff11400000000000, 0x7000, 0x1000, 0x1000, 7));
	CHECK(!page_table_map(&table, 0x400000000000, 0x40000000, 1ull << 30, 1ull << 30, 7));
	CHECK(look_up_from((u64)table.root, 5, 0xff11400000000123, &size) == 0x7123);
	CHECK(look_up_from((u64)table.root, 5, 0x400000000123, &size) == 0x40000123);
	CHECK(size == 1 << 30);
	CHECK(!look_up_from((u64)table.root, 5, 0xff00400000000123, &size));
	CHECK(memory_alloc(1) && build_host_page_table(true));
	memory_free_all();
	CHECK(!pages_in_use);
}

static void test_host_tables(bool gigabyte_pages)
{
	const char *start, *end;
	u64 root, size;
	char *plain, *guarded;

	fake.gigabyte_pages = gigabyte_pages;
	/* Many allocations: the record of them takes more than one page. */
	plain = memory_alloc(3);
	guarded = memory_alloc_guarded(2);
	for (int i = 0; i < 600; i++)
		CHECK(memory_alloc(1));
	root = build_host_page_table(false);
	CHECK(root);
	CHECK(look_up(root, (u64)plain, &size) == (u64)plain);
	CHECK(look_up(root, (u64)plain + 2 * PAGE_BYTES, &size) == (u64)plain + 2 * PAGE_BYTES);
	CHECK(look_up(root, (u64)guarded + PAGE_BYTES, &size) == (u64)guarded + PAGE_BYTES);
	CHECK(!look_up(root, (u64)guarded - 1, &size));
	CHECK(host_image(0, &start, &end));
	CHECK(look_up(root, (u64)end - 1, &size) == (u64)end - 1);
	CHECK(!look_up(root, (u64)end + 16 * PAGE_BYTES, &size) ||
	      (u64)plain / PAGE_BYTES == (u64)end / PAGE_BYTES + 16);
	CHECK(look_up(root, PHYSICAL_WINDOW + 0x12345678, &size) == 0x12345678);
	CHECK(size == (gigabyte_pages ? 1 << 30 : 2 << 20));
	CHECK(!look_up(root, PHYSICAL_WINDOW + (1ull << 40), &size));
	memory_free_all();
	CHECK(!pages_in_use);
}

void test_page_tables(void)
{
	struct page_table table;
	u64 size;

	CHECK(!page_table_init(&table, 7, 1));
	CHECK(!page_table_map(&table, 0x40000000, 0x80000000, 3ull << 30, 1ull << 30, 7));
	CHECK(!page_table_map(&table, 0x200000, 0x600000, 4ull << 20, 2ull << 20, 7));
	CHECK(!page_table_map(&table, 0x7000, 0x9000, 0x3000, 0x1000, 7));
	CHECK(look_up((u64)table.root, 0x40000000 + (2ull << 30) + 5, &size) ==
		      0x80000000 + (2ull << 30) + 5 &&
	      size == 1 << 30);
	CHECK(look_up((u64)table.root, 0x5fffff, &size) == 0x9fffff && size == 2 << 20);
	CHECK(look_up((u64)table.root, 0x9fff, &size) == 0xbfff && size == 4096);
	CHECK(!look_up((u64)table.root, 0xa000, &size));
	CHECK(!look_up((u64)table.root, 0x600000, &size));
	memory_free_all();
	CHECK(!pages_in_use);

	test_five_levels();
	test_host_tables(true);
	test_host_tables(false);
}
