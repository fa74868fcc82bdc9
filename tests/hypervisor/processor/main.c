// SPDX-License-Identifier: MIT
#include "fake_processor.h"

int main(void)
{
	prepare_fake_host();
	test_vmx_exits();
	test_memory_types();
	test_shadow_stacks();
	test_spec_ctrl();
	test_pebs();
	test_nmis();
	test_machine_checks();
	test_single_steps();
	test_init();
	test_unlocking();
	test_obstacles();
	test_features();
	test_starting_cpus();
	test_crash_reports();
	test_examined();
	test_entered_state();
	test_refused_entries();
	test_entry_checks();
	puts("all passed");
	return 0;
}
