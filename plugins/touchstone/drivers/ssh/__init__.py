"""Boxes that run Linux, reached over SSH."""
