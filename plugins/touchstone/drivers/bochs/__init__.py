"""Machines of Bochs."""
