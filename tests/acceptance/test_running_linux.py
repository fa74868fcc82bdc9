"""The same suites on a running Linux, over SSH: nothing deviates that the inventory does not know."""

from pathlib import Path

import pytest

from tests.support.runs import run_suites

# docs/nightly/run has all suites on both. Here are the areas that depend on what is underneath, with every
# check that wants a Linux, and of area exits what Linux may have a say in: CPUID, and who gets an exception.
SUITES = (
    "conformance/broadcast",
    "conformance/nested",
    "conformance/teardown",
    "conformance/exits/cpuid.yaml",
    "conformance/exits/debug.yaml",
    "conformance/exits/injection.yaml",
)
# In Bochs, without the work that must not be disturbed: that takes minutes, and tests/linux has it there.
IN_BOCHS = ("tests/acceptance/last_check.py", "-k", "not test_live_os and not kvm")


@pytest.mark.parametrize(
    ("target", "cpus", "options", "least"),
    [
        # Checks that need the machine to themselves are unsupported on both.
        pytest.param("linux-amd", 4, (), 150, id="linux-amd"),
        pytest.param("linux-intel", 2, IN_BOCHS, 120, id="linux-intel"),
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
    run = run_suites(tmp_path, f"--target={target}", *SUITES, *options)
    if "infrastructure" in run.words() and "cannot be had" in run.printed:
        pytest.skip(f"no image: {run.printed[-1000:]}")
    assert run.status == 0, run.printed
    assert "Veneer" in run.printed
    assert f"on {cpus} of {cpus} CPUs" in run.printed
    assert run.words() <= {"conformant", "machine", "known-deviation", "unsupported"}
    assert sum(verdict.word == "conformant" for verdict in run.verdicts) >= least
    if options == IN_BOCHS:
        assert ("teardown.last.autopsy-and-kill", "conformant") in {(v.check, v.word) for v in run.verdicts}
        assert not Path("/proc", killed.read_text(encoding="ascii")).exists()
