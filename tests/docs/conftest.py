from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.copied_checkout import Copy


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """A copy of the checkout for one test. The space in its path is one that people have too."""
    root = tmp_path / "a checkout"
    root.mkdir()
    return Copy(root)
