"""One self-contained HTML report from Allure results, made by the Allure 3 that report/ pins."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from touchstone.journal.nights import read_nights
from touchstone.reporting.allure_history import history_points
from touchstone.reporting.packed_page import UnknownPage, pack
from touchstone.whole_file import write_whole

OLDEST_NODE = 18
HISTORY_LIMIT = 60
"""Runs that the history keeps."""

_ANALYTICS = re.compile(
    r'<script async src="https://www\.googletagmanager\.com[^>]*></script>\s*<script>.*?</script>', re.DOTALL
)
_REMOTE = re.compile(
    r'<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)\s*=\s*["\'](?:https?:)?//[^"\']*', re.I
)
# The page may run its own scripts, but neither fetch nor send anything.
_SEALED = (
    '<meta http-equiv="Content-Security-Policy" content="default-src data: blob: '
    "'unsafe-inline' 'unsafe-eval'; form-action 'none'\">"
)


_EMPTY = {
    "qualityGate": ("widgets/quality-gate.json", ()),
    "globalAttachments": ("widgets/globals.json", ("attachments", "attachmentsByEnv")),
    "globalErrors": ("widgets/globals.json", ("errors", "errorsByEnv")),
}
"""Tabs that Allure shows without content too: their data, and the keys that say what is in it."""
_ENVIRONMENTS = "widgets/environments.json"
_DEFAULT = "default"
"""The environment of results without a target. Allure lists it, whether there are any or not."""


_PHONE = (
    "<style>@media (max-width: 42rem) "
    '{ [data-testid="test-result-info-title"] + div { flex-wrap: wrap } }</style>'
)
"""A check's status, level, category and time are in a line, for which a phone has no room."""


class ReportError(Exception):
    """The report could not be made; the text says why, and the way out."""


@dataclass(frozen=True)
class Results:
    """What directories of Allure results hold."""

    directories: tuple[Path, ...]
    uuids: frozenset[str]
    targets: tuple[str, ...]
    """Values of the label ``target``, sorted."""
    verdicts: Counter[str]
    """Verdict to number of results; the status for a result without a verdict."""
    without_target: int
    """Number of results that are no check's."""
    start: float
    """When the first of them began: seconds since the epoch; 0 if none says so."""

    @property
    def count(self) -> int:
        """Number of results."""
        return len(self.uuids)


@dataclass(frozen=True)
class Report:
    """A report that was made."""

    path: Path
    size: int
    """Bytes."""
    runs: int
    """Runs in the history, this one included; 0 without history."""


def read_results(directories: Sequence[Path]) -> Results:
    """Read every ``*-result.json``. Raises ReportError if there is none, or one is damaged."""
    uuids: set[str] = set()
    targets: set[str] = set()
    verdicts: Counter[str] = Counter()
    without_target = 0
    starts: list[int] = []
    for directory in directories:
        if not directory.is_dir():
            raise ReportError(
                f"{directory}: no such directory; "
                f"make results with ./bootstrap pytest --alluredir={directory}"
            )
        files = sorted(directory.glob("*-result.json"))
        if not files:
            raise ReportError(
                f"{directory}: no Allure results in it; "
                f"make some with ./bootstrap pytest --alluredir={directory}"
            )
        for file in files:
            labels, status, uuid, start = _read_result(file)
            if start:
                starts.append(start)
            uuids.add(uuid)
            if target := labels.get("target"):
                targets.add(target)
            else:
                without_target += 1
            verdicts[labels.get("verdict", status)] += 1
    return Results(
        directories=tuple(directories),
        uuids=frozenset(uuids),
        targets=tuple(sorted(targets)),
        verdicts=verdicts,
        without_target=without_target,
        start=min(starts, default=0) / 1000,
    )


def _read_result(file: Path) -> tuple[dict[str, str], str, str, int]:
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
        labels = {label["name"]: str(label["value"]) for label in result.get("labels") or ()}
        start = int(result.get("start") or 0)
        return labels, str(result.get("status", "unknown")), str(result["uuid"]), start
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReportError(
            f"{file}: not an Allure result ({type(error).__name__}: {error}); remove it, or run again"
        ) from error


def make_report(
    results: Results,
    output: Path,
    *,
    title: str,
    history: Path | None,
    nights: Path | None = None,
    tools: Path,
    progress: Callable[[str], None],
) -> Report:
    """Write the report, and add the run to the history unless it is in there already.

    Args:
        results: what to report on.
        output: the HTML file; appears whole or not at all.
        title: heading of the report.
        history: Allure's, a file with one JSON line per run; None: neither read nor written.
        nights: the history that ``touchstone summary`` keeps, instead of Allure's; it is only read.
        tools: the directory with package.json, allurerc.mjs and node_modules.
        progress: gets a sentence per step.

    Raises:
        ReportError: Allure is not installed, or failed.
    """
    node, allure = find_allure(tools)
    output.parent.mkdir(parents=True, exist_ok=True)
    progress(f"building the report of {results.count} results from {len(results.targets) or 'no'} target(s)")
    with tempfile.TemporaryDirectory(prefix="touchstone-report-") as name:
        work = Path(name)
        if nights is not None:
            points = list(history_points(one for one in read_nights(nights) if one.until < results.start))
            lines = [json.dumps(point) + "\n" for point in points[-HISTORY_LIMIT:]]
            (work / "history.jsonl").write_text("".join(lines), encoding="utf-8")
            page = _generate(
                results, work, title, work / "history.jsonl", (node, allure), tools, own_history=False
            )
            return Report(output, _replace(output, page), len(lines) + 1)
        if history is None:
            page = _generate(results, work, title, None, (node, allure), tools, own_history=False)
            return Report(output, _replace(output, page), 0)
        history.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{history}.lock"):
            lines = _history_without(history, results)
            (work / "history.jsonl").write_text("".join(lines), encoding="utf-8")
            page = _generate(
                results, work, title, work / "history.jsonl", (node, allure), tools, own_history=True
            )
            size = _replace(output, page)
            new = (work / "history.jsonl").read_text(encoding="utf-8")
            _replace(history, new)
        return Report(output, size, new.count("\n"))


def install_command(tools: Path) -> str:
    """What installs Allure, once, into the directory with its package.json."""
    relative = os.path.relpath(tools)
    shown = str(tools) if relative.startswith("..") else relative
    return f"npm ci --ignore-scripts --prefix {shlex.quote(shown)}"


def find_allure(tools: Path) -> tuple[str, Path]:
    """Node and Allure's entry point. ReportError says how to get what is missing."""
    package = tools / "package.json"
    if not package.is_file():
        raise ReportError(f"{package}: not there; it pins the Allure that makes the report")
    node = shutil.which("node")
    if node is None:
        raise ReportError(f"node is not installed: apt-get install nodejs npm, then {install_command(tools)}")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    major = re.match(r"v(\d+)\.", version)
    if major is None or int(major[1]) < OLDEST_NODE:
        raise ReportError(f"{node} is {version or 'broken'}: version {OLDEST_NODE} or newer is needed")
    wanted = json.loads(package.read_text(encoding="utf-8"))["dependencies"]["allure"]
    installed = tools / "node_modules" / "allure" / "package.json"
    try:
        found = json.loads(installed.read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError):
        raise ReportError(f"Allure is not installed: run {install_command(tools)}, once") from None
    if found != wanted:
        raise ReportError(f"Allure {found} is installed, {wanted} is wanted: run {install_command(tools)}")
    return node, installed.parent / "cli.js"


def _generate(
    results: Results,
    work: Path,
    title: str,
    history: Path | None,
    programs: tuple[str, Path],
    tools: Path,
    *,
    own_history: bool,
) -> str:
    asked = work / "asked.json"
    made = work / "made"
    asked.write_text(
        json.dumps(
            {
                "title": title,
                "output": str(made),
                "history": history and str(history),
                "historyLimit": HISTORY_LIMIT,
                "runsBefore": history.read_text(encoding="utf-8").count("\n") if history else 0,
                "ownHistory": own_history,
                "targets": results.targets,
            }
        ),
        encoding="utf-8",
    )
    # Allure takes directories as glob patterns, which a user's path must not become, and reads no links.
    directories = [work / f"results-{number}" for number in range(len(results.directories))]
    for mirror, directory in zip(directories, results.directories, strict=True):
        shutil.copytree(directory, mirror, copy_function=_link_or_copy)
    node, allure = programs
    done = subprocess.run(
        [
            node,
            allure,
            "generate",
            "--cwd",
            work,
            "--config",
            tools / "allurerc.mjs",
            *(path.name for path in directories),
        ],
        env={**os.environ, "TOUCHSTONE_REPORT": str(asked)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    pages = sorted(made.glob("**/index.html"), key=lambda page: len(page.parts))
    if done.returncode != 0 or not pages:
        raise ReportError(f"Allure failed (exit status {done.returncode}):\n{done.stdout.strip()}")
    try:
        return pack(seal(without_empty(pages[0].read_text(encoding="utf-8"), results.without_target > 0)))
    except UnknownPage as error:
        raise ReportError(
            f"Allure wrote a page of another kind than the version that is pinned: {error}"
        ) from None


def without_empty(page: str, default: bool) -> str:
    """Remove what Allure shows although there is nothing in it: tabs, the environment of no target.

    Args:
        page: Allure's page, with its data.
        default: there are results without a target.
    """
    hidden = []
    for tab, (name, keys) in _EMPTY.items():
        found = _data(page, name)
        if not (any(found.get(key) for key in keys) if keys else found):
            hidden.append(f'[data-testid="nav-tab-{tab}"]')
    style = f"<style>{', '.join(hidden)} {{ display: none }}</style>" if hidden else ""
    if not default:
        left = [one for one in _data(page, _ENVIRONMENTS) if one["id"] != _DEFAULT]
        page = _data_of(_ENVIRONMENTS).sub(
            lambda found: f"{found[1]}{_encoded(left)}{found[3]}", page, count=1
        )
    return page.replace("</head>", f"{_PHONE}{style}</head>", 1)


def _data_of(name: str) -> re.Pattern[str]:
    return re.compile(rf'(d\("{re.escape(name)}",\s*")([A-Za-z0-9+/=]*)("\))')


def _data(page: str, name: str) -> Any:
    """A file of the page's data. ReportError if it is not there."""
    found = _data_of(name).search(page)
    if found is None:
        raise ReportError(f"Allure wrote a page without {name}: another version than the one that is pinned?")
    return json.loads(base64.b64decode(found[2]))


def _encoded(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def _link_or_copy(source: str, copy: str) -> None:
    try:
        os.link(source, copy)
    except OSError:  # another file system
        shutil.copy2(source, copy)


def seal(page: str) -> str:
    """Remove what loads from the network, and forbid it by a policy. ReportError if something is left."""
    page = _ANALYTICS.sub("", page)
    if left := _REMOTE.search(page):
        raise ReportError(f"the report would contact the network ({left[0][:120]}): not written")
    head = page.find("<head>")
    if head < 0:
        raise ReportError("Allure wrote a page without a head: not written")
    return page[: head + len("<head>")] + "\n    " + _SEALED + page[head + len("<head>") :]


def _history_without(history: Path, results: Results) -> list[str]:
    """Lines of the history without these results, so that a run whose report is made twice is in it once."""
    try:
        lines = history.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    ours = {hashlib.md5(uuid.encode(), usedforsecurity=False).hexdigest() for uuid in results.uuids}
    kept = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            ids = {item["id"] for item in json.loads(line)["testResults"].values()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ReportError(
                f"{history}:{number}: not a line of Allure history ({error}); remove the line, or name "
                "another file with --history"
            ) from error
        if not ids & ours:
            kept.append(line if line.endswith("\n") else line + "\n")
    return kept


def _replace(path: Path, text: str) -> int:
    """Write a file whole or not at all; its size in bytes."""
    data = text.encode("utf-8")
    write_whole(path, data)
    return len(data)
