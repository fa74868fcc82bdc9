/* SPDX-License-Identifier: MIT */
#ifndef VENEER_LINUX_POWER_H
#define VENEER_LINUX_POWER_H

int power_start(void);
void power_stop(void);

#endif
