# SPDX-License-Identifier: MIT
SUBJECT_NAME := stayer
SUBJECT_SOURCES := ../toy/toy.c
SUBJECT_CFLAGS := -DTOY_STAYS
