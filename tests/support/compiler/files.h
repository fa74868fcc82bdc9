/* SPDX-License-Identifier: MIT */
/* Files as they are read and written, and the paths of files. */
#ifndef COMPILER_FILES_H
#define COMPILER_FILES_H

#include <stdbool.h>
#include <stddef.h>

struct text {
	char *data;
	size_t size;
};

/* False if it is no file, or cannot be read whole. There is a NUL behind the data. */
bool read_file(const char *path, struct text *text);

bool write_file(const char *path, const char *data, size_t size);

bool is_file(const char *path);

/* What is behind "FOLDER/" in a path, else NULL. */
const char *inside(const char *folder, const char *path);

bool ends(const char *text, const char *end);

#endif
