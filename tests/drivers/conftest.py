import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from touchstone.drivers.build import BareImage, build_bare


@pytest.fixture(scope="session")
def image() -> BareImage:
    return build_bare(None)


@pytest.fixture
def nothing_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Private directories are made in the test's own, short one, and are gone when it is over.

    ``tmp_path`` comes first: pytest makes its own directory, which stays, where tempfile says at that time.
    """
    with tempfile.TemporaryDirectory(prefix="ts-") as base:
        monkeypatch.setattr(tempfile, "tempdir", base)
        yield
        assert list(Path(base).iterdir()) == []
        monkeypatch.undo()
