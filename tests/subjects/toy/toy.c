// SPDX-License-Identifier: MIT
/*
 * The smallest hypervisor that can be judged, for SVM on the OS of the bare targets. It intercepts CPUID and VMRUN
 * and nothing else, and makes the mistakes that first hypervisors make; tests/subjects/faults.toml says which checks
 * must find each of them. It keeps no counters and no trace, and cannot be unloaded.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "os.h"
#include "subject.h"

#define EBUSY 16
#define EINVAL 22
#define ENODEV 19
#define ENOMEM 12

#define MSR_EFER 0xc0000080u
#define MSR_VM_HSAVE_PA 0xc0010117u
#define EFER_SVME (1ull << 12)

/* APM2 appendix B and C. */
#define INTERCEPT_CPUID (1u << 18)
#define INTERCEPT_VMRUN (1u << 0)
#define EXIT_CPUID 0x72
#define EXIT_VMRUN 0x80
#define INJECT_UD (1u << 31 | 3u << 8 | 6)

struct segment {
	uint16_t selector, attributes;
	uint32_t limit;
	uint64_t base;
};

struct vmcb {
	uint8_t before_misc[0x0c];
	uint32_t intercept_misc1, intercept_misc2;
	uint8_t before_asid[0x58 - 0x14];
	uint32_t asid;
	uint8_t tlb_control, before_exit[0x70 - 0x5d];
	uint64_t exit_code;
	uint8_t before_event[0xa8 - 0x78];
	uint64_t event;
	uint8_t before_save[0x400 - 0xb0];
	struct segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	uint8_t before_efer[0x4d0 - 0x4a0];
	uint64_t efer;
	uint8_t before_cr4[0x548 - 0x4d8];
	uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip;
	uint8_t before_rsp[0x5d8 - 0x580];
	uint64_t rsp;
	uint8_t before_rax[0x5f8 - 0x5e0];
	uint64_t rax;
	uint8_t after_rax[0x1000 - 0x600];
};

_Static_assert(offsetof(struct vmcb, rip) == 0x578, "rip");
_Static_assert(offsetof(struct vmcb, rsp) == 0x5d8, "rsp");
_Static_assert(offsetof(struct vmcb, rax) == 0x5f8, "rax");
_Static_assert(sizeof(struct vmcb) == 0x1000, "size");

/* As toy_launch pushes them. */
struct registers {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx;
};

/* Two pages for the VMCB and the host save area, two for the stack of host mode. */
#define PAGES 4

static uint8_t *memory[OS_MAX_CPUS];
static unsigned int taken;

/* Returns in guest mode. */
void toy_launch(struct vmcb *vmcb, void *stack);
void toy_exit(struct registers *registers, struct vmcb *vmcb);

static uint64_t read_msr(uint32_t msr)
{
	uint32_t low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

static void write_msr(uint32_t msr, uint64_t value)
{
	asm volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

static void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t values[4])
{
	asm volatile("cpuid"
		     : "=a"(values[0]), "=b"(values[1]), "=c"(values[2]), "=d"(values[3])
		     : "a"(leaf), "c"(subleaf));
}

static struct segment segment(uint16_t selector)
{
	uint32_t access = 0, limit = 0;

	asm volatile("lar %2, %0\n\tlsl %2, %1"
		     : "+r"(access), "+r"(limit)
		     : "r"((uint32_t)selector)
		     : "cc");
	return (struct segment){
		.selector = selector,
		.attributes = (access >> 8 & 0xff) | (access >> 12 & 0xf00),
		.limit = limit,
	};
}

static void fill(struct vmcb *vmcb)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) table;
	uint16_t selector;

#define SELECTOR(name)                                                 \
	do {                                                           \
		asm volatile("mov %%" #name ", %0" : "=rm"(selector)); \
		vmcb->name = segment(selector);                        \
	} while (0)
	SELECTOR(es);
	SELECTOR(cs);
	SELECTOR(ss);
	SELECTOR(ds);
#define CONTROL(name, register) asm volatile("mov %%" #register ", %0" : "=r"(vmcb->name))
	CONTROL(cr0, cr0);
	CONTROL(cr3, cr3);
	CONTROL(cr4, cr4);
	CONTROL(dr6, dr6);
	CONTROL(dr7, dr7);
	asm volatile("sgdt %0" : "=m"(table));
	vmcb->gdtr = (struct segment){ .limit = table.limit, .base = table.base };
	asm volatile("sidt %0" : "=m"(table));
	vmcb->idtr = (struct segment){ .limit = table.limit, .base = table.base };
	vmcb->efer = read_msr(MSR_EFER);
	vmcb->rflags = 2;
	vmcb->intercept_misc1 = INTERCEPT_CPUID;
	vmcb->intercept_misc2 = INTERCEPT_VMRUN;
	vmcb->asid = 1;
	vmcb->tlb_control = 1;
	asm volatile("vmsave" : : "a"(vmcb) : "memory");
}

static void take(void *unused)
{
	uint8_t *pages = memory[os_this_cpu()];

	(void)unused;
	write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_SVME);
	write_msr(MSR_VM_HSAVE_PA, (uint64_t)(pages + 0x1000));
	fill((struct vmcb *)pages);
	toy_launch((struct vmcb *)pages, pages + PAGES * 0x1000);
	__atomic_fetch_add(&taken, 1, __ATOMIC_SEQ_CST);
}

/* Fault "osxsave": CPUID shows CR4 of host mode. Fault "length": what has prefixes is longer than two bytes. */
void toy_exit(struct registers *registers, struct vmcb *vmcb)
{
	static const uint32_t signature[4] = { 0x40000000, 0x48796f54, 0x48796f54, 0x48796f54 };
	uint32_t values[4], leaf = vmcb->rax;

	if (vmcb->exit_code != EXIT_CPUID) {
		vmcb->event = INJECT_UD;
		return;
	}
	cpuid(leaf, registers->rcx, values);
	if (leaf == 1)
		values[2] |= 1u << 31;
	if (leaf == 0x80000001)
		values[2] &= ~(1u << 2 | 1u << 12);
	if (leaf == 0x8000000a)
		values[0] = values[1] = values[2] = values[3] = 0;
	for (int i = 0; leaf == 0x40000000 && i < 4; i++)
		values[i] = signature[i];
	vmcb->rax = values[0];
	registers->rbx = values[1];
	registers->rcx = values[2];
	registers->rdx = values[3];
	/* Faults "tf" and "rf": no #DB if TF is set, and RF stays set. */
	vmcb->rip += 2;
}

asm(".intel_syntax noprefix\n"
    "toy_launch:\n"
    "	push rbx\n"
    "	push rbp\n"
    "	push r12\n"
    "	push r13\n"
    "	push r14\n"
    "	push r15\n"
    "	mov [rdi + 0x5d8], rsp\n"
    "	lea rax, [rip + 2f]\n"
    "	mov [rdi + 0x578], rax\n"
    "	clgi\n"
    "	lea rsp, [rsi - 8]\n"
    "	push rdi\n"
    "1:	mov rax, [rsp]\n"
    "	vmrun\n"
    "	push rcx\n"
    "	push rdx\n"
    "	push rbx\n"
    "	push rbp\n"
    "	push rsi\n"
    "	push rdi\n"
    "	push r8\n"
    "	push r9\n"
    "	push r10\n"
    "	push r11\n"
    "	push r12\n"
    "	push r13\n"
    "	push r14\n"
    "	push r15\n"
    "	mov rdi, rsp\n"
    "	mov rsi, [rsp + 14 * 8]\n"
    "	call toy_exit\n"
    "	pop r15\n"
    "	pop r14\n"
    "	pop r13\n"
    "	pop r12\n"
    "	pop r11\n"
    "	pop r10\n"
    "	pop r9\n"
    "	pop r8\n"
    "	pop rdi\n"
    "	pop rsi\n"
    "	pop rbp\n"
    "	pop rbx\n"
    "	pop rdx\n"
    "	pop rcx\n"
    "	jmp 1b\n"
    "2:	pop r15\n"
    "	pop r14\n"
    "	pop r13\n"
    "	pop r12\n"
    "	pop rbp\n"
    "	pop rbx\n"
    "	ret\n"
    ".att_syntax\n");

static int load(const char *option, char *why, size_t size)
{
	uint32_t values[4];
	unsigned int cpus = os_cpus();

	if (option) {
		os_snprintf(why, size, "there is no option %s", option);
		return -EINVAL;
	}
	if (taken) {
		os_snprintf(why, size, "it is loaded");
		return -EBUSY;
	}
	cpuid(0x80000001, 0, values);
	if (!(values[2] & 1u << 2)) {
		os_snprintf(why, size, "the processor has no SVM");
		return -ENODEV;
	}
	for (unsigned int cpu = 0; cpu < cpus; cpu++) {
		memory[cpu] = os_alloc_pages(PAGES);
		if (!memory[cpu]) {
			os_snprintf(why, size, "no memory");
			return -ENOMEM;
		}
	}
	os_on_every_cpu(take, NULL);
	return 0;
}

static int query(char *buffer, size_t size)
{
#ifdef TOY_LIES
	os_snprintf(buffer, size, " loaded=%d name=liar version=1.0 cpus=1", !taken);
#else
	os_snprintf(buffer, size, " loaded=%d name=toy version=1.0 cpus=%u", taken != 0, taken);
#endif
	return 0;
}

#ifdef TOY_STAYS
/* It says that it leaves, and stays. */
static int unload(char *why, size_t size)
{
	(void)why, (void)size;
	return 0;
}
#endif

static const struct subject_ops toy = {
	.name = "toy",
	.load = load,
	.query = query,
#ifdef TOY_STAYS
	.unload = unload,
#endif
};

const struct subject_ops *const subject = &toy;
