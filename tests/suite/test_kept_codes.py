"""A body that was assembled is taken from a file, for as long as it would be assembled the same."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.suite_texts import PATH
from touchstone.suite import kept_codes
from touchstone.suite.assemble import Assembler, AssemblerMissing
from touchstone.suite.kept_codes import KeptCodes
from touchstone.suite.load import load
from touchstone.suite.model import Body, Source


def body(*lines: str) -> Body:
    return Body(lines, tuple(Source(PATH, 10 + number, 7) for number in range(len(lines))))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the assembler was given, one text for each time that it ran."""
    found: list[str] = []
    run = subprocess.run

    def counted(*arguments: object, **options: object) -> object:
        found.append(str(options["input"]))
        return run(*arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", counted)
    return found


def assemble(file: Path, *bodies: Body) -> Assembler:
    assembler = Assembler(kept=KeptCodes(file))
    assembler.assemble(bodies)
    return assembler


def test_the_same_text_is_assembled_once(tmp_path: Path, runs: list[str]) -> None:
    file = tmp_path / "suites" / "assembled"
    first = Assembler(kept=KeptCodes(file)).assemble([body("here: nop", "jmp here")])
    again = Assembler(kept=KeptCodes(file)).assemble([body("here: nop", "jmp here")])
    assert len(runs) == 1
    assert again == first


def test_only_what_is_new_is_assembled(tmp_path: Path, runs: list[str]) -> None:
    file = tmp_path / "assembled"
    assemble(file, body("cpuid"))
    assemble(file, body("cpuid"), body("rdtsc"))
    assert "cpuid" in runs[0]
    assert "cpuid" not in runs[1]
    assemble(file, body("cpuid"), body("rdtsc"))
    assert len(runs) == 2


def test_all_bodies_of_the_catalogue_come_back_as_they_were(tmp_path: Path, runs: list[str]) -> None:
    bodies = [
        probe.body
        for path in sorted((ROOT / "conformance").rglob("*.yaml"))
        if "\nchecks:" in path.read_text(encoding="utf-8")
        for check in load(path).checks
        for probe in check.probes
    ]
    assert len(bodies) > 1000
    first = Assembler(kept=KeptCodes(tmp_path / "assembled")).assemble(bodies)
    assert first == Assembler(kept=KeptCodes(tmp_path / "assembled")).assemble(bodies)
    assert len(runs) == 1
    assert first == Assembler().assemble(bodies)


def test_a_body_with_a_mistake_is_not_kept(tmp_path: Path, runs: list[str]) -> None:
    for _ in range(2):
        found = Assembler(kept=KeptCodes(tmp_path / "assembled")).assemble([body("nop"), body("bogus")])
        assert len(found.problems) == 1
    assert len(runs) == 3  # with both, without the wrong one, and the wrong one alone
    assert "\nnop\n" in runs[1]
    assert "\nnop\n" not in runs[2]


@pytest.mark.parametrize("what", ["assembler", "code"])
def test_what_decides_on_the_bytes_counts(
    tmp_path: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    file = tmp_path / "assembled"
    assemble(file, body("nop"))
    if what == "code":
        monkeypatch.setattr(kept_codes, "readers", lambda: b"other code")
    else:
        (tmp_path / "bin").mkdir()
        other = tmp_path / "bin" / "as"
        other.write_text('#!/bin/sh\nexec /usr/bin/as "$@"\n')
        other.chmod(0o755)
        monkeypatch.setenv("PATH", f"{other.parent}:/usr/bin:/bin")
    assemble(file, body("nop"))
    assert len(runs) == 2


def test_what_was_kept_does_not_stand_for_an_assembler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assemble(tmp_path / "assembled", body("nop"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AssemblerMissing, match="no `as` on PATH"):
        assemble(tmp_path / "assembled", body("nop"))


@pytest.mark.parametrize("kept_bytes", [0, 40, -1])
def test_a_file_that_is_cut_off_is_not_believed(tmp_path: Path, runs: list[str], kept_bytes: int) -> None:
    file = tmp_path / "assembled"
    assemble(file, body("nop"))
    file.write_bytes(file.read_bytes()[:kept_bytes])
    assemble(file, body("nop"))
    assemble(file, body("nop"))
    assert len(runs) == 2


def test_a_directory_that_cannot_be_written_costs_time_only(tmp_path: Path, runs: list[str]) -> None:
    (tmp_path / "file").touch()
    for _ in range(2):
        assemble(tmp_path / "file" / "assembled", body("nop"))
    assert len(runs) == 2


def test_a_file_does_not_grow_for_ever(
    tmp_path: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_codes, "MOST", 2)
    file = tmp_path / "assembled"
    assemble(file, body("nop"), body("cpuid"))
    assemble(file, body("cpuid"), body("rdtsc"))  # a third one: only what was asked for last stays
    assemble(file, body("cpuid"), body("rdtsc"))
    assert len(runs) == 2
    assemble(file, body("nop"))
    assert len(runs) == 3
