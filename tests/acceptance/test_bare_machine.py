"""Subject ``none``: what claims a hypervisor fails, what only demands that none shows passes."""

from pathlib import Path

import pytest

from tests.support.runs import run_suites

FINE = {"conformant", "known-deviation", "unsupported"}


@pytest.mark.parametrize("target", ["qemu-amd", "bochs-intel"])
def test_the_bare_machine_claims_nothing(target: str, tmp_path: Path) -> None:
    run = run_suites(tmp_path, "conformance", f"--target={target}", "--hypervisor=none")
    assert run.status == 1, run.printed
    passed = [v.check for v in run.verdicts if v.claims and v.word in {"conformant", "improved"}]
    assert not passed, f"these claim a hypervisor, and hold without one: {passed}"
    failed = [v for v in run.verdicts if not v.claims and v.word not in FINE]
    assert not failed, f"these demand transparency only, and fail without a hypervisor: {failed}"
    assert sum(v.claims and v.word == "deviation" for v in run.verdicts) > 10, run.printed
