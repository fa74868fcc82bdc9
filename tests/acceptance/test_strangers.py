"""Hypervisors that are not ours: they are accused of their own faults, and of nothing else."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkout import ROOT
from tests.support.runs import Run, run_suites
from touchstone.drivers.qemu.config import installed_version

SUBJECTS = ROOT / "tests" / "subjects"
RED = {"deviation", "crash", "hang"}
FINE = {"conformant", "machine", "known-deviation", "unsupported"}


def judge(directory: Path, name: str, *suites: str, target: str = "qemu-amd") -> Run:
    file = SUBJECTS / name / f"{name}.toml"
    return run_suites(directory, *suites, f"--target={target}", f"--hypervisor={file}")


def node(check: str, target: str) -> str:
    """What pytest calls a check, in whatever suite it is."""
    suites = (ROOT / "conformance").glob("*/*.yaml")
    (suite,) = (path for path in suites if f"- id: {check}\n" in path.read_text(encoding="utf-8"))
    return f"{suite.relative_to(ROOT)}::{check}[{target}]"


def faults(name: str) -> list[dict[str, Any]]:
    """Those of a list that the installed QEMU can show."""
    qemu, _ = installed_version("qemu-system-x86_64")
    listed = tomllib.loads((SUBJECTS / name).read_text(encoding="utf-8"))["fault"]
    return [fault for fault in listed if fault.get("qemu", 0) <= qemu < fault.get("below", qemu + 1)]


def demand_faults_alone(run: Run, expected: list[dict[str, Any]], *, all_of_them: bool) -> None:
    """Every check that is red is of one of the faults. ``all_of_them``: and every fault is found."""
    assert run.words() <= RED | FINE, run.printed
    red = {verdict.check for verdict in run.verdicts if verdict.word in RED}
    named = {
        fault["name"]: {one for one in red if any(fnmatchcase(one, pattern) for pattern in fault["checks"])}
        for fault in expected
    }
    alone = red - {one for fault in expected for one in fault.get("aftermath", ())}
    others = alone - set().union(*named.values())
    assert others == set(), f"accused of what is none of its faults: {sorted(others)}\n{run.printed}"
    unasked = {verdict.check for verdict in run.verdicts if verdict.word == "unsupported"}
    for fault in expected:
        if not all_of_them or fault.get("optional"):
            continue
        assert named[fault["name"]], f"a fault that no check finds: {fault['name']}"
        for pattern in fault["checks"]:
            seen = any(fnmatchcase(one, pattern) for one in red | unasked)
            assert seen, f"no check is red of {pattern}"


def demand_that_it_stays(run: Run) -> None:
    """It cannot be unloaded: what rests on that is unsupported."""
    words = {verdict.check: verdict.word for verdict in run.verdicts}
    judged = {check: word for check, word in words.items() if check.startswith("teardown.")}
    assert judged.pop("teardown.unload.none-lost") == "conformant"  # it asks before it would be unloaded
    assert set(judged.values()) == {"unsupported"}


def test_a_toy_is_accused_of_its_faults_and_of_nothing_else(tmp_path: Path) -> None:
    """It has no counters, no trace, and cannot be unloaded: what rests on that is unsupported."""
    run = judge(tmp_path, "toy", "conformance")
    demand_faults_alone(run, faults("faults.toml"), all_of_them=True)
    demand_that_it_stays(run)


@pytest.mark.nightly
def test_a_toy_for_vmx_is_accused_of_its_faults_and_of_nothing_else(tmp_path: Path) -> None:
    run = judge(tmp_path, "vtoy", "conformance", target="bochs-intel")
    demand_faults_alone(run, faults("faults-vmx.toml"), all_of_them=True)
    demand_that_it_stays(run)


def test_a_toy_for_vmx_in_short(tmp_path: Path) -> None:
    """A check for each fault that leaves the machine alive, and those that are the processor's business."""
    expected = faults("faults-vmx.toml")
    picked = [fault["pick"] for fault in expected if "pick" in fault]
    own = ["exits.xsetbv.ring3", "exits.xsetbv.privilege"]
    run = judge(
        tmp_path, "vtoy", *(node(one, "bochs-intel") for one in (*picked, *own)), target="bochs-intel"
    )
    demand_faults_alone(run, expected, all_of_them=False)
    words = {verdict.check: verdict.word for verdict in run.verdicts}
    assert {words.pop(one) for one in own} <= FINE, run.printed
    assert len(words) == len(picked) >= 9
    assert set(words.values()) == {"deviation"}, run.printed


MODEL = """
[targets.stranger]
driver = "{driver}"
vendor = "{vendor}"
cpus = 2
memory-mib = 64
cpu-model = "{model}"
timeout-factor = 8
"""


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("driver", "vendor", "model"),
    [
        ("qemu", "amd", "Opteron_G3,+svm,+npt"),
        ("qemu", "amd", "qemu64,+svm,+npt"),
        ("bochs", "amd", "zambezi"),
        ("bochs", "intel", "corei7_haswell_4770"),
    ],
)
def test_nobody_is_accused_on_a_model_that_no_inventory_knows(
    driver: str, vendor: str, model: str, tmp_path: Path
) -> None:
    inventory = tmp_path / "strangers.toml"
    inventory.write_text(MODEL.format(driver=driver, vendor=vendor, model=model))
    run = run_suites(tmp_path, "conformance", f"--touchstone-inventory={inventory}", "--target=stranger")
    assert run.words() <= FINE, run.printed
    assert sum(verdict.word == "conformant" for verdict in run.verdicts) >= 200, run.printed


@pytest.mark.parametrize(
    ("name", "suites", "found"),
    [
        ("liar", ["conformance/broadcast/test_loading.py"], {"broadcast.load.all-cpus"}),
        (
            "stayer",
            ["conformance/teardown/gone.yaml", "conformance/teardown/test_cycles.py"],
            {"teardown.gone.signature", "teardown.gone.features", "teardown.unload.all-cpus"},
        ),
    ],
)
def test_who_lies_or_stays_is_found_out(
    name: str, suites: list[str], found: set[str], tmp_path: Path
) -> None:
    run = judge(tmp_path, name, *suites)
    assert found <= {verdict.check for verdict in run.verdicts if verdict.word in RED}, run.printed
    assert run.words() <= RED | FINE, run.printed
