from __future__ import annotations

import re
import threading

import pytest

from touchstone.engine import progress as module
from touchstone.engine.progress import StageProgress


def test_quick_stages_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET", 3600.0)
    said: list[str] = []
    progress = StageProgress(said.append)
    with progress.stage("box"):
        progress("booting")
    progress("outside of any stage")
    assert said == []


def test_slow_stages_show_their_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET", 0.01)
    said: list[str] = []
    late = threading.Event()

    def write(text: str) -> None:
        said.append(text)
        late.set()

    progress = StageProgress(write)
    with progress.stage("box"):
        progress("booting")
        assert late.wait(60)
        with progress.stage("inner"):
            progress("loading")
    assert re.fullmatch(r"box: booting \(\d+ s\)", said[0])
    assert re.fullmatch(r"box: loading \(\d+ s\)", said[-1])


def test_without_a_terminal_nothing_is_shown() -> None:
    progress = StageProgress(None)
    with progress.stage("box"):
        progress("booting")


def test_a_step_that_lasts_is_shown_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET", 0.01)
    monkeypatch.setattr(module, "AGAIN", 0.01)
    said: list[str] = []
    often = threading.Event()

    def write(text: str) -> None:
        said.append(text)
        if len(said) >= 3:
            often.set()

    progress = StageProgress(write)
    with progress.stage("box"):
        progress("booting")
        assert often.wait(60)
    assert all(re.fullmatch(r"box: booting \(\d+ s\)", line) for line in said)
    before = len(said)
    with progress.stage("box"):
        pass
    assert len(said) == before


def test_a_step_that_counts_is_shown_once_and_then_as_seldom_as_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two thousand answers came in two seconds, and a line for each fifty of them."""
    monkeypatch.setattr(module, "QUIET", 0.0)
    monkeypatch.setattr(StageProgress, "_wait", lambda self, seconds: None)  # nothing lasts here
    said: list[str] = []
    progress = StageProgress(said.append)
    with progress.stage("box"):
        for count in (50, 100, 150):
            progress(f"asking: {count} of 150")
        progress("loading")
    assert [line.partition(" (")[0] for line in said] == ["box: asking: 50 of 150", "box: loading"]
