from __future__ import annotations

import re
import threading

import pytest

from touchstone.reporting import progress as module
from touchstone.reporting.progress import Progress


def test_quick_stages_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 3600.0)
    said: list[str] = []
    progress = Progress(said.append)
    with progress.stage("box"):
        progress("booting")
    progress("outside of any stage")
    assert said == []


def test_slow_stages_say_what_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    said: list[str] = []
    late = threading.Event()

    def write(text: str) -> None:
        said.append(text)
        late.set()

    progress = Progress(write)
    with progress.stage("box"):
        progress("booting")
        assert late.wait(60)
        with progress.stage("inner"):
            progress("loading")
    assert re.fullmatch(r"box: booting \(\d+ s\)", said[0])
    assert re.fullmatch(r"box: loading \(\d+ s\)", said[-1])


def test_nobody_to_tell() -> None:
    progress = Progress(None)
    with progress.stage("box"):
        progress("booting")
