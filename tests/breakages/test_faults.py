"""The catalogue's language: tables, and what is said of mistakes in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.breakages.checks import find_checks, find_titles
from tests.breakages.faults import (
    KEYS,
    KINDS,
    CatalogueError,
    Fault,
    apply,
    catalogue,
    find_outdated,
    matching,
    read_catalogue,
)
from tests.support.checkout import ROOT

HERE = Path(__file__).parent
PAGE = ROOT / "docs" / "seeding-faults.md"
CHECKS = {"exits.cpuid.flags": "conformance/exits/cpuid.yaml::exits.cpuid.flags"}
GOOD = """
[[fault]]
id = "one"
title = "forget one"
kind = "exit"
vendor = "amd"
file = "core/a.c"
find = "one();"
replace = "0;"
check = "exits.cpuid.flags"
"""


@pytest.fixture
def hypervisor(tmp_path: Path) -> Path:
    source = tmp_path / "hypervisor" / "core" / "a.c"
    source.parent.mkdir(parents=True)
    source.write_text("one();\ntwo();\ntwice();\ntwice();\n")
    return tmp_path / "hypervisor"


def read(tmp_path: Path, text: str, checks: dict[str, str] = CHECKS) -> dict[str, Fault]:
    folder = tmp_path / "catalogue"
    folder.mkdir(exist_ok=True)
    (folder / "some.toml").write_text(text)
    faults = read_catalogue(folder)
    if outdated := find_outdated(faults.values(), tmp_path / "hypervisor", checks):
        raise CatalogueError("\n".join(line for mistakes in outdated.values() for line in mistakes))
    return faults


def test_a_fault(tmp_path: Path, hypervisor: Path) -> None:
    fault = read(tmp_path, GOOD)["one"]
    assert (fault.target, fault.check, fault.alone) == ("qemu-amd", "exits.cpuid.flags", False)
    apply(fault.edits, hypervisor, fault.place)
    assert (hypervisor / "core" / "a.c").read_text().startswith("0;\ntwo();")


def test_a_table_makes_a_fault_of_each_row(tmp_path: Path, hypervisor: Path) -> None:
    faults = read(
        tmp_path,
        """
        [[table]]
        id = "drop-<id>"
        title = "forget <what>"
        kind = "exit"
        vendor = "amd"
        file = "core/a.c"
        find = "<id>();"
        replace = ""
        rows = [
          { id = "one", what = "the first", check = "exits.cpuid.flags" },
          { id = "two", what = "the second", vendor = "intel", replace = "2;", equivalent = "<what>!" },
        ]
        """,
    )
    one, two = faults["drop-one"], faults["drop-two"]
    assert (one.title, one.edits[0].find, one.edits[0].replace) == ("forget the first", "one();", "")
    assert (two.target, two.edits[0].replace, two.equivalent) == ("bochs-intel", "2;", "the second!")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('"one();"', '"three();"'), "some.toml, one: 'three();' occurs 0 times in hypervisor/core/a.c"),
        (('"one();"', '"twice();"'), "some.toml, one: 'twice();' occurs 2 times in hypervisor/core/a.c"),
        (('"core/a.c"', '"core/b.c"'), "some.toml, one: 'one();' occurs 0 times in hypervisor/core/b.c"),
        (('"0;"', '"one();"'), "some.toml, one: it changes nothing"),
        (('"exit"', '"exits"'), "some.toml, one: no kind 'exits'; there are load, unload"),
        (('"amd"', '"AMD"'), "some.toml, one: no vendor 'AMD'; there are amd, intel, both"),
        (("cpuid.flags", "cpuid.flag"), "some.toml, one: no suite has a check 'exits.cpuid.flag'"),
        (("check =", "chek ="), "some.toml, one: no key 'chek'"),
        (("check =", "equivalent = 'x'\ncheck ="), "some.toml, one: it needs one of 'check', 'equivalent'"),
        (("title =", "# title ="), "some.toml, one: 'title' is missing"),
        (("forget one", "forget <what>"), "some.toml, one: <what> of 'title' is no value of the row"),
        (
            ("check =", "program = 'core'\ncheck ="),
            "some.toml, one: 'program' is for what no target shows, beside",
        ),
        (
            ("check =", "program = 'cpu'\nunshowable ="),
            "some.toml, one: no program 'cpu'; there are core, processor",
        ),
        (("[[fault]]", "[[fautl]]"), "some.toml: there are [[fault]] and [[table]], no [fautl]"),
    ],
)
def test_a_mistake_names_its_entry(
    tmp_path: Path, hypervisor: Path, change: tuple[str, str], says: str
) -> None:
    with pytest.raises(CatalogueError) as error:
        read(tmp_path, GOOD.replace(*change))
    assert says in str(error.value)


def test_all_mistakes_are_reported_at_once(tmp_path: Path, hypervisor: Path) -> None:
    other = GOOD.replace('"one"', '"other"').replace('"amd"', '"AMD"').replace("file =", "path =")
    with pytest.raises(CatalogueError) as error:
        read(tmp_path, GOOD + other + GOOD)
    assert len(str(error.value).splitlines()) == 4
    assert "one: 2 entries have this id" in str(error.value)


def test_an_outdated_fault_does_not_stand_in_the_way_of_others(tmp_path: Path, hypervisor: Path) -> None:
    other = GOOD.replace('"one"', '"other"').replace('"one();"', '"three();"')
    folder = tmp_path / "catalogue"
    folder.mkdir()
    (folder / "some.toml").write_text(GOOD + other)
    faults = read_catalogue(folder)
    assert find_outdated(faults.values(), hypervisor, CHECKS) == {
        "other": ["some.toml, other: 'three();' occurs 0 times in hypervisor/core/a.c, and must occur once"]
    }


def test_an_edit_that_another_one_has_undone_does_not_apply(tmp_path: Path, hypervisor: Path) -> None:
    fault = read(tmp_path, GOOD)["one"]
    apply(fault.edits, hypervisor, fault.place)
    with pytest.raises(CatalogueError, match=r"some\.toml, one: 'one\(\);' occurs 0 times"):
        apply(fault.edits, hypervisor, fault.place)


def test_a_glob_that_matches_nothing_is_an_error(tmp_path: Path, hypervisor: Path) -> None:
    faults = read(tmp_path, GOOD)
    assert [fault.id for fault in matching(faults, ["o*"])] == ["one"]
    with pytest.raises(CatalogueError, match="--fault=two: no fault"):
        matching(faults, ["two"])


def test_the_catalogue_is_large_and_has_proofs() -> None:
    faults = catalogue().values()
    assert len(faults) >= 240
    assert {edit.file.split("/")[0] for one in faults for edit in one.edits} >= {
        "core",
        "svm",
        "vmx",
        "hosts",
    }
    # A word is no proof.
    assert not [one.id for one in faults if one.equivalent and len(one.equivalent) < 25]
    assert not [one.id for one in faults if one.unshowable and len(one.unshowable) < 10]


def test_every_named_check_has_a_title() -> None:
    faults = catalogue().values()
    titles = find_titles(ROOT)
    there = find_checks(ROOT)
    assert not sorted({one.check for one in faults if one.check in there} - titles.keys())


def test_every_key_and_kind_is_documented() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert not {key for key in KEYS if not re.search(rf"(?m)^\| .*`{key}`.* \|", text)}
    assert "\n".join(f"| `{kind}` | {about} |" for kind, about in KINDS.items()) in text
