"""The command ``touchstone``: makes reports of the results of runs, lists claims. The runs are pytest's."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from touchstone import __version__

# The package lies in plugins/touchstone of a checkout, what makes the report in report/.
REPORT_TOOLS = Path(__file__).resolve().parents[2] / "report"

EPILOG = """\
The checks themselves are run by pytest:
  ./bootstrap pytest --target=qemu-amd --alluredir=allure-results
  ./bootstrap pytest --list-targets
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
    _add_report(commands)
    claims = commands.add_parser(
        "claims", help="list what a subject's TOML file may claim, as a Markdown table"
    )
    claims.set_defaults(run=_claims)
    asked = parser.parse_args(arguments)
    try:
        return int(asked.run(asked))
    except KeyboardInterrupt:
        print("touchstone: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1


def _add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "report",
        help="make one HTML file from the results of a run",
        description="Make one self-contained HTML file from Allure results, with an environment per target, "
        "categories by verdict, and the history of runs. It opens without a server and contacts nothing.",
        epilog="Needs Node.js and, once, in the checkout: npm ci --ignore-scripts --prefix report",
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
    parser.add_argument("--no-history", action="store_true", help="neither read nor write a history")
    parser.add_argument(
        "--title", default="Touchstone", metavar="TEXT", help="heading of the report (default: %(default)s)"
    )
    parser.set_defaults(run=_report)


def _claims(asked: argparse.Namespace) -> int:
    from touchstone.suite.claims import as_table  # noqa: PLC0415 - not imported for `touchstone --help`

    print("\n".join(as_table()))
    return 0


def _report(asked: argparse.Namespace) -> int:
    from touchstone.reporting import html  # noqa: PLC0415 - not imported for `touchstone --help`

    output: Path = asked.output
    history: Path | None = None
    if not asked.no_history:
        history = asked.history or output.parent / "history.jsonl"
    try:
        results = html.read_results(asked.results)
        made = html.make_report(
            results, output, title=asked.title, history=history, tools=REPORT_TOOLS, progress=_say
        )
    except html.ReportError as error:
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
