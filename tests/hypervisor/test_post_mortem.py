"""The last exits of a Veneer whose machine cannot be asked any more: they are where it says that they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.c_programs import HYPERVISOR
from tests.support.post_mortem import MACHINES, say_of_post_mortem


@pytest.mark.parametrize("vendor", MACHINES)
def test_an_autopsy_finds_the_last_exits(vendor: str, tmp_path: Path) -> None:
    assert not say_of_post_mortem(HYPERVISOR, vendor, tmp_path)
