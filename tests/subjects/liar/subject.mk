# SPDX-License-Identifier: MIT
SUBJECT_NAME := liar
SUBJECT_SOURCES := ../toy/toy.c
SUBJECT_CFLAGS := -DTOY_LIES
