/* SPDX-License-Identifier: MIT */
#include "agent.h"

#include "digits.h"
#include "error.h"
#include "line.h"
#include "outcome.h"
#include "platform.h"
#include "probe.h"
#include "run.h"
#include "x86.h"

/* The longest answer is an exit trace; a probe's needs less than 2,000 bytes. */
#define ANSWER_SIZE 8192
#define NMIS_MAX 100000
#define WORK_ROUNDS_MAX 1000000
#define WORK_SECONDS_MAX 86400

static struct line_reader reader;
static struct line_request request;
static struct probe_request probe;
static struct probe_outcome outcomes[CPU_MASK_CPUS];
static struct agent_error refusal;
static char nonce[LINE_NONCE_SIZE + 1];
static char answer_text[ANSWER_SIZE];
static char platform_text[ANSWER_SIZE - 256];
static struct line_writer answer;

static void send_answer(void)
{
	platform_send(answer.text, line_finish(&answer));
}

static void begin(const char *to, uint64_t id, const char *word)
{
	char number[DIGITS_MAX + 1];

	number[digits_write(number, id, 10, 1)] = '\0';
	line_start(&answer, answer_text, sizeof(answer_text));
	line_add(&answer, "=1 ");
	line_add(&answer, to);
	line_add(&answer, " ");
	line_add(&answer, number);
	line_add(&answer, " ");
	line_add(&answer, word);
}

static void begin_ok(void)
{
	begin(request.nonce, request.id, "ok");
}

static void add_error(const char *code, const char *text)
{
	line_add(&answer, " code=");
	line_add(&answer, code);
	line_add(&answer, " text=");
	line_add_printable(&answer, text);
}

static void answer_error(const char *to, uint64_t id, const char *code, const char *text)
{
	begin(to, id, "err");
	add_error(code, text);
	send_answer();
}

static void answer_refusal(void)
{
	answer_error(request.nonce, request.id, refusal.code, refusal.text);
}

static const char *find_key(const char *key)
{
	for (unsigned int i = 0; i < request.pairs; i++)
		if (line_equal(request.pair[i].key, key))
			return request.pair[i].value;
	return NULL;
}

/* Refuse keys that the verb does not know: names is a list that ends with NULL. */
static bool only_keys(const char *const *names)
{
	for (unsigned int i = 0; i < request.pairs; i++) {
		const char *key = request.pair[i].key;
		const char *const *name = names;

		while (*name && !line_equal(*name, key))
			name++;
		if (!*name)
			return agent_refuse(&refusal, "argument", "unknown key ", key, NULL);
		for (unsigned int j = 0; j < i; j++)
			if (line_equal(request.pair[j].key, key))
				return agent_refuse(&refusal, "argument", key, ": given twice",
						    NULL);
	}
	return true;
}

static bool take_number(const char *key, uint64_t limit, uint64_t *number)
{
	const char *value = find_key(key);

	if (!value)
		return agent_refuse(&refusal, "argument", key, ": missing", NULL);
	if (!line_decimal(value, number) || *number > limit)
		return agent_refuse(&refusal, "argument", key, ": not a decimal number that fits",
				    NULL);
	return true;
}

static bool take_mask(struct cpu_mask *mask)
{
	const char *value = find_key("on");

	if (!value)
		return agent_refuse(&refusal, "argument", "on: missing", NULL, NULL);
	return run_parse_mask(value, platform_cpus(), mask, &refusal);
}

static const char *vendor(void)
{
	switch (x86_cpuid(0, 0).ebx) {
	case 0x756e6547: /* "Genu" */
		return "intel";
	case 0x68747541: /* "Auth" */
		return "amd";
	default:
		return "other";
	}
}

static bool do_hello(void)
{
	static const char *const keys[] = { "nonce", NULL };
	const char *chosen = find_key("nonce");
	uint64_t unused;

	if (!only_keys(keys))
		return false;
	if (!chosen || line_length(chosen) != LINE_NONCE_SIZE || !line_hex(chosen, &unused))
		return agent_refuse(&refusal, "argument", "nonce: not 8 lower-case hex digits",
				    NULL, NULL);
	for (unsigned int i = 0; i <= LINE_NONCE_SIZE; i++)
		nonce[i] = chosen[i];
	begin(nonce, request.id, "ok");
	line_add(&answer, " agent=" AGENT_VERSION " os=");
	line_add(&answer, platform_os);
	line_add_decimal(&answer, "cpus", platform_cpus());
	line_add(&answer, " vendor=");
	line_add(&answer, vendor());
	line_add_hex(&answer, "slot", platform_slot(0));
	line_add_hex(&answer, "uslot", platform_slot(3));
	line_add_hex(&answer, "stride", SLOT_STRIDE);
	line_add(&answer, " subject=");
	line_add_printable(&answer, platform_subject_name());
	send_answer();
	return true;
}

static void answer_outcome(unsigned int cpu, unsigned int of, const struct probe_outcome *outcome)
{
	begin(request.nonce, request.id, outcome->refused ? "err" : "ok");
	line_add_decimal(&answer, "cpu", cpu);
	line_add_decimal(&answer, "of", of);
	if (outcome->refused)
		add_error("state", outcome->why);
	else
		outcome_add(&answer, &probe, outcome);
	send_answer();
}

static bool do_run(void)
{
	unsigned int of, n = 0;

	if (!run_parse(&request, platform_cpus(), &probe, &refusal))
		return false;
	of = cpu_mask_count(&probe.cpus);
	if (probe.once)
		platform_run(&probe.cpus, true, &probe, outcomes);
	for (unsigned int cpu = 0; cpu < platform_cpus(); cpu++) {
		struct cpu_mask one = cpu_mask_of(cpu);

		if (!cpu_mask_has(&probe.cpus, cpu))
			continue;
		/* Answer after each CPU, so that the answers before the CPU whose probe kills the machine arrive. */
		if (!probe.once)
			platform_run(&one, false, &probe, &outcomes[n]);
		answer_outcome(cpu, of, &outcomes[n++]);
	}
	return true;
}

static bool do_nmi(void)
{
	static const char *const keys[] = { "on", "n", NULL };
	struct cpu_mask mask;
	uint64_t count;

	if (!only_keys(keys) || !take_mask(&mask) || !take_number("n", NMIS_MAX, &count))
		return false;
	for (unsigned int cpu = 0; cpu < platform_cpus(); cpu++) {
		for (uint64_t i = 0; cpu_mask_has(&mask, cpu) && i < count; i++) {
			int error = platform_nmi(cpu);

			if (error)
				return agent_refuse(
					&refusal, error == -110 ? "ETIMEDOUT" : "EOPNOTSUPP",
					error == -110 ? "an NMI that was sent was not taken"
						      : "this target cannot send NMIs to itself",
					NULL, NULL);
		}
	}
	begin_ok();
	send_answer();
	return true;
}

static bool do_counts(void)
{
	static const char *const keys[] = { "on", NULL };
	struct cpu_mask mask;

	if (!only_keys(keys) || !take_mask(&mask))
		return false;
	for (unsigned int cpu = 0; cpu < platform_cpus(); cpu++) {
		if (!cpu_mask_has(&mask, cpu))
			continue;
		begin_ok();
		line_add_decimal(&answer, "cpu", cpu);
		line_add_decimal(&answer, "of", cpu_mask_count(&mask));
		line_add_decimal(&answer, "nmi", platform_nmis(cpu));
		send_answer();
	}
	return true;
}

static const char *errno_name(int error)
{
	static const struct {
		int number;
		const char *name;
	} names[] = {
		{ 1, "EPERM" },	     { 2, "ENOENT" },	   { 3, "ESRCH" },
		{ 5, "EIO" },	     { 6, "ENXIO" },	   { 11, "EAGAIN" },
		{ 12, "ENOMEM" },    { 13, "EACCES" },	   { 14, "EFAULT" },
		{ 16, "EBUSY" },     { 17, "EEXIST" },	   { 19, "ENODEV" },
		{ 22, "EINVAL" },    { 28, "ENOSPC" },	   { 34, "ERANGE" },
		{ 38, "ENOSYS" },    { 62, "ETIME" },	   { 71, "EPROTO" },
		{ 75, "EOVERFLOW" }, { 95, "EOPNOTSUPP" }, { 110, "ETIMEDOUT" },
		{ 114, "EALREADY" },
	};

	for (unsigned int i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (names[i].number == error)
			return names[i].name;
	return "EIO";
}

/*
 * Answer with what the platform wrote to platform_text: key=value pairs, or the reason of an error. A subject may
 * have left out the space before its first pair; the line's checksum is right then, and the line can't be read.
 */
static void answer_pairs(int error)
{
	platform_text[sizeof(platform_text) - 1] = '\0';
	if (error) {
		answer_error(request.nonce, request.id, errno_name(-error), platform_text);
		return;
	}
	begin_ok();
	if (platform_text[0] && platform_text[0] != ' ')
		line_add_printable(&answer, " ");
	line_add_printable(&answer, platform_text);
	send_answer();
}

static bool is_printable(const char *text)
{
	while (*text >= ' ' && *text <= '~')
		text++;
	return !*text;
}

/* The subject's text would break the line, or look as if the line had damaged it. */
static void refuse_unprintable(void)
{
	begin(request.nonce, request.id, "err");
	add_error(
		"EPROTO",
		"what the subject answers is not printable ASCII (a byte that is not is ? here):");
	line_add_printable(&answer, platform_text);
	send_answer();
}

static bool do_subject(void)
{
	static const char *const verbs[] = {
		[SUBJECT_LOAD] = "load",   [SUBJECT_UNLOAD] = "unload", [SUBJECT_QUERY] = "query",
		[SUBJECT_EXITS] = "exits", [SUBJECT_TRACE] = "trace",
	};
	static const char *const keys[][4] = {
		[SUBJECT_LOAD] = { "do", "opt" },
		[SUBJECT_UNLOAD] = { "do" },
		[SUBJECT_QUERY] = { "do" },
		[SUBJECT_EXITS] = { "do", "cpu" },
		[SUBJECT_TRACE] = { "do", "cpu", "n" },
	};
	const char *word = find_key("do");
	uint64_t cpu = 0, count = 0;
	unsigned int verb = 0;

	while (verb <= SUBJECT_TRACE && !(word && line_equal(word, verbs[verb])))
		verb++;
	if (verb > SUBJECT_TRACE)
		return agent_refuse(&refusal, "argument", "do: load, unload, query, exits or trace",
				    NULL, NULL);
	if (!only_keys(keys[verb]))
		return false;
	if (verb >= SUBJECT_EXITS && !take_number("cpu", platform_cpus() - 1, &cpu))
		return false;
	if (verb == SUBJECT_TRACE && !take_number("n", UINT32_MAX, &count))
		return false;

	platform_text[0] = '\0';

	int error = platform_subject((enum platform_subject_verb)verb, find_key("opt"),
				     (unsigned int)cpu, (unsigned int)count, platform_text,
				     sizeof(platform_text));

	if (error || verb >= SUBJECT_QUERY) {
		platform_text[sizeof(platform_text) - 1] = '\0';
		if (error || is_printable(platform_text))
			answer_pairs(error);
		else
			refuse_unprintable();
		return true;
	}
	/* The answers to load and unload have no pairs: ignore the text. */
	begin_ok();
	send_answer();
	return true;
}

static bool do_work(void)
{
	static const char *const verbs[] = {
		[WORK_START] = "start",
		[WORK_WAIT] = "wait",
		[WORK_QUERY] = "query",
		[WORK_STOP] = "stop",
	};
	static const char *const keys[][4] = {
		[WORK_START] = { "do", "kinds" },
		[WORK_WAIT] = { "do", "rounds", "limit" },
		[WORK_QUERY] = { "do" },
		[WORK_STOP] = { "do", "limit" },
	};
	const char *word = find_key("do"), *kinds = find_key("kinds");
	uint64_t rounds = 0, limit = 0;
	unsigned int verb = 0;

	while (verb <= WORK_STOP && !(word && line_equal(word, verbs[verb])))
		verb++;
	if (verb > WORK_STOP)
		return agent_refuse(&refusal, "argument", "do: start, wait, query or stop", NULL,
				    NULL);
	if (!only_keys(keys[verb]))
		return false;
	if (verb == WORK_START && !kinds)
		return agent_refuse(&refusal, "argument", "kinds: missing", NULL, NULL);
	if (verb == WORK_WAIT && !take_number("rounds", WORK_ROUNDS_MAX, &rounds))
		return false;
	if ((verb == WORK_WAIT || verb == WORK_STOP) &&
	    !take_number("limit", WORK_SECONDS_MAX, &limit))
		return false;
	platform_text[0] = '\0';
	answer_pairs(platform_work((enum platform_work_verb)verb, kinds, (unsigned int)rounds,
				   (unsigned int)limit, platform_text, sizeof(platform_text)));
	return true;
}

static bool do_kvm(void)
{
	static const char *const keys[] = { NULL };

	if (!only_keys(keys))
		return false;
	platform_text[0] = '\0';
	answer_pairs(platform_kvm(platform_text, sizeof(platform_text)));
	return true;
}

static void payload_starts(void)
{
	begin_ok();
	send_answer();
}

static bool do_payload(void)
{
	static const char *const keys[] = { NULL };

	if (!only_keys(keys))
		return false;
	platform_text[0] = '\0';
	answer_pairs(platform_payload(payload_starts, platform_text, sizeof(platform_text)));
	return true;
}

static bool serve(void)
{
	if (line_equal(request.verb, "hello")) {
		if (!line_equal(request.nonce, "-"))
			return agent_refuse(&refusal, "nonce", "hello is sent with the nonce -",
					    NULL, NULL);
		return do_hello();
	}
	if (!nonce[0])
		return agent_refuse(&refusal, "nonce", "no hello since the boot", NULL, NULL);
	if (!line_equal(request.nonce, nonce))
		return agent_refuse(&refusal, "nonce", "not the nonce of the last hello", NULL,
				    NULL);
	if (line_equal(request.verb, "run"))
		return do_run();
	if (line_equal(request.verb, "nmi"))
		return do_nmi();
	if (line_equal(request.verb, "counts"))
		return do_counts();
	if (line_equal(request.verb, "subject"))
		return do_subject();
	if (line_equal(request.verb, "work"))
		return do_work();
	if (line_equal(request.verb, "kvm"))
		return do_kvm();
	if (line_equal(request.verb, "payload"))
		return do_payload();
	return agent_refuse(&refusal, "verb", "unknown verb ", request.verb, NULL);
}

void agent_take(char byte)
{
	enum line_status status = line_take(&reader, byte);

	if (status == LINE_OK)
		status = line_parse(reader.text, reader.complete, &request);
	else if (status == LINE_NOTHING)
		return;

	switch (status) {
	case LINE_OK:
		if (!serve())
			answer_refusal();
		break;
	case LINE_TOO_LONG:
		answer_error("-", 0, "too-long", "a request is at most 4096 bytes long");
		break;
	case LINE_SYNTAX:
		answer_error("-", 0, "syntax", request.why);
		break;
	case LINE_CHECKSUM:
		answer_error("-", 0, "checksum", "the checksum is not that of the line");
		break;
	case LINE_VERSION:
		answer_error("-", 0, "version", "this agent speaks version 1");
		break;
	case LINE_NOTHING:
		break;
	}
}

void agent_ready(void)
{
	line_start(&answer, answer_text, sizeof(answer_text));
	line_add(&answer, "!1 ready os=");
	line_add(&answer, platform_os);
	line_add_decimal(&answer, "cpus", platform_cpus());
	send_answer();
}
