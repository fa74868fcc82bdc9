/* SPDX-License-Identifier: MIT */
#ifndef VENEER_LINUX_HOTPLUG_H
#define VENEER_LINUX_HOTPLUG_H

int hotplug_start(void);
void hotplug_stop(void);

#endif
