"""Judges KVM with all suites, and writes what came of it into docs/kvm.md.

    ./bootstrap python tests/kvm/verdicts.py --write docs/kvm.md

--journal takes the verdicts of runs that were made already, of linux-amd and of linux-intel, instead of
judging; if two have the same check of a target, the later one counts. Without --write it prints the page.
--check PAGE judges nothing: it compares the checks that the page lists with the known deviations of
hypervisor/kvm.toml. The reasons are that file's, figures and measured values the runs'.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from touchstone.config.subjects import Subject, read_subject
from touchstone.config.waivers import Waiver
from touchstone.engine.facts import static_facts
from touchstone.journal.read import read_journal
from touchstone.pytest_plugin.collect import reason_to_skip
from touchstone.pytest_plugin.marks import CHECK
from touchstone.reporting.properties import about_of, judged_of
from touchstone.suite.model import Check
from touchstone.words import AREAS, Verdict

SUBJECT = Path(__file__).resolve().parents[2] / "hypervisor" / "kvm.toml"
TARGETS = {"linux-amd": "QEMU", "linux-intel": "Bochs"}
"""Whose processor each has."""
MARK = "Measured on "
"""With this line begins what is generated."""
RED = (
    Verdict.DEVIATION,
    Verdict.CRASH,
    Verdict.HANG,
    Verdict.IMPROVED,
    Verdict.BLOCKED,
    Verdict.INFRASTRUCTURE,
)


@dataclass(frozen=True)
class Judged:
    """What came of one check."""

    target: str
    name: str
    """The check's id; of a Python check with parameters, each is one: ``id[parameter]``."""
    check: Check
    verdict: Verdict
    text: str
    """The first difference, or the reason."""


class Collector:
    """A plugin of pytest that takes the verdicts of a run."""

    def __init__(self) -> None:
        self.judged: list[Judged] = []
        self.about: dict[str, str] = {}
        """What each target is."""
        self._checks: dict[str, Check] = {}
        self._skipped: dict[tuple[str, str], str | None] = {}
        """Why a check of a target would not be judged now, as far as is known beforehand."""

    def read(self, path: Path) -> None:
        """Take what a run's journal has, once the checks are collected."""
        journal = read_journal(path)
        self.about |= {name: one.about for name, one in journal.targets.items() if one.about}
        for key, line in journal.judged.items():
            identifier = key.check.partition("[")[0]
            if (key.target, identifier) not in self._skipped:
                continue
            check, verdict, text = self._checks[identifier], line.verdict, line.reason
            if (evidence := journal.evidence.get(key)) is not None:
                text = evidence.text.partition("\n")[2].partition("\n")[0].removeprefix(f"{key.target}: ")
            if (reason := self._skipped[key.target, identifier]) is not None:
                verdict, text = Verdict.UNSUPPORTED, reason
            self.judged = [one for one in self.judged if (one.target, one.name) != (key.target, key.check)]
            self.judged.append(Judged(key.target, key.check, check, verdict, text))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Of a judged check, a report has only the id."""
        for item in session.items:
            if CHECK in item.stash:
                check, target = item.stash[CHECK].check, item.stash[CHECK].target
                self._checks[check.id] = check
                facts = static_facts(target, read_subject(SUBJECT))
                self._skipped[target.name, check.id] = reason_to_skip(check, target, facts)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take one."""
        if (line := about_of(report)) is not None:
            self.about[line[0]] = line[1]
        if (judged := judged_of(report)) is None:
            return
        text = getattr(report, "wasxfail", "") or _reason(report)
        check = self._checks[judged.check.partition("[")[0]]
        self.judged.append(Judged(judged.target, judged.check, check, judged.verdict, text))


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash is not None else report.longrepr or "")


def _table(judged: list[Judged], target: str, about: str) -> Iterator[str]:
    """How many checks have which verdict on a target."""
    yield f"{MARK}`{target}`{': ' if about else ''}{about}."
    yield ""
    mine = [one for one in judged if one.target == target]
    counts = {area: Counter(one.verdict for one in mine if one.check.area == area) for area in AREAS}
    words = [word for word in Verdict if any(counts[area][word] for area in AREAS)]
    yield f"| | {' | '.join(word.value for word in words)} |"
    yield f"|---|{'---|' * len(words)}"
    for area, found in [*counts.items(), ("all", sum(counts.values(), Counter[Verdict]()))]:
        yield f"| {area} | {' | '.join(str(found[word] or '') for word in words)} |"
    yield ""


def generated(judged: list[Judged], about: Mapping[str, str], subject: Subject) -> Iterator[str]:
    """The part of the page that runs decide."""
    targets = [target for target in TARGETS if any(one.target == target for one in judged)]
    for target in targets:
        yield from _table(judged, target, about.get(target, ""))
    yield "## What KVM does otherwise"
    for reason, waivers in _by_reason(subject).items():
        yield ""
        yield f"### {_capital(reason)}"
        yield ""
        if link := next((one.link for one in waivers if one.link), None):
            yield f"Where it is written: <{link}>"
            yield ""
        mine = [one for one in judged if any(waiver.covers(one.check.id) for waiver in waivers)]
        yield from _listed(one for one in mine if one.verdict is Verdict.KNOWN_DEVIATION)
    if red := [one for one in judged if one.verdict in RED]:
        yield ""
        yield "## Not explained yet"
        yield ""
        yield from _listed(red)
    yield ""
    yield "## What the processor underneath does otherwise"
    yield ""
    for target in targets:
        found = [one for one in judged if one.target == target and one.verdict is Verdict.MACHINE]
        if found:
            yield f"The CPU of {TARGETS[target]} (`{target}`), without KVM and with it, in the same way:"
            yield ""
            yield from (f"- `{one.check.id}`: {one.check.title}" for one in found)
            yield ""
    yield "## What was not judged"
    yield ""
    yield "| checks | why |"
    yield "|---|---|"
    why = Counter(_general(one.text) for one in judged if one.verdict is Verdict.UNSUPPORTED)
    for text, count in why.most_common():
        yield f"| {count} | {text} |"


def _excused(one: Judged, subject: Subject) -> Judged:
    """With the verdict that it has by what is known now."""
    known = any(waiver.covers(one.check.id) for waiver in subject.known_deviations)
    if one.verdict is Verdict.IMPROVED and not known:  # it held, and its entry is gone since
        return replace(one, verdict=Verdict.CONFORMANT)
    failed = one.verdict in (Verdict.DEVIATION, Verdict.CRASH, Verdict.HANG)
    return replace(one, verdict=Verdict.KNOWN_DEVIATION) if known and failed else one


def _by_reason(subject: Subject) -> dict[str, list[Waiver]]:
    found: dict[str, list[Waiver]] = {}
    for waiver in subject.known_deviations:
        found.setdefault(waiver.reason, []).append(waiver)
    return found


def _listed(judged: Iterator[Judged] | list[Judged]) -> Iterator[str]:
    """Each check with its title, what was measured where, and the sentence that it goes by."""
    found: dict[str, list[Judged]] = {}
    for one in judged:
        found.setdefault(one.check.id, []).append(one)
    for each in found.values():
        one = each[0]
        said = " ".join(f"On `{here.target}`: {_measured(here.text)}." for here in each)
        yield f"- `{one.check.id}`: {one.check.title}. {said}"
        for cite in one.check.cite:
            yield f"  - {cite.doc}, *{cite.title}*: “{' '.join(cite.says.split())}”"


def _measured(text: str) -> str:
    """The first line of a failure: its first difference."""
    found = text.strip().partition("\n")[0].removeprefix("AssertionError: ").rstrip(":")
    return f"`{found.replace('`', chr(39))}`" if found else "it was red"


def _general(text: str) -> str:
    """A reason for many checks, without what is another one for each."""
    return (
        re.sub("^linux-(amd|intel) cannot do this: ", "", text)
        .split(" (targets/inventory.toml")[0]
        .split("; without it: ")[0]
        .replace("|", "\\|")
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def check_page(page: Path) -> list[str]:
    """What the page and the subject's file do not agree in."""
    text = page.read_text(encoding="utf-8")
    part = text[text.index(MARK) :].partition("## What KVM does otherwise")[2].partition("\n## ")[0]
    listed = set(re.findall(r"^- `([^`]+)`", part, re.MULTILINE))
    known = read_subject(SUBJECT).known_deviations
    wrong = [
        f"{one.where}: the page lists no check for {one.check}"
        for one in known
        if not any(one.covers(check) for check in listed)
    ]
    return wrong + [
        f"{page}: {check} is no known deviation of {SUBJECT.name}"
        for check in sorted(listed)
        if not any(one.covers(check) for one in known)
    ]


def main() -> None:
    """Judge, and print or write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, metavar="PAGE", help="replace what is measured in this page")
    parser.add_argument("--check", type=Path, metavar="PAGE", help="only compare this page with kvm.toml")
    parser.add_argument(
        "--journal", type=Path, action="append", help="judge nothing: what runs had, by their journals"
    )
    parser.add_argument("suites", nargs="*", default=["conformance"])
    arguments = parser.parse_args()
    if arguments.check:
        if wrong := check_page(arguments.check):
            again = f"make it again: ./bootstrap python tests/kvm/verdicts.py --write {arguments.check}"
            sys.exit("\n".join([*wrong, again]))
        return
    collector = Collector()
    # We are imported already, which pytest would like to rewrite asserts in.
    # A known deviation is to show what was measured.
    options = [
        "-q",
        "--tb=short",
        "--runxfail",
        "-p",
        "no:cacheprovider",
        "-Wignore::pytest.PytestAssertRewriteWarning",
    ]
    options += ["--collect-only", "-qq"] if arguments.journal else []
    options += [f"--target={target}" for target in TARGETS] if arguments.journal else ["--target=linux-amd"]
    pytest.main([*options, *arguments.suites, f"--hypervisor={SUBJECT}"], plugins=[collector])
    for journal in arguments.journal or ():
        collector.read(journal)
    if not collector.judged:
        sys.exit("nothing was judged")
    subject = read_subject(SUBJECT)
    judged = [_excused(one, subject) for one in collector.judged]
    text = "\n".join(generated(judged, collector.about, subject)) + "\n"
    if arguments.write:
        page = arguments.write.read_text(encoding="utf-8")
        arguments.write.write_text(page[: page.index(MARK)] + text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
