/* SPDX-License-Identifier: MIT */
#include "modes.h"

#include "../agent/place.h"
#include "../agent/slot.h"
#include "modes_obstacles.h"
#include "page_tables.h"
#include "panic.h"
#include "x86.h"

#define CR4_PSE (1ull << 4)

/* Descriptors (SDM 3A 3.4.5): code and data that were accessed, present; attributes without base and limit. */
#define DESCRIPTOR_CODE 0x00009b0000000000ull
#define DESCRIPTOR_DATA 0x0000930000000000ull
#define DESCRIPTOR_32_BIT 0x0040000000000000ull
#define DESCRIPTOR_4_GIB 0x008f00000000ffffull
#define DESCRIPTOR_64_KIB 0x000000000000ffffull
#define DESCRIPTOR_DPL3 0x0000600000000000ull

/* 32- and 16-bit interrupt gates (SDM 3A 6.11). */
#define GATE_32_BIT 0x00008e0000000000ull
#define GATE_16_BIT 0x0000860000000000ull
#define GATE_DPL3 0x0000600000000000ull

struct mode_block {
	uint32_t gpr[8], eip, cs, eflags, cr0, cr3, cr4;
	struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed, aligned(8))) idtr;
	uint32_t is_real, long_cr0, long_cr3, long_cr4;
	struct x86_table long_idtr __attribute__((aligned(16)));
	struct x86_table long_gdtr __attribute__((aligned(16)));
	uint32_t self __attribute__((aligned(16))), context;
	uint32_t end_gpr[8], vector, error, end_eip, end_cs, end_eflags, end_ss;
	uint32_t nmis, kernel_stack;
	/* Of the copy for real mode: a far pointer to its first instruction. */
	uint16_t real_start, real_cs;
};

#define ASSERT_OFFSET(member, offset) \
	_Static_assert(__builtin_offsetof(struct mode_block, member) == (offset), "modes.h")
ASSERT_OFFSET(eip, MODE_EIP);
ASSERT_OFFSET(cs, MODE_CS);
ASSERT_OFFSET(eflags, MODE_EFLAGS);
ASSERT_OFFSET(cr0, MODE_CR0);
ASSERT_OFFSET(cr3, MODE_CR3);
ASSERT_OFFSET(cr4, MODE_CR4);
ASSERT_OFFSET(idtr, MODE_IDTR);
ASSERT_OFFSET(is_real, MODE_IS_REAL);
ASSERT_OFFSET(long_cr0, MODE_LONG_CR0);
ASSERT_OFFSET(long_cr3, MODE_LONG_CR3);
ASSERT_OFFSET(long_cr4, MODE_LONG_CR4);
ASSERT_OFFSET(long_idtr, MODE_LONG_IDTR);
ASSERT_OFFSET(long_gdtr, MODE_LONG_GDTR);
ASSERT_OFFSET(self, MODE_SELF);
ASSERT_OFFSET(context, MODE_CONTEXT);
ASSERT_OFFSET(end_gpr, MODE_END_GPR);
ASSERT_OFFSET(vector, MODE_END_VECTOR);
ASSERT_OFFSET(error, MODE_END_ERROR);
ASSERT_OFFSET(end_eip, MODE_END_EIP);
ASSERT_OFFSET(end_cs, MODE_END_CS);
ASSERT_OFFSET(end_eflags, MODE_END_EFLAGS);
ASSERT_OFFSET(end_ss, MODE_END_SS);
ASSERT_OFFSET(nmis, MODE_NMIS);
ASSERT_OFFSET(kernel_stack, MODE_KERNEL_STACK);
ASSERT_OFFSET(real_start, MODE_SIZE);

#define INT3 0xcc
#define VECTOR_BP 3
#define VECTOR_OF 4
#define KERNEL_STACK_SIZE 256

/* What a CPU's probes in other modes and places have. */
struct mode_cpu {
	struct mode_block block;
	struct page_tables tables;
	/* The slot of long mode, while another one is used. */
	uint8_t *code, *scratch, *stack;
	uint64_t slot[2];
	uint32_t dirty_from, dirty_to;
	uint64_t idt[IDT_VECTORS];
	uint8_t kernel_stack[KERNEL_STACK_SIZE] __attribute__((aligned(16)));
	uint32_t low; /* the slot of the other modes */
	bool is_low;
	const struct probe_request *request;
};

/* modes_entry.S */
void mode_enter(struct probe_context *context, struct mode_block *block);
extern const char mode_enter_start[], mode_enter_end[], mode_stubs[];
extern const char real_code[], real_code_end[], real_start_offset[];

static struct mode_cpu mode_cpus[OS_MAX_CPUS];

static struct mode_cpu *mode_cpu_of(struct cpu *cpu)
{
	return &mode_cpus[cpu->index];
}

static uint64_t descriptor(uint64_t attributes, uint64_t base)
{
	return attributes | (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
}

/* The slot below 1 MiB. */
static void use_low_slot(struct probe_context *context, struct mode_cpu *mode, bool relative)
{
	uint8_t *low = (uint8_t *)(uint64_t)mode->low;

	mode->code = context->code;
	mode->scratch = context->scratch;
	mode->stack = context->stack;
	mode->slot[0] = context->slot[0];
	mode->slot[1] = context->slot[1];
	mode->dirty_from = context->dirty_from;
	mode->dirty_to = context->dirty_to;
	mode->is_low = true;
	context->code = low + SLOT_CODE;
	context->scratch = low + SLOT_SCRATCH;
	context->stack = low + SLOT_STACK;
	context->slot[0] = context->slot[1] = relative ? 0 : mode->low;
	context->dirty_from = 0;
	context->dirty_to = SLOT_CODE_SIZE;
	context->data_base = relative ? mode->low : 0;
}

/* The pages of the low slot, as a slot is mapped in long mode. */
static bool map_low_slot(struct mode_cpu *mode, bool user)
{
	uint64_t entry;
	bool mapped = true;

	for (uint32_t offset = 0; offset < SLOT_STRIDE && mapped; offset += PAGE_BYTES) {
		const struct slot_page *page = NULL;

		for (unsigned int i = 0; i < SLOT_PAGES; i++)
			if (slot_pages[i].offset == offset)
				page = &slot_pages[i];
		mapped = page_tables_get(&mode->tables, mode->low + offset, &entry);
		if (!page)
			entry &= ~PTE_PRESENT;
		else if (!page->writable)
			entry &= ~PTE_WRITE;
		if (user)
			entry |= PTE_USER;
		mapped = mapped && page_tables_set(&mode->tables, mode->low + offset, entry);
	}
	return mapped;
}

/*
 * The code at its linear address: in two pages of its own, which do not follow each other in physical memory,
 * so that a hypervisor that reads the code has to translate both.
 */
static bool map_code(const struct probe_request *request, struct mode_cpu *mode)
{
	uint64_t linear = request->place.linear & ~(PAGE_BYTES - 1), next = linear + PAGE_BYTES;
	uint64_t flags = PTE_PRESENT | (request->cpl == 3 ? PTE_USER : 0);
	uint8_t *second = page_tables_page(&mode->tables), *first = page_tables_page(&mode->tables);
	uint32_t fits = PAGE_BYTES - request->at;

	if (!first || !second)
		return false;
	if (request->code_bits != 64)
		next = (uint32_t)next;
	if (fits > request->code_size)
		fits = request->code_size;
	__builtin_memset(first, INT3, PAGE_BYTES);
	__builtin_memset(second, INT3, PAGE_BYTES);
	__builtin_memcpy(first + request->at, request->code, fits);
	__builtin_memcpy(second, request->code + fits, request->code_size - fits);
	if (!page_tables_set(&mode->tables, linear, (uint64_t)first | flags))
		return false;
	/* The second page has no place behind the canonical border; the code need not reach it. */
	return page_tables_set(&mode->tables, next, (uint64_t)second | flags) ||
	       fits == request->code_size;
}

/* NULL, or why the page cannot be mapped so. */
static const char *map_page(const struct probe_context *context,
			    const struct probe_request *request, struct mode_cpu *mode,
			    const struct probe_page *page)
{
	uint64_t linear = probe_linear(context, request, &page->address), entry = 0, other = 0;

	if (!page_tables_get(&mode->tables, linear, &entry))
		return "page: an address that cannot be mapped, or too many of them";
	if (page->aliased) {
		uint64_t alias = probe_linear(context, request, &page->alias);

		if (!page_tables_get(&mode->tables, alias, &other) || !(other & PTE_PRESENT))
			return "page: nothing is mapped at the address whose memory it shall share";
		entry = (other & PTE_FRAME) | PTE_PRESENT | PTE_WRITE;
	} else if (!(entry & PTE_FRAME)) {
		void *fresh = page_tables_page(&mode->tables);

		if (!fresh)
			return "page: too many of them";
		entry = (uint64_t)fresh | PTE_PRESENT | PTE_WRITE;
	}
	if (modes_is_user(request))
		entry |= PTE_USER;
	entry = (entry | page->set) & ~page->clear;
	if (!page_tables_set(&mode->tables, linear, entry))
		return "page: 32-bit paging has entries of 32 bits";
	return NULL;
}

static const char *build_tables(struct probe_context *context, const struct probe_request *request,
				struct mode_cpu *mode)
{
	static const enum page_format formats[] = {
		[PROBE_LONG] = PAGES_4_LEVEL,
		[PROBE_PAE_PAGING] = PAGES_PAE,
		[PROBE_32_BIT_PAGING] = PAGES_32_BIT,
		[PROBE_VIRTUAL_8086] = PAGES_32_BIT,
	};
	const struct probe_place *place = &request->place;
	const char *why = NULL;

	page_tables_begin(&mode->tables, formats[place->mode]);
	if (place->mode != PROBE_LONG && !map_low_slot(mode, modes_is_user(request)))
		return "the slot cannot be mapped";
	if (place->has_linear && !map_code(request, mode))
		return "linear: an address that cannot be mapped";
	for (uint32_t i = 0; i < place->page_count && !why; i++)
		why = map_page(context, request, mode, &place->page[i]);
	context->cr3 = mode->tables.root;
	return why;
}

/* The segment of the code, unless it is one that every probe may use. */
static void choose_segment(struct probe_context *context, const struct probe_request *request,
			   struct cpu *cpu, uint64_t linear)
{
	uint64_t attributes = DESCRIPTOR_CODE | DESCRIPTOR_4_GIB;
	bool user = request->cpl == 3;

	if (request->code_bits == 64) {
		context->cs = user ? PROBE_USER_CS : PROBE_KERNEL_CS;
		context->start = linear;
		return;
	}
	if (request->place.has_base)
		context->code_base = request->place.base;
	else if (request->code_bits == 16)
		/* Near jumps of 16-bit code stay within 64 KiB. */
		context->code_base = linear - request->at;
	if (request->code_bits == 32)
		attributes |= DESCRIPTOR_32_BIT;
	if (user)
		attributes |= DESCRIPTOR_DPL3;
	cpu->gdt[MODES_CODE / 8] = descriptor(attributes, context->code_base);
	if (request->code_bits == 32 && !request->place.has_base)
		context->cs = user ? PROBE_USER_CS32 : PROBE_KERNEL_CS32;
	else
		context->cs = MODES_CODE | (user ? 3 : 0);
	context->start = (uint32_t)(linear - context->code_base);
}

static const char *prepare(struct probe_context *context, const struct probe_request *request)
{
	struct cpu *cpu = cpu_of_stack();
	struct mode_cpu *mode = mode_cpu_of(cpu);
	const struct probe_place *place = &request->place;
	const char *why = modes_find_obstacle(request, cpu);
	uint64_t linear;

	mode->is_low = false;
	mode->request = request;
	if (why)
		return why;
	if (place->mode != PROBE_LONG)
		use_low_slot(context, mode, modes_has_8086_segments(request));
	linear = place->has_linear ? place->linear
				   : context->slot[request->cpl == 3] + SLOT_CODE + request->at;
	if (modes_has_8086_segments(request)) {
		context->cs = mode->low >> 4;
		context->code_base = mode->low;
		context->start = request->at;
	} else {
		choose_segment(context, request, cpu, linear);
	}
	if (!modes_has_paging(place->mode) ||
	    (place->mode == PROBE_LONG && !place->has_linear && !place->page_count))
		return NULL;
	why = build_tables(context, request, mode);
	/* In other modes modes_entry.S loads it. */
	if (place->mode != PROBE_LONG) {
		mode->block.cr3 = (uint32_t)context->cr3;
		context->cr3 = 0;
	}
	return why;
}

/* Gates of 8 bytes; those of the probe's handlers have the size of its code. */
static void fill_idt(const struct probe_context *context, struct mode_cpu *mode)
{
	const struct probe_request *request = mode->request;
	uint64_t gate = request->code_bits == 16 ? GATE_16_BIT : GATE_32_BIT;

	for (unsigned int vector = 0; vector < IDT_VECTORS; vector++) {
		uint64_t stub = (uint64_t)mode_stubs + vector * MODE_STUB_SIZE;

		mode->idt[vector] = (stub & 0xffff) | (uint64_t)PROBE_KERNEL_CS32 << 16 |
				    GATE_32_BIT | (stub >> 16 & 0xffff) << 48;
		if (vector == VECTOR_BP || vector == VECTOR_OF)
			mode->idt[vector] |= GATE_DPL3;
	}
	for (uint32_t i = 0; i < request->handler_count; i++) {
		uint64_t entry = (uint32_t)(context->start + request->handler[i].offset);

		mode->idt[request->handler[i].vector] =
			(entry & 0xffff) | (context->cs & 0xffff) << 16 | gate |
			(request->code_bits == 16 ? 0 : (entry >> 16 & 0xffff) << 48);
	}
	mode->block.idtr.base = (uint32_t)(uint64_t)mode->idt;
	mode->block.idtr.limit = sizeof(mode->idt) - 1;
}

/* The interrupt vectors, stubs, code and block of real mode, in the page behind the code area. */
static void fill_real(const struct probe_context *context, struct mode_cpu *mode, struct cpu *cpu)
{
	const struct probe_request *request = mode->request;
	uint8_t *page = (uint8_t *)(uint64_t)mode->low;
	uint32_t *vectors = (uint32_t *)(page + REAL_IVT);
	uint32_t segment = (uint32_t)context->cs << 16;
	struct mode_block *copy = (struct mode_block *)(page + REAL_BLOCK);

	for (unsigned int vector = 0; vector < IDT_VECTORS; vector++)
		vectors[vector] = segment | (REAL_CODE + vector * REAL_STUB_SIZE);
	for (uint32_t i = 0; i < request->handler_count; i++)
		vectors[request->handler[i].vector] =
			segment | (uint16_t)(context->start + request->handler[i].offset);
	__builtin_memcpy(page + REAL_CODE, real_code, (size_t)(real_code_end - real_code));
	cpu->gdt[MODES_CODE / 8] = descriptor(DESCRIPTOR_CODE | DESCRIPTOR_64_KIB, mode->low);
	cpu->gdt[MODES_REAL_DATA / 8] = descriptor(DESCRIPTOR_DATA | DESCRIPTOR_64_KIB, mode->low);
	mode->block.idtr.base = mode->low + REAL_IVT;
	mode->block.idtr.limit = IDT_VECTORS * sizeof(*vectors) - 1;
	*copy = mode->block;
	copy->self = mode->low + REAL_BLOCK;
	copy->real_start = (uint16_t)(REAL_CODE + (uint64_t)real_start_offset);
	copy->real_cs = (uint16_t)context->cs;
}

static void fill_block(struct probe_context *context, struct mode_cpu *mode, struct cpu *cpu)
{
	struct mode_block *block = &mode->block;
	const struct probe_place *place = &mode->request->place;
	uint32_t kind = place->mode;
	uint64_t cr0 = x86_read_cr0(), cr4 = x86_read_cr4();

	for (unsigned int i = 0; i < 8; i++)
		block->gpr[i] = (uint32_t)context->gpr[i];
	block->eip = (uint32_t)context->rip;
	block->cs = (uint32_t)context->cs;
	block->eflags = (uint32_t)context->rflags;
	block->long_cr0 = (uint32_t)cr0;
	block->long_cr3 = (uint32_t)x86_read_cr3();
	block->long_cr4 = (uint32_t)cr4;
	block->long_idtr = x86_sidt();
	asm volatile("sgdt %0" : "=m"(block->long_gdtr));
	block->self = (uint32_t)(uint64_t)block;
	block->context = (uint32_t)(uint64_t)context;
	block->vector = block->error = block->end_eip = block->end_cs = 0;
	block->end_eflags = block->end_ss = block->nmis = 0;
	block->is_real = kind == PROBE_REAL;
	block->kernel_stack = 0;
	if (kind == PROBE_VIRTUAL_8086)
		block->eflags |= EFLAGS_VM;
	if (modes_is_user(mode->request)) {
		block->kernel_stack = (uint32_t)(uint64_t)(mode->kernel_stack + KERNEL_STACK_SIZE);
		/*
		 * TR keeps the TSS of long mode, which the CPU reads as a 32-bit one now: ESP0 and SS0 are where RSP0
		 * is (SDM 3A 8.2.1, 8.7). It is put back in enter().
		 */
		cpu->tss.rsp[0] = (uint64_t)PROBE_KERNEL_DS << 32 | block->kernel_stack;
	}
	block->cr0 = (uint32_t)(modes_has_paging(place->mode) ? cr0 : cr0 & ~CR0_PG);
	if (!modes_has_paging(place->mode))
		block->cr3 = block->long_cr3;
	if (kind != PROBE_PAE_PAGING)
		cr4 &= ~CR4_PAE;
	if (kind == PROBE_32_BIT_PAGING || kind == PROBE_VIRTUAL_8086)
		cr4 |= CR4_PSE;
	block->cr4 = (uint32_t)cr4;
	cpu->gdt[MODES_BLOCK / 8] =
		descriptor(DESCRIPTOR_DATA | DESCRIPTOR_4_GIB | DESCRIPTOR_32_BIT, (uint64_t)block);
	if (kind == PROBE_REAL)
		fill_real(context, mode, cpu);
	else
		fill_idt(context, mode);
}

/* The bases that a probe has left behind the null selectors: not every AMD processor clears them when it loads these. */
static void clear_fs_and_gs(void)
{
	asm volatile("mov %0, %%fs; mov %0, %%gs" : : "r"(PROBE_KERNEL_DS));
	asm volatile("mov %0, %%fs; mov %0, %%gs" : : "r"(0));
}

static void enter(struct probe_context *context)
{
	struct cpu *cpu = cpu_of_stack();
	struct mode_cpu *mode = mode_cpu_of(cpu);
	const struct mode_block *block = &mode->block;
	struct probe_frame *end = &context->end;
	uint64_t rsp0 = cpu->tss.rsp[0];

	fill_block(context, mode, cpu);
	mode_enter(context, &mode->block);
	clear_fs_and_gs();
	cpu->tss.rsp[0] = rsp0;
	if (context->entry_fault)
		return;
	if (block->is_real)
		block = (const struct mode_block *)((uint64_t)mode->low + REAL_BLOCK);
	/* Outside of long mode the upper halves and R8 to R15 are nobody's. */
	__builtin_memcpy(end->gpr, context->gpr, sizeof(end->gpr));
	for (unsigned int i = 0; i < 8; i++)
		end->gpr[i] = block->end_gpr[i];
	end->rsp = block->end_gpr[GPR_RSP];
	end->vector = block->vector;
	end->error = block->error;
	end->rip = block->end_eip;
	end->cs = block->end_cs;
	end->rflags = block->end_eflags;
	end->ss = block->end_ss;
	context->nmis += block->nmis;
	probe_ended(context);
}

static void finish(struct probe_context *context)
{
	struct cpu *cpu = cpu_of_stack();
	struct mode_cpu *mode = mode_cpu_of(cpu);

	/* The selectors are no probe's but this one's. */
	cpu->gdt[MODES_CODE / 8] = 0;
	cpu->gdt[MODES_BLOCK / 8] = 0;
	cpu->gdt[MODES_REAL_DATA / 8] = 0;
	if (!mode->is_low)
		return;
	context->code = mode->code;
	context->scratch = mode->scratch;
	context->stack = mode->stack;
	context->slot[0] = mode->slot[0];
	context->slot[1] = mode->slot[1];
	context->dirty_from = mode->dirty_from;
	context->dirty_to = mode->dirty_to;
}

static const struct probe_places places = {
	.prepare = prepare,
	.enter = enter,
	.enter_start = mode_enter_start,
	.enter_end = mode_enter_end,
	.finish = finish,
};

void modes_init(struct cpu *cpu)
{
	struct mode_cpu *mode = mode_cpu_of(cpu);

	mode->low = MODES_SLOTS + cpu->index * SLOT_STRIDE;
	mode->tables.pool = os_alloc_pages(PAGE_TABLES_POOL);
	if (!mode->tables.pool)
		panic("no memory for the page tables of probes");
	cpu->probe.places = &places;
}
