"""Which decisions of Veneer's core the suites reach, per vendor.

A copy of hypervisor/ is built with gcc's trace-pc coverage in core/, the suites run against it, and before a
target is stopped the map of reached blocks is read from its memory. Prints, as Markdown, blocks reached per
file and target, and the lines that no target, or the machines of one vendor only, reached.

With --check, no suite is run: the files and numbers of blocks in the tables of pages are compared with what
the compiler makes of the core now. The numbers are compared only if it is the compiler that the page names.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from touchstone.drivers.build import build_bare
from touchstone.drivers.emulated.driver import EmulatorDriver
from touchstone.machine.driver import TargetError
from touchstone.machine.symbols import Symbols

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CALL = re.compile(r"^\s*([0-9a-f]+):\s+call\s.*<__sanitizer_cov_trace_pc>", re.MULTILINE)
HITS = 1 << 20
PORTION = 1 << 16


def instrument(copy: Path) -> None:
    """Make a copy of hypervisor/ whose core/ counts."""
    shutil.copytree(ROOT / "hypervisor", copy)
    shutil.copy(HERE / "coverage.c", copy / "coverage.c")
    makefile = copy / "subject.mk"
    text = re.sub(r"(?m)^SUBJECT_NAME := .*$", "SUBJECT_NAME := veneer-coverage", makefile.read_text())
    text += "\nSUBJECT_SOURCES += coverage.c\n"
    for source in sorted((copy / "core").glob("*.c")):
        text += f"%/core/{source.name}.o: CFLAGS += -fsanitize-coverage=trace-pc\n"
    makefile.write_text(text)


class Collector:
    """Reads the map from every machine before it goes."""

    def __init__(self) -> None:
        self.reached: dict[str, set[int]] = defaultdict(set)
        self.symbols: Symbols | None = None

    def read(self, driver: EmulatorDriver) -> None:
        """Add what this machine has reached so far; nothing if it cannot be read any more."""
        symbols = driver._symbols
        hits, start = symbols.find("coverage_hits"), symbols.find("os_image_start")
        if hits is None or start is None:
            return
        self.symbols = symbols
        try:
            for offset in range(0, HITS, PORTION):
                portion = driver.read_memory(hits.address + offset, PORTION)
                self.reached[driver.name] |= {
                    start.address + offset + index for index, byte in enumerate(portion) if byte
                }
        except (TargetError, OSError) as error:
            print(f"{driver.name}: {error}", file=sys.stderr)


def watch(collector: Collector) -> None:
    """Let the collector see every emulator before it is stopped or reset."""
    for name in ("stop", "reset"):
        original = getattr(EmulatorDriver, name)

        def wrapper(self: EmulatorDriver, *arguments: object, original: object = original) -> object:
            collector.read(self)
            return original(self, *arguments)  # type: ignore[operator]

        setattr(EmulatorDriver, name, wrapper)


def blocks(image: Path) -> list[int]:
    """Return addresses of all calls of the counter: one per block."""
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(image)], capture_output=True, text=True, check=True
    ).stdout
    # The return address: a near call has five bytes.
    return [int(match[1], 16) + 5 for match in CALL.finditer(listing)]


def place(symbols: Symbols, address: int) -> tuple[str, int]:
    """File and line of a block."""
    name, _, line = symbols.line(address - 5).rpartition(":")
    return Path(name).name, int(line or 0)


def compiler() -> str:
    """What the C compiler calls itself."""
    said = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout
    return said.splitlines()[0]


def generated(everything: dict[int, tuple[str, int]], reached: dict[str, set[int]]) -> Iterator[str]:
    """The lines of the page that are measured."""
    yield f"Measured with {compiler()}."
    targets = sorted(reached)
    yield ""
    yield "| file | blocks | " + " | ".join(targets) + " |"
    yield "|---" + "|---" * (len(targets) + 1) + "|"
    for name, mine in sorted(by_file(everything).items()):
        counts = [str(len(mine & reached[target])) for target in targets]
        yield f"| `{name}` | {len(mine)} | " + " | ".join(counts) + " |"
    lines = {target: {everything[a] for a in reached[target] if a in everything} for target in targets}
    for target in targets:
        others = set().union(*(lines[other] for other in targets if other != target))
        yield from listed(f"Lines that only {target} reached", lines[target] - others)
    yield from listed("Lines that no target reached", set(everything.values()) - set().union(*lines.values()))


def by_file(everything: dict[int, tuple[str, int]]) -> dict[str, set[int]]:
    """Addresses of blocks by the file that they are in."""
    files: dict[str, set[int]] = defaultdict(set)
    for address, (name, _) in everything.items():
        files[name].add(address)
    return files


def count_blocks() -> dict[str, int]:
    """Blocks by file, as the compiler makes them now."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "hypervisor"
        instrument(copy)
        image = build_bare(copy, directory=Path(directory) / "build")
        symbols = Symbols(image.symbols)
        return {name: len(mine) for name, mine in by_file(all_blocks(symbols, image.symbols)).items()}


def check(page: Path, now: dict[str, int]) -> list[str]:
    """What the table of a page says otherwise than the compiler does now."""
    text = page.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| (\d+) \|", text, re.MULTILINE)
    said = {name: int(count) for name, count in rows}
    if f"Measured with {compiler()}." not in text:
        # Another compiler inlines other functions, so that a header may have no block of its own.
        now = {name: said.get(name, count) for name, count in now.items() if name.endswith(".c")}
        said = {name: count for name, count in said.items() if name.endswith(".c")}
    wrong = [
        f"{page}: {name}: the page says {said.get(name, 'nothing')}, the compiler {now.get(name, 'nothing')}"
        for name in sorted(said.keys() | now.keys())
        if said.get(name) != now.get(name)
    ]
    again = f"make it again: ./bootstrap python tests/coverage/core_coverage.py --write {page}"
    return [*wrong, again] if wrong else []


def all_blocks(symbols: Symbols, image: Path) -> dict[int, tuple[str, int]]:
    """File and line of every block of an image, by its address."""
    return {address: place(symbols, address) for address in blocks(image)}


def listed(title: str, lines: Iterable[tuple[str, int]]) -> Iterator[str]:
    """One list, a file per line."""
    files: dict[str, list[int]] = defaultdict(list)
    for name, line in sorted(lines):
        files[name].append(line)
    yield ""
    yield f"**{title}**"
    yield ""
    for name, numbers in files.items():
        yield f"- `{name}`: {', '.join(map(str, numbers))}"
    if not files:
        yield "- none"


def main() -> None:
    """Build, run, read, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", default="bochs-amd,bochs-intel", help="default %(default)s")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="replace what is measured in this page")
    parser.add_argument(
        "--check", type=Path, nargs="+", metavar="PAGE", help="only compare these pages with the compiler"
    )
    parser.add_argument("suites", nargs="*", default=["conformance"])
    arguments = parser.parse_args()
    if arguments.check:
        now = count_blocks()
        if wrong := [line for page in arguments.check for line in check(page, now)]:
            sys.exit("\n".join(wrong))
        return
    collector = Collector()
    watch(collector)
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "hypervisor"
        instrument(copy)
        # We are imported already, which pytest would like to rewrite asserts in.
        options = ["-q", "--tb=no", "-p", "no:cacheprovider", "-Wignore::pytest.PytestAssertRewriteWarning"]
        status = pytest.main(
            [
                *options,
                *arguments.suites,
                f"--target={arguments.target}",
                f"--hypervisor={copy / 'veneer.toml'}",
            ]
        )
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        sys.exit(f"the run is not whole (pytest's exit status {int(status)}): nothing is written")
    symbols = collector.symbols
    if symbols is None or symbols.path is None:
        sys.exit("no target could be read")
    text = "\n".join(generated(all_blocks(symbols, symbols.path), collector.reached)) + "\n"
    if arguments.write:
        page = arguments.write.read_text(encoding="utf-8")
        arguments.write.write_text(page[: page.index("Measured with ")] + text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
