"""The catalogue: faults of Veneer, each an edit of one file, read from ``catalogue/*.toml``.

A file has entries of two forms. ``[[fault]]`` is one fault. ``[[table]]`` makes one for each of its
``rows``: the table's own keys are what its rows have in common, and ``<name>`` in any text is the row's
value of that name.
"""

from __future__ import annotations

import functools
import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tests.support.c_programs import PROGRAMS

VENDORS = {"amd": "qemu-amd", "intel": "bochs-intel", "both": "qemu-amd"}
"""Whose processors a fault is about, and the target on which it is shown if it does not say."""
KINDS = {
    "load": "state that loading has to take over",
    "unload": "state that unloading has to give back",
    "host": "the state of host mode",
    "exit": "what an exit must leave alone",
    "intercept": "what exits, and what does not",
    "control": "controls of the VMCB or VMCS",
    "cpuid": "answers of CPUID",
    "msr": "guarded MSRs",
    "register": "control registers, XCR0",
    "nested": "hiding of VMX and SVM",
    "event": "exceptions, NMIs and interrupts",
    "completion": "ending an instruction that exited",
    "memory": "nested page tables, memory types, TLB",
    "lifecycle": "loading and unloading of all CPUs, refusals",
    "report": "counters, trace and answers",
    "linux": "what Veneer owes a running Linux",
}
"""Kinds of faults."""
NEEDED = ("id", "title", "kind", "vendor", "file", "find", "replace")
ENDS = ("check", "equivalent", "unshowable", "open")
"""What an entry says of how it is seen: one of them."""
MACHINES = ("module", "payload", "autopsy")
"""What ``program`` may name beside C programs: tests/linux in a Linux, the payload that starts CPUs, and an
autopsy of a machine in which Veneer is loaded."""
KEYS = {*NEEDED, *ENDS, "also-find", "also-replace", "target", "run", "alone", "sample", "program"}


class CatalogueError(Exception):
    """What is wrong with the catalogue, one line for each mistake."""


@dataclass(frozen=True)
class Edit:
    """A text that occurs once in a file, and what takes its place."""

    file: str
    """Below ``hypervisor/``."""
    find: str
    replace: str


@dataclass(frozen=True)
class Fault:
    """One entry."""

    id: str
    title: str
    """What Veneer does with it, as a sentence without a subject: ``forget ...``."""
    kind: str
    vendor: str
    target: str
    edits: tuple[Edit, ...]
    check: str
    """The id of the check that is meant to see it; empty if ``equivalent``, ``unshowable`` or ``open``."""
    run: str = ""
    """Node id of the check, where its id is not found in a suite."""
    alone: bool = False
    """The machine does not live on, so that nothing else can be measured on it."""
    sample: bool = False
    """It is run with the project's own tests."""
    equivalent: str = ""
    """Why nobody can tell it from Veneer without the fault."""
    unshowable: str = ""
    """The feature that no target has."""
    open: str = ""
    """Why no check sees it yet."""
    program: str = ""
    """What sees it where it is ``unshowable``: one of tests/support/c_programs.py or of MACHINES."""
    place: str = ""
    """Where the entry is, for messages: ``svm.toml, [svm-load-cr2]``."""

    @property
    def digest(self) -> str:
        """Names what is run: with another edit, check or target it is another one."""
        text = repr((self.id, self.edits, self.check, self.target))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@functools.cache
def catalogue() -> dict[str, Fault]:
    """The faults of ``catalogue/``, by id: read once, and not to be changed."""
    return read_catalogue(Path(__file__).parent / "catalogue")


def read_catalogue(folder: Path) -> dict[str, Fault]:
    """All faults, by id. CatalogueError with all mistakes at once."""
    errors: list[str] = []
    faults: list[Fault] = []
    for path in sorted(folder.glob("*.toml")):
        for entry in _entries(path, errors):
            faults.extend(_fault(path, entry, errors))
    for name, count in Counter(fault.id for fault in faults).items():
        if count > 1:
            errors.append(f"{name}: {count} entries have this id")
    if errors:
        raise CatalogueError("\n".join(errors))
    return {fault.id: fault for fault in faults}


def find_outdated(faults: Iterable[Fault], hypervisor: Path, checks: Container[str]) -> dict[str, list[str]]:
    """What is wrong with the faults that Veneer or the suites have left behind, by id.

    ``checks``: the ids that there are. Such a fault cannot be run; the others can.
    """
    texts: dict[str, str] = {}
    found = {fault.id: list(_mistakes(fault, hypervisor, texts, checks)) for fault in faults}
    return {name: mistakes for name, mistakes in found.items() if mistakes}


def apply(edits: tuple[Edit, ...], hypervisor: Path, place: str) -> None:
    """Change a copy of ``hypervisor/``. CatalogueError if an edit no longer applies."""
    for edit in edits:
        path = hypervisor / edit.file
        text = path.read_text(encoding="utf-8")
        if (count := text.count(edit.find)) != 1:
            raise CatalogueError(_not_once(place, edit, count))
        path.write_text(text.replace(edit.find, edit.replace), encoding="utf-8")


def matching(faults: dict[str, Fault], patterns: list[str]) -> list[Fault]:
    """The faults whose ids match any of the globs. CatalogueError names a glob that matches none."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in faults):
            raise CatalogueError(f"--fault={pattern}: no fault of the catalogue has such an id")
    return [fault for name, fault in faults.items() if any(fnmatchcase(name, one) for one in patterns)]


def _entries(path: Path, errors: list[str]) -> Iterator[dict[str, Any]]:
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    for key in document.keys() - {"fault", "table"}:
        errors.append(f"{path.name}: there are [[fault]] and [[table]], no [{key}]")
    yield from document.get("fault", [])
    for table in document.get("table", []):
        common = {key: value for key, value in table.items() if key != "rows"}
        for row in table.get("rows", []):
            # The row's keys come first: one of them may be a key of the table that this row has otherwise.
            texts = {**common, **{key: value for key, value in row.items() if key in KEYS and key != "id"}}
            values = {key: str(value) for key, value in row.items()}
            entry = {key: _filled(value, values) for key, value in texts.items()}
            if row.keys() & {"equivalent", "unshowable", "open"}:
                entry.pop("check", None)
            yield entry


def _filled(text: Any, values: dict[str, str]) -> Any:
    """The text with the row's values in it; in a value, too, one other value."""
    if not isinstance(text, str):
        return text
    for _ in range(2):
        text = re.sub(r"<([a-z-]+)>", lambda match: values.get(match[1], match[0]), text)
    return text


def _fault(path: Path, entry: dict[str, Any], errors: list[str]) -> Iterator[Fault]:
    place = f"{path.name}, {entry.get('id', 'an entry without an id')}"
    wrong = [f"{place}: no key '{key}'" for key in sorted(entry.keys() - KEYS)]
    wrong += [f"{place}: '{key}' is missing" for key in NEEDED if key not in entry]
    if entry.get("kind", "load") not in KINDS:
        wrong.append(f"{place}: no kind '{entry['kind']}'; there are {', '.join(KINDS)}")
    if entry.get("vendor", "amd") not in VENDORS:
        wrong.append(f"{place}: no vendor '{entry['vendor']}'; there are {', '.join(VENDORS)}")
    if sum(key in entry for key in ENDS) != 1:
        wrong.append(f"{place}: it needs one of 'check', 'equivalent', 'unshowable' and 'open'")
    programs = (*PROGRAMS, *MACHINES)
    if entry.get("program", "core") not in programs:
        wrong.append(f"{place}: no program '{entry['program']}'; there are {', '.join(programs)}")
    if "program" in entry and "unshowable" not in entry:
        wrong.append(f"{place}: 'program' is for what no target shows, beside 'unshowable'")
    wrong += [
        f"{place}: <{name}> of '{key}' is no value of the row"
        for key, text in entry.items()
        if isinstance(text, str)
        for name in re.findall(r"<([a-z]+)>", text)
    ]
    if entry.get("find") == entry.get("replace"):
        wrong.append(f"{place}: it changes nothing")
    if wrong:
        errors.extend(wrong)
        return
    edits = [Edit(entry["file"], entry["find"], entry["replace"])]
    if "also-find" in entry:
        edits.append(Edit(entry["file"], entry["also-find"], entry.get("also-replace", "")))
    yield Fault(
        id=entry["id"],
        title=entry["title"],
        kind=entry["kind"],
        vendor=entry["vendor"],
        target=entry.get("target", VENDORS[entry["vendor"]]),
        edits=tuple(edits),
        check=entry.get("check", ""),
        run=entry.get("run", ""),
        alone=entry.get("alone", False),
        sample=entry.get("sample", False),
        equivalent=entry.get("equivalent", ""),
        unshowable=entry.get("unshowable", ""),
        open=entry.get("open", ""),
        program=entry.get("program", ""),
        place=place,
    )


def _mistakes(fault: Fault, hypervisor: Path, texts: dict[str, str], checks: Container[str]) -> Iterator[str]:
    for edit in fault.edits:
        path = hypervisor / edit.file
        if edit.file not in texts:
            texts[edit.file] = path.read_text(encoding="utf-8") if path.is_file() else ""
        if (count := texts[edit.file].count(edit.find)) != 1:
            yield _not_once(fault.place, edit, count)
    if fault.check and not fault.run and fault.check not in checks:
        yield f"{fault.place}: no suite has a check '{fault.check}'"


def _not_once(place: str, edit: Edit, count: int) -> str:
    return f"{place}: {edit.find!r} occurs {count} times in hypervisor/{edit.file}, and must occur once"
