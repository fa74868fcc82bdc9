/* SPDX-License-Identifier: MIT */
/*
 * Running one probe on one CPU. The request and the outcome are plain data without pointers, because an ioctl
 * copies them on Linux. The context holds a CPU's state from entering a probe to returning from it.
 */
#ifndef AGENT_PROBE_H
#define AGENT_PROBE_H

/* Offsets into struct probe_context for probe_entry.S; probe.c asserts them. */
#define CONTEXT_GPR 0x00
#define CONTEXT_RIP 0x80
#define CONTEXT_CS 0x88
#define CONTEXT_RFLAGS 0x90
#define CONTEXT_SS 0x98
#define CONTEXT_DATA 0xa0
#define CONTEXT_RESUME 0xa8
#define CONTEXT_DR7 0xb0
#define CONTEXT_SET_DR7 0xb8
#define CONTEXT_ACTIVE 0xbc

/* Offsets into struct probe_call for assembly. */
#define CALL_RFLAGS_AT 0
#define CALL_GPR_AT 8

#define PROBE_STUB_SIZE 32
#define PROBE_STUB_HAS_ERROR 0x100

#ifndef __ASSEMBLER__

#include "cpu_mask.h"
#include "place.h"
#include "slot.h"
#include "types.h"
#include "x86.h"

#define PROBE_CODE_MAX 1024
#define PROBE_MEM_MAX 8
#define PROBE_READ_MAX 0x800
#define PROBE_MSR_MAX 16
#define PROBE_HANDLER_MAX 8
#define PROBE_EVENT_MAX 32
/* MSRs that probes with `leave` may change until `undo`. */
#define PROBE_LEFT_MSR_MAX 32
#define PROBE_DATA_MAX 2048

/*
 * Bits of RFLAGS that a probe may set: CF PF AF ZF SF TF DF OF IOPL NT RF AC VIF VIP ID. VM is left out, because
 * IRET cannot set it in long mode. IF is for probes that expect interrupts.
 */
#define PROBE_RFLAGS_ALLOWED 0x3d7dd7ull
#define PROBE_RFLAGS_IF 0x200ull

#define PROBE_VECTOR_DB 1
#define PROBE_VECTOR_NMI 2
/* Vectors below are exceptions'. */
#define PROBE_VECTOR_INTERRUPT 32

#define GPR_RSP 4

struct probe_bits {
	uint64_t set;
	uint64_t clear;
};

enum probe_msr_start {
	PROBE_MSR_KEEP,	 /* starts as it is */
	PROBE_MSR_VALUE, /* starts with `value` */
	PROBE_MSR_BITS /* starts with the bits of `value.number` set and those of `clear` cleared */
};

/* An MSR that is saved before the probe, read at its end and restored. */
struct probe_msr {
	uint32_t number;
	uint32_t start;
	struct probe_value value;
	uint64_t clear;
};

struct probe_memory {
	uint16_t offset;
	uint16_t size;
	uint16_t data; /* offset in probe_request.data */
};

enum probe_handler_kind {
	PROBE_HANDLER_CODE,	  /* the gate leads into the probe's code, at CPL 0 */
	PROBE_HANDLER_RETURN,	  /* the agent notes the event and returns */
	PROBE_HANDLER_NO_GATE,	  /* the descriptor has no valid type */
	PROBE_HANDLER_NOT_PRESENT /* the gate is not present */
};

/* What a vector leads to while the probe runs. */
struct probe_handler {
	uint8_t vector;
	uint8_t kind;
	uint16_t offset; /* from the start of the code */
};

/* An event that the agent has noted: where it arrived, and DR6 of a #DB. */
struct probe_event {
	uint8_t vector;
	uint64_t rip;
	uint64_t dr6;
};

/* Whether the request has a handler of any kind for an interrupt, or for an NMI. */
#define PROBE_EXPECTS_INTERRUPTS 1u
#define PROBE_EXPECTS_NMIS 2u

struct probe_request {
	struct cpu_mask cpus;
	uint32_t cpl;
	uint32_t code_bits; /* 64, or 32 or 16: the code segment of compatibility or protected mode */
	struct probe_place place;
	bool once;
	bool seeded;
	bool leave;  /* the CPU keeps the state in which the probe ends */
	bool undo;   /* before the probe, undo what earlier probes have left */
	bool tables; /* report the descriptor-table registers */
	uint64_t seed;
	uint64_t rflags;
	uint16_t gpr_given; /* bit per register, numbered as in the encoding */
	uint8_t dr_given;
	struct probe_value gpr[16];
	struct probe_value dr[8];
	struct probe_bits cr0, cr4, efer;
	uint32_t msr_count;
	struct probe_msr msr[PROBE_MSR_MAX];
	uint32_t handler_count;
	struct probe_handler handler[PROBE_HANDLER_MAX];
	uint32_t at;
	uint32_t code_size;
	uint8_t code[PROBE_CODE_MAX];
	uint32_t memory_count;
	struct probe_memory memory[PROBE_MEM_MAX];
	uint8_t data[PROBE_DATA_MAX];
	uint32_t read_offset;
	uint32_t read_size;
};

/* State of the CPU that is saved before a probe and restored after it, or by a later `undo`. */
struct probe_machine {
	uint64_t cr0, cr2, cr3, cr4, cr8, efer, xcr0;
	uint64_t dr[8];
	uint16_t ds, es, fs, gs, ldtr;
	bool watch_efer;
	struct x86_table gdtr, idtr;
	uint64_t msr[PROBE_MSR_MAX]; /* those of the request */
};

/* GDTR, IDTR, LDTR and TR. */
struct probe_tables {
	struct x86_table idtr, gdtr;
	uint16_t ldtr, tr;
};

/*
 * What a function must keep for its caller and can be seen there: RFLAGS without the bits below, which every function
 * may change, RBX, RBP, R12 to R15. (TF would raise #DB in the function, VIF and VIP are what POPF does not set.)
 */
#define CALL_GPRS 6
#define CALL_RFLAGS 0x247600ull /* IF DF IOPL NT AC ID */
struct probe_call {
	uint64_t rflags, gpr[CALL_GPRS];
	uint16_t ss;
};

_Static_assert(__builtin_offsetof(struct probe_call, rflags) == CALL_RFLAGS_AT, "assembly");
_Static_assert(__builtin_offsetof(struct probe_call, gpr) == CALL_GPR_AT, "assembly");

/* The numbers of these registers in the encoding. */
extern const uint8_t probe_call_gpr[CALL_GPRS];

/* What a CPU was before the first of the probes that have left their state on it. */
struct probe_left {
	bool valid;
	/*
	 * The registers with which the last of these probes has ended, and what became of them in the functions of a
	 * subject that were called with them since (platform.h: platform_subject()).
	 */
	struct probe_call ended, returned;
	struct probe_machine machine;
	uint32_t msr_count;
	struct {
		uint32_t number;
		uint64_t value;
	} msr[PROBE_LEFT_MSR_MAX];
};

/* State that could not be put back after a probe. */
enum {
	LEFT_CR0 = 1 << 0,
	LEFT_CR3 = 1 << 1,
	LEFT_CR4 = 1 << 2,
	LEFT_EFER = 1 << 3,
	LEFT_XCR0 = 1 << 4,
	LEFT_MSR = 1 << 5,
};

struct probe_outcome {
	bool refused; /* it was not run: `why` says what could not be set up */
	bool done;    /* it ended with the INT3 behind its code */
	bool has_error;
	char why[96];
	uint32_t vector;
	uint32_t left;
	uint64_t error;
	uint64_t given[16];
	uint64_t gpr[16];
	uint64_t rip, rflags, cr2, dr6, dr7;
	/* Of probes that ask for a mode or a place: what their addresses are relative to. */
	bool placed;
	uint64_t start, slot;
	bool dr7_changed; /* it is not what the probe started with */
	bool called; /* there is something in `call`: the state that was left before this probe */
	struct probe_call call_ended, call_returned;
	struct probe_tables tables_start, tables_end; /* if the request asks for them */
	uint64_t nmis;
	uint64_t msr[PROBE_MSR_MAX]; /* those of the request, at the end of the probe */
	uint32_t msr_read;	     /* bit per MSR that could be read */
	uint32_t event_count;	     /* events that were noted, also those that had no room */
	struct probe_event event[PROBE_EVENT_MAX];
	uint8_t read[PROBE_READ_MAX];
};

/* What the exception stubs leave on the stack. */
struct probe_frame {
	uint64_t gpr[16]; /* gpr[4] is not filled; RSP is below */
	uint64_t vector;  /* with PROBE_STUB_HAS_ERROR */
	uint64_t error;
	uint64_t rip, cs, rflags, rsp, ss;
};

/* The local APIC of a CPU that is the agent's while a probe runs. */
struct probe_apic {
	/* Before a probe: let only its interrupts through, and NMIs to this CPU be sent by one write (`raise`). */
	void (*begin)(void);
	/* End the interrupt of this vector, if there is one in service: INT n has none. */
	void (*end_of_interrupt)(uint8_t vector);
	/* After it: stop the timer, and end what is still in service. */
	void (*end)(void);
};

/* One per CPU, owned by the platform; zeroed at the beginning. */
struct probe_context {
	uint64_t gpr[16];
	uint64_t rip, cs, rflags, ss;
	uint64_t data_selector;
	uint64_t resume_rsp;
	uint64_t dr7;
	uint32_t set_dr7;
	uint32_t active;
	/* The assembly does not access the members below. */
	uint64_t nmis;
	bool entry_fault;
	/* An access to a debug register after the probe raised #DB, which clears DR7.GD. */
	volatile bool general_detect;
	uint32_t expects;	      /* PROBE_EXPECTS_... */
	bool draining;		      /* the probe is over: take what it has left pending */
	uint32_t returning[256 / 32]; /* the vectors whose events are noted */
	uint32_t event_count;
	struct probe_event event[PROBE_EVENT_MAX];
	uint64_t cr2, dr6;
	bool report_tables;
	struct probe_tables tables; /* at the end, if they are reported */
	struct probe_frame end;
	/* This CPU's slot: the addresses at which the agent writes it, and its addresses in ring 0 and ring 3. */
	uint8_t *code, *scratch, *stack;
	uint64_t (*idt)[2]; /* a page for the IDT of a probe with handlers of its own */
	struct probe_left left;
	/*
	 * Set by the platform: no other program uses this CPU, so that NMIs and interrupts that arrive during a
	 * probe may be the probe's, and its state may stay.
	 */
	bool owns_cpu;
	/* Set by the platform where owns_cpu is. */
	const struct probe_apic *apic;
	uint64_t slot[2];		   /* [0] supervisor's, [1] user's */
	uint32_t dirty_from, dirty_to;	   /* the part of the code area that a probe has used */
	const struct probe_places *places; /* NULL: this OS has none */
	/* Of the probe that runs: RIP of its first byte, the base of its code and data segments, its CR3 or 0. */
	uint64_t start, code_base, data_base, cr3;
};

/*
 * Run a probe on this CPU; interrupts must be off. meet, unless NULL, is called after the set-up, also
 * after one that failed, and immediately before the probe starts.
 */
void probe_run(struct probe_context *context, const struct probe_request *request,
	       struct probe_outcome *outcome, void (*meet)(void *), void *arg);

/* DR7 after a reset: no breakpoint enabled (SDM 3A 9.1.1). */
#define DR7_RESET 0x400ull

/* 256 entry points for an IDT, PROBE_STUB_SIZE bytes apart. */
extern char probe_stubs[];

/*
 * Called by the stubs, on the stack that the IDT chose. NULL: return to the (changed) frame. Else:
 * the probe of this context is over, return to the caller of probe_enter().
 */
struct probe_context *probe_dispatch(struct probe_frame *frame);

/*
 * The two functions that the platform provides for probe_dispatch(). The first one handles a vector that is
 * the platform's and returns NULL, or returns the context of this CPU: the vector may be the probe's.
 * The second one is called for an exception that is neither the probe's nor the agent's, and does not return.
 */
struct probe_context *platform_interrupt(struct probe_frame *frame);
void platform_unexpected(struct probe_frame *frame);

/* The linear address that a value means to a probe; a number stays as it is. */
uint64_t probe_linear(const struct probe_context *context, const struct probe_request *request,
		      const struct probe_value *value);
/* The descriptor-table registers of this CPU. */
struct probe_tables probe_read_tables(void);
/* The exception in context->end ended the probe: note what its handler would see. */
void probe_ended(struct probe_context *context);

/* Let a context use the slot of the index-th CPU, whose pages follow each other at `pages`. */
void probe_set_slot(struct probe_context *context, uint8_t *pages, unsigned int index);

/* In probe_entry.S. */
void probe_enter(struct probe_context *context);
extern char probe_enter_start[], probe_enter_end[];
/* Execute an IRET, which unblocks NMIs (SDM 3A 6.7.1, APM2 8.2.3). */
void probe_unblock_nmis(void);

struct probe_fixup {
	uint64_t instruction;
	uint64_t target;
};

extern const struct probe_fixup probe_fixups[], probe_fixups_end[];

/* 0, or -1 if the instruction faulted. */
int probe_try_cr0(uint64_t value);
int probe_try_cr3(uint64_t value);
int probe_try_cr4(uint64_t value);
int probe_try_cr8(uint64_t value);
int probe_try_wrmsr(uint32_t msr, uint64_t value);
int probe_try_rdmsr(uint32_t msr, uint64_t *value);
int probe_try_xsetbv(uint64_t value);
int probe_try_dr0(uint64_t value);
int probe_try_dr1(uint64_t value);
int probe_try_dr2(uint64_t value);
int probe_try_dr3(uint64_t value);
int probe_try_dr6(uint64_t value);
int probe_try_dr7(uint64_t value);

#endif /* __ASSEMBLER__ */
#endif
