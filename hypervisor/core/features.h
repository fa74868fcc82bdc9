/* SPDX-License-Identifier: MIT */
#ifndef VENEER_FEATURES_H
#define VENEER_FEATURES_H

#include "x86.h"

enum cpuid_output {
	CPUID_EAX,
	CPUID_EBX,
	CPUID_ECX,
	CPUID_EDX
};

/* A bit of CPUID; false for a leaf or subleaf that this processor does not have. */
static inline bool has_feature(u32 leaf, u32 subleaf, enum cpuid_output output, u32 bit)
{
	u32 outputs[4], a, b, c, d;

	cpuid(leaf & 0x80000000, 0, &a, &b, &c, &d);
	if (a < leaf)
		return false;
	/* Subleaf 0 of leaf 7 says in EAX which one is the last. */
	if (leaf == 7 && subleaf) {
		cpuid(7, 0, &a, &b, &c, &d);
		if (a < subleaf)
			return false;
	}
	cpuid(leaf, subleaf, &outputs[CPUID_EAX], &outputs[CPUID_EBX], &outputs[CPUID_ECX],
	      &outputs[CPUID_EDX]);
	return outputs[output] & bit;
}

#endif
