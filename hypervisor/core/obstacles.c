// SPDX-License-Identifier: MIT
#include "obstacles.h"

#include "host_state.h"
#include "x86.h"

int find_obstacle_of_os(struct refusal *refusal)
{
	u64 cr4 = read_cr4();

	/* FRED does not use the IDT, with which Veneer catches faults while it is being loaded (FRED Specification). */
	if (cr4 & CR4_FRED)
		return refuse_with(
			refusal, -ENODEV,
			"the OS takes events with FRED (CR4.FRED), which Veneer does not support; fred=off",
			cr4);
	/* What runs while Veneer is being loaded and unloaded returns to where it was not called. */
	if (cr4 & CR4_CET && read_msr(MSR_S_CET) & S_CET_SHADOW_STACK)
		return refuse_with(
			refusal, -ENODEV,
			"the OS' kernel uses shadow stacks (IA32_S_CET), which Veneer does not support",
			read_msr(MSR_S_CET));
	/* Host mode uses the OS' selectors of CS and SS, with a GDT of its own and without an LDT. */
	if (!has_place_in_host_gdt(read_cs()))
		return refuse_with(
			refusal, -ENODEV,
			"the OS' CS is of an LDT, or behind entry 508 of the GDT, for which Veneer's GDT has no place",
			read_cs());
	if (!has_place_in_host_gdt(read_ss()))
		return refuse_with(
			refusal, -ENODEV,
			"the OS' SS is of an LDT, or behind entry 508 of the GDT, for which Veneer's GDT has no place",
			read_ss());
	return 0;
}
