"""A suite that was read is taken from a file, for as long as it would be read the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.suite_texts import HEAD
from touchstone.suite import kept
from touchstone.suite.kept import READERS, load_kept
from touchstone.suite.load import load
from touchstone.suite.model import Suite
from touchstone.suite.problems import SuiteErrors

SHOWN = Path("conformance/exits/some.yaml")
TEXT = f"""{HEAD}
  - id: exits.a
    title: A
    proves: [cpuid.basic]
    each: {{leaf: [0, 1], cpl: [0, 3]}}
    given: {{gprs: random, rax: "{{leaf}}"}}
    run: |
      cpuid
      last: nop
    expect: {{rip: end, rbx: native}}
"""
PROVES = frozenset({"cpuid.basic", "cpuid.more"})


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths of the suites that were read, and not taken from a file."""
    found: list[Path] = []

    def counted(path: Path, *more: object) -> Suite:
        found.append(path)
        return load(path, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(kept, "load", counted)
    return found


def test_the_same_suite_is_read_once(tmp_path: Path, reads: list[Path]) -> None:
    first = load_kept(tmp_path, SHOWN, TEXT, PROVES)
    again = load_kept(tmp_path, SHOWN, TEXT, PROVES)
    assert reads == [SHOWN]
    assert again == first == load(SHOWN, TEXT, PROVES)
    assert again is not first


def test_every_suite_of_the_catalogue_comes_back_as_it_was(tmp_path: Path, reads: list[Path]) -> None:
    suites = [path for path in (ROOT / "conformance").rglob("*.yaml") if "\nchecks:" in path.read_text()]
    assert len(suites) > 40
    for path in suites:
        text = path.read_text(encoding="utf-8")
        known = load_known(path)
        first = load_kept(tmp_path, path, text, known)
        assert load_kept(tmp_path, path, text, known) == first
    assert reads == suites


def load_known(path: Path) -> frozenset[str]:
    """The requirements that a suite names."""
    return frozenset(word for check in load(path).checks for word in check.proves)


@pytest.mark.parametrize("what", ["text", "path", "requirements", "readers"])
def test_what_decides_on_a_suite_counts(
    tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    load_kept(tmp_path, SHOWN, TEXT, PROVES)
    path, text, requirements = SHOWN, TEXT, PROVES
    if what == "text":
        text = TEXT.replace("title: A", "title: B")
    elif what == "path":
        path = Path("elsewhere.yaml")
    elif what == "requirements":
        requirements = frozenset({"cpuid.basic"})
    else:
        monkeypatch.setattr(kept, "readers", lambda: b"other code")
    found = load_kept(tmp_path, path, text, requirements)
    assert len(reads) == 2
    assert found == load(path, text, requirements)


def test_a_suite_with_problems_is_not_kept(tmp_path: Path, reads: list[Path]) -> None:
    load_kept(tmp_path, SHOWN, TEXT, PROVES)
    for _ in range(2):
        with pytest.raises(SuiteErrors, match=r"there is no requirement 'cpuid\.basic'"):
            load_kept(tmp_path, SHOWN, TEXT, frozenset())
    assert len(reads) == 3


@pytest.mark.parametrize("kept_bytes", [0, 40, -1])
def test_a_file_that_is_cut_off_is_not_believed(tmp_path: Path, reads: list[Path], kept_bytes: int) -> None:
    first = load_kept(tmp_path, SHOWN, TEXT, PROVES)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:kept_bytes])
    assert load_kept(tmp_path, SHOWN, TEXT, PROVES) == first
    assert load_kept(tmp_path, SHOWN, TEXT, PROVES) == first
    assert len(reads) == 2


def test_a_directory_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert load_kept(tmp_path / "file", SHOWN, TEXT, PROVES) == load(SHOWN, TEXT, PROVES)


def test_nothing_else_of_the_package_has_a_part_in_reading() -> None:
    """A change of a module that readers use must make them read anew."""
    told = subprocess.run(
        [sys.executable, "-c", "import sys, touchstone.suite.load; print(*sys.modules, sep='\\n')"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    used = {name for name in told if name.startswith("touchstone.")}
    readers = {f"touchstone.{Path(name).stem}" for name in READERS}
    assert "touchstone.suite.cases" in used
    assert {name for name in used if ".".join(name.split(".")[:2]) not in readers} == set()
