"""Drivers: the code that starts, reaches, resets and autopsies one kind of target each."""
