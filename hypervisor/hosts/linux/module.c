// SPDX-License-Identifier: MIT
/*
 * veneer.ko. Inserting it only creates /dev/veneer. Removing it unloads Veneer first; it cannot be
 * removed while the device is open.
 */
#include "control.h"
#include "hotplug.h"
#include "power.h"
#include "state.h"

#include <linux/module.h>
#include <linux/slab.h>

static int __init veneer_init(void)
{
	int error = hotplug_start();

	if (error)
		return error;
	error = power_start();
	if (error)
		goto stop_hotplug;
	error = control_start();
	if (!error)
		return 0;
	power_stop();
stop_hotplug:
	hotplug_stop();
	return error;
}

static void __exit veneer_exit(void)
{
	static char answer[ANSWER_BYTES];

	control_stop();
	power_stop();
	/* -EINVAL: it was not loaded. */
	state_unload(answer);
	hotplug_stop();
}

module_init(veneer_init);
module_exit(veneer_exit);

MODULE_AUTHOR("The Touchstone authors");
MODULE_DESCRIPTION("Veneer, a hypervisor that slips underneath a running Linux");
MODULE_LICENSE("Dual MIT/GPL");
