"""What a check costs: collection of many, and their run on one target with Allure results on."""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machines import ROOT

COUNT = ("--collect-only", "-q")
"""With the -q that is there already: prints one line per suite, not one per check."""
CHECK = """\
  - id: exits.generated.number-{number}
    title: CPUID leaf {leaf} is what the bare machine says
    cite: {{doc: intel-sdm, title: "CPUID—CPU Identification", says: "Returns processor identification."}}
    each: {{cpl: [{cpl}]}}
    given: {{gprs: random, rax: {leaf}, rcx: 0}}
    run: cpuid
    expect: native
"""


def generate(path: Path, count: int) -> None:
    """Write a suite of ``count`` checks, no two alike."""
    head = "suite: Generated for a benchmark\narea: exits\nchecks:\n"
    path.write_text(
        head + "".join(CHECK.format(number=i, leaf=2 + i % 5, cpl=3 * (i % 2)) for i in range(count)),
        encoding="utf-8",
    )


def run(suite: Path, *arguments: str) -> float:
    """Seconds of a whole pytest process, which prints into a file, as in CI."""
    command = [sys.executable, "-m", "pytest", str(suite), "-p", "no:cacheprovider", "-q", *arguments]
    with tempfile.TemporaryFile("w+") as printed:
        began = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, stdout=printed, stderr=subprocess.STDOUT, check=False)
        seconds = time.monotonic() - began
        printed.seek(0)
        text = printed.read()
    if done.returncode or not re.search(
        r"yaml: \d+$" if arguments[-1] == COUNT[-1] else r"\d+ passed", text, re.M
    ):
        sys.exit(text)
    return seconds


def main() -> None:
    """Measure, and print medians. What a run of a single check takes is taken off."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="qemu-amd")
    parser.add_argument("--checks", type=int, default=1000)
    parser.add_argument("-n", type=int, default=3, help="runs (default %(default)s)")
    arguments = parser.parse_args()
    target = f"--target={arguments.target}"
    with tempfile.TemporaryDirectory() as directory:
        many, one = Path(directory) / "many.yaml", Path(directory) / "one.yaml"
        generate(many, arguments.checks)
        generate(one, 1)
        collections, checks = [], []
        for number in range(arguments.n):
            allure = ("--alluredir", f"{directory}/results-{number}")
            collections.append(run(many, target, *COUNT) - run(one, target, *COUNT))
            whole = run(many, target, *allure) - run(one, target, *allure)
            checks.append((whole - collections[-1]) / (arguments.checks - 1))
    print(
        f"collection of {arguments.checks} checks: "
        f"median {statistics.median(collections):.3f} s, min {min(collections):.3f} s"
    )
    print(
        f"a check on {arguments.target}, once collected, native run and Allure included: "
        f"median {statistics.median(checks) * 1e3:.2f} ms, min {min(checks) * 1e3:.2f} ms"
    )


if __name__ == "__main__":
    main()
