// SPDX-License-Identifier: MIT
#include "compilation.h"

#include <stdio.h>
#include <string.h>

#include "files.h"

/* What make quotes in a path, one way or another. */
#define QUOTED " \t\n\\#$%&|:;<>*?[]\"'"
#define KERNEL_DEPENDS "-Wp,-MMD,"

const char *const beside[] = { "../agent", "../formats", "../uefi", NULL };

/* The folder above the source that has this file; not above those of which the path says nothing. */
static void find_subject(struct compilation *it, const char *file)
{
	char path[2 * PATH_MAX], *slash;

	snprintf(it->subject, sizeof(it->subject), "%s", it->source);
	while ((slash = strrchr(it->subject, '/')) && slash != it->subject) {
		*slash = '\0';
		snprintf(path, sizeof(path), "%s/%s", it->subject, file);
		if (is_file(path))
			return;
		if (!strcmp(it->subject, "..") || ends(it->subject, "/.."))
			break;
	}
	it->subject[0] = '\0';
}

bool understood(struct compilation *it)
{
	bool compiles = false, lists = false;
	const char *previous = "", *depends = NULL;

	for (char **argument = it->arguments; *argument; previous = *argument++) {
		if (!strcmp(*argument, "-c"))
			compiles = true;
		if (!strcmp(*argument, "-MMD"))
			lists = true;
		if (!strncmp(*argument, KERNEL_DEPENDS, strlen(KERNEL_DEPENDS)))
			depends = *argument + strlen(KERNEL_DEPENDS);
		if (!strncmp(*argument, "-DIMAGE=", 8)) /* a file that is no header */
			return false;
		if (!strcmp(previous, "-o"))
			it->output = *argument;
		it->source = *argument;
	}
	it->kernel = depends;
	if (!compiles || lists == it->kernel || !it->output || !ends(it->output, ".o") ||
	    !is_file(it->source))
		return false;
	if (strpbrk(it->output, QUOTED) || strpbrk(it->source, QUOTED))
		return false;
	if (snprintf(it->depends, sizeof(it->depends), "%s", it->output) >=
		    (int)sizeof(it->depends) ||
	    strlen(it->source) >= sizeof(it->subject))
		return false;
	it->depends[strlen(it->depends) - 1] = 'd';
	find_subject(it, it->kernel ? "Kbuild" : "subject.mk");
	if (!it->kernel)
		return true;
	return snprintf(it->depends, sizeof(it->depends), "%s", depends) <
		       (int)sizeof(it->depends) &&
	       *it->subject == '/' && inside(it->subject, it->output) &&
	       inside(it->subject, depends);
}

const char *folder_of(const char *argument)
{
	size_t length = !strncmp(argument, "-I", 2) ? 2 : !strncmp(argument, "-iquote", 7) ? 7 : 0;

	return length && argument[length] ? argument + length : NULL;
}
