// SPDX-License-Identifier: MIT
/* Exceptions that meet another event (SDM 3A table 6-5). */
#include "core/completion.h"
#include "harness.h"

#define EXCEPTION(vector) (0x80000300u | (vector))
#define INTERRUPT(vector) (0x80000000u | (vector))

static void expect(u32 interrupted, enum vector second, u32 error_code, int vector, u32 code)
{
	struct vcpu vcpu = { .backend = &fake_backend, .interrupted_event = interrupted };

	fake.injected_count = 0;
	inject_exception(&vcpu, second, error_code);
	CHECK(fake.injected_count == 1);
	CHECK(fake.injected_vector == vector);
	CHECK(fake.error_code == code);
	CHECK(!vcpu.interrupted_event);
}

void test_injection(void)
{
	expect(0, VECTOR_UD, 0, VECTOR_UD, 0);
	expect(0, VECTOR_GP, 0x18, VECTOR_GP, 0x18);
	/* Benign first: the second is simply delivered. */
	expect(EXCEPTION(VECTOR_DB), VECTOR_GP, 5, VECTOR_GP, 5);
	expect(EXCEPTION(VECTOR_UD), VECTOR_PF, 2, VECTOR_PF, 2);
	expect(INTERRUPT(0x20), VECTOR_GP, 7, VECTOR_GP, 7);
	/* Contributory after contributory, and anything but benign after a page fault. */
	expect(EXCEPTION(VECTOR_GP), VECTOR_GP, 5, VECTOR_DF, 0);
	expect(EXCEPTION(VECTOR_DE), VECTOR_TS, 5, VECTOR_DF, 0);
	expect(EXCEPTION(VECTOR_PF), VECTOR_GP, 5, VECTOR_DF, 0);
	expect(EXCEPTION(VECTOR_PF), VECTOR_PF, 5, VECTOR_DF, 0);
	expect(EXCEPTION(VECTOR_GP), VECTOR_PF, 5, VECTOR_PF, 5);
	expect(EXCEPTION(VECTOR_PF), VECTOR_UD, 0, VECTOR_UD, 0);
}
