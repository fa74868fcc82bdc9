"""What is installed, read once: each run of pytest in this process asks for all of it, several times."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from functools import cached_property
from typing import Any


class Known:
    """A distribution, with what pytest asks each of them for."""

    def __init__(self, distribution: importlib.metadata.Distribution) -> None:
        self._distribution = distribution

    @cached_property
    def entry_points(self) -> Any:
        return self._distribution.entry_points

    @cached_property
    def files(self) -> Any:
        return self._distribution.files

    def __getattr__(self, name: str) -> Any:
        return getattr(self._distribution, name)


def remember() -> None:
    """Have it read once. Nothing is installed while tests run, but in processes and folders of their own."""
    read = importlib.metadata.distributions
    known = [Known(one) for one in read()]

    def distributions(**context: Any) -> Iterable[Any]:
        return read(**context) if context else iter(known)

    importlib.metadata.distributions = distributions
