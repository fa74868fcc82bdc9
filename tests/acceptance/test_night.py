"""A night over eight cells in which workers, an emulator and the controller are shot, and a box is dead.

Nothing here waits for a time: each shot follows on what the journal says.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from touchstone.journal.compare import compare
from touchstone.journal.read import Journal, JournalError, read_journal
from touchstone.words import Verdict

SUITES = (
    "nested/faults.yaml",
    "nested/svm-msrs.yaml",
    "nested/vmx-cr4.yaml",
    "exits/cpuid.yaml",
    "exits/cpuid-leaves.yaml",
    "teardown/gone.yaml",
)
INCLUDE = 'include = ["touchstone:inventory.toml"]\n'
INVENTORY = f"""{INCLUDE}
[targets.dead-box]
driver = "ssh"
vendor = "amd"
host = "127.0.0.1"
port = 1
user = "root"
"""
MATRIX = """
[[matrix.eight.include]]
target = "qemu-amd"
cpus = [1, 4, 16]
[[matrix.eight.include]]
target = ["bochs-intel", "bochs-intel-old", "bochs-tigerlake", "bochs-amd", "dead-box"]
"""
CELLS = 8
FILES = {
    "targets/inventory.toml": INVENTORY,
    "targets/matrix.toml": MATRIX,
    "pyproject.toml": "[tool.pytest]\nstrict = true\n",
}
JOURNAL = "night.jsonl"
EMULATORS = ("qemu-system-x86", "bochs")
GOOD = {Verdict.CONFORMANT, Verdict.MACHINE, Verdict.KNOWN_DEVIATION, Verdict.UNSUPPORTED}
PATIENCE = 1800.0
"""Seconds until something must have happened, on the slowest of hosts."""


def command_of(pid: int) -> str:
    try:
        return Path("/proc", str(pid), "comm").read_text().strip()
    except OSError:
        return ""


def children_of(pid: int) -> Iterator[int]:
    for tasks in Path("/proc", str(pid), "task").glob("*/children"):
        try:
            yield from map(int, tasks.read_text().split())
        except OSError:
            continue


class Night:
    """A pytest run in a process, and its journal."""

    def __init__(self, project: Path, arguments: Sequence[str], output: Path) -> None:
        self.journal = project / JOURNAL
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pytest", "-q", "--rootdir=.", "-c", "pyproject.toml", *arguments],
                cwd=project,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def read(self) -> Journal:
        try:
            return read_journal(self.journal)
        except (OSError, JournalError):
            return Journal(self.journal)

    def until(self, what: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < end, "it does not happen"
            assert self.process.poll() is None, "the run has ended before"
            time.sleep(0.1)

    def until_judged(self, more: int) -> None:
        wanted = len(self.read().judged) + more
        self.until(lambda: len(self.read().judged) >= wanted)

    def workers(self) -> list[tuple[int, int]]:
        """The workers that drive an emulator, and the emulator of each."""
        return [
            (worker, emulator)
            for worker in children_of(self.process.pid)
            for emulator in children_of(worker)
            if command_of(emulator).startswith(EMULATORS)
        ]

    def shoot(self, which: Callable[[tuple[int, int]], int]) -> int:
        """Kill the worker or the emulator of the first worker that has one."""
        found: list[tuple[int, int]] = []

        def there() -> bool:
            found[:] = self.workers()
            return bool(found)

        self.until(there)
        os.kill(which(found[0]), signal.SIGKILL)
        return which(found[0])


def gone(pid: int) -> bool:
    """Whether a process is no more, or only its parent's to bury."""
    try:
        return "\nState:\tZ" in Path("/proc", str(pid), "status").read_text()
    except OSError:
        return True


@pytest.mark.nightly
def test_every_planned_check_has_a_verdict_whatever_is_shot(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    suites = [str(ROOT / "conformance" / suite) for suite in SUITES]
    arguments = [*suites, "--matrix=eight", "-n", "auto", "--alluredir=results"]
    night = Night(tmp_path, [*arguments, f"--journal={JOURNAL}"], tmp_path / "first")
    processes = {night.process.pid}
    try:
        for which in (lambda one: one[0], lambda one: one[1], lambda one: one[0]):
            night.until_judged(20)
            processes.update(pid for pair in night.workers() for pid in pair)
            night.shoot(which)
        night.until_judged(20)
        processes.update(pid for pair in night.workers() for pid in pair)
        night.process.kill()
    finally:
        night.process.kill()
        night.process.wait()
    end = time.monotonic() + PATIENCE
    while not all(map(gone, processes)):
        assert time.monotonic() < end, "workers or emulators outlive the run"
        time.sleep(0.1)
    broken = read_journal(night.journal)
    assert broken.ended is None
    assert broken.missing

    resumed = Night(tmp_path, [*arguments, f"--resume={JOURNAL}"], tmp_path / "second")
    try:
        status = resumed.process.wait(PATIENCE)
    finally:
        resumed.process.kill()
    printed = (tmp_path / "second").read_text()
    found = read_journal(resumed.journal)
    assert not found.missing, printed
    assert not found.damaged
    assert len({key.target for key in found.planned}) == CELLS
    dead = [line for key, line in found.judged.items() if key.target == "dead-box"]
    assert {line.verdict for line in dead} <= {Verdict.INFRASTRUCTURE, Verdict.BLOCKED, Verdict.UNSUPPORTED}
    assert sum(line.verdict is Verdict.INFRASTRUCTURE for line in dead) <= 1, "a dead box is one message"
    assert "dead-box" in {path.stem for path in (tmp_path / "build" / "sick").iterdir()}
    others = {str(key): line for key, line in found.judged.items() if key.target != "dead-box"}
    assert {name: line.reason for name, line in others.items() if line.verdict not in GOOD} == {}
    assert [lines[0].reason for lines in found.retried.values() if "from outside" in lines[0].reason], (
        "the emulator that was shot is the lab's trouble, and its check is judged again"
    )
    assert status == 10, printed
    assert f"{len(found.planned)} planned checks: " in printed


@pytest.mark.nightly
def test_target_that_is_split_has_the_verdicts_of_one_that_is_not(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    suites = [str(ROOT / "conformance" / suite) for suite in SUITES]
    journals = []
    for instances in (1, 2):
        text = f'[targets.twins]\ndriver = "qemu"\nvendor = "amd"\ninstances = {instances}\n'
        text += 'deviates-like = "qemu-amd"\ntimeout-factor = 10\n'
        (tmp_path / "targets" / "inventory.toml").write_text(f"{INCLUDE}{text}")
        name = f"{instances}.jsonl"
        night = Night(
            tmp_path, [*suites, "--target=twins", "-n", "2", f"--journal={name}"], tmp_path / "output"
        )
        try:
            assert night.process.wait(PATIENCE) == 0, (tmp_path / "output").read_text()
        finally:
            night.process.kill()
        journals.append(read_journal(tmp_path / name))
        logs = list((tmp_path / "build" / "logs").glob("*/twins.serial.log"))
        assert len(logs) == 2 * instances - 1, "a machine for each worker that has a part"
    found = compare(*journals)
    assert [*found.changes, *found.new, *found.vanished] == []
    assert not journals[1].missing
