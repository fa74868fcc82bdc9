"""A check that claims to see something has to have seen it: Veneer is broken, and must be caught.

Without an option, a sample of the catalogue; docs/seeding-faults.md says more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.breakages.batches import Batch, choose_sample, make_batches
from tests.breakages.checks import find_checks
from tests.breakages.faults import Fault, catalogue, find_outdated, matching
from tests.breakages.judging import BAD, BY_PROGRAM, Result, judge, judge_whole, load_folder, save_results
from tests.breakages.runs import Outcome, run_checks
from tests.breakages.subjects import break_veneer, remove_old
from tests.support.checkout import ROOT

COPIES = ROOT / "build" / "breakages"
SAMPLE = 30
ROUNDS = 2


def batches_of(config: pytest.Config, faults: dict[str, Fault]) -> list[Batch]:
    """What the command line asks for."""
    patterns = config.getoption("--fault", None)
    if patterns:
        faults = {fault.id: fault for fault in matching(faults, patterns)}
    if patterns and not config.getoption("--all", False):
        return [Batch(fault.id, fault.target, (fault,), not fault.check) for fault in faults.values()]
    if config.getoption("--all", False):
        folder = config.getoption("--table", None)
        found = load_folder(Path(folder) if folder else None, faults)
        again = {result.id for result in found if result.fate in BAD}
        return make_batches(
            [replace(fault, alone=fault.alone or fault.id in again) for fault in faults.values()],
            rounds=config.getoption("--rounds", None) or ROUNDS,
            done=[
                (result.id, result.beside)
                for result in found
                if result.id not in again and result.fate != BY_PROGRAM
            ],
        )
    return make_batches(choose_sample(faults.values(), SAMPLE), rounds=1, most=SAMPLE)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "batch" in metafunc.fixturenames:
        faults = catalogue()
        outdated = find_outdated(faults.values(), ROOT / "hypervisor", find_checks(ROOT))
        usable = {name: fault for name, fault in faults.items() if name not in outdated}
        batches = batches_of(metafunc.config, usable)
        metafunc.parametrize("batch", batches, ids=[batch.name for batch in batches])


def run(target: str, faults: tuple[Fault, ...], what: list[str], most: int) -> Outcome:
    return run_checks(ROOT, target, break_veneer(ROOT, COPIES, faults), what, most)


def test_no_fault_is_outdated() -> None:
    """Veneer and the suites go on: an edit must still apply, and its check be there."""
    outdated = find_outdated(catalogue().values(), ROOT / "hypervisor", find_checks(ROOT))
    assert not outdated, "\n".join(line for mistakes in outdated.values() for line in mistakes)


def run_batch(batch: Batch, config: pytest.Config) -> list[Result]:
    if config.getoption("--whole", False):
        results = [judge_whole(batch.target, fault, run) for fault in batch.faults]
    else:
        asked = config.getoption("--all", False) or config.getoption("--fault", None)
        whole = bool(asked) and not config.getoption("--named", False)
        results = judge(batch, find_checks(ROOT), run, whole)
    digests = {fault.id: fault.digest for fault in batch.faults}
    for result in results:
        result.of = digests[result.id]
        result.beside = [name for name in digests if name != result.id]
    return results


@pytest.mark.usefixtures("within_minutes")
def test_every_fault_is_caught(
    batch: Batch, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    folder = request.config.getoption("--table", None)
    results = run_batch(batch, request.config)
    if folder:
        save_results(Path(folder) / f"{batch.key}.jsonl", results)
    for result in results:
        record_property("breakage", result.dump())
    remove_old(COPIES)
    bad = [f"{one.fate}: {one.id}: {one.why} {one.seen_by[:5]}" for one in results if one.fate in BAD]
    assert not bad, "\n".join(bad)
