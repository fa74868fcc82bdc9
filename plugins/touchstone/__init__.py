"""Touchstone: conformance checks for light-weight x86 hypervisors, run by pytest."""

__version__ = "0.1.0"
