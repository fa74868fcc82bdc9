"""Which decisions of Veneer's core the suites reach, per vendor.

A copy of hypervisor/ is built with gcc's trace-pc coverage in core/, the suites run against it, and before a
target is stopped the map of reached blocks is read from its memory. Prints, as Markdown, blocks reached per
file and target, and the lines that no target, or the machines of one vendor only, reached.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

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


def show(title: str, lines: Iterable[tuple[str, int]]) -> None:
    """Print one list, a file per line."""
    by_file: dict[str, list[int]] = defaultdict(list)
    for name, line in sorted(lines):
        by_file[name].append(line)
    print(f"\n**{title}**\n")
    for name, numbers in by_file.items():
        print(f"- `{name}`: {', '.join(map(str, numbers))}")
    if not by_file:
        print("- none")


def main() -> None:
    """Build, run, read, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", default="bochs-amd,bochs-intel", help="default %(default)s")
    parser.add_argument("suites", nargs="*", default=["conformance"])
    arguments = parser.parse_args()
    collector = Collector()
    watch(collector)
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "hypervisor"
        instrument(copy)
        # We are imported already, which pytest would like to rewrite asserts in.
        options = ["-q", "--tb=no", "-p", "no:cacheprovider", "-Wignore::pytest.PytestAssertRewriteWarning"]
        pytest.main(
            [
                *options,
                *arguments.suites,
                f"--target={arguments.target}",
                f"--hypervisor={copy / 'veneer.toml'}",
            ]
        )
    symbols = collector.symbols
    if symbols is None or symbols.path is None:
        sys.exit("no target could be read")
    everything = {address: place(symbols, address) for address in blocks(symbols.path)}
    targets = sorted(collector.reached)
    print("\n| file | blocks | " + " | ".join(targets) + " |\n|---" + "|---" * (len(targets) + 1) + "|")
    for name in sorted({name for name, _ in everything.values()}):
        mine = {address for address, (file, _) in everything.items() if file == name}
        counts = [str(len(mine & collector.reached[target])) for target in targets]
        print(f"| `{name}` | {len(mine)} | " + " | ".join(counts) + " |")
    lines = {
        target: {everything[a] for a in collector.reached[target] if a in everything} for target in targets
    }
    for target in targets:
        others = set().union(*(lines[other] for other in targets if other != target))
        show(f"Lines that only {target} reached", lines[target] - others)
    show("Lines that no target reached", set(everything.values()) - set().union(*lines.values()))


if __name__ == "__main__":
    main()
