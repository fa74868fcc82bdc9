/* SPDX-License-Identifier: MIT */
#ifndef VENEER_VMX_UNBLOCK_NMIS_H
#define VENEER_VMX_UNBLOCK_NMIS_H

/* Unblock NMIs after an exit by an NMI, or by an NMI window. */
void vmx_unblock_nmis(void);

#endif
