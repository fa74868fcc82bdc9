"""Machines that are the subject's guests, on a Linux box."""
