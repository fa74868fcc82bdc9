/* SPDX-License-Identifier: MIT */
#ifndef VENEER_LINUX_CONTROL_H
#define VENEER_LINUX_CONTROL_H

int control_start(void);
void control_stop(void);

#endif
