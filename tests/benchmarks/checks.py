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


def run(suite: Path, *arguments: str) -> tuple[float, str]:
    """Seconds of a whole pytest process, and what it printed."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(suite), "-p", "no:cacheprovider", "-q", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.monotonic() - began
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return seconds, done.stdout


def main() -> None:
    """Measure, and print medians. An empty collection and a single check are taken off."""
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
        allure = ("--alluredir", f"{directory}/results")
        collect, checks = [], []
        for _ in range(arguments.n):
            collect.append(run(many, target, "--collect-only")[0] - run(one, target, "--collect-only")[0])
            base = run(one, target, *allure)[0]
            seconds, printed = run(many, target, *allure)
            assert re.search(rf"{arguments.checks} passed", printed), printed
            checks.append((seconds - base) / (arguments.checks - 1))
    print(
        f"collection of {arguments.checks} checks: "
        f"median {statistics.median(collect):.3f} s, min {min(collect):.3f} s"
    )
    print(
        f"a check on {arguments.target}, native run and Allure included: "
        f"median {statistics.median(checks) * 1e3:.2f} ms, min {min(checks) * 1e3:.2f} ms"
    )


if __name__ == "__main__":
    main()
