/* SPDX-License-Identifier: MIT */
/* A CPU that the OS starts anew enters guest mode again. */
#ifndef VENEER_SVM_START_H
#define VENEER_SVM_START_H

/* Offsets into the start page behind its code; start.c asserts them. */
#define START_PARAMETERS 0x800
#define START_GDTR (START_PARAMETERS + 0x00)
#define START_PROTECTED (START_PARAMETERS + 0x08)
#define START_LONG (START_PARAMETERS + 0x10)
#define START_CR0 (START_PARAMETERS + 0x18)
#define START_CR3 (START_PARAMETERS + 0x1c)
#define START_CR4 (START_PARAMETERS + 0x20)
#define START_EFER (START_PARAMETERS + 0x24)
#define START_ENTRY (START_PARAMETERS + 0x28)
#define START_GDT (START_PARAMETERS + 0x30)

#define START_CODE64 0x08
#define START_DATA 0x10
#define START_CODE32 0x18

#ifndef __ASSEMBLER__

#include "../core/vcpu.h"

/* On each CPU, before it enters guest mode: with this CPU's host state, all CPUs can start. */
void svm_prepare_start(struct vcpu *vcpu);

/* start_page.S */
extern const char svm_start_code[], svm_start_code_protected[], svm_start_code_long[],
	svm_start_code_end[], svm_started[];

/* Called by start_page.S, in host mode: the guest state that INIT and the start-up IPI leave. */
void svm_start_guest(struct vcpu *vcpu, u64 cr0);
/* The same: whose CPU this is. */
struct vcpu *svm_this_vcpu(void);

#endif
#endif
