"""Machines of QEMU."""
