"""How long bootstrap takes in a checkout that is ready: it comes before every command."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time

from machines import ROOT


def main() -> None:
    """Have it run ``true`` several times, and print minimum, median and maximum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=21, help="runs (default %(default)s)")
    arguments = parser.parse_args()
    command = [ROOT / "bootstrap", "true"]
    subprocess.run(command, check=True)
    seconds = []
    for _ in range(arguments.n):
        began = time.perf_counter()
        subprocess.run(command, check=True)
        seconds.append(time.perf_counter() - began)
    print(
        f"bootstrap of a checkout that is ready, {arguments.n} runs: min {min(seconds):.3f} s, "
        f"median {statistics.median(seconds):.3f} s, max {max(seconds):.3f} s"
    )


if __name__ == "__main__":
    main()
