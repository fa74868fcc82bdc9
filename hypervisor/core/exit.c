// SPDX-License-Identifier: MIT
/* The exits of both vendors, by reason: their names and their handlers. */
#include "exit.h"

#include "control_register.h"
#include "cpuid.h"
#include "crash_report.h"
#include "hypercall.h"
#include "machine_check.h"
#include "msr.h"
#include "nmi.h"
#include "start_cpus.h"
#include "system.h"

const char *const exit_names[EXIT_REASONS] = {
	[EXIT_OTHER] = "other",
	[EXIT_CPUID] = "cpuid",
	[EXIT_RDMSR] = "rdmsr",
	[EXIT_WRMSR] = "wrmsr",
	[EXIT_XSETBV] = "xsetbv",
	[EXIT_INVD] = "invd",
	[EXIT_HYPERCALL] = "hypercall",
	[EXIT_NESTED] = "nested",
	[EXIT_GP_FAULT] = "gp-fault",
	[EXIT_CR_ACCESS] = "cr-access",
	[EXIT_NMI] = "nmi",
	[EXIT_NMI_WINDOW] = "nmi-window",
	[EXIT_SHUTDOWN] = "shutdown",
	[EXIT_NESTED_PAGING] = "nested-paging",
	[EXIT_TASK_SWITCH] = "task-switch",
	[EXIT_GETSEC] = "getsec",
	[EXIT_INIT] = "init",
	[EXIT_SIPI] = "sipi",
	[EXIT_INVALID_STATE] = "invalid-state",
	[EXIT_MACHINE_CHECK] = "machine-check",
	[EXIT_RDMSR_IMMEDIATE] = "rdmsr-immediate",
	[EXIT_WRMSRNS_IMMEDIATE] = "wrmsrns-immediate",
	[EXIT_UNKNOWN_INSTRUCTION] = "unknown-instruction",
	[EXIT_APIC_WRITE] = "apic-write",
};

static void handle_other(struct vcpu *vcpu)
{
	die(vcpu, "exit that nobody asked for", vcpu->rip, 0);
}

/* A triple fault: the machine would have shut down without us as well (SDM 3C 26.2, APM2 15.14.3). */
static void handle_shutdown(struct vcpu *vcpu)
{
	die(vcpu, "guest triple fault", vcpu->rip, 0);
}

/*
 * The nested page tables map the whole physical address space: only an access beyond it gets here.
 */
static void handle_nested_paging(struct vcpu *vcpu)
{
	die(vcpu, "guest access outside of physical memory", vcpu->rip, 0);
}

static void handle_invalid_state(struct vcpu *vcpu)
{
	die(vcpu, "VM entry refused", vcpu->rip, 0);
}

void (*const exit_handlers[EXIT_REASONS])(struct vcpu *vcpu) = {
	[EXIT_OTHER] = handle_other,
	[EXIT_CPUID] = handle_cpuid,
	[EXIT_RDMSR] = handle_rdmsr,
	[EXIT_WRMSR] = handle_wrmsr,
	[EXIT_XSETBV] = handle_xsetbv,
	[EXIT_INVD] = handle_invd,
	[EXIT_HYPERCALL] = handle_hypercall,
	[EXIT_NESTED] = handle_hidden_instruction,
	[EXIT_GP_FAULT] = handle_gp_fault,
	[EXIT_CR_ACCESS] = handle_cr_access,
	[EXIT_NMI] = handle_nmi,
	[EXIT_NMI_WINDOW] = handle_nmi_window,
	[EXIT_SHUTDOWN] = handle_shutdown,
	[EXIT_NESTED_PAGING] = handle_nested_paging,
	[EXIT_TASK_SWITCH] = handle_task_switch,
	[EXIT_GETSEC] = handle_hidden_instruction,
	[EXIT_INIT] = handle_init,
	[EXIT_SIPI] = handle_sipi,
	[EXIT_INVALID_STATE] = handle_invalid_state,
	[EXIT_MACHINE_CHECK] = handle_machine_check,
	[EXIT_RDMSR_IMMEDIATE] = handle_rdmsr_immediate,
	[EXIT_WRMSRNS_IMMEDIATE] = handle_wrmsrns_immediate,
	[EXIT_UNKNOWN_INSTRUCTION] = handle_hidden_instruction,
	[EXIT_APIC_WRITE] = handle_apic_write,
};
