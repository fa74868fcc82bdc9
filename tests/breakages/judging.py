"""What became of each fault."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.breakages.batches import Batch
from tests.breakages.faults import CatalogueError, Fault
from tests.breakages.runs import ENOUGH, REFUSED, Outcome

CAUGHT, OTHERWISE, BY_PROGRAM, EQUIVALENT, UNSHOWABLE, OPEN, SURVIVED, REFUTED = (
    "caught", "caught otherwise", "by a program", "equivalent", "unshowable", "open", "survived", "refuted",
)  # fmt: skip
"""What can become of a fault. By a program: no suite shows it, and the program that the catalogue names does.
Open: no check sees it, as the catalogue says. Refuted: a check sees it, though the catalogue says that none
does."""
FATES = (CAUGHT, OTHERWISE, BY_PROGRAM, EQUIVALENT, UNSHOWABLE, OPEN, SURVIVED, REFUTED)
BAD = (OTHERWISE, SURVIVED, REFUTED)
"""What must not become of one."""
DEVIATION = "deviation"
SEEN = (DEVIATION, "crash", "hang", REFUSED)
"""What accuses the hypervisor: verdicts, and that it refuses to be loaded."""

Run = Callable[[str, tuple[Fault, ...], list[str], int], Outcome]
"""Builds a Veneer with faults and runs checks against it: target, faults, node ids, most failures."""


@dataclass
class Result:
    """One fault's."""

    id: str
    fate: str
    seconds: float = 0.0
    """What the run took in which it was seen."""
    with_others: int = 0
    """How many other faults that machine had."""
    seen_by: list[str] = field(default_factory=list)
    """Checks that saw it, the named one first."""
    why: str = ""
    of: str = ""
    """The fault's digest when it was run."""
    beside: list[str] = field(default_factory=list)
    """The other faults of its batch."""

    def dump(self) -> str:
        """As text, for a report's properties."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Result:
        """From ``dump``."""
        values: dict[str, Any] = json.loads(text)
        return cls(**values)


def save_results(path: Path, results: Iterable[Result]) -> None:
    """A file with a line for each result; there is all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text("".join(f"{one.dump()}\n" for one in results), encoding="utf-8")
    new.replace(path)


def load_results(path: Path) -> list[Result]:
    """What ``save_results`` wrote; nothing if there is no such file."""
    if not path.is_file():
        return []
    return [Result.load(line) for line in path.read_text(encoding="utf-8").splitlines()]


def load_folder(folder: Path | None, faults: dict[str, Fault]) -> list[Result]:
    """The results in a folder that are of faults as they are now.

    One that is not as it should be counts until the fault has been run by itself again.
    """
    if folder is None:
        return []
    kept: dict[str, list[Result]] = {}
    for path in sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns):
        for result in load_results(path):
            if result.id not in faults or result.of != faults[result.id].digest:
                continue
            mine = kept.setdefault(result.id, [])
            if not result.with_others:
                mine[:] = [one for one in mine if one.fate not in BAD]
            mine.append(result)
    return [result for mine in kept.values() for result in mine]


def judge(batch: Batch, nodes: dict[str, str], run: Run, whole: bool = True) -> list[Result]:
    """Run a batch, and split it until each fault is seen by its named check, or is alone and is not.

    Then all suites look for what a named check does not see; without ``whole``, they do not.
    """
    if batch.quiet:
        return _judge_quiet(batch, run)
    return _judge_together(batch.target, batch.faults, nodes, run, whole)


def _judge_together(
    target: str, faults: tuple[Fault, ...], nodes: dict[str, str], run: Run, whole: bool
) -> list[Result]:
    if len(faults) == 1:
        return [judge_alone(target, faults[0], nodes, run, whole)]
    outcome = _try(run, target, faults, [node_of(fault, nodes) for fault in faults])
    # One of them may have taken the machine along, or hide another one: only what was measured counts.
    red = {check for check, verdict in outcome.red.items() if verdict == DEVIATION} if outcome else set()
    seen = [fault for fault in faults if fault.check in red]
    rest = tuple(fault for fault in faults if fault.check not in red)
    results = [
        Result(one.id, CAUGHT, outcome.seconds if outcome else 0.0, len(faults) - 1, [one.check])
        for one in seen
    ]
    # Who was hidden by a fault that was seen is free of it now; else the culprit is in one of the halves.
    half = len(rest) // 2 if not seen else len(rest)
    for part in (rest[:half], rest[half:]):
        if part:
            results += _judge_together(target, part, nodes, run, whole)
    return results


def judge_alone(target: str, fault: Fault, nodes: dict[str, str], run: Run, whole: bool) -> Result:
    """Run a fault by itself: its named check, and if that does not see it and with ``whole``, all suites."""
    outcome = run(target, (fault,), [node_of(fault, nodes)], 0)
    if outcome.red.get(fault.check) in SEEN:
        return Result(fault.id, CAUGHT, outcome.seconds, 0, [fault.check])
    why = outcome.red.get(fault.check) or ("passed" if fault.check in outcome.green else "did not run")
    if not whole:
        return Result(fault.id, SURVIVED, outcome.seconds, 0, [], f"{fault.check}: {why}")
    outcome = run(target, (fault,), ["conformance"], ENOUGH)
    seen_by = [check for check, verdict in outcome.red.items() if verdict in SEEN]
    fate = OTHERWISE if seen_by else SURVIVED
    return Result(fault.id, fate, outcome.seconds, 0, seen_by, f"{fault.check}: {why}")


def judge_whole(target: str, fault: Fault, run: Run) -> Result:
    """Run all suites against one fault."""
    outcome = run(target, (fault,), ["conformance"], ENOUGH)
    seen_by = [check for check, verdict in outcome.red.items() if verdict in SEEN]
    seen_by.sort(key=lambda check: check != fault.check)
    fate = CAUGHT if fault.check in seen_by else OTHERWISE if seen_by else SURVIVED
    return Result(fault.id, fate, outcome.seconds, 0, seen_by, f"of all suites, {len(seen_by)} checks see it")


def node_of(fault: Fault, nodes: dict[str, str]) -> str:
    """The node id of the check that is meant to see a fault."""
    return fault.run or nodes[fault.check]


def _judge_quiet(batch: Batch, run: Run) -> list[Result]:
    """All of them at once. If a check sees something, each by itself."""
    outcome = _try(run, batch.target, batch.faults, ["conformance"])
    if outcome is not None and not outcome.red:
        return [Result(fault.id, quiet_fate(fault), outcome.seconds, len(batch.faults) - 1,
                       why=why_quiet(fault)) for fault in batch.faults]  # fmt: skip
    if len(batch.faults) > 1:
        half = len(batch.faults) // 2
        return [
            result
            for part in (batch.faults[:half], batch.faults[half:])
            for result in _judge_quiet(Batch(batch.name, batch.target, part, quiet=True), run)
        ]
    (fault,) = batch.faults
    assert outcome is not None, f"{fault.id}: Veneer cannot be built with it"
    return [Result(fault.id, REFUTED, outcome.seconds, 0, list(outcome.red), why_quiet(fault))]


def quiet_fate(fault: Fault) -> str:
    """What has become of a fault that no check sees, as the catalogue says."""
    return EQUIVALENT if fault.equivalent else UNSHOWABLE if fault.unshowable else OPEN


def why_quiet(fault: Fault) -> str:
    """Why no check sees a fault, as the catalogue says."""
    return fault.equivalent or fault.unshowable or fault.open


def _try(run: Run, target: str, faults: tuple[Fault, ...], what: list[str]) -> Outcome | None:
    """None if the edits do not go together."""
    try:
        return run(target, faults, what, 0)
    except (AssertionError, CatalogueError):
        if len(faults) == 1:
            raise
        return None
