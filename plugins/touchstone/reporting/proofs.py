"""Requirements and targets: what checks say of each requirement, chapter by chapter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from touchstone.journal.lines import CheckLine, Key
from touchstone.journal.nights import FAILED, NOT_JUDGED
from touchstone.suite.statements import Statement
from touchstone.words import Verdict

UNKNOWN = "in no file of requirements"
"""Chapter of what a journal's checks prove, and no file has (any more)."""
NO_CHAPTER = "others"
ELSEWHERE = "n/a"
"""Cell of a requirement about the other vendor's processors."""
Cell = Counter[Verdict | None]


@dataclass
class Proof:
    """A requirement, and what its checks say on each column."""

    requirement: str
    statement: str = ""
    chapter: str = UNKNOWN
    level: str = ""
    vendor: str = ""
    cells: dict[str, Cell] = field(default_factory=dict)
    checks: list[str] = field(default_factory=list)
    elsewhere: frozenset[str] = frozenset()
    """Columns whose vendor it is not about."""

    @property
    def proved(self) -> bool:
        """Whether some check of the run is about it."""
        return bool(self.cells)

    @property
    def fails(self) -> bool:
        """Whether some check of it fails somewhere."""
        return any(cell[one] for cell in self.cells.values() for one in FAILED)

    def cell(self, column: str) -> str:
        """``12 hold``, ``11 hold, 1 FAIL``, ``n/a``, ``-``."""
        return ELSEWHERE if column in self.elsewhere else cell_text(self.cells.get(column))


@dataclass
class Chapter:
    """Requirements that belong together."""

    title: str
    proofs: list[Proof]

    @property
    def unproved(self) -> list[str]:
        """Ids of those that no check of the run is about."""
        return [one.requirement for one in self.proofs if not one.proved]

    def cell(self, column: str) -> str:
        """How many requirements hold there, fail, and could not be judged: ``12 hold, 1 FAIL``."""
        counts = Counter(
            _state(one.cells[column])
            for one in self.proofs
            if column in one.cells and column not in one.elsewhere
        )
        names = {"hold": "hold", "fail": "FAIL", "none": "not judged"}
        return ", ".join(f"{counts[key]} {name}" for key, name in names.items() if counts[key]) or "-"


def proofs_of(
    verdicts: Mapping[Key, Verdict | None],
    about: Mapping[str, CheckLine],
    requirements: Mapping[str, Statement],
    columns: Mapping[tuple[str, str], str],
    vendors: Mapping[str, str],
) -> list[Proof]:
    """Every requirement, in the order of its file.

    ``columns``: target and subject to the column's name; ``vendors``: that name to the vendor, if known.
    """
    found = {
        name: Proof(
            name,
            one.text,
            one.chapter or NO_CHAPTER,
            one.level,
            one.vendor,
            elsewhere=frozenset(column for column, vendor in vendors.items() if not one.is_about(vendor)),
        )
        for name, one in requirements.items()
    }
    for key, verdict in verdicts.items():
        check = key.check.partition("[")[0]
        line = about.get(check)
        for name in line.proves if line is not None else ():
            proof = found.setdefault(name, Proof(name))
            proof.cells.setdefault(columns[key.target, key.subject], Counter())[verdict] += 1
            if check not in proof.checks:
                proof.checks.append(check)
    return list(found.values())


def chapters(proofs: Iterable[Proof]) -> list[Chapter]:
    """The proofs by chapter, in their order."""
    found: dict[str, Chapter] = {}
    for one in proofs:
        found.setdefault(one.chapter, Chapter(one.chapter, [])).proofs.append(one)
    return list(found.values())


def tables(
    proofs: Sequence[Proof], columns: Sequence[str], *, checks: bool = False, of: int | None = None
) -> Iterator[str]:
    """Markdown that reads well in a terminal too: the chapters, then the requirements of each.

    ``checks``: name the checks of each requirement. ``of``: how many there are, if these are some.
    """
    found = chapters(proofs)
    yield f"| chapter | requirements | without checks | {' | '.join(columns)} |"
    yield f"|---|---|---|{'---|' * len(columns)}"
    for chapter in found:
        cells = " | ".join(chapter.cell(column) for column in columns)
        yield f"| {chapter.title} | {len(chapter.proofs)} | {len(chapter.unproved) or '-'} | {cells} |"
    for chapter in found:
        yield ""
        yield f"## {chapter.title}"
        yield ""
        yield f"| requirement | level | {' | '.join(columns)} |{' checks |' if checks else ''}"
        yield f"|---|---|{'---|' * (len(columns) + checks)}"
        for one in chapter.proofs:
            cells = " | ".join(one.cell(column) for column in columns)
            named = f" {', '.join(one.checks) or '-'} |" if checks else ""
            yield f"| {one.requirement} | {level_text(one)} | {cells} |{named}"
    unproved = [name for chapter in found for name in chapter.unproved]
    yield ""
    total = f" (of {of} in all)" if of is not None and of != len(proofs) else ""
    yield f"{len(proofs) - len(unproved)} of {len(proofs)} requirements have checks in this run{total}"
    if unproved:
        yield f"without a check: {', '.join(unproved)}"


def unproved(proofs: Sequence[Proof], of: int) -> Iterator[str]:
    """The requirements that no check is about, with their sentences. ``of``: how many there are."""
    for chapter in chapters(proofs):
        yield f"## {chapter.title}"
        yield ""
        yield from (f"- {one.requirement} ({level_text(one)}): {one.statement}" for one in chapter.proofs)
        yield ""
    yield f"{len(proofs)} of {of} requirements have no check in this run"


def level_text(one: Proof) -> str:
    """``must``, ``claimed, amd``."""
    return ", ".join(word for word in (one.level, one.vendor) if word not in ("", "both"))


def cell_text(counts: Mapping[Verdict | None, int] | None) -> str:
    """``12 hold``, ``11 hold, 1 FAIL``, ``none judged``; ``-`` where there is no check."""
    if not counts:
        return "-"
    good, bad = counts.get(Verdict.CONFORMANT, 0), sum(counts.get(one, 0) for one in FAILED)
    said = [f"{good} hold"] if good else []
    if bad:
        said.append(f"{bad} FAIL")
    known = counts.get(Verdict.KNOWN_DEVIATION, 0) + counts.get(Verdict.MACHINE, 0)
    if known:
        said.append(f"{known} known or the machine's")
    missing = sum(counts.get(one, 0) for one in NOT_JUDGED)
    if said and missing:
        said.append(f"{missing} not judged")
    return ", ".join(said) or "none judged"


def _state(cell: Cell) -> str:
    if any(cell[one] for one in FAILED):
        return "fail"
    return "hold" if cell[Verdict.CONFORMANT] else "none"
