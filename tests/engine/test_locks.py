from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.support.project import Project, check
from touchstone.engine.locks import TargetLock
from touchstone.machine.driver import InfrastructureError


def test_second_run_waits_and_names_the_holder(tmp_path: Path) -> None:
    first, second = TargetLock("box", tmp_path), TargetLock("box", tmp_path)
    said: list[str] = []
    waiting = threading.Event()

    def progress(text: str) -> None:
        said.append(text)
        waiting.set()

    first.acquire(progress)
    thread = threading.Thread(target=second.acquire, args=(progress,))
    thread.start()
    assert waiting.wait(60)
    first.release()
    thread.join(60)
    assert not thread.is_alive()
    second.release()
    assert len(said) == 1
    assert said[0].startswith("waiting for process ")


def test_waiting_for_the_lock_times_out(tmp_path: Path) -> None:
    first, second = TargetLock("box", tmp_path), TargetLock("box", tmp_path)
    first.acquire(print)
    with pytest.raises(InfrastructureError, match="box is held by process"):
        second.acquire(print, patience=0.01)
    first.release()
    first.release()


def test_session_holds_the_lock_until_it_stops(
    project: Project, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("locks")))
    project.options(shared="box")
    project.suite(check("one", "nop", "{rax: 0}"))
    project.run().assert_outcomes(passed=1)
    lock = TargetLock("box")
    lock.acquire(pytest.fail, patience=0)
    lock.release()
