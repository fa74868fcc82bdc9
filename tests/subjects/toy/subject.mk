# SPDX-License-Identifier: MIT
SUBJECT_NAME := toy
SUBJECT_SOURCES := toy.c
