/* SPDX-License-Identifier: MIT */
#include "run.h"

#include "outcome.h"
#include "place_keys.h"
#include "values.h"

#define RFLAGS_FIXED 0x2ull

#define VECTOR_BP 3
#define VECTOR_MC 18

#define ONCE(bit) (1u << (bit))

enum {
	KEY_CODE,
	KEY_CPL,
	KEY_BITS,
	KEY_ON,
	KEY_ONCE,
	KEY_AT,
	KEY_SEED,
	KEY_RFLAGS,
	KEY_READ,
	KEY_CR0,
	KEY_CR4,
	KEY_EFER,
	KEY_KEEP,
	KEY_HANDLE,
	KEY_LEAVE,
	KEY_UNDO,
	KEY_TABLES,
	KEY_MODE,
	KEY_LINEAR,
	KEY_BASE
};

static const char *const single_keys[] = {
	[KEY_CODE] = "code",	 [KEY_CPL] = "cpl",	  [KEY_BITS] = "bits",
	[KEY_ON] = "on",	 [KEY_ONCE] = "once",	  [KEY_AT] = "at",
	[KEY_SEED] = "seed",	 [KEY_RFLAGS] = "rflags", [KEY_READ] = "read",
	[KEY_CR0] = "cr0",	 [KEY_CR4] = "cr4",	  [KEY_EFER] = "efer",
	[KEY_KEEP] = "keep",	 [KEY_HANDLE] = "handle", [KEY_LEAVE] = "leave",
	[KEY_UNDO] = "undo",	 [KEY_TABLES] = "tables", [KEY_MODE] = "mode",
	[KEY_LINEAR] = "linear", [KEY_BASE] = "base",
};

static const char *const dr_names[8] = { "dr0", "dr1", "dr2", "dr3", NULL, NULL, "dr6", "dr7" };

static int find(const char *name, const char *const *names, int count)
{
	for (int i = 0; i < count; i++)
		if (names[i] && line_equal(name, names[i]))
			return i;
	return -1;
}

static bool wrong(struct agent_error *error, const char *key, const char *what)
{
	return agent_refuse(error, "argument", key, ": ", what);
}

static bool take_code(const char *text, struct probe_request *probe, struct agent_error *error)
{
	size_t length = line_length(text);

	if (!length || length > 2 * PROBE_CODE_MAX)
		return wrong(error, "code", "1 to 1024 bytes");
	if (!line_bytes(text, length, probe->code))
		return wrong(error, "code", "an even number of lower-case hex digits");
	probe->code_size = (uint32_t)(length / 2);
	return true;
}

static bool take_memory(const char *text, struct probe_request *probe, uint32_t *used,
			struct agent_error *error)
{
	uint64_t offset;

	if (probe->memory_count == PROBE_MEM_MAX)
		return wrong(error, "mem", "at most 8 times");
	if (!values_hex(&text, ':', &offset) || !text)
		return wrong(error, "mem", "OFFSET:HEXBYTES, as in 10:00ff");

	size_t length = line_length(text);
	uint64_t size = length / 2;

	if (!size || offset > SLOT_SCRATCH_SIZE || size > SLOT_SCRATCH_SIZE - offset)
		return wrong(error, "mem", "bytes outside of the scratch area (0x2000 bytes)");
	if (size > PROBE_DATA_MAX - *used)
		return wrong(error, "mem", "at most 2048 bytes in all");
	if (!line_bytes(text, length, probe->data + *used))
		return wrong(error, "mem", "an even number of lower-case hex digits");
	probe->memory[probe->memory_count++] = (struct probe_memory){ .offset = (uint16_t)offset,
								      .size = (uint16_t)size,
								      .data = (uint16_t)*used };
	*used += (uint32_t)size;
	return true;
}

static bool take_read(const char *text, struct probe_request *probe, struct agent_error *error)
{
	uint64_t offset, size;

	if (!values_pair(text, ':', &offset, &size))
		return wrong(error, "read", "OFFSET:LEN, as in 10:8");
	if (!size || size > PROBE_READ_MAX)
		return wrong(error, "read", "1 to 800 bytes (hex)");
	if (offset > SLOT_SCRATCH_SIZE || size > SLOT_SCRATCH_SIZE - offset)
		return wrong(error, "read", "bytes outside of the scratch area (0x2000 bytes)");
	probe->read_offset = (uint32_t)offset;
	probe->read_size = (uint32_t)size;
	return true;
}

/* The entry of an MSR in the request, which is added if there is none; NULL if there is no room. */
static struct probe_msr *entry_of(struct probe_request *probe, uint64_t number)
{
	for (uint32_t i = 0; i < probe->msr_count; i++)
		if (probe->msr[i].number == number)
			return &probe->msr[i];
	if (probe->msr_count == PROBE_MSR_MAX)
		return NULL;

	struct probe_msr *msr = &probe->msr[probe->msr_count++];

	__builtin_memset(msr, 0, sizeof(*msr));
	msr->number = (uint32_t)number;
	return msr;
}

static bool take_keep(const char *text, struct probe_request *probe, struct agent_error *error)
{
	while (text) {
		uint64_t number;

		if (!values_hex(&text, ',', &number) || number >> 32)
			return wrong(error, "keep",
				     "MSR numbers with commas between them, as in 10,c0000080");
		if (!entry_of(probe, number))
			return wrong(error, "keep", "at most 16 MSRs, those of msr included");
	}
	return true;
}

static bool take_msr(const char *text, struct probe_request *probe, struct agent_error *error)
{
	static const char form[] = "NUMBER:VALUE or NUMBER:SET:CLEAR, as in 140:1 and 1d9:2:1";
	uint64_t number;

	if (!values_hex(&text, ':', &number) || !text || number >> 32)
		return wrong(error, "msr", form);

	struct probe_msr *msr = entry_of(probe, number);

	if (!msr)
		return wrong(error, "msr", "at most 16 MSRs, those of keep included");
	if (msr->start != PROBE_MSR_KEEP)
		return wrong(error, "msr", "an MSR that is given twice");
	if (values_operand(text, &msr->value)) {
		msr->start = PROBE_MSR_VALUE;
		return true;
	}
	msr->value.base = PROBE_NUMBER;
	if (!values_pair(text, ':', &msr->value.number, &msr->clear))
		return wrong(error, "msr", form);
	if (msr->value.number & msr->clear)
		return wrong(error, "msr", "a bit that is to be set and cleared");
	msr->start = PROBE_MSR_BITS;
	return true;
}

/* What follows VECTOR: an offset in the code, or the letter of a kind; *text is left behind the comma. */
static bool take_handler(const char **text, uint8_t *kind, uint64_t *offset)
{
	static const char letters[] = { [PROBE_HANDLER_RETURN] = 'r',
					[PROBE_HANDLER_NO_GATE] = 'x',
					[PROBE_HANDLER_NOT_PRESENT] = 'p' };

	for (uint8_t i = PROBE_HANDLER_RETURN; i <= PROBE_HANDLER_NOT_PRESENT; i++) {
		if (**text != letters[i])
			continue;
		*kind = i;
		*offset = 0;
		if ((*text)[1] && (*text)[1] != ',')
			return false;
		*text = (*text)[1] ? *text + 2 : NULL;
		return true;
	}
	*kind = PROBE_HANDLER_CODE;
	return values_hex(text, ',', offset) && *offset < SLOT_CODE_SIZE;
}

static bool take_handlers(const char *text, struct probe_request *probe, struct agent_error *error)
{
	static const char form[] =
		"VECTOR:OFFSET or VECTOR:r, x or p, with commas between them, as in 1:20,2:r";

	while (text) {
		uint64_t vector, offset;
		uint8_t kind;

		if (probe->handler_count == PROBE_HANDLER_MAX)
			return wrong(error, "handle", "at most 8 vectors");
		if (!values_hex(&text, ':', &vector) || !text || vector > 0xff ||
		    !take_handler(&text, &kind, &offset))
			return wrong(error, "handle", form);
		if (vector == VECTOR_BP || vector == VECTOR_MC)
			return wrong(error, "handle",
				     "#BP, which ends a probe, and #MC are the agent's");
		if (kind == PROBE_HANDLER_RETURN && vector != PROBE_VECTOR_DB &&
		    vector != PROBE_VECTOR_NMI && vector < PROBE_VECTOR_INTERRUPT)
			return wrong(error, "handle",
				     "r is for #DB, NMIs and interrupts: a fault would come again");
		for (uint32_t i = 0; i < probe->handler_count; i++)
			if (probe->handler[i].vector == vector)
				return wrong(error, "handle", "a vector that is given twice");
		probe->handler[probe->handler_count++] = (struct probe_handler){
			.vector = (uint8_t)vector, .kind = kind, .offset = (uint16_t)offset
		};
	}
	return true;
}

static bool take_bits(const char *key, const char *text, struct probe_bits *bits,
		      struct agent_error *error)
{
	if (!values_pair(text, ':', &bits->set, &bits->clear))
		return wrong(error, key, "SET:CLEAR, two hexadecimal masks");
	if (bits->set & bits->clear)
		return wrong(error, key, "a bit that is to be set and cleared");
	return true;
}

static bool take_flag(const char *key, const char *value, bool *flag, struct agent_error *error)
{
	if (!line_equal(value, "0") && !line_equal(value, "1"))
		return wrong(error, key, "0 or 1");
	*flag = value[0] == '1';
	return true;
}

static bool take_rflags(const char *text, struct probe_request *probe, struct agent_error *error)
{
	if (!line_hex(text, &probe->rflags))
		return wrong(error, "rflags", "not a lower-case hexadecimal number");
	if (probe->rflags & ~(PROBE_RFLAGS_ALLOWED | PROBE_RFLAGS_IF | RFLAGS_FIXED))
		return agent_refuse(error, "state", "rflags: VM or a reserved bit", NULL, NULL);
	return true;
}

bool run_parse_mask(const char *value, unsigned int cpus, struct cpu_mask *mask,
		    struct agent_error *error)
{
	if (!line_mask(value, mask) || !cpu_mask_count(mask))
		return wrong(error, "on", "not a hexadecimal mask with at least one bit set");
	if (cpu_mask_beyond(mask, cpus))
		return wrong(error, "on", "a CPU that this machine does not have");
	return true;
}

static bool take_single(int key, const char *value, unsigned int cpus, struct probe_request *probe,
			struct agent_error *error)
{
	uint64_t number;

	switch (key) {
	case KEY_CODE:
		return take_code(value, probe, error);
	case KEY_CPL:
		if (!line_equal(value, "0") && !line_equal(value, "3"))
			return wrong(error, "cpl", "0 or 3");
		probe->cpl = value[0] == '3' ? 3 : 0;
		return true;
	case KEY_BITS:
		if (!line_equal(value, "16") && !line_equal(value, "32") &&
		    !line_equal(value, "64"))
			return wrong(error, "bits", "16, 32 or 64");
		probe->code_bits = value[0] == '1' ? 16 : value[0] == '3' ? 32 : 64;
		return true;
	case KEY_ON:
		return run_parse_mask(value, cpus, &probe->cpus, error);
	case KEY_ONCE:
		return take_flag("once", value, &probe->once, error);
	case KEY_LEAVE:
		return take_flag("leave", value, &probe->leave, error);
	case KEY_UNDO:
		return take_flag("undo", value, &probe->undo, error);
	case KEY_TABLES:
		return take_flag("tables", value, &probe->tables, error);
	case KEY_AT:
		if (!line_hex(value, &number) || number >= SLOT_CODE_SIZE)
			return wrong(error, "at", "not an offset in the code area (0 to 1fff)");
		probe->at = (uint32_t)number;
		return true;
	case KEY_SEED:
		probe->seeded = true;
		return line_hex(value, &probe->seed) ||
		       wrong(error, "seed", "not a lower-case hexadecimal number");
	case KEY_RFLAGS:
		return take_rflags(value, probe, error);
	case KEY_READ:
		return take_read(value, probe, error);
	case KEY_CR0:
		return take_bits("cr0", value, &probe->cr0, error);
	case KEY_CR4:
		return take_bits("cr4", value, &probe->cr4, error);
	case KEY_EFER:
		return take_bits("efer", value, &probe->efer, error);
	case KEY_HANDLE:
		return take_handlers(value, probe, error);
	case KEY_MODE:
		return place_take_mode(value, &probe->place, error);
	case KEY_LINEAR:
		probe->place.has_linear = true;
		return line_hex(value, &probe->place.linear) ||
		       wrong(error, "linear", "not a lower-case hexadecimal number");
	case KEY_BASE:
		probe->place.has_base = true;
		return (line_hex(value, &probe->place.base) && !(probe->place.base >> 32)) ||
		       wrong(error, "base", "not a lower-case hexadecimal number of 32 bits");
	default:
		return take_keep(value, probe, error);
	}
}

static bool take_register(const char *key, const char *value, struct probe_request *probe,
			  struct agent_error *error)
{
	int gpr = find(key, outcome_gpr_names, 16), dr = find(key, dr_names, 8);

	if (gpr < 0 && dr < 0)
		return agent_refuse(error, "argument", "unknown key ", key, NULL);
	if ((gpr >= 0 && probe->gpr_given & 1u << gpr) || (dr >= 0 && probe->dr_given & 1u << dr))
		return wrong(error, key, "given twice");
	if (!values_operand(value, gpr >= 0 ? &probe->gpr[gpr] : &probe->dr[dr]))
		return wrong(error, key,
			     "not a hexadecimal number, nor s, c or t with an offset (s10, t-8)");
	if (gpr >= 0)
		probe->gpr_given |= (uint16_t)(1u << gpr);
	else
		probe->dr_given |= (uint8_t)(1u << dr);
	return true;
}

static bool handles_interrupts(const struct probe_request *probe)
{
	for (uint32_t i = 0; i < probe->handler_count; i++)
		if (probe->handler[i].vector >= PROBE_VECTOR_INTERRUPT)
			return true;
	return false;
}

bool run_parse(const struct line_request *line, unsigned int cpus, struct probe_request *probe,
	       struct agent_error *error)
{
	uint32_t seen = 0, data_used = 0;

	/* The long arrays behind `code` are not cleared: counts say how much of them is valid. */
	__builtin_memset(probe, 0, __builtin_offsetof(struct probe_request, code));
	probe->memory_count = 0;
	probe->read_offset = 0;
	probe->read_size = 0;
	probe->cpus = cpu_mask_of(0);
	probe->code_bits = 64;
	probe->rflags = RFLAGS_FIXED;
	for (unsigned int i = 0; i < line->pairs; i++) {
		const char *key = line->pair[i].key, *value = line->pair[i].value;
		int single = find(key, single_keys, sizeof(single_keys) / sizeof(*single_keys));

		if (single >= 0) {
			if (seen & ONCE(single))
				return wrong(error, key, "given twice");
			seen |= ONCE(single);
			if (!take_single(single, value, cpus, probe, error))
				return false;
		} else if (line_equal(key, "mem")) {
			if (!take_memory(value, probe, &data_used, error))
				return false;
		} else if (line_equal(key, "msr")) {
			if (!take_msr(value, probe, error))
				return false;
		} else if (line_equal(key, "page")) {
			if (!place_take_page(value, &probe->place, error))
				return false;
		} else if (!take_register(key, value, probe, error)) {
			return false;
		}
	}
	if (!(seen & ONCE(KEY_CODE)))
		return wrong(error, "code", "missing");
	for (uint32_t i = 0; i < probe->handler_count; i++)
		if (probe->handler[i].offset >= probe->code_size)
			return wrong(error, "handle", "an offset behind the code");
	if (probe->rflags & PROBE_RFLAGS_IF && !handles_interrupts(probe))
		return agent_refuse(error, "state",
				    "rflags: IF is for probes that handle an interrupt", NULL,
				    NULL);
	if (probe->code_size > SLOT_CODE_SIZE - probe->at)
		return wrong(error, "at", "the code does not fit in the code area (0x2000 bytes)");
	return true;
}
