from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ssh.lab import Lab
from tests.support.ssh.sshd import Sshd, find_sshd, why_no_namespaces


@pytest.fixture(scope="session")
def possible() -> None:
    """Skip, with the reason, where no box of our own can be had."""
    found = find_sshd()
    if isinstance(found, str):
        pytest.skip(found)
    if why := why_no_namespaces():
        pytest.skip(why)
    if not Path("/lib/modules").is_dir():  # of a container, whose kernel is somebody else's
        pytest.skip("no /lib/modules here that a box could have another one in place of")


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
