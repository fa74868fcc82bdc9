"""What docs/nightly has for systemd and GitHub, and what .ci/run does, is what the pages say."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.checkout import ROOT
from touchstone.config.inventory import read_inventory
from touchstone.config.matrix import read_matrix

NIGHTLY = ROOT / "docs" / "nightly"
UNITS = ("nightly", "many-cpus")


def test_ci_runs_the_commands_of_the_readme() -> None:
    """It requires more of them: that everything was judged."""
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    found = re.findall(r"^step \"[\w ]+\" (\./bootstrap pytest .*)$", ci, re.MULTILINE)
    steps = [re.sub(r" --require-\S+", "", step) for step in found]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(steps) == 2
    assert [step for step in steps if not re.search(rf"^ *{re.escape(step)}$", readme, re.MULTILINE)] == []


def test_the_workflow_runs_the_nightly_script() -> None:
    workflow = yaml.safe_load((NIGHTLY / "github-actions.yml").read_text(encoding="utf-8"))
    commands = "\n".join(step.get("run", "") for step in workflow["jobs"]["nightly"]["steps"])
    assert "docs/nightly/run" in commands
    assert (NIGHTLY / "run").stat().st_mode & 0o111


def test_the_unit_runs_the_nightly_script_of_the_checkout_that_the_page_names() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((NIGHTLY / "touchstone-nightly.service").read_text(encoding="utf-8"))
    checkout = unit["Service"]["WorkingDirectory"]
    command, *_ = unit["Service"]["ExecStart"].split()
    assert command == f"{checkout}/docs/nightly/run"
    page = (ROOT / "docs" / "nightly.md").read_text(encoding="utf-8")
    assert f"a checkout in `{checkout}`" in page
    assert f"user `{unit['Service']['User']}`" in page


def test_the_unit_updates_the_checkout_and_takes_what_to_run_from_elsewhere() -> None:
    unit = (NIGHTLY / "touchstone-nightly.service").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "nightly.md").read_text(encoding="utf-8")
    assert re.search(r"^Environment=TOUCHSTONE_UPDATE=\w+$", unit, re.MULTILINE)
    (settings,) = re.findall(r"^EnvironmentFile=-(.*)$", unit, re.MULTILINE)
    assert f"`{settings}`" in page
    assert re.search(r"^ExecStart=\S+$", unit, re.MULTILINE), "targets here would go with any matrix there"


def test_the_weekly_run_is_the_matrix_with_many_cpus() -> None:
    """With systemd and at GitHub in the same words, which name what there is."""
    unit = (NIGHTLY / "touchstone-many-cpus.service").read_text(encoding="utf-8")
    (words,) = re.findall(r"^ExecStart=\S+/docs/nightly/run (.*)$", unit, re.MULTILINE)
    matrix, *suites = words.split()
    there = matrix.removeprefix("--matrix=")
    inventory = read_inventory(ROOT / "targets" / "inventory.toml")
    cells = read_matrix(ROOT / "targets" / "matrix.toml", there, inventory, "matrix.toml").targets("veneer")
    assert max(cell.settings.cpus for cell in cells) > 64
    assert [suite for suite in suites if not (ROOT / suite).is_dir()] == []
    workflow = yaml.safe_load((NIGHTLY / "github-actions.yml").read_text(encoding="utf-8"))
    weekly = [one["cron"] for one in workflow[True]["schedule"]][1]
    job = workflow["jobs"]["nightly"]
    assert f"schedule == '{weekly}' && 'many-cpus'" in job["env"]["TOUCHSTONE_STATE"]
    (run,) = (step for step in job["steps"] if step.get("run") == "docs/nightly/run")
    assert f"== 'many-cpus' && '{words}'" in run["env"]["TOUCHSTONE_OPTIONS"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    units = []
    for name in (f"touchstone-{one}.{kind}" for one in UNITS for kind in ("service", "timer")):
        text = (NIGHTLY / name).read_text(encoding="utf-8").replace("/opt/touchstone", str(ROOT))
        units.append(tmp_path / name)
        units[-1].write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, units)],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "touchstone" in line]
    assert (done.returncode, ours) == (0, [])


def test_variables_that_are_set_are_known_to_the_script() -> None:
    """A variable that nothing reads is a night that does less than it says."""
    script = (NIGHTLY / "run").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "nightly.md").read_text(encoding="utf-8")
    read = set(re.findall(r"\$\{?(TOUCHSTONE_\w+)", script))
    for name in (*(f"touchstone-{one}.service" for one in UNITS), "github-actions.yml"):
        named = re.findall(r"TOUCHSTONE_\w+", (NIGHTLY / name).read_text(encoding="utf-8"))
        assert set(named) - read == set(), name
    assert set(re.findall(r"TOUCHSTONE_\w+", page)) - read == set()
    assert read - set(re.findall(r"TOUCHSTONE_\w+", page)) == set(), "the page names all of them"


def test_the_unit_has_time_for_what_it_runs() -> None:
    text = (NIGHTLY / "touchstone-nightly.service").read_text(encoding="utf-8")
    faults = re.search(r"^Environment=TOUCHSTONE_FAULTS=(\d+)$", text, re.MULTILINE)
    limit = re.search(r"^TimeoutStartSec=(\d+)h$", text, re.MULTILINE)
    assert faults
    assert limit
    assert int(limit[1]) * 60 >= int(faults[1]) + 180
