// SPDX-License-Identifier: MIT
/*
 * The toy's twin for VMX: it answers CPUID and what exits without being asked to, and makes the mistakes that first
 * hypervisors make; tests/subjects/faults-vmx.toml says which checks must find each of them. Host mode runs with the
 * descriptor tables and the address space of the OS. It keeps no counters and no trace, and cannot be unloaded.
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

#define MSR_FEATURE_CONTROL 0x3au
#define MSR_VMX_BASIC 0x480u
#define MSR_VMX_PROC2 0x48bu
#define MSR_VMX_TRUE_PIN 0x48du
#define MSR_EFER 0xc0000080u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u

/* SDM 3D, appendix B. */
enum field {
	VPID = 0x0000,
	SELECTORS = 0x0800, /* ES, CS, SS, DS, FS, GS, LDTR, TR */
	HOST_SELECTORS = 0x0c00,
	MSR_BITMAP = 0x2004,
	EPT_POINTER = 0x201a,
	LINK_POINTER = 0x2800,
	DEBUGCTL = 0x2802,
	EFER = 0x2806,
	HOST_EFER = 0x2c02,
	PIN = 0x4000,
	PROC = 0x4002,
	EXIT_CONTROLS = 0x400c,
	ENTRY_CONTROLS = 0x4012,
	EVENT = 0x4016,
	PROC2 = 0x401e,
	REASON = 0x4402,
	LENGTH = 0x440c,
	LIMITS = 0x4800, /* in the order of the selectors, then GDTR and IDTR */
	GDTR_LIMIT = 0x4810,
	IDTR_LIMIT = 0x4812,
	RIGHTS = 0x4814,
	SYSENTER_CS = 0x482a,
	CR0 = 0x6800,
	CR3 = 0x6802,
	CR4 = 0x6804,
	BASES = 0x6806,
	GDTR_BASE = 0x6816,
	IDTR_BASE = 0x6818,
	DR7 = 0x681a,
	RSP = 0x681c,
	RIP = 0x681e,
	RFLAGS = 0x6820,
	SYSENTER_ESP = 0x6824,
	SYSENTER_EIP = 0x6826,
	HOST_CR0 = 0x6c00,
	HOST_CR3 = 0x6c02,
	HOST_CR4 = 0x6c04,
	HOST_FS_BASE = 0x6c06,
	HOST_GS_BASE = 0x6c08,
	HOST_TR_BASE = 0x6c0a,
	HOST_GDTR_BASE = 0x6c0c,
	HOST_IDTR_BASE = 0x6c0e,
	HOST_RSP = 0x6c14,
	HOST_RIP = 0x6c16,
};

enum reason {
	EXIT_CPUID = 10,
	EXIT_GETSEC = 11,
	EXIT_INVD = 13,
	EXIT_VMCALL = 18,
	EXIT_VMXON = 27,
	EXIT_RDMSR = 31,
	EXIT_WRMSR = 32,
	EXIT_INVEPT = 50,
	EXIT_INVVPID = 53,
	EXIT_XSETBV = 55,
};

#define INJECT_UD (1u << 31 | 3u << 8 | 6)
#define INJECT_GP (1u << 31 | 3u << 8 | 1u << 11 | 13)
#define EVENT_ERROR 0x4018

#define PROC_BITMAP (1u << 28)
#define PROC_SECONDARY (1u << 31)
#define PROC2_EPT (1u << 1)
#define PROC2_WANTED (PROC2_EPT | 1u << 3 | 1u << 7 | 1u << 12 | 1u << 20)
/* Debug controls, 64-bit host or guest, and EFER (SDM 3C 24.7.1, 24.8.1). */
#define EXIT_WANTED (1u << 2 | 1u << 9 | 1u << 20 | 1u << 21)
#define ENTRY_WANTED (1u << 2 | 1u << 9 | 1u << 15)

/* As vtoy_launch pushes them. */
struct registers {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
};

struct table {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

/* VMXON region, VMCS, and the stack of host mode. */
#define PAGES 4
#define GIBIBYTES 512

static uint8_t *memory[OS_MAX_CPUS];
static uint64_t *tables; /* the bitmap of MSRs, and EPT: a PML4 and a page of 1-GiB pages */
static unsigned int taken, failed;

/* Returns in guest mode with 0, and 1 if there is none. */
int vtoy_launch(void);
void vtoy_exit(struct registers *registers);
void vtoy_exited(void);

static uint64_t read_msr(uint32_t msr)
{
	uint32_t low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

static void write_vmcs(uint64_t field, uint64_t value)
{
	asm volatile("vmwrite %0, %1" : : "r"(value), "r"(field) : "cc");
}

static uint64_t read_vmcs(uint64_t field)
{
	uint64_t value;

	asm volatile("vmread %1, %0" : "=r"(value) : "r"(field) : "cc");
	return value;
}

static void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t values[4])
{
	asm volatile("cpuid"
		     : "=a"(values[0]), "=b"(values[1]), "=c"(values[2]), "=d"(values[3])
		     : "a"(leaf), "c"(subleaf));
}

/* Bits that a control must have, and those that are wanted and possible (SDM 3D A.3). */
static uint32_t control(uint32_t capability, uint32_t wanted)
{
	uint64_t allowed = read_msr(capability);

	return (wanted | (uint32_t)allowed) & (uint32_t)(allowed >> 32);
}

static void fill_segment(unsigned int index, uint16_t selector, uint64_t base)
{
	uint32_t access = 0, limit = 0;

	asm volatile("lar %2, %0\n\tlsl %2, %1"
		     : "+r"(access), "+r"(limit)
		     : "r"((uint32_t)selector)
		     : "cc");
	write_vmcs(SELECTORS + 2 * index, selector);
	write_vmcs(LIMITS + 2 * index, limit);
	write_vmcs(RIGHTS + 2 * index, selector & ~3 ? access >> 8 & 0xf0ff : 0x10000);
	write_vmcs(BASES + 2 * index, base);
	if (index != 6)
		write_vmcs(HOST_SELECTORS + (index == 7 ? 12 : 2 * index), selector & ~7);
}

static uint64_t tss_base(const struct table *gdtr, uint16_t selector)
{
	const uint64_t *entry = (const uint64_t *)(gdtr->base + selector);

	return (entry[0] >> 16 & 0xffffff) | (entry[0] >> 32 & 0xff000000) | entry[1] << 32;
}

static void fill_segments(void)
{
	struct table gdtr, idtr;
	uint16_t selectors[8];

	asm volatile("sgdt %0" : "=m"(gdtr));
	asm volatile("sidt %0" : "=m"(idtr));
	asm volatile("mov %%es, %0" : "=m"(selectors[0]));
	asm volatile("mov %%cs, %0" : "=m"(selectors[1]));
	asm volatile("mov %%ss, %0" : "=m"(selectors[2]));
	asm volatile("mov %%ds, %0" : "=m"(selectors[3]));
	asm volatile("mov %%fs, %0" : "=m"(selectors[4]));
	asm volatile("mov %%gs, %0" : "=m"(selectors[5]));
	asm volatile("sldt %0" : "=m"(selectors[6]));
	asm volatile("str %0" : "=m"(selectors[7]));
	for (unsigned int i = 0; i < 7; i++)
		fill_segment(i, selectors[i],
			     i == 4   ? read_msr(MSR_FS_BASE)
			     : i == 5 ? read_msr(MSR_GS_BASE)
				      : 0);
	fill_segment(7, selectors[7], tss_base(&gdtr, selectors[7]));
	write_vmcs(GDTR_BASE, gdtr.base);
	write_vmcs(GDTR_LIMIT, gdtr.limit);
	write_vmcs(IDTR_BASE, idtr.base);
	write_vmcs(IDTR_LIMIT, idtr.limit);
	write_vmcs(HOST_FS_BASE, read_msr(MSR_FS_BASE));
	write_vmcs(HOST_GS_BASE, read_msr(MSR_GS_BASE));
	write_vmcs(HOST_TR_BASE, tss_base(&gdtr, selectors[7]));
	write_vmcs(HOST_GDTR_BASE, gdtr.base);
	/* Fault "nmi": what the OS' handler takes in host mode, the guest's never sees. */
	write_vmcs(HOST_IDTR_BASE, idtr.base);
}

#define CONTROL_REGISTER(name)                                     \
	({                                                         \
		uint64_t value;                                    \
		asm volatile("mov %%" #name ", %0" : "=r"(value)); \
		value;                                             \
	})

static void fill(uint8_t *pages)
{
	write_vmcs(PIN, control(MSR_VMX_TRUE_PIN, 0));
	write_vmcs(PROC, control(MSR_VMX_TRUE_PIN + 1, PROC_BITMAP | PROC_SECONDARY));
	write_vmcs(PROC2, control(MSR_VMX_PROC2, PROC2_WANTED));
	write_vmcs(EXIT_CONTROLS, control(MSR_VMX_TRUE_PIN + 2, EXIT_WANTED));
	write_vmcs(ENTRY_CONTROLS, control(MSR_VMX_TRUE_PIN + 3, ENTRY_WANTED));
	write_vmcs(MSR_BITMAP, (uint64_t)tables);
	write_vmcs(EPT_POINTER, (uint64_t)(tables + 512) | 3 << 3 | 6);
	write_vmcs(LINK_POINTER, ~0ull);
	fill_segments();
	/* Fault "cr": no bit of CR0 and CR4 is the host's, so that NE cannot be cleared, and VMXE is shown. */
	write_vmcs(CR0, CONTROL_REGISTER(cr0));
	write_vmcs(CR3, CONTROL_REGISTER(cr3));
	write_vmcs(CR4, CONTROL_REGISTER(cr4));
	write_vmcs(HOST_CR0, CONTROL_REGISTER(cr0));
	write_vmcs(HOST_CR3, CONTROL_REGISTER(cr3));
	write_vmcs(HOST_CR4, CONTROL_REGISTER(cr4));
	write_vmcs(DR7, CONTROL_REGISTER(dr7));
	write_vmcs(DEBUGCTL, 0);
	write_vmcs(EFER, read_msr(MSR_EFER));
	write_vmcs(HOST_EFER, read_msr(MSR_EFER));
	for (unsigned int i = 0; i < 3; i++)
		write_vmcs(((const uint32_t[]){ SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP })[i],
			   read_msr(0x174 + i));
	write_vmcs(RFLAGS, 2);
	write_vmcs(HOST_RSP, (uint64_t)(pages + PAGES * 0x1000));
	write_vmcs(HOST_RIP, (uint64_t)vtoy_exited);
}

static void take(void *unused)
{
	uint8_t *pages = memory[os_this_cpu()];
	uint64_t vmxon = (uint64_t)pages, vmcs = vmxon + 0x1000;
	uint32_t revision = read_msr(MSR_VMX_BASIC) & 0x7fffffff;
	bool refused;

	(void)unused;
	*(uint32_t *)vmxon = *(uint32_t *)vmcs = revision;
	asm volatile("mov %0, %%cr0" : : "r"(CONTROL_REGISTER(cr0) | 1 << 5));
	asm volatile("mov %0, %%cr4" : : "r"(CONTROL_REGISTER(cr4) | 1 << 13));
	asm volatile("vmxon %1\n\tsetbe %0" : "=qm"(refused) : "m"(vmxon) : "cc", "memory");
	if (!refused) {
		asm volatile("vmclear %0" : : "m"(vmcs) : "cc", "memory");
		asm volatile("vmptrld %0" : : "m"(vmcs) : "cc", "memory");
		fill(pages);
		refused = vtoy_launch();
	}
	__atomic_fetch_add(refused ? &failed : &taken, 1, __ATOMIC_SEQ_CST);
}

/* Fault "length": what has prefixes is longer than it says. Faults "tf" and "rf": no #DB if TF is set, and RF stays. */
static void skip(uint64_t length)
{
	write_vmcs(RIP, read_vmcs(RIP) + length);
}

static void inject(uint32_t event)
{
	write_vmcs(EVENT, event);
	write_vmcs(EVENT_ERROR, 0);
}

/* Faults "osxsave", as CPUID shows CR4 of host mode, and "shown": VMX is not hidden. */
static void answer_cpuid(struct registers *registers)
{
	static const uint32_t signature[4] = { 0x40000000, 0x796f5456, 0x796f5456, 0x796f5456 };
	uint32_t values[4], leaf = registers->rax;

	cpuid(leaf, registers->rcx, values);
	if (leaf == 1)
		values[2] |= 1u << 31;
	for (int i = 0; leaf == 0x40000000 && i < 4; i++)
		values[i] = signature[i];
	registers->rax = values[0];
	registers->rbx = values[1];
	registers->rcx = values[2];
	registers->rdx = values[3];
	skip(2);
}

static bool may_set_xcr0(const struct registers *registers)
{
	uint32_t values[4], bits = registers->rax;

	cpuid(0xd, 0, values);
	return !(uint32_t)registers->rcx && !(uint32_t)registers->rdx && bits & 1 &&
	       !(bits & ~values[0]) && !((bits & 4) && !(bits & 2)) && !(bits & ~7u);
}

void vtoy_exit(struct registers *registers)
{
	uint32_t reason = read_vmcs(REASON) & 0xffff;

	switch (reason) {
	case EXIT_CPUID:
		answer_cpuid(registers);
		break;
	case EXIT_INVD:
		asm volatile("wbinvd" : : : "memory");
		skip(2);
		break;
	case EXIT_XSETBV:
		/* Fault "xsetbv": of AVX-512 it knows nothing. */
		if (may_set_xcr0(registers)) {
			asm volatile("xsetbv" : : "c"(0), "a"(registers->rax), "d"(0));
			skip(3);
		} else {
			inject(INJECT_GP);
		}
		break;
	case EXIT_VMCALL ... EXIT_VMXON:
		/* Fault "vmx": they fail, and go on. */
		write_vmcs(RFLAGS, (read_vmcs(RFLAGS) & ~0x8d5ull) | 1);
		skip(read_vmcs(LENGTH));
		break;
	case EXIT_RDMSR:
		/* Fault "msr": what the bitmap does not cover reads as 0, and can be written. */
		registers->rax = registers->rdx = 0;
		skip(2);
		break;
	case EXIT_WRMSR:
		skip(2);
		break;
	case EXIT_GETSEC:
	case EXIT_INVEPT:
	case EXIT_INVVPID:
		inject(INJECT_UD);
		break;
	default: {
		char why[64];

		os_snprintf(why, sizeof(why), "vtoy: exit %u at %lx", reason, read_vmcs(RIP));
		os_panic(why);
	}
	}
}

asm(".intel_syntax noprefix\n"
    "vtoy_launch:\n"
    "	push rbx\n"
    "	push rbp\n"
    "	push r12\n"
    "	push r13\n"
    "	push r14\n"
    "	push r15\n"
    "	mov eax, 0x681c\n"
    "	vmwrite rax, rsp\n"
    "	mov eax, 0x681e\n"
    "	lea rdx, [rip + 2f]\n"
    "	vmwrite rax, rdx\n"
    "	vmlaunch\n"
    "	mov eax, 1\n"
    "	jmp 3f\n"
    "2:	xor eax, eax\n"
    "3:	pop r15\n"
    "	pop r14\n"
    "	pop r13\n"
    "	pop r12\n"
    "	pop rbp\n"
    "	pop rbx\n"
    "	ret\n"
    "vtoy_exited:\n"
    "	push rax\n"
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
    "	cld\n"
    "	sub rsp, 8\n"
    "	call vtoy_exit\n"
    "	add rsp, 8\n"
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
    "	pop rax\n"
    "	vmresume\n"
    "	ud2\n"
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
	cpuid(1, 0, values);
	if (!(values[2] & 1u << 5) || (read_msr(MSR_FEATURE_CONTROL) & 5) != 5) {
		os_snprintf(why, size, "the processor has no VMX, or it is switched off");
		return -ENODEV;
	}
	tables = os_alloc_pages(3);
	for (unsigned int cpu = 0; cpu < cpus; cpu++)
		memory[cpu] = os_alloc_pages(PAGES);
	if (!tables || !memory[cpus - 1]) {
		os_snprintf(why, size, "no memory");
		return -ENOMEM;
	}
	tables[512] = (uint64_t)(tables + 1024) | 7;
	for (uint64_t i = 0; i < GIBIBYTES; i++)
		tables[1024 + i] = i << 30 | 1 << 7 | 6 << 3 | 7;
	os_on_every_cpu(take, NULL);
	if (failed)
		os_snprintf(why, size, "%u CPUs cannot enter a guest", failed);
	return failed ? -ENODEV : 0;
}

static int query(char *buffer, size_t size)
{
	os_snprintf(buffer, size, " loaded=%d name=vtoy version=1.0 cpus=%u", taken != 0, taken);
	return 0;
}

static const struct subject_ops vtoy = {
	.name = "vtoy",
	.load = load,
	.query = query,
};

const struct subject_ops *const subject = &vtoy;
