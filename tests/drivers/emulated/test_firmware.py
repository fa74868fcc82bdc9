"""The UEFI firmware that is fetched where Debian's package is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from touchstone.drivers.emulated import firmware
from touchstone.machine.driver import HostError


def test_who_waits_for_another_run_that_fetches_it_says_so_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firmware, "INSTALLED", tmp_path / "nothing")
    monkeypatch.setattr(firmware, "LOCK_TIMEOUT", 0.05)
    cache = tmp_path / "build" / "images"
    cache.mkdir(parents=True)
    said: list[str] = []
    with FileLock(cache / f".{firmware.PACKAGE}.lock"), pytest.raises(HostError, match=r"0.05 s for another"):
        firmware.uefi_firmware("", said.append, root=tmp_path)
    assert said == [f"waiting for another run that fetches {firmware.PACKAGE} into {cache.resolve()}"]
