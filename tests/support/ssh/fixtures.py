"""Fixtures: a box over SSH that is a process of ours, and drivers for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ssh.lab import Lab
from tests.support.ssh.sshd import Sshd, why_no_namespaces


@pytest.fixture(scope="session")
def possible() -> None:
    """Skip, with the reason, where no box of our own can be had."""
    if why := why_no_namespaces():
        pytest.skip(why)


@pytest.fixture
def box(possible: None, tmp_path: Path) -> Iterator[Sshd]:
    """A box that runs."""
    box = Sshd(tmp_path / "box")
    try:
        box.start()
        yield box
    finally:
        box.close()


@pytest.fixture
def lab(box: Sshd, tmp_path: Path) -> Iterator[Lab]:
    """A box, and drivers for it."""
    lab = Lab(box, tmp_path)
    yield lab
    lab.close()
