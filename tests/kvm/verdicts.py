"""Judges KVM with all suites, and writes what came of it into docs/kvm.md.

    ./bootstrap python tests/kvm/verdicts.py --write docs/kvm.md

--results takes the verdicts of runs that were made already, out of their --junitxml, instead of judging; if
two have the same check, the later one counts. Without --write it prints the page. --check PAGE judges
nothing: it compares the checks that the page lists with the known deviations of hypervisor/kvm.toml. The
reasons are that file's, figures and measured values the runs'.
"""

from __future__ import annotations

import argparse
import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from touchstone.config.subjects import Subject, read_subject
from touchstone.config.waivers import Waiver
from touchstone.engine.facts import static_facts
from touchstone.pytest_plugin.collect import reason_to_skip
from touchstone.pytest_plugin.marks import CHECK
from touchstone.reporting.properties import about_of, judged_of
from touchstone.suite.model import Check
from touchstone.words import AREAS, Verdict

SUBJECT = Path(__file__).resolve().parents[2] / "hypervisor" / "kvm.toml"
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

    check: Check
    verdict: Verdict
    text: str
    """The first difference, or the reason."""


class Collector:
    """A plugin of pytest that takes the verdicts of a run."""

    def __init__(self) -> None:
        self.judged: list[Judged] = []
        self.about = ""
        self._checks: dict[str, Check] = {}
        self._skipped: dict[str, str | None] = {}
        """Why a check would not be judged now, as far as is known beforehand."""

    def read(self, results: Path) -> None:
        """Take what a run's --junitxml has, once the checks are collected."""
        for case in ET.parse(results).iter("testcase"):
            said = {entry.get("name"): entry.get("value") or "" for entry in case.iter("property")}
            if line := said.get("touchstone.about"):
                self.about = line.partition("\t")[2]
            if "touchstone.verdict" not in said or said["touchstone.check"] not in self._checks:
                continue
            texts = [
                child.get("message") or "" for child in case if child.tag in ("failure", "skipped", "error")
            ]
            check = self._checks[said["touchstone.check"]]
            self.judged = [one for one in self.judged if one.check is not check]
            verdict, text = Verdict(said["touchstone.verdict"]), "".join(texts[:1])
            if (reason := self._skipped[check.id]) is not None:
                verdict, text = Verdict.UNSUPPORTED, reason
            self.judged.append(Judged(check, verdict, text))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Of a judged check, a report has only the id."""
        for item in session.items:
            if CHECK in item.stash:
                check, target = item.stash[CHECK].check, item.stash[CHECK].target
                self._checks[check.id] = check
                facts = static_facts(target, read_subject(SUBJECT))
                self._skipped[check.id] = reason_to_skip(check, target, facts)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take one."""
        if (line := about_of(report)) is not None:
            self.about = line[1]
        if (judged := judged_of(report)) is None:
            return
        text = getattr(report, "wasxfail", "") or _reason(report)
        self.judged.append(Judged(self._checks[judged.check], judged.verdict, text))


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash is not None else report.longrepr or "")


def generated(judged: list[Judged], about: str, subject: Subject) -> Iterator[str]:
    """The part of the page that a run decides."""
    yield f"{MARK}`linux-amd`{': ' if about else ''}{about}."
    yield ""
    counts = {area: Counter(one.verdict for one in judged if one.check.area == area) for area in AREAS}
    words = [word for word in Verdict if any(counts[area][word] for area in AREAS)]
    yield f"| | {' | '.join(word.value for word in words)} |"
    yield f"|---|{'---|' * len(words)}"
    for area, found in [*counts.items(), ("all", sum(counts.values(), Counter[Verdict]()))]:
        yield f"| {area} | {' | '.join(str(found[word] or '') for word in words)} |"
    yield ""
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
    yield "QEMU's software CPU, without KVM and with it, in the same way:"
    yield ""
    for one in judged:
        if one.verdict is Verdict.MACHINE:
            yield f"- `{one.check.id}`: {one.check.title}"
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
    """Each check with its title, what was measured, and the sentence that it goes by."""
    for one in judged:
        yield f"- `{one.check.id}`: {one.check.title}. {_measured(one.text)}"
        for cite in one.check.cite:
            yield f"  - {cite.doc}, *{cite.title}*: “{' '.join(cite.says.split())}”"


def _measured(text: str) -> str:
    """The first line of a failure: its first difference."""
    found = text.strip().partition("\n")[0].removeprefix("AssertionError: ").rstrip(":")
    return f"Measured: `{found.replace('`', chr(39))}`" if found else ""


def _general(text: str) -> str:
    """A reason for many checks, without what is another one for each."""
    return (
        text.removeprefix("linux-amd cannot do this: ")
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
        "--results", type=Path, metavar="XML", action="append", help="judge nothing: what runs had"
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
    options += ["--collect-only", "-qq"] if arguments.results else []
    options += [*arguments.suites, "--target=linux-amd", f"--hypervisor={SUBJECT}"]
    pytest.main(options, plugins=[collector])
    if arguments.results:
        for results in arguments.results:
            collector.read(results)
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
