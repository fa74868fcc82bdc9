"""The same suites on a running Linux, over SSH: nothing deviates that the inventory does not know."""

from pathlib import Path

import pytest

from tests.support.runs import run_suites

# All suites take Bochs more than three minutes: docs/nightly/run has them. Here are the areas that depend on
# what is underneath, without the work that loads and unloads must not disturb: that takes two minutes, and
# tests/linux has it.
QUICK = ("conformance/broadcast", "conformance/teardown", "-k", "not test_live_os and not kvm")
LAST = "tests/acceptance/last_check.py"


@pytest.mark.parametrize(
    ("target", "cpus", "options", "least"),
    [
        # Checks that need the machine to themselves are unsupported on both.
        pytest.param("linux-amd", 4, (), 300, id="linux-amd"),
        pytest.param("linux-intel", 2, (*QUICK, LAST), 80, id="linux-intel"),
    ],
)
def test_suites_on_a_running_linux(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    cpus: int,
    options: tuple[str, ...],
    least: int,
) -> None:
    killed = tmp_path / "killed"
    monkeypatch.setenv("TOUCHSTONE_TEST_KILLED", str(killed))
    run = run_suites(tmp_path, f"--target={target}", *options)
    if "infrastructure" in run.words() and "cannot be had" in run.printed:
        pytest.skip(f"no image: {run.printed[-1000:]}")
    assert run.status == 0, run.printed
    assert "Veneer" in run.printed
    assert f"on {cpus} of {cpus} CPUs" in run.printed
    assert run.words() <= {"conformant", "machine", "known-deviation", "unsupported"}
    assert sum(verdict.word == "conformant" for verdict in run.verdicts) >= least
    if LAST in options:
        assert ("teardown.last.autopsy-and-kill", "conformant") in {(v.check, v.word) for v in run.verdicts}
        assert not Path("/proc", killed.read_text(encoding="ascii")).exists()
