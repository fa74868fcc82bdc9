from __future__ import annotations

import threading

import pytest

from touchstone.reporting import progress as module
from touchstone.reporting.progress import Progress


def test_quick_stages_say_nothing() -> None:
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
        assert late.wait(10)
        with progress.stage("inner"):
            progress("loading")
    assert said[0] == "box: booting (0 s)"
    assert said[-1] == "box: loading (0 s)"


def test_nobody_to_tell() -> None:
    progress = Progress(None)
    with progress.stage("box"):
        progress("booting")
