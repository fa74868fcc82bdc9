"""``touchstone expect``: known deviations that a run asks for or has made stale, or that are about to end."""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from touchstone.config.expectations import (
    Expectations,
    Proposal,
    ending_soon,
    expectations,
    removable,
    with_entries,
    without_entry,
)
from touchstone.config.includes import SHIPPED
from touchstone.config.inventory import Inventory, read_inventory
from touchstone.config.subjects import BARE_MACHINE, NONE, Subject, read_subject
from touchstone.config.tomlfile import KeyPath, TomlError, TomlFile
from touchstone.config.waivers import Waiver
from touchstone.journal.read import Journal, JournalError, read_journal
from touchstone.shipped import source_root

DAYS = 90
"""Until when a new entry excuses, if nothing else is said."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``expect`` to the command ``touchstone``."""
    parser = commands.add_parser(
        "expect",
        help="write down as known deviations what a run has found",
        description="Say which known deviations a run asks for, which of them it has made stale, and which "
        "are about to end. --update writes them into the subject's file and the inventory, for a review.",
        epilog="Status: 0 if there is nothing to write, 1 if there is without --update, 2 for errors.",
    )
    parser.add_argument("journals", nargs="+", type=Path, metavar="JOURNAL", help="of runs of one subject")
    parser.add_argument(
        "--update", action="store_true", help="write new entries, and take out those that are stale"
    )
    parser.add_argument("--owner", metavar="NAME", help="who takes care of it (default: git's user.name)")
    parser.add_argument("--link", metavar="URL", help="where it is tracked")
    parser.add_argument(
        "--until",
        metavar="DATE",
        type=_date,
        help=f"the day from which they count as failures again (default: in {DAYS} days)",
    )
    parser.add_argument(
        "--subject", type=Path, metavar="FILE", help="the subject's file (default: hypervisor/NAME.toml)"
    )
    parser.add_argument(
        "--inventory", type=Path, metavar="FILE", help="the inventory (default: targets/inventory.toml)"
    )
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    """Say what is to be written, or write it."""
    try:
        journals = [read_journal(path) for path in asked.journals]
        subject = _subject(journals, asked.subject)
        inventory_path = asked.inventory or _found("targets", "inventory.toml")
        inventory = read_inventory(inventory_path, str(inventory_path))
    except (JournalError, TomlError, LookupError) as error:
        print(f"touchstone expect: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"touchstone expect: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    found = expectations(journals, subject, inventory)
    entries = _entries(subject, inventory)
    # The file may have changed since: what stands in that line now must be about these checks.
    stale = [
        one
        for one in entries
        if one.where in found.stale
        and all(one.covers(key.check.partition("[")[0]) for key in found.stale[one.where])
    ]
    for line in _said(found, stale, entries, subject):
        print(line)
    gone = [one for one in stale if removable(one)]
    if not found.proposals and not gone:
        return 0
    if not asked.update:
        print("nothing was written: --update writes it")
        return 1
    more: dict[str, object] = {"owner": asked.owner or _git_user()}
    if asked.link:
        more["link"] = asked.link
    more["until"] = asked.until or datetime.date.today() + datetime.timedelta(days=DAYS)
    try:
        if subject.path is not None:
            of_subject = [one for one in found.proposals if not one.target]
            _write(subject.path, str(subject.path), of_subject, gone, more)
            read_subject(subject.path)
        for shown, some in _by_file(found.proposals, gone, inventory).items():
            if shown.startswith(SHIPPED):
                names = ", ".join(one.check for one in some)
                print(f"not written: {names}: {shown} comes with Touchstone: include a copy of it instead")
            elif shown != str(subject.path):
                _write(Path(shown), shown, some, gone, more)
        read_inventory(inventory_path)
    except (TomlError, OSError) as error:
        print(f"touchstone expect: error: {error}", file=sys.stderr)
        return 2
    return 0


def _said(
    found: Expectations, stale: Sequence[Waiver], entries: Sequence[Waiver], subject: Subject
) -> Iterator[str]:
    for one in found.proposals:
        where = one.target or f"{subject.name}{f', {one.when}' if one.when else ''}"
        yield f"new: {one.check} ({where}): {one.reason}"
    for waiver in stale:
        checks = ", ".join(map(str, found.stale[waiver.where]))
        out = ""
        if not waiver.alone:
            out = "; it is one of several in its entry: take it out by hand"
        elif not removable(waiver):
            out = "; it is a glob: take it out by hand if it says nothing else"
        yield f"stale: {waiver.where}: {waiver.check}: these hold now: {checks}{out}"
    for where, failing in found.expired.items():
        names = ", ".join(map(str, failing))
        yield f"expired: {where}: fails again: {names}: mend it, or give it another day"
    yield from (f"ends soon: {line}" for line in ending_soon(entries, datetime.date.today()))


def _write(
    path: Path, shown: str, proposals: Sequence[Proposal], gone: Sequence[Waiver], more: dict[str, object]
) -> None:
    """Write a file anew, if there is something to change."""
    text = before = path.read_text(encoding="utf-8")
    mine = [one for one in gone if one.where.rpartition(":")[0] == shown]
    for one in sorted(mine, key=lambda one: -int(one.where.rpartition(":")[2])):
        text = without_entry(text, int(one.where.rpartition(":")[2]))
    tables: dict[KeyPath, list[Proposal]] = {}
    for proposal in proposals:
        tables.setdefault(("targets", proposal.target) if proposal.target else (), []).append(proposal)
    for table, some in tables.items():
        path_now = TomlFile.parsed(text, path, shown)
        entries = [_entry(one, more) for one in some]
        text = with_entries(path_now, text, table, entries)
    if text != before:
        TomlFile.parsed(text, path, shown)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {shown}: {len(proposals)} new, {len(mine)} taken out")


def _by_file(
    proposals: Sequence[Proposal], gone: Sequence[Waiver], inventory: Inventory
) -> dict[str, list[Proposal]]:
    """The files of an inventory that are to be changed, with what is new in each."""
    found: dict[str, list[Proposal]] = {one.where.rpartition(":")[0]: [] for one in gone}
    for one in proposals:
        if one.target in inventory.targets:
            found.setdefault(inventory.targets[one.target].where.rpartition(":")[0], []).append(one)
        elif one.target:
            print(f"not written: {one.check}: {inventory.shown} has no target {one.target} any more")
    return found


def _entry(one: Proposal, more: dict[str, object]) -> dict[str, object]:
    if one.target:  # of a machine: nobody owns it
        return {"check": one.check, "reason": one.reason} | ({"link": more["link"]} if "link" in more else {})
    return {"check": one.check, "reason": one.reason} | ({"when": one.when} if one.when else {}) | more


def _subject(journals: Sequence[Journal], named: Path | None) -> Subject:
    names = {journal.runs[-1].subject.name for journal in journals}
    if len(names) > 1:
        raise LookupError(f"the journals are about {', '.join(sorted(names))}: give those of one subject")
    (name,) = names
    if name == NONE:
        return BARE_MACHINE
    path = named or _found("hypervisor", f"{name}.toml")
    subject = read_subject(path, str(path))
    if subject.name != name:
        raise LookupError(f"{path} is about {subject.name}, and the run about {name}: give --subject=FILE")
    return subject


def _found(*parts: str) -> Path:
    here = Path(*parts)
    return here if here.is_file() else source_root().joinpath(*parts)


def _entries(subject: Subject, inventory: Inventory) -> list[Waiver]:
    of_targets = [one for target in inventory.targets.values() for one in target.known_deviations]
    return list(dict.fromkeys((*subject.known_deviations, *of_targets)))


def _git_user() -> str:
    try:
        done = subprocess.run(
            ["git", "config", "user.name"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return "nobody yet"
    return done.stdout.strip() or "nobody yet"


def _date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date such as 2027-01-31") from None
