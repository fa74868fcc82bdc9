// SPDX-License-Identifier: MIT
#include "depends.h"

#include <limits.h>
#include <string.h>

#include "files.h"

/* Whether a file is in a folder of -I, in which the headers were compared. */
static bool searched(const struct compilation *it, const char *path)
{
	for (char **argument = it->arguments; *argument; argument++) {
		const char *folder = folder_of(*argument);
		const char *name = folder ? inside(folder, path) : NULL;

		if (name && !strchr(name, '/'))
			return true;
	}
	return false;
}

/* How many folders down a path leads, whose "x/.." lead nowhere; -1 if it leaves where it begins. */
static int depth_of(const char *path)
{
	int depth = 0;

	for (const char *slash; (slash = strchr(path, '/')); path = slash + 1) {
		depth += slash - path == 2 && !strncmp(path, "..", 2) ? -1 : 1;
		if (depth < 0)
			return -1;
	}
	return depth;
}

/*
 * Whether a file is one of the kernel's or of the compiler's, or beside the module: in it, or in a folder
 * of -I that is named by where the module is. The kernel's are where it is itself, or in a folder of -I.
 */
static bool known_to_kernel(const struct compilation *it, const char *path)
{
	const char *inner = inside(it->subject, path), *rest;

	if (!inner) {
		if (*path != '/')
			return !strstr(path, "../");
		if (!strncmp(path, "/usr/lib/gcc/", 13))
			return true;
	}
	if (inner && depth_of(inner) >= 0)
		return ends(path, ".h") && depth_of(inner) <= 2;
	for (char **argument = it->arguments; *argument; argument++) {
		rest = strncmp(*argument, "-I", 2) ? NULL : inside(*argument + 2, path);
		if (rest && depth_of(rest) >= 0 && (!inner || depth_of(rest) <= 2))
			return true;
	}
	return false;
}

/* Whether a file that the object depends on was compared. */
static bool compared(const struct compilation *it, const char *path)
{
	const char *inner;

	if (!strcmp(path, it->output) || !strcmp(path, it->source))
		return true;
	if (it->kernel)
		return known_to_kernel(it, path);
	if (!ends(path, ".h") && !ends(path, ".S"))
		return false;
	if (!strchr(path, '/'))
		return true;
	if ((inner = inside(it->subject, path)))
		return depth_of(inner) >= 0 && depth_of(inner) <= 2;
	for (const char *const *folder = beside; *folder; folder++)
		if ((inner = inside(*folder, path)))
			return !strchr(inner, '/');
	return ends(path, ".h") && searched(it, path);
}

bool generalize(const struct compilation *it, char *list, FILE *to)
{
	for (char *word = list; *word; word += strcspn(word, " \n")) {
		size_t gap = strspn(word, " \n"), length;
		const char *inner;
		char path[PATH_MAX];
		bool target;

		fwrite(word, 1, gap, to);
		word += gap;
		length = strcspn(word, " \n");
		if (!length || length >= sizeof(path))
			continue;
		target = word[length - 1] == ':';
		snprintf(path, sizeof(path), "%.*s", (int)(length - target), word);
		if (!strcmp(path, "\\"))
			fputs(path, to);
		else if (!(target && it->kernel) && !compared(it, path))
			return false;
		else if (!strcmp(path, it->output))
			fputs(OUTPUT, to);
		else if ((inner = inside(it->subject, path)))
			fprintf(to, SUBJECT "/%s", inner);
		else
			fputs(path, to);
		if (target)
			fputc(':', to);
	}
	return true;
}

void specialize(const struct compilation *it, const char *list, FILE *to)
{
	while (*list) {
		size_t plain = strcspn(list, "<");

		fwrite(list, 1, plain, to);
		list += plain;
		if (!strncmp(list, OUTPUT, strlen(OUTPUT))) {
			fputs(it->output, to);
			list += strlen(OUTPUT);
		} else if (!strncmp(list, SUBJECT, strlen(SUBJECT))) {
			fputs(it->subject, to);
			list += strlen(SUBJECT);
		} else if (*list) {
			fputc(*list++, to);
		}
	}
}
