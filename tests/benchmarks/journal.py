"""What an item of a run costs beside pytest and Allure: many checks on a fake target, with the journal on.

CPU seconds (user and system) of whole pytest processes, so that a busy machine changes little; what a process
takes for one item is taken off. The target interprets the instructions itself, which is part of the figure.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from checks import generate
from machines import ROOT

from touchstone.journal.lines import JudgedLine, StartedLine
from touchstone.journal.read import read_journal
from touchstone.journal.writer import JournalWriter
from touchstone.words import Verdict

PER_FILE = 40
"""The longest suite of ours has 39."""
INVENTORY = '[targets.fake]\ndriver = "fake"\nvendor = "amd"\ncpus = 1\n'
PLAIN = "import pytest\n@pytest.mark.parametrize('n', range({count}))\ndef test_plain(n): ...\n"


def cpu_seconds(home: Path, *arguments: str) -> float:
    """Of a pytest process."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-q",
        "--alluredir=results",
        *arguments,
    ]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def suites(directory: Path, count: int) -> None:
    """Write ``count`` checks, in files that are not larger than a suite may be."""
    directory.mkdir()
    for number, first in enumerate(range(0, count, PER_FILE)):
        path = directory / f"suite-{number}.yaml"
        generate(path, min(PER_FILE, count - first))
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("exits.generated.", f"exits.generated-{number}."), encoding="utf-8")


def per_item(home: Path, count: int, *arguments: str) -> float:
    """CPU milliseconds of an item; ``arguments`` name ``{count}`` items."""
    many, one = (
        cpu_seconds(home, *(word.format(count=number) for word in arguments)) for number in (count, 1)
    )
    return (many - one) / (count - 1) * 1e3


def of_lines(home: Path, count: int) -> tuple[float, float]:
    """CPU milliseconds of a check's two lines, and of reading them."""
    writer = JournalWriter(home / "lines.jsonl")
    began = time.process_time()
    for number in range(count):
        check = f"exits.generated.number-{number}"
        writer.write(StartedLine(at=time.time(), check=check, target="fake", subject="none"))
        writer.write(
            JudgedLine(
                at=time.time(),
                check=check,
                target="fake",
                subject="none",
                outcome=Verdict.CONFORMANT,
                verdict=Verdict.CONFORMANT,
                seconds=0.001,
            )
        )
    written = time.process_time()
    writer.close()
    reading = time.process_time()
    read = len(read_journal(home / f"{count}.run.jsonl").judged)
    return (written - began) / count * 1e3, (time.process_time() - reading) / read * 1e3


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checks", type=int, default=10_000)
    count = parser.parse_args().checks
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        (home / "targets").mkdir()
        (home / "targets" / "inventory.toml").write_text(INVENTORY)
        (home / "pyproject.toml").write_text("[tool.pytest]\nstrict = true\n")
        for number in (count, 1):
            suites(home / f"suites-{number}", number)
            (home / f"test_plain_{number}.py").write_text(PLAIN.format(count=number))
        plain = per_item(home, count, "test_plain_{count}.py")
        fake = ("-p", "tests.support.fake_target", "--target=fake", "--hypervisor=none")
        ours = per_item(home, count, *fake, "--journal={count}.run.jsonl", "suites-{count}")
        written, read = of_lines(home, count)
    print(f"{count} items, CPU time of each:")
    print(f"a plain test, with Allure:                           {plain:.3f} ms")
    print(f"a check on the fake target, with Allure and journal: {ours:.3f} ms")
    print(f"of our own, collection and the fake target included: {ours - plain:.3f} ms")
    print(
        f"the lines of the journal alone:                      {written:.4f} ms, to read them {read:.4f} ms"
    )


if __name__ == "__main__":
    main()
