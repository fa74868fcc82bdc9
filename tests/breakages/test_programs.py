"""Faults that no target shows are seen by a program: a sample of them, or what the options ask for.

Those of a Linux and of a payload take a minute each, and are no part of the sample.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.breakages.faults import MACHINES, Fault, find_outdated, matching, read_catalogue
from tests.breakages.judging import BY_PROGRAM, Result, load_folder, save_results
from tests.breakages.machines import say_of_autopsy, say_of_module, say_of_payload
from tests.breakages.programs import BrokenPrograms
from tests.support.c_programs import HYPERVISOR
from tests.support.checkout import ROOT

CATALOGUE = Path(__file__).parent / "catalogue"
COPIES = ROOT / "build" / "breakages"


def chosen(config: pytest.Config) -> list[Fault]:
    """Those that can be run and have not been; outdated ones fail a test of their own."""
    faults = read_catalogue(CATALOGUE)
    mine = {name: fault for name, fault in faults.items() if fault.program}
    outdated = find_outdated(mine.values(), HYPERVISOR, ())
    everything, table = config.getoption("--all", False), config.getoption("--table", None)
    if patterns := config.getoption("--fault", None):
        asked = [fault for fault in matching(faults, patterns) if fault.program]
    else:
        asked = [
            fault for fault in mine.values() if everything or (fault.sample and fault.program not in MACHINES)
        ]
    results = load_folder(Path(table), faults) if everything and table else []
    done = {result.id for result in results if result.fate == BY_PROGRAM}
    asked = [fault for fault in asked if fault.id not in done | outdated.keys()]
    return sorted(asked, key=lambda fault: fault.program in MACHINES)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fault" in metafunc.fixturenames:
        faults = chosen(metafunc.config)
        metafunc.parametrize("fault", faults, ids=[fault.id for fault in faults])


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> BrokenPrograms:
    return BrokenPrograms(tmp_path_factory.mktemp("programs") / "broken")


@pytest.mark.usefixtures("within_minutes")
def test_a_program_sees_the_fault(
    fault: Fault, programs: BrokenPrograms, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    began = time.monotonic()
    match fault.program:
        case "module":
            said = say_of_module(fault, COPIES, tmp_path)
        case "payload":
            said = say_of_payload(fault, COPIES, tmp_path)
        case "autopsy":
            said = say_of_autopsy(fault, COPIES, tmp_path)
        case _:
            said = programs.says(fault)
    assert said, f"{fault.program} passes although Veneer does this: {fault.title}"
    if folder := request.config.getoption("--table", None):
        seconds = time.monotonic() - began
        result = Result(fault.id, BY_PROGRAM, seconds, why=f"{fault.program}: {said}", of=fault.digest)
        save_results(Path(folder) / f"{fault.id}-{fault.digest}.jsonl", [result])
