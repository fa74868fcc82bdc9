// SPDX-License-Identifier: MIT
#include "hash.h"

#include <err.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"

/* The hash is FNV-1a with 128 bits. */
static unsigned __int128 hash;

static void add_bytes(const void *data, size_t size)
{
	const unsigned __int128 prime = ((unsigned __int128)1 << 88) + 0x13b;
	const unsigned char *byte = data;

	while (size--)
		hash = (hash ^ *byte++) * prime;
}

static void add_word(const char *word)
{
	add_bytes(word, strlen(word) + 1);
}

static void add_file(const char *name, const char *path)
{
	struct text text;

	if (!read_file(path, &text))
		return;
	add_word(name);
	add_bytes(&text.size, sizeof(text.size));
	add_bytes(text.data, text.size);
	free(text.data);
}

/* All files of a pattern, by their names behind a folder. */
static void add_files(const char *folder, const char *pattern)
{
	char path[PATH_MAX];
	glob_t found;

	if (snprintf(path, sizeof(path), "%s/%s", folder, pattern) >= (int)sizeof(path))
		return;
	if (!glob(path, 0, NULL, &found))
		for (size_t i = 0; i < found.gl_pathc; i++)
			add_file(found.gl_pathv[i] + strlen(folder), found.gl_pathv[i]);
	globfree(&found);
	add_word("");
}

static void add_place(void)
{
	char place[PATH_MAX];
	int slashes = 0;
	size_t i;

	if (!getcwd(place, sizeof(place)))
		err(1, "the working directory");
	for (i = strlen(place); i && slashes < 2; i--)
		slashes += place[i - 1] == '/';
	add_word(place + i); /* targets/bare, hosts/linux */
}

static void add_headers(const char *folder)
{
	add_files(folder, "*.[hS]");
	add_files(folder, "*/*.[hS]");
	add_files(folder, "*/*/*.[hS]");
}

/* Wherever the module lies; and the headers that are beside it. */
static void add_kernel_argument(const struct compilation *it, const char *argument)
{
	const char *at = strstr(argument, it->subject);

	if (!at) {
		add_word(argument);
		return;
	}
	add_bytes(argument, at - argument);
	add_word(SUBJECT);
	add_word(at + strlen(it->subject));
	if (!strncmp(argument, "-I", 2) && at == argument + 2)
		add_headers(at);
}

static void add_status(const char *path)
{
	struct stat status = { 0 };

	add_word(path);
	if (stat(path, &status))
		return;
	add_bytes(&status.st_size, sizeof(status.st_size));
	add_bytes(&status.st_mtim, sizeof(status.st_mtim));
}

/* The kernel in whose folder this is, and the compiler that was chosen for it. */
static void add_kernel(const char *compiler)
{
	char place[PATH_MAX];

	if (!getcwd(place, sizeof(place)))
		err(1, "the working directory");
	add_word(place);
	add_status(compiler);
	add_status("Module.symvers");
	add_file("", "include/generated/autoconf.h");
	add_file("", "include/generated/utsrelease.h");
}

static void add_argument(const struct compilation *it, const char *argument)
{
	const char *folder = folder_of(argument), *path = folder ? folder : argument;
	const char *inner = inside(it->subject, path);

	if (folder) {
		add_bytes(argument, folder - argument);
		add_word("");
	}
	if (!strcmp(argument, it->output)) {
		add_word(OUTPUT);
	} else if (*it->subject && !strcmp(path, it->subject)) {
		add_word(SUBJECT);
	} else if (inner && !folder) {
		add_word(SUBJECT "/");
		add_word(inner);
	} else {
		add_word(path);
		if (folder)
			add_files(path, "*.h");
	}
}

unsigned __int128 hash_of(const struct compilation *it, const char *compiler)
{
	hash = ((unsigned __int128)0x6c62272e07bb0142 << 64) | 0x62b821756295c58d;
	if (it->kernel) {
		add_kernel(compiler);
		for (char **argument = it->arguments; *argument; argument++)
			add_kernel_argument(it, *argument);
		add_word("");
		add_headers(it->subject);
		add_file("", it->source);
		return hash;
	}
	add_place();
	for (char **argument = it->arguments; *argument; argument++)
		add_argument(it, *argument);
	add_word("");
	add_files(".", "*.[hS]");
	for (const char *const *folder = beside; *folder; folder++)
		add_files(*folder, "*.[hS]");
	add_file("", it->source);
	if (*it->subject)
		add_headers(it->subject);
	return hash;
}
