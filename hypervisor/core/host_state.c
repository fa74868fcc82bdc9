// SPDX-License-Identifier: MIT
#include "host_state.h"

#include "cpuid_bits.h"
#include "idt.h"
#include "memory.h"

#define GDT_ENTRIES 512
/* Behind the OS' selectors: a stack segment if the OS has none, and the TSS, of two entries. */
#define OWN_ENTRIES 3
#define CODE64 0x00af9b000000ffffull
#define DATA 0x00cf93000000ffffull
#define TSS_AVAILABLE 0x0000890000000000ull
#define IST_DOUBLE_FAULT 1
#define IST_NMI 2
#define IST_BYTES 2048

/* 64-bit TSS (SDM 3A 8.7). */
struct tss {
	u32 reserved0;
	u64 rsp[3];
	u64 reserved1;
	u64 ist[7];
	u64 reserved2;
	u16 reserved3, io_map_base;
} __attribute__((packed));

struct descriptor_tables {
	/*
	 * For use with Veneer's GDT and TSS: double faults and NMIs switch to stacks of their own.
	 */
	struct idt idt;
	u64 gdt[GDT_ENTRIES];
	/*
	 * For use while the OS' TSS is loaded; on SVM, always (svm/enter.S). No entry switches
	 * stacks.
	 */
	struct idt early_idt;
	struct tss tss;
	u8 ist_stacks[2][IST_BYTES] __attribute__((aligned(16)));
};

#define TABLES_PAGES ((sizeof(struct descriptor_tables) + PAGE_BYTES - 1) / PAGE_BYTES)

/* fault_entry.S: one entry of 16 bytes per vector. */
extern const char fault_entries[];

int allocate_host_state(struct vcpu *vcpu)
{
	vcpu->tables = memory_alloc(TABLES_PAGES);
	return vcpu->tables ? 0 : -ENOMEM;
}

static void fill_idt(struct idt *idt, struct vcpu *vcpu)
{
	idt->owner = vcpu;
	for (unsigned int vector = 0; vector < IDT_ENTRIES; vector++) {
		u64 entry = (u64)fault_entries + 16 * vector;

		idt->gates[vector] = (struct gate){
			.offset_low = entry,
			.offset_middle = entry >> 16,
			.offset_high = entry >> 32,
			.selector = vcpu->host_cs,
			/* Present, 64-bit interrupt gate. */
			.type = 0x8e,
		};
	}
}

static void fill_tss_descriptor(struct descriptor_tables *tables, unsigned int index)
{
	u64 base = (u64)&tables->tss;
	u64 *descriptor = &tables->gdt[index];

	descriptor[0] = TSS_AVAILABLE | (sizeof(struct tss) - 1) | (base & 0xffffff) << 16 |
			(base >> 24 & 0xff) << 56;
	descriptor[1] = base >> 32;
}

/*
 * What this processor has of the features that host mode needs, whether the OS has enabled them yet
 * or not. OSXSAVE: XSETBV is executed for the guest (SDM 2C XSETBV). MCE: without it a machine
 * check shuts the processor down (SDM 3A 2.5).
 */
static u64 needed_features(void)
{
	u32 a, b, c, d;

	cpuid(1, 0, &a, &b, &c, &d);
	return (c & CPUID_1_ECX_XSAVE ? CR4_OSXSAVE : 0) | (d & CPUID_1_EDX_MCE ? CR4_MCE : 0);
}

bool has_place_in_host_gdt(u16 selector)
{
	return !(selector & SELECTOR_LDT) && selector >> 3 < GDT_ENTRIES - OWN_ENTRIES;
}

void prepare_host_state(struct vcpu *vcpu, u64 host_cr3)
{
	struct descriptor_tables *tables = vcpu->tables;
	const struct context *context = &vcpu->context;
	unsigned int code = context->cs >> 3, stack = context->ss >> 3;
	/* The next free entry. */
	unsigned int tss = (code > stack ? code : stack) + 1;

	vcpu->host_cs = context->cs & ~3u;
	vcpu->host_ss = context->ss & ~3u;
	/*
	 * A null SS is valid at CPL 0 in 64-bit mode; the host state of VMX and SVM needs a
	 * descriptor.
	 */
	if (!stack)
		vcpu->host_ss = tss++ << 3;
	tables->gdt[code] = CODE64;
	tables->gdt[vcpu->host_ss >> 3] = DATA;
	fill_tss_descriptor(tables, tss);
	vcpu->host_tr = tss << 3;
	vcpu->host_tss_base = (u64)&tables->tss;
	tables->tss.rsp[0] = (u64)vcpu;
	tables->tss.ist[IST_DOUBLE_FAULT - 1] = (u64)tables->ist_stacks[0] + IST_BYTES;
	tables->tss.ist[IST_NMI - 1] = (u64)tables->ist_stacks[1] + IST_BYTES;
	tables->tss.io_map_base = sizeof(struct tss);

	fill_idt(&tables->early_idt, vcpu);
	fill_idt(&tables->idt, vcpu);
	tables->idt.gates[VECTOR_DF].ist = IST_DOUBLE_FAULT;
	tables->idt.gates[VECTOR_NMI].ist = IST_NMI;

	vcpu->host_gdtr = (struct table_register){ .limit = sizeof(tables->gdt) - 1,
						   .base = (u64)tables->gdt };
	vcpu->host_idtr = (struct table_register){ .limit = sizeof(tables->idt.gates) - 1,
						   .base = (u64)&tables->idt };
	vcpu->early_idtr = (struct table_register){ .limit = sizeof(tables->idt.gates) - 1,
						    .base = (u64)&tables->early_idt };
	vcpu->host_cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
	vcpu->host_cr4 = CR4_PAE | needed_features() | (context->cr4 & CR4_LA57);
	vcpu->host_cr3 = host_cr3;
}

void catch_faults(struct vcpu *vcpu, struct table_register *saved)
{
	read_idtr(saved);
	write_idtr(&vcpu->early_idtr);
}

void stop_catching_faults(const struct table_register *saved)
{
	write_idtr(saved);
}

void use_idt_without_stack_switch(struct vcpu *vcpu)
{
	vcpu->host_idtr = vcpu->early_idtr;
}
