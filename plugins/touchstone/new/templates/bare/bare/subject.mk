# What targets/bare of Touchstone links into its image.
SUBJECT_NAME := @NAME@
SUBJECT_SOURCES := subject.c
SUBJECT_CFLAGS := -I$(SUBJECT_DIR)
