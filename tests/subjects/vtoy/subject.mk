# SPDX-License-Identifier: MIT
SUBJECT_NAME := vtoy
SUBJECT_SOURCES := vtoy.c
