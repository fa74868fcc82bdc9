/* SPDX-License-Identifier: MIT */
/* What CPUID leaves 40000000 and 40000001 and the query say of Veneer. */
#ifndef VENEER_VERSION_H
#define VENEER_VERSION_H

#define VENEER_SIGNATURE "VeneerVeneer"
#define VENEER_VERSION 0x000100

#endif
