"""The command ``touchstone``: makes projects and reports, compares runs. The runs themselves are pytest's."""

from __future__ import annotations

import argparse
import filecmp
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from touchstone import __version__
from touchstone.commands import costs, diff, expect, night, requirements, sick, summary
from touchstone.journal.read import JournalError
from touchstone.new.project import TARGETS, WAYS, NewProjectError, make_project
from touchstone.shipped import build_directory, checkout, source_root

EPILOG = """\
The checks themselves are run by pytest (in a checkout of Touchstone: ./bootstrap pytest):
  pytest --target=qemu-amd --alluredir=allure-results
  pytest --list-targets
  touchstone diff yesterday.jsonl today.jsonl
  touchstone summary today.jsonl
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 1 for what failed, 2 for what was asked wrongly."""
    parser = argparse.ArgumentParser(
        prog="touchstone",
        description="Conformance checks for light-weight x86 hypervisors.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"touchstone {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_new(commands)
    _add_report(commands)
    costs.add_parser(commands)
    diff.add_parser(commands)
    expect.add_parser(commands)
    night.add_parser(commands)
    sick.add_parser(commands)
    summary.add_parser(commands)
    requirements.add_parser(commands)
    claims = commands.add_parser(
        "claims", help="list what a subject's TOML file may claim, as a Markdown table"
    )
    claims.set_defaults(run=_claims)
    asked, rest = parser.parse_known_args(arguments)
    if rest and not getattr(asked, "takes_rest", False):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    asked.rest = rest
    try:
        return int(asked.run(asked))
    except KeyboardInterrupt:
        print("touchstone: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1


def _add_new(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    ways = "; ".join(f"{way}: {about}" for way, about in WAYS.items())
    parser = commands.add_parser(
        "new",
        help="make a project for a hypervisor that is to be judged",
        description="Make a directory with a hypervisor's skeleton that builds and is judged at once, a "
        "suite of one check, settings of pytest, and a workflow for CI.",
        epilog=f"Ways in: {ways}. Several may be given.",
    )
    parser.add_argument("name", metavar="NAME", help="the hypervisor's name, such as my-hypervisor")
    parser.add_argument(
        "--way",
        action="append",
        choices=list(WAYS),
        help="how the hypervisor gets under the checks; may be repeated (default: asked in a terminal, else "
        "bare)",
    )
    parser.add_argument(
        "-d", "--directory", type=Path, metavar="DIR", help="the directory to make (default: NAME)"
    )
    parser.set_defaults(run=_new)


def _new(asked: argparse.Namespace) -> int:
    directory: Path = asked.directory or Path(asked.name)
    ways = tuple(dict.fromkeys(asked.way or _ask_for_ways()))
    try:
        files = make_project(asked.name, ways, directory)
    except NewProjectError as error:
        print(f"touchstone new: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"touchstone new: error: {error}", file=sys.stderr)
        return 1
    print(f"made {directory}:")
    for name in files:
        print(f"  {name}")
    print(f"next: cd {directory} && {_command()} --target={TARGETS[ways[0]][0]}")
    return 0


def _command() -> str:
    """The command that runs the pytest that Touchstone is a plugin of."""
    beside = Path(sys.executable).with_name("pytest")
    found = shutil.which("pytest")
    return "pytest" if found is not None and Path(found).parent == beside.parent else str(beside)


def _ask_for_ways() -> list[str]:
    """The ways in that the person at the terminal wants; without one, the one that needs the least."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return ["bare"]
    for way, about in WAYS.items():
        print(f"  {way:<6} {about}")
    while True:
        words = input("ways in (separated by spaces) [bare]: ").split() or ["bare"]
        if unknown := [word for word in words if word not in WAYS]:
            print(f"{unknown[0]!r} is none of {', '.join(WAYS)}")
        else:
            return words


def _add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "report",
        help="make one HTML file from the results of a run",
        description="Make one self-contained HTML file from Allure results, with an environment per target, "
        "categories by verdict, and the history of runs. It opens without a server and contacts nothing.",
        epilog="Needs Node.js and Allure; says how to install them where they are missing.",
    )
    parser.add_argument(
        "results",
        nargs="*",
        type=Path,
        default=[Path("allure-results")],
        metavar="RESULTS",
        help="directories that pytest --alluredir wrote (default: allure-results)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("allure-report/touchstone.html"),
        metavar="FILE",
        help="the report (default: %(default)s)",
    )
    parser.add_argument(
        "--history",
        type=Path,
        metavar="FILE",
        help="runs so far, a JSON line for each; kept up to date (default: history.jsonl beside the report)",
    )
    parser.add_argument(
        "--nights",
        type=Path,
        metavar="FILE",
        help="the history that `touchstone summary` keeps, instead of --history: it is far smaller, and only "
        "read; this run does not count as one before itself",
    )
    parser.add_argument("--no-history", action="store_true", help="neither read nor write a history")
    parser.add_argument(
        "--title", default="Touchstone", metavar="TEXT", help="heading of the report (default: %(default)s)"
    )
    parser.set_defaults(run=_report)


def _claims(asked: argparse.Namespace) -> int:
    from touchstone.suite.claims import as_table, counters_as_table  # noqa: PLC0415

    print("\n".join([*as_table(), "", *counters_as_table()]))
    return 0


def report_tools() -> Path:
    """The directory that Allure is installed in: ``report`` of a checkout, else one in the user's cache."""
    if checkout() is not None:
        return source_root() / "report"
    tools = build_directory() / "report"
    tools.mkdir(parents=True, exist_ok=True)
    for source in (source_root() / "report").iterdir():
        if not (tools / source.name).exists() or not filecmp.cmp(source, tools / source.name, shallow=False):
            shutil.copyfile(source, tools / source.name)
    return tools


def _report(asked: argparse.Namespace) -> int:
    from touchstone.reporting import html  # noqa: PLC0415 - not imported for `touchstone --help`

    output: Path = asked.output
    history: Path | None = None
    if not asked.no_history and asked.nights is None:
        history = asked.history or output.parent / "history.jsonl"
    try:
        results = html.read_results(asked.results)
        made = html.make_report(
            results,
            output,
            title=asked.title,
            history=history,
            nights=asked.nights,
            tools=report_tools(),
            progress=_say,
        )
    except (html.ReportError, JournalError) as error:
        print(f"touchstone report: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"touchstone report: error: {error}", file=sys.stderr)
        return 1
    counts = sorted(results.verdicts.items(), key=lambda item: (-item[1], item[0]))
    _say(", ".join(f"{count} {verdict}" for verdict, count in counts))
    runs = f", {made.runs} run(s) in the history" if made.runs else ""
    _say(f"wrote {made.path} ({made.size / 1e6:.1f} MB{runs})")
    return 0


def _say(text: str) -> None:
    print(f"touchstone report: {text}", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
