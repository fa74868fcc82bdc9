"""Journals as they are found: whole, broken off, damaged, of another version, or something else."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from touchstone.journal.lines import (
    EndedLine,
    EvidenceLine,
    JudgedLine,
    Key,
    Line,
    PlannedLine,
    RunLine,
    Software,
    StartedLine,
)
from touchstone.journal.read import JournalError, read_journal
from touchstone.journal.writer import JournalInUse, JournalWriter
from touchstone.words import Verdict

A, B = (Key(name, "t", "veneer") for name in "ab")


def run(**more: object) -> RunLine:
    said = {
        "at": 1.0,
        "format": 1,
        "touchstone": Software(name="touchstone"),
        "subject": Software(name="veneer"),
    }
    return RunLine(**said | more)  # type: ignore[arg-type]


def started(key: Key) -> StartedLine:
    return StartedLine(at=2.0, check=key.check, target=key.target, subject=key.subject)


def judged(key: Key, verdict: Verdict = Verdict.CONFORMANT, seconds: float = 0.5) -> JudgedLine:
    return JudgedLine(
        at=3.0,
        check=key.check,
        target=key.target,
        subject=key.subject,
        outcome=verdict,
        verdict=verdict,
        seconds=seconds,
    )


PLANNED = PlannedLine(at=1.0, target="t", subject="veneer", checks=["a", "b"])


def write(path: Path, *lines: Line) -> Path:
    writer = JournalWriter(path)
    for line in lines:
        writer.write(line)
    writer.close()
    assert not writer.lost
    return path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "new" / "j", run(), PLANNED, started(A), judged(A), started(B))
    found = read_journal(path)
    assert found.missing == found.interrupted == [B]
    assert found.judged[A] == judged(A)
    assert found.seconds == {"t": 0.5}
    assert (found.ended, found.damaged, found.unfinished) == (None, [], False)


def test_the_last_word_counts(tmp_path: Path) -> None:
    evidence = EvidenceLine(at=3.0, check="a", target="t", subject="veneer", text="why")
    path = write(
        tmp_path / "j",
        run(),
        PLANNED,
        judged(A, Verdict.BLOCKED),
        evidence,
        EndedLine(at=4.0, status=10),
        run(resumed=True),
        judged(A),
    )
    found = read_journal(path)
    assert found.judged[A].verdict is Verdict.CONFORMANT
    assert found.evidence == {}
    assert found.ended is None, "the second run has not ended"


def test_every_place_to_break_off(tmp_path: Path) -> None:
    """Whatever the last byte is: what is whole before it is read, and what is appended is not spoilt."""
    whole = write(tmp_path / "j", run(), PLANNED, started(A), judged(A))
    data = whole.read_bytes()
    first = data.index(b"\n")
    for size in range(first, len(data)):
        path = tmp_path / "cut"
        path.write_bytes(data[:size])
        before = read_journal(path)
        assert before.damaged == []
        assert A not in before.judged or size == len(data) - 1
        write(path, run(resumed=True), judged(B))
        found = read_journal(path)
        assert B in found.judged, size
        assert len(found.runs) == 2
        assert len(found.damaged) <= 1


def test_first_bytes_are_an_earlier_run(tmp_path: Path) -> None:
    path = write(tmp_path / "j", run(), PLANNED, judged(A))
    size = path.stat().st_size
    write(path, run(resumed=True), judged(B))
    assert set(read_journal(path, size).judged) == {A}
    assert set(read_journal(path).judged) == {A, B}


def test_damage_in_the_middle_is_named_and_costs_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "j", run(), PLANNED)
    with path.open("a") as file:
        file.write('{"line":"judged","at":1}\nnonsense\n\n{"line":"judged","at":"x"}\n')
    write(path, judged(A))
    found = read_journal(path)
    assert found.missing == [B]
    assert [text.split(": ")[0] for text in found.damaged] == [f"{path}:{number}" for number in (3, 4, 6)]
    assert "`check`" in found.damaged[0]


def test_kinds_and_keys_of_later_versions_are_ignored(tmp_path: Path) -> None:
    path = write(tmp_path / "j", run(), PLANNED)
    known = json.loads(path.read_text().splitlines()[1]) | {"more": [1]}
    with path.open("a") as file:
        file.write('{"line":"weather","rain":true}\n' + json.dumps(known) + "\n")
    found = read_journal(path)
    assert found.damaged == []
    assert found.missing == [A, B]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "j: empty: no run has begun to write it"),
        ("suite: x\n", "j:1: not a journal of Touchstone, which begins with a line 'run'"),
        ('{"line":"ended","at":1,"status":0}\n', "j:1: not a journal: it does not begin with a line 'run'"),
        ('{"line":"run","at":1}\n', "j:1: not a journal of Touchstone"),
    ],
)
def test_what_is_no_journal(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "j").write_text(text)
    with pytest.raises(JournalError) as caught:
        read_journal(tmp_path / "j")
    assert str(caught.value).startswith(f"{tmp_path}/{problem}")


def test_newer_format(tmp_path: Path) -> None:
    path = write(tmp_path / "j", run(format=2, touchstone=Software(name="touchstone", version="9.0")))
    with pytest.raises(JournalError, match=r"j:1: format 2, written by Touchstone 9\.0; .* up to format 1"):
        read_journal(path)


def test_one_run_at_a_time(tmp_path: Path) -> None:
    first, second = (JournalWriter(tmp_path / "j") for _ in range(2))
    first.claim()
    with pytest.raises(JournalInUse, match="another run is writing this journal"):
        second.claim()
    first.close()
    second.claim()
    second.close()


def append(path: Path, worker: int, count: int) -> None:
    writer = JournalWriter(path)
    for number in range(count):
        writer.write(judged(Key(f"{worker}.{number}" + "x" * (number % 300), "t", "veneer")))
    writer.close()


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    path = write(tmp_path / "j", run())
    spawn = multiprocessing.get_context("fork")
    workers = [spawn.Process(target=append, args=(path, number, 500)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = read_journal(path)
    assert found.damaged == []
    assert len(found.judged) == 1500
