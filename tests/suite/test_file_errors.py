"""The errors of files that are no suites."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.suite_texts import problems
from touchstone.suite.load import load
from touchstone.suite.problems import SuiteErrors


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1:1: the file is empty; a suite has the keys suite, area and checks"]),
        ("# nothing\n", ["1:1: the file is empty; a suite has the keys suite, area and checks"]),
        ("- a\n", ["1:1: the suite must be a mapping (`key: value` lines), not a list"]),
        ("hello\n", ["1:1: the suite must be a mapping (`key: value` lines), not 'hello'"]),
        (
            "suite: S\narea: exits\nchecks: {}\n",
            ["3:9: checks must be a list: every check begins with `- id: ...`"],
        ),
        (
            "suite: S\narea: exits\nchecks:\n",
            ["3:8: checks must be a list: every check begins with `- id: ...`"],
        ),
        ("suite: [\n", None),
        ("suite: S\n\tarea: exits\n", None),
        ("a: b\n---\nc: d\n", None),
        ("suite: !!python/object:os.system S\n", None),
        ("suite: \x07\n", None),
    ],
)
def test_files_that_are_no_suites(text: str, expected: list[str] | None) -> None:
    found = problems(text)
    assert found
    if expected is not None:
        assert found == expected


def test_yaml_errors_have_positions_and_hints() -> None:
    (found,) = problems("suite: S\n\tarea: exits\n")
    assert found.startswith("2:1: not YAML: ")
    assert found.endswith("the line contains a tab: YAML indents with spaces")
    (found,) = problems("a:\n  {rax[63:32]: 0}\n")
    assert found.startswith("2:")
    assert found.endswith('; between { and } a key with brackets is written in quotes: "rax[63:32]"')
    (found,) = problems("a: b\nc: \x07\n")
    assert found == "2:1: not YAML: control characters are not allowed"


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"suite: S\narea: \xe9\n")
    with pytest.raises(SuiteErrors) as caught:
        load(path)
    assert str(caught.value) == f"{path}:2:7: not UTF-8: byte 0xe9; save the file as UTF-8"
