/* SPDX-License-Identifier: MIT */
/*
 * MSRs that Bochs 2.7 lacks. Hypervisors read them before they enter a guest, for every processor with VMX or SVM has
 * them, and die of it there; which is no fault of theirs. Probes get the machine's own answer.
 */
#include "absent_msrs.h"

#include "os.h"
#include "subject_text.h"

#define VECTOR_GP 13
#define RAX 0
#define RCX 1
#define RDX 2
#define LENGTH 2

static const uint32_t absent_msrs[] = {
	0x1d9,	    /* IA32_DEBUGCTL: a VM entry can load it (SDM 3C 26.3.2.1) */
	0xc0010114, /* VM_CR: says whether SVM is switched off (APM2 15.30.1) */
};

static bool is_known(uint32_t msr)
{
	for (size_t i = 0; i < sizeof(absent_msrs) / sizeof(absent_msrs[0]); i++)
		if (absent_msrs[i] == msr)
			return true;
	return false;
}

bool absent_msr_takes(struct probe_frame *frame)
{
	const uint8_t *code = (const uint8_t *)frame->rip;
	uint64_t *gpr = frame->gpr;
	bool reads;

	if ((frame->vector & 0xff) != VECTOR_GP || !rip_is_in_subject(frame) || code[0] != 0x0f)
		return false;
	reads = code[1] == 0x32;
	if (!is_known(gpr[RCX]) ||
	    !(reads || (code[1] == 0x30 && !(uint32_t)gpr[RAX] && !(uint32_t)gpr[RDX])))
		return false;
	if (reads)
		gpr[RAX] = gpr[RDX] = 0;
	frame->rip += LENGTH;
	return true;
}
