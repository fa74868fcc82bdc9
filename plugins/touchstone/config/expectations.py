"""Known deviations as data: which ones a run asks for, which it has made stale, which are about to end.

Entries are put into a TOML file as text, behind those that are there: whatever people wrote stays as it is.
(A TOML library would move tables that are interleaved, as the inventory's are.)
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from touchstone.config.inventory import Inventory
from touchstone.config.subjects import Subject
from touchstone.config.tomlfile import KeyPath, TomlFile
from touchstone.config.waivers import Waiver
from touchstone.journal.lines import JudgedLine, Key
from touchstone.journal.read import Journal
from touchstone.words import Verdict

NOTICE = datetime.timedelta(days=14)
"""How long before a known deviation ends its end is announced."""
ACCUSED = (Verdict.DEVIATION, Verdict.CRASH, Verdict.HANG)
_LONGEST = 160
"""Characters of a reason."""
_GLOB = re.compile(r"[*?[]")


@dataclass(frozen=True)
class Proposal:
    """A known deviation that would excuse what a run has found."""

    check: str
    reason: str
    target: str = ""
    """The entry of the inventory that it belongs to; empty: it is the subject's."""
    when: str = ""
    """Of the subject's: on which targets; empty: on all."""


@dataclass
class Expectations:
    """What a run says about known deviations."""

    proposals: list[Proposal] = field(default_factory=list)
    stale: dict[str, list[Key]] = field(default_factory=dict)
    """``file:line`` of an entry that excuses nothing, to the checks that hold although it says otherwise."""
    expired: dict[str, list[Key]] = field(default_factory=dict)
    """``file:line`` of an entry that has ended, to the checks that it would excuse."""


def expectations(journals: Iterable[Journal], subject: Subject, inventory: Inventory) -> Expectations:
    """What runs of one subject say. The last journal has the last word on a check."""
    judged: dict[Key, JudgedLine] = {}
    cpus: dict[str, str] = {}
    claimed: set[str] = set()
    """Checks of what only a hypervisor does: the bare machine need not hold them."""
    for journal in journals:
        judged |= {key: line for key, line in journal.judged.items() if key.subject == subject.name}
        claimed |= {check for check, about in journal.checks.items() if about.claims}
        cpus |= {name: line.facts.get("cpus", "") for name, line in journal.targets.items()}
    found = Expectations()
    used: set[str] = set()
    accused: dict[str, dict[Key, JudgedLine]] = {}
    for key, line in judged.items():
        check, base = key.check.partition("[")[0], key.target.partition("+")[0]
        if line.verdict is Verdict.IMPROVED and line.deviation:
            found.stale.setdefault(line.deviation, []).append(key)
        elif line.verdict is Verdict.KNOWN_DEVIATION:
            used.add(line.deviation)
        elif line.verdict in ACCUSED and (over := _expired(check, base, subject, inventory)) is not None:
            found.expired.setdefault(over.where, []).append(key)
        elif line.verdict in ACCUSED and not subject.absent:
            accused.setdefault(check, {})[key] = line
        elif (line.verdict in ACCUSED and check not in claimed) or (
            line.verdict is Verdict.MACHINE and line.listed is False
        ):
            found.proposals.append(Proposal(check, reason_of(line), target=base))
    found.stale = {where: checks for where, checks in found.stale.items() if where not in used}
    for check, lines in accused.items():
        others = [key for key in judged if key.check.partition("[")[0] == check and key not in lines]
        fine = [key.target for key in others if judged[key].verdict is Verdict.CONFORMANT]
        where = when_of([key.target for key in lines], fine, cpus)
        found.proposals.append(Proposal(check, reason_of(next(iter(lines.values()))), when=where))
    found.proposals = sorted(dict.fromkeys(found.proposals), key=lambda one: (one.target, one.check))
    return found


def _expired(check: str, target: str, subject: Subject, inventory: Inventory) -> Waiver | None:
    """The entry that covers a check, and has ended."""
    of_target = inventory.targets[target].known_deviations if target in inventory.targets else ()
    today = datetime.date.today()
    entries = (*subject.known_deviations, *of_target)
    return next((one for one in entries if one.covers(check) and one.expired(today)), None)


def reason_of(line: JudgedLine) -> str:
    """What is wrong, as the run has seen it; somebody writes a better one when reviewing it."""
    text = (line.cause or line.reason or line.verdict.value).split("\n")[0]
    text = text if line.verdict in (Verdict.DEVIATION, Verdict.MACHINE) else f"{line.verdict.value}: {text}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def when_of(deviating: Sequence[str], fine: Collection[str], cpus: Mapping[str, str]) -> str:
    """The requirement that tells the targets on which a check deviates from those on which it holds.

    Targets that were not tried count as fine: it names those that were, unless several were and all deviate.
    """
    if not fine and len({name.partition("+")[0] for name in deviating}) > 1:
        return ""
    fine_bases = {name.partition("+")[0] for name in fine}
    terms = []
    for name in deviating:
        base = name.partition("+")[0]
        number = cpus.get(name, "")
        told = base in fine_bases and number and number not in {cpus.get(one) for one in fine}
        terms.append(f"target == {base} and cpus == {number}" if told else f"target == {base}")
    terms = sorted(dict.fromkeys(terms))
    return (
        terms[0] if len(terms) == 1 else " or ".join(f"({one})" if " and " in one else one for one in terms)
    )


def ending_soon(waivers: Iterable[Waiver], today: datetime.date) -> Iterator[str]:
    """Entries that end within the time of notice, in sentences."""
    for one in dict.fromkeys(waivers):
        if one.until is not None and today < one.until <= today + NOTICE:
            days = (one.until - today).days
            owner = f", owner {one.owner}" if one.owner else ""
            yield (
                f"{one.where}: the known deviation {one.check} ends on {one.until}, in {days} "
                f"day{'s' if days != 1 else ''}{owner}: then it fails again"
            )


# --- the text of a file


def with_entries(file: TomlFile, text: str, table: KeyPath, entries: Sequence[Mapping[str, object]]) -> str:
    """The text of a file with more ``[[...known-deviations]]`` of a table (empty: the file's own)."""
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    key_path: KeyPath = (*table, "known-deviations")
    header = "[[" + ".".join(map(str, key_path)) + "]]"
    new = []
    for entry in entries:
        new += ["\n", f"{header}\n", *(f"{key} = {_toml(value)}\n" for key, value in entry.items())]
    at = _end_of(file, lines, key_path, table)
    return "".join([*lines[:at], *new, *lines[at:]])


def without_entry(text: str, line: int) -> str:
    """The text of a file without the entry whose header is in a line (from 1)."""
    lines = text.splitlines(keepends=True)
    end = _block_end(lines, line - 1)
    while end < len(lines) and not lines[end].strip():
        end += 1
    return "".join([*lines[: line - 1], *lines[end:]])


def _end_of(file: TomlFile, lines: Sequence[str], key_path: KeyPath, table: KeyPath) -> int:
    """The index behind the last entry of a list, or behind the table that has none yet."""
    entries = [line for path, line in file.lines.items() if path[: len(key_path)] == key_path]
    if not entries and table:
        entries = [line for path, line in file.lines.items() if path[: len(table)] == table]
    return _block_end(lines, max(entries) - 1) if entries else len(lines)


def _block_end(lines: Sequence[str], start: int) -> int:
    """The index behind the last line with content of the block that a line belongs to."""
    end = start + 1
    for index in range(start + 1, len(lines)):
        stripped = lines[index].strip()
        if re.match(r"\[{1,2}[^\[\]]+\]{1,2}\s*(#.*)?$", stripped) and lines[index][0] == "[":
            break
        if stripped and not stripped.startswith("#"):
            end = index + 1
    return end


def _toml(value: object) -> str:
    """A text or a date."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def removable(waiver: Waiver) -> bool:
    """Whether one check that holds is enough to take the entry out: it names one, and no other."""
    return waiver.alone and not _GLOB.search(waiver.check)
