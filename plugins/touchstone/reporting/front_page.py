"""The first page of a night's report, without scripts: what broke, where and since when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from touchstone.journal.compare import SHIFT
from touchstone.journal.nights import FAILED, NOT_JUDGED
from touchstone.reporting.overview import (
    FAILING,
    FIRST,
    REGRESSION,
    Column,
    CostHistory,
    Counted,
    Failures,
    Fixed,
    Overview,
    areas_of,
    counted,
)
from touchstone.reporting.packed_page import fragment
from touchstone.reporting.plot import line_plot
from touchstone.reporting.proofs import Proof, chapters, level_text
from touchstone.reporting.summary import (
    FIXED,
    HEADINGS,
    failed_when,
    fixed_in_all,
    lab,
    missing,
    scores,
    verdict_of,
)
from touchstone.words import Verdict

_STYLE = """
:root { color-scheme: light dark; --bad: #b71c1c; --good: #256b29; --lab: #6a3fa6; --quiet: #666; }
@media (prefers-color-scheme: dark) {
  :root { --bad: #ff8a80; --good: #81c784; --lab: #c5a3f7; --quiet: #a3a3a3; }
}
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 75rem; padding: 1rem; }
h1 { margin: 0 0 .3rem; } h1.bad, .bad { color: var(--bad); } h1.good, .good { color: var(--good); }
.lab { color: var(--lab); } .quiet, td.none { color: var(--quiet); }
h2 { margin: 1.6rem 0 .4rem; font-size: 1.15rem; } p { margin: .3rem 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
small { color: var(--quiet); font-weight: normal; }
th, td { border: 1px solid #8885; padding: .25rem .5rem; text-align: left; vertical-align: top; }
td.bad { background: #c6282822; } td.good { background: #2e7d3218; } td.lab { background: #7b4fb51f; }
li { margin: .35rem 0; } code { font-size: .92em; overflow-wrap: anywhere; } summary { cursor: pointer; }
details { display: inline-block; vertical-align: top; } details[open] { display: block; }
details.chapter { display: block; margin: .25rem 0; }
details.older, details.older[open] { display: block; margin: .4rem 0; }
.bar { display: flex; height: .8rem; width: 16rem; max-width: 50vw; background: #8883; }
.bar span { display: block; min-width: 2px; }
svg { display: block; overflow: visible; } svg path { fill: none; stroke: currentColor; }
svg circle { fill: currentColor; }
.bar .g { background: var(--good); } .bar .b { background: var(--bad); } .bar .l { background: var(--lab); }
@media (max-width: 42rem) {
  .wide:is(.areas, .runs, .proofs) :is(table, tbody, tr, th, td) { display: block; border: 0; }
  .wide:is(.areas, .proofs) :is(tr:first-child, td.none) { display: none; }
  :is(.areas, .proofs) td[data-column]::before { content: attr(data-column) ": "; color: var(--quiet); }
  .wide.proofs td { display: inline-block; padding: 0 .4rem; margin: 0 .3rem .2rem 0; }
  ul { padding-left: 1rem; }
}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_WRONG = (*FAILED, Verdict.IMPROVED, *NOT_JUDGED)
_CHECKS = 12
"""Checks of a cause and a target that are named without a click."""
_RUNS = 7
"""Runs that are shown without a click."""
_SHIFTS = 5
"""Nights with other costs than the night before that are shown."""


def front_page(found: Overview, title: str, checks: str = "") -> str:
    """The page. ``checks``: address of the page that has every check, relative to this one; empty: none."""
    return "\n".join(_page(found, title, checks)) + "\n"


def _page(found: Overview, title: str, checks: str) -> Iterator[str]:
    yield '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(title)}: {escape(verdict_of(found))}</title><style>{_STYLE}</style></head><body>"
    judged = any(judged for _, judged in found.scores.values())
    state = "bad" if found.failures else "good" if judged else "lab"
    yield f'<p class="quiet">{escape(title)}</p><h1 class="{state}">{escape(verdict_of(found))}</h1>'
    before = escape(found.before or "no earlier run")
    yield f"<p>{escape(found.about)}<br><small>compared with {before}</small></p>"
    fixed = f", {fixed_in_all(found)} fixed" if found.fixed else ""
    yield f"<p><b>Hypervisor:</b> {escape(scores(found))}{fixed}</p>"
    yield f'<p><b>Lab:</b> <span class="{"lab" if found.trouble else ""}">{escape(lab(found))}</span></p>'
    if found.missing:
        yield f'<p><b>Not in this run:</b> <span class="lab">{escape(missing(found))}</span></p>'
    if checks:
        yield f'<p><a href="{escape(checks)}">Every check, with its evidence</a></p>'
    yield from _failures(found, REGRESSION, checks)
    yield from _fixed(found, checks)
    areas = areas_of(found)
    rows = [
        (escape(name), [(_counted(row.get(area, Counter())), _class(row.get(area))) for area in areas])
        for name, row in found.areas.items()
    ]
    yield "<h2>Targets and areas</h2>"
    yield from _table(["", *areas], rows, "areas")
    yield from _failures(found, FIRST, checks)
    yield from _failures(found, FAILING, checks)
    if found.trouble:
        yield '<h2 class="lab">Lab trouble, not the hypervisor\'s fault</h2><ul>'
        for trouble in found.trouble:
            yield f"<li><b>{escape(trouble.reason)}</b><br>"
            yield f"{escape(trouble.target)}: {_names(trouble.checks)}</li>"
        yield "</ul>"
    yield "<h2>Run by run</h2>"
    yield from _trend(found)
    yield from _costs(found)
    yield "<h2>Requirements and targets</h2>"
    yield from _requirements(found)
    yield "<h2>What the targets are</h2><ul>"
    yield from (f"<li><b>{escape(name)}</b>: {escape(facts)}</li>" for name, facts in found.targets.items())
    yield "</ul></body></html>"


def _costs(found: Overview) -> Iterator[str]:
    """A row for each cost, a plot over the nights for each target."""
    if not found.costs:
        return
    columns = list(dict.fromkeys(one.column for one in found.costs))
    rows: dict[str, dict[str, CostHistory]] = {}
    for one in found.costs:
        rows.setdefault(one.what, {})[one.column] = one
    units = ", ".join(dict.fromkeys(one.unit for one in found.costs))
    yield f"<h2>Costs, in {escape(units)}</h2>"
    head = "".join(f"<th>{escape(one)}</th>" for one in columns)
    yield f'<div class="wide"><table><tr><th></th>{head}</tr>'
    for what, cells in rows.items():
        shown = "".join(_cost(cells.get(column)) for column in columns)
        yield f"<tr><th>{escape(what)}</th>{shown}</tr>"
    yield "</table></div>"
    nights = sorted({when for one in found.costs for when, _ in one.values})
    if len(nights) > 1:
        yield f'<p class="quiet">Plotted from {escape(nights[0])} to {escape(nights[-1])}.</p>'
    yield from _shifts(found.costs)


def _shifts(costs: Sequence[CostHistory]) -> Iterator[str]:
    """Since when something costs what it does: the newest first."""
    found: dict[str, dict[tuple[str, str], list[str]]] = {}
    for one in costs:
        for when, change in one.shifts():
            found.setdefault(when, {}).setdefault((one.what, f"{change:+.0%}"), []).append(one.column)
    if found:
        yield f"<p>Changes of more than {SHIFT:.0%} from one run to the next:</p><ul>"
        for when in sorted(found, reverse=True)[:_SHIFTS]:
            named = [
                f'{escape(what)} <b class="{"bad" if change[0] == "+" else "good"}">{change}</b> '
                f"<small>{escape(', '.join(columns))}</small>"
                for (what, change), columns in found[when].items()
            ]
            said = "; ".join(named)
            if len(named) > _CHECKS:
                said = f"<details><summary>{len(named)} costs</summary>{said}</details>"
            yield f"<li>{escape(when)}: {said}</li>"
        yield "</ul>"


def _cost(history: CostHistory | None) -> str:
    if history is None or not history.values:
        return '<td class="none">-</td>'
    value = history.values[-1][1]
    before = history.values[-2][1] if len(history.values) > 1 else value
    change, kind = "", ""
    if before and abs(value / before - 1) > SHIFT:
        kind = "bad" if value > before else "good"
        change = f" <b>{value / before - 1:+.0%}</b>"
    elif value != before:
        change = f" <small>{value - before:+g}</small>"
    return f'<td class="{kind}">{value:g}{change}<br>{line_plot(history.values)}</td>'


def _requirements(found: Overview) -> Iterator[str]:
    """A line per chapter, which opens; those in which something fails are open, what fails first."""
    for chapter in chapters(found.proofs):
        failing = any(one.fails for one in chapter.proofs)
        cells = "; ".join(_chapter_cell(name, chapter.cell(name)) for name in found.columns)
        missing = f", {len(chapter.unproved)} without a check in this run" if chapter.unproved else ""
        yield f'<details class="chapter"{" open" if failing else ""}><summary><b>{escape(chapter.title)}</b> '
        yield f"<small>{len(chapter.proofs)} requirements{missing}; {cells}</small></summary>"
        yield from _table(
            ["", "", *found.columns],
            [
                (
                    f"{escape(one.requirement)}<br><small>{escape(one.statement)}</small>",
                    [(_about(one), ""), *(_proof_cell(one, name) for name in found.columns)],
                )
                for one in sorted(chapter.proofs, key=lambda one: not one.fails)
            ],
            "proofs",
        )
        yield "</details>"


def _chapter_cell(column: str, said: str) -> str:
    text = escape(f"{column}: {said}")
    return f'<b class="bad">{text}</b>' if "FAIL" in said else text


def _about(one: Proof) -> str:
    return escape(level_text(one)) + (
        "" if one.proved else '<br><span class="quiet">no check in this run</span>'
    )


def _proof_cell(one: Proof, column: str) -> tuple[str, str]:
    return escape(one.cell(column)), "none" if column in one.elsewhere else _class(one.cells.get(column))


def _failures(found: Overview, kind: str, page: str) -> Iterator[str]:
    failures = [one for one in found.failures if one.kind == kind]
    if failures:
        yield f"<h2>{HEADINGS[kind]}: {sum(one.count for one in failures)}{_causes(failures)}</h2><ul>"
        for one in failures:
            yield from _failure(one, found.machines, page)
        yield "</ul>"


def _fixed(found: Overview, page: str) -> Iterator[str]:
    if found.fixed:
        yield f'<h2 class="good">{FIXED}: {fixed_in_all(found)}{_causes(found.fixed)}</h2><ul>'
        for one in found.fixed:
            yield f"<li><b>{escape(one.cause) or 'no cause known'}</b> ({one.verdict.value})<br>"
            yield f"failed {escape(failed_when(one))}"
            yield from _checks(one.checks, found.machines, page)
            yield "</li>"
        yield "</ul>"


def _causes(entries: Sequence[Failures | Fixed]) -> str:
    causes = len({one.cause for one in entries})
    return f" <small>from {causes} causes</small>" if causes > 1 else " <small>from one cause</small>"


def _failure(one: Failures, machines: Mapping[str, Column], page: str) -> Iterator[str]:
    good = f"; held on {escape(one.last_good)}" if one.last_good else ""
    yield f'<li><b class="bad">{escape(one.cause) or "no cause known"}</b> ({one.verdict.value})<br>'
    yield f"since {escape(one.since)}<small>{good}</small>"
    if one.example:
        yield f"<br><small>such as {escape(one.example)}</small>"
    yield from _checks(one.checks, machines, page)
    yield "</li>"


def _checks(by_column: Mapping[str, list[str]], machines: Mapping[str, Column], page: str) -> Iterator[str]:
    for column, checks in by_column.items():
        places = [fragment(check, *machines[column]) for check in checks]
        addresses = [f"{page}#{place}" for place in places] if page else []
        yield f"<br><b>{escape(column)}</b>: {_names(checks, addresses)}"


def _names(checks: Sequence[str], addresses: Sequence[str] = ()) -> str:
    """``addresses``: of the checks' pages; none: there are none."""
    named = [f"<code>{escape(one)}</code>" for one in checks]
    if addresses:
        pairs = zip(addresses, named, strict=True)
        named = [f'<a href="{escape(address)}">{name}</a>' for address, name in pairs]
    if len(named) <= _CHECKS:
        return ", ".join(named)
    return f"<details><summary>{len(named)} checks</summary>{', '.join(named)}</details>"


def _class(counts: Counted | None) -> str:
    """Red as soon as one check fails; green only where something holds and nothing is wrong."""
    if not counts:
        return "none"
    if any(counts[one] for one in (*FAILED, Verdict.IMPROVED)):
        return "bad"
    if any(counts[one] for one in NOT_JUDGED):
        return "lab"
    return "good" if counts[Verdict.CONFORMANT] else ""


def _counted(counts: Counted) -> str:
    """What is wrong comes first; what says nothing of the subject is small."""
    wrong: Counted = Counter({one: n for one, n in counts.items() if one in _WRONG})
    rest: Counted = Counter({one: n for one, n in counts.items() if one not in (*_WRONG, Verdict.CONFORMANT)})
    good = f"{counts[Verdict.CONFORMANT]} {Verdict.CONFORMANT.value}" if counts[Verdict.CONFORMANT] else ""
    parts = [
        f"<b>{counted(wrong)}</b>" if wrong else "",
        good,
        f"<small>{counted(rest)}</small>" if rest else "",
    ]
    return ", ".join(part for part in parts if part) or "-"


def _table(head: list[str], rows: list[tuple[str, list[tuple[str, str]]]], kind: str = "") -> Iterator[str]:
    """``rows``: the name, and text and class of each cell, as HTML; of a kind, it is no table on a phone."""
    yield f'<div class="wide {kind}"><table><tr>{"".join(f"<th>{escape(one)}</th>" for one in head)}</tr>'
    for name, cells in rows:
        columns = [f' data-column="{escape(one)}"' if kind and one else "" for one in head[1:]]
        shown = "".join(
            f'<td class="{state}"{column}>{text}</td>'
            for (text, state), column in zip(cells, columns, strict=True)
        )
        yield f"<tr><th>{name}</th>{shown}</tr>"
    yield "</table></div>"


def _trend(found: Overview) -> Iterator[str]:
    """The newest first: this run is the first row."""
    runs = found.trend[::-1]
    yield from _runs(runs[:_RUNS])
    if older := runs[_RUNS:]:
        yield f'<details class="older"><summary>{len(older)} earlier</summary>'
        yield from _runs(older)
        yield "</details>"


def _runs(runs: Sequence[tuple[str, Counted]]) -> Iterator[str]:
    yield '<div class="wide runs"><table>'
    for when, counts in runs:
        parts = Counter(
            g=counts[Verdict.CONFORMANT],
            b=sum(counts[one] for one in FAILED),
            l=sum(counts[one] for one in NOT_JUDGED),
        )
        bar = "".join(f'<span class="{name}" style="flex: {n}"></span>' for name, n in parts.items() if n)
        yield f'<tr><th>{escape(when)}</th><td><div class="bar">{bar}</div></td>'
        yield f'<td class="{"bad" if parts["b"] else ""}">{_counted(counts)}</td></tr>'
    yield "</table></div>"
