from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.copied_checkout import Copy


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """A copy of the checkout for one test."""
    root = tmp_path / "checkout"
    root.mkdir()
    return Copy(root)
