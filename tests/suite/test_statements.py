"""The requirements that checks prove: mistakes in a file of them, and what the shipped ones have."""

from __future__ import annotations

import ast
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checkout import ROOT, suite_files
from tests.support.requirement_texts import requirements
from touchstone.suite.load import load
from touchstone.suite.model import Check
from touchstone.suite.problems import SuiteErrors
from touchstone.suite.statements import Statement, known_statements, load_statements

CONFORMANCE = ROOT / "conformance"
MANUALS = {"intel": "intel-sdm", "amd": "amd-apm"}


def problems(text: str) -> list[str]:
    try:
        load_statements(Path("r.yaml"), text)
    except SuiteErrors as errors:
        return [str(one).removeprefix("r.yaml:") for one in errors.problems]
    return []


def test_a_file() -> None:
    text = (
        "- chapter: First\n  requirements:\n    - id: a.b\n      statement: |\n        A VM raises #UD\n"
        "        at once.\n      level: claimed\n      vendor: amd\n"
        "      cite:\n        - {doc: amd-apm, title: T, says: S}\n"
        "        - {doc: intel-sdm, title: U, says: V}\n"
    ) + requirements("c")
    first, second = load_statements(Path("r.yaml"), text)
    assert (first.id, first.text, first.chapter) == ("a.b", "A VM raises #UD at once.", "First")
    assert (first.level, first.vendor, [one.doc for one in first.cite]) == (
        "claimed",
        "amd",
        ["amd-apm", "intel-sdm"],
    )
    assert str(first.source) == "r.yaml:3:7"
    assert (second.chapter, second.level, second.vendor) == ("", "must", "both")
    assert [first.is_about(one) for one in ("amd", "intel", "")] == [True, False, True]
    assert second.is_about("intel")


def test_all_mistakes_at_once() -> None:
    text = (
        "- chapter: One\n  requirement:\n    - id: a\n"
        + requirements("a", "a")
        + "- {id: A b, statement: S, cite: {doc: intel-sdm, says: S}, level: shall, vendor: arm}\n"
        + "- {id: c, cite: {doc: intel sdm, title: T, says: S, page: 5}}\n"
        + "- nonsense\n"
        + "- chapter: Two\n  requirements: []\n"
    )
    assert problems(text) == [
        "1:3: the chapter has no 'requirements'",
        "2:3: unknown key 'requirement' in a chapter (did you mean 'requirements'?)",
        "7:7: the id 'a' is already used in line 4",
        "10:8: the id 'A b' must be lower-case words joined by '.' or '-': cpuid-osxsave",
        "10:33: cite has no title: name the document, the title and the sentence",
        "10:67: level must be must, should or claimed, not 'shall'",
        "10:82: vendor must be both, intel or amd, not 'arm' (did you mean 'amd'?)",
        "11:3: the requirement has no 'statement'",
        "11:23: doc is a short name like intel-sdm or amd-apm, not 'intel sdm'",
        "11:53: unknown key 'page' in cite; it takes doc, title, says or section",
        "12:3: a requirement must be a mapping (`key: value` lines), not 'nonsense'",
        "14:17: requirements must be a list of requirements, each with an id, a statement and a citation",
    ]
    assert problems("") == ["1:1: the file is empty; it is a list of requirements"]
    assert problems("a: [") != []
    assert problems("id: a\n") == [
        "1:1: the file must be a list of requirements, each with an id, a statement and a citation"
    ]


def test_a_project_s_own_file_adds_to_touchstone_s(tmp_path: Path) -> None:
    shipped = known_statements(tmp_path / "none")
    own = tmp_path / "requirements.yaml"
    own.write_text(requirements("mine", "cpuid-osxsave"), encoding="utf-8")
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "more.yaml").write_text(requirements("more"), encoding="utf-8")
    both = known_statements(tmp_path)
    assert set(both) - set(shipped) == {"mine", "more"}
    assert both["cpuid-osxsave"].text == "What cpuid-osxsave says."
    assert known_statements(CONFORMANCE) == shipped


def test_mistakes_of_all_files_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "requirements"
    folder.mkdir()
    (tmp_path / "requirements.yaml").write_text("- 1\n", encoding="utf-8")
    (folder / "a.yaml").write_text(requirements("one"), encoding="utf-8")
    (folder / "b.yml").write_text(requirements("two", "one"), encoding="utf-8")
    with pytest.raises(SuiteErrors) as caught:
        known_statements(tmp_path, lambda path: os.path.relpath(path, tmp_path))
    assert [str(one) for one in caught.value.problems] == [
        "requirements.yaml:1:3: a requirement must be a mapping (`key: value` lines), not '1'",
        "requirements/b.yml:4:3: the id 'one' is already used in requirements/a.yaml:1:3",
    ]


@pytest.fixture(scope="module")
def shipped() -> list[Statement]:
    return list(known_statements(CONFORMANCE).values())


@pytest.fixture(scope="module")
def checks() -> list[Check]:
    return [check for path in suite_files() for check in load(path).checks]


def test_the_shipped_requirements_cite_the_manuals(shipped: list[Statement]) -> None:
    assert len(shipped) >= 150
    assert [one.id for one in shipped if not one.chapter] == []
    for one in shipped:
        documents = {cite.doc for cite in one.cite}
        assert documents <= set(MANUALS.values()), f"{one.id} cites {documents}"
        if one.vendor != "both":
            assert MANUALS[one.vendor] in documents, f"{one.id} is about {one.vendor}, and cites {documents}"
        assert one.text.endswith("."), one.id


def test_no_sentence_is_there_twice(shipped: list[Statement]) -> None:
    assert [text for text, count in Counter(one.text for one in shipped).items() if count > 1] == []


def test_every_shipped_check_proves_a_requirement(checks: list[Check], shipped: list[Statement]) -> None:
    known = {one.id for one in shipped}
    proved = {check.id: set(check.proves) for check in checks}
    proved |= {str(source): ids for source, ids in _in_python()}
    assert [name for name, ids in proved.items() if not ids] == []
    assert {name: ids - known for name, ids in proved.items() if ids - known} == {}


def test_a_check_of_one_vendor_proves_nothing_about_the_other(
    checks: list[Check], shipped: list[Statement]
) -> None:
    about = {one.id: one.vendor for one in shipped}
    for check in checks:
        needs = " and ".join(one.text for one in check.requires)
        for vendor, other in (("intel", "amd"), ("amd", "intel")):
            if f"vendor == {vendor}" in needs:
                wrong = [name for name in check.proves if about[name] == other]
                assert not wrong, f"{check.id} needs {vendor}, and proves {wrong} about {other}"


def _in_python() -> Iterator[tuple[str, set[str]]]:
    """What the Python checks of conformance/ prove, by file and line of their marks."""
    for path in sorted(CONFORMANCE.glob("*/test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            where = f"{path.name}:{node.lineno}"
            named = {one.arg: one.value for one in node.keywords}
            if isinstance(node.func, ast.Attribute) and node.func.attr == "touchstone" and "id" in named:
                if isinstance(named.get("proves"), ast.Name):
                    continue  # a function that makes marks: its calls have the ids
                yield where, _words(named.get("proves"))
            elif isinstance(node.func, ast.Name) and node.func.id == "kind":
                yield where, _words(node.args[2])


def _words(node: ast.expr | None) -> set[str]:
    return set(ast.literal_eval(node)) if node is not None else set()
