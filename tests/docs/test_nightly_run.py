"""docs/nightly/run, run: with a bootstrap that stands for the real one, and leaves a journal."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.support.checkout import ROOT
from tests.support.journals import a_journal, key
from touchstone.journal.read import read_journal
from touchstone.words import Verdict

BOOTSTRAP = """#!/bin/sh
# Notes how it is called. `pytest` and `touchstone night` leave the journal that is prepared.
echo "$@" >>"{log}"
value() {{ for word; do case $word in "$name"=*) echo "${{word#*=}}"; return;; esac; done; }}
case "$1 $2" in
"touchstone summary") shift; exec {python} -m touchstone.cli "$@" ;;
"touchstone report") shift 4; echo page >"$1"; exit ${{REPORT_STATUS:-0}} ;;
"python tests/benchmarks/exits.py") exit ${{EXITS_STATUS:-0}} ;;
"touchstone costs") echo "| table |"; echo "|---|"; echo; echo "1 of 9 costs"; exit ${{COSTS_STATUS:-0}} ;;
"pytest tests/breakages/test_breakages.py") exit ${{FAULTS_STATUS:-0}} ;;
"touchstone night") shift 4; journal=$1/veneer.jsonl ;;
pytest*) name=--journal; journal=$(value "$@") ;;
esac
name=--alluredir
mkdir -p "$(value "$@")"
if [ -f "{journal}" ]; then mkdir -p "$(dirname "$journal")"; cp "{journal}" "$journal"; fi
exit ${{STATUS:-0}}
"""


class Nightly:
    """A checkout that has no more than the script and such a bootstrap."""

    def __init__(self, path: Path) -> None:
        self.path, self.log = path / "checkout", path / "log"
        self.state = self.path / "build" / "nightly"
        (self.path / "docs" / "nightly").mkdir(parents=True)
        shutil.copy2(ROOT / "docs" / "nightly" / "run", self.path / "docs" / "nightly" / "run")
        self.journal = path / "prepared.jsonl"
        a_journal(self.journal, {key("exits.a"): Verdict.CONFORMANT})
        bootstrap = self.path / "bootstrap"
        bootstrap.write_text(BOOTSTRAP.format(log=self.log, python=sys.executable, journal=self.journal))
        bootstrap.chmod(0o755)

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        self.log.write_text("")
        return subprocess.run(
            [str(self.path / "docs" / "nightly" / "run"), *words],
            capture_output=True,
            text=True,
            check=False,
            env={
                **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
                "PYTHONPATH": str(ROOT / "plugins"),
                **environment,
            },
        )

    @property
    def pytest_words(self) -> list[str]:
        return self.log.read_text().splitlines()[0].split()


@pytest.fixture
def nightly(tmp_path: Path) -> Nightly:
    return Nightly(tmp_path)


def test_options_go_to_pytest(nightly: Nightly) -> None:
    done = nightly.run(
        "bochs-amd", "--hypervisor=my.toml", TOUCHSTONE_OPTIONS="--touchstone-inventory=lab.toml box"
    )
    assert done.returncode == 0, done.stderr
    words = nightly.pytest_words
    assert words[0] == "pytest"
    assert [word for word in words if word.startswith("--target=")] == ["--target=bochs-amd", "--target=box"]
    assert {"--hypervisor=my.toml", "--touchstone-inventory=lab.toml", "--require-targets"} <= set(words)
    nightly.run()
    (targets,) = (word for word in nightly.pytest_words if word.startswith("--target="))
    assert "linux-intel" in targets.split(",")


def test_suites_go_to_pytest(nightly: Nightly) -> None:
    assert (
        nightly.run("--matrix=many", "conformance/teardown", TOUCHSTONE_OPTIONS="box ./a.yaml").returncode
        == 0
    )
    words = nightly.pytest_words
    assert {"conformance/teardown", "./a.yaml", "--target=box"} <= set(words)


def test_matrix_is_run_with_all_its_subjects(nightly: Nightly) -> None:
    done = nightly.run("--matrix=nightly", "-x")
    assert done.returncode == 0, done.stderr
    words = nightly.pytest_words
    assert words[:3] == ["touchstone", "night", "nightly"]
    assert "-x" in words
    assert (nightly.path / "build" / "last-night" / "nightly-veneer.jsonl").is_file()
    assert not [word for word in words if word.startswith(("--matrix", "--target"))]
    assert (nightly.state / "night" / "journals" / "veneer.jsonl").is_file()


def test_last_results_stay_until_the_new_ones_are_whole(nightly: Nightly) -> None:
    assert nightly.run().returncode == 0
    first = (nightly.state / "latest.html").resolve()
    assert "no failures" in first.read_text()
    assert "no failures" in (nightly.state / "summary.md").read_text()
    assert f'href="{first.stem}.checks.html"' in first.read_text()
    assert (first.parent / f"{first.stem}.checks.html").is_file()
    nightly.journal.rename(nightly.journal.with_suffix(".away"))
    done = nightly.run(STATUS="3")
    assert done.returncode == 3
    assert "there is no journal, so nothing was judged; the last results stay" in done.stderr
    assert (nightly.state / "latest.html").resolve() == first
    assert (nightly.state / "night" / "journals" / "night.jsonl").is_file()
    assert not (nightly.state / "night-before").exists()
    assert nightly.run().returncode == 11, "no journal is no success, whatever the run said"


def test_night_before_stays_to_be_compared(nightly: Nightly) -> None:
    for name in ("exits.a", "exits.b", "exits.c"):
        nightly.journal.unlink()
        a_journal(nightly.journal, {key(name): Verdict.CONFORMANT})
        assert nightly.run().returncode == 0
    before, last = (
        read_journal(nightly.state / name / "journals" / "night.jsonl") for name in ("night-before", "night")
    )
    assert (*before.planned, *last.planned) == (key("exits.b"), key("exits.c"))


def test_title_says_what_was_run(nightly: Nightly) -> None:
    def title() -> str:
        found = re.search(r"<title>(.*?): no failures", (nightly.state / "latest.html").read_text())
        assert found
        return found[1]

    assert nightly.run().returncode == 0
    assert title() == "Touchstone, nightly"
    assert nightly.run("bochs-amd", TOUCHSTONE_OPTIONS="-k=cpuid box").returncode == 0
    assert title() == "Touchstone, nightly: bochs-amd -k=cpuid box"


def test_exit_status_is_the_run_s_or_that_of_the_report(nightly: Nightly) -> None:
    assert nightly.run(STATUS="10").returncode == 10
    assert nightly.run(STATUS="1", REPORT_STATUS="2").returncode == 1
    assert nightly.run(REPORT_STATUS="2").returncode == 12


def test_costs_are_measured_before_the_report_and_held_against_a_named_run(nightly: Nightly) -> None:
    assert nightly.run(EXITS_STATUS="1").returncode == 0
    commands = nightly.log.read_text().splitlines()
    (measured,) = (
        n for n, line in enumerate(commands) if line.startswith("python tests/benchmarks/exits.py")
    )
    (summary,) = (n for n, line in enumerate(commands) if line.startswith("touchstone summary"))
    assert measured < summary
    assert not [line for line in commands if line.startswith("touchstone costs")]
    done = nightly.run(TOUCHSTONE_COSTS="v1.jsonl", COSTS_STATUS="1")
    assert done.returncode == 1
    assert "1 of 9 costs" in done.stderr
    assert "--against v1.jsonl" in nightly.log.read_text()
    assert (nightly.state / "night" / "costs.md").read_text().startswith("| table |")


def test_next_run_finds_how_long_targets_take(nightly: Nightly) -> None:
    assert nightly.run(TOUCHSTONE_STATE=str(nightly.path.parent / "elsewhere")).returncode == 0
    assert (nightly.path / "build" / "last-night" / "night.jsonl").is_file()


def test_seeded_faults_follow(nightly: Nightly) -> None:
    git(nightly.path, "init", "-q", "-b", "main")
    git(nightly.path, "commit", "-q", "--allow-empty", "-m", "one")
    head = git(nightly.path, "rev-parse", "--short", "HEAD")
    assert nightly.run().returncode == 0
    assert "breakages" not in nightly.log.read_text()
    (nightly.state / "faults-of-another-commit").mkdir(parents=True)
    done = nightly.run(TOUCHSTONE_FAULTS="30", FAULTS_STATUS="1")
    assert done.returncode == 1, "a fault survives"
    last = nightly.log.read_text().splitlines()[-1].split()
    assert {"--all", "--minutes=30", f"--table={nightly.state}/faults-{head}"} <= set(last)
    assert not (nightly.state / "faults-of-another-commit").exists()


def said(value: object, given: Mapping[str, str]) -> str:
    """A value of the workflow with its expressions, as GitHub evaluates them. What is not given is empty."""

    def evaluated(match: re.Match[str]) -> str:
        words = re.sub(r"'[^']*'|[a-z]+(?:\.\w+)+", lambda one: as_python(one[0]), match[1])
        return str(eval(words.replace("&&", " and ").replace("||", " or ")))

    def as_python(word: str) -> str:
        return word if word.startswith("'") else repr(given.get(word, ""))

    return re.sub(r"\$\{\{(.*?)\}\}", evaluated, str(value), flags=re.DOTALL)


@pytest.mark.parametrize(
    ("given", "wanted", "state"),
    [
        pytest.param(
            {"vars.TOUCHSTONE_OPTIONS": "bochs-amd --hypervisor=my.toml"},
            {"--target=bochs-amd", "--hypervisor=my.toml"},
            "nightly",
            id="nightly",
        ),
        pytest.param(
            {"vars.TOUCHSTONE_OPTIONS": "bochs-amd", "github.event.schedule": "0 12 * * 0"},
            {"night", "many-cpus", "conformance/teardown"},
            "many-cpus",
            id="weekly",
        ),
    ],
)
def test_workflow_passes_options_on_and_shows_the_summary(
    nightly: Nightly, given: Mapping[str, str], wanted: set[str], state: str
) -> None:
    """Its steps, as GitHub's runner starts them: by bash, with what it puts into the environment."""
    workflow = yaml.safe_load((ROOT / "docs" / "nightly" / "github-actions.yml").read_text())
    page = nightly.path / "page.md"
    git(nightly.path, "init", "-q", "-b", "main")
    git(nightly.path, "commit", "-q", "--allow-empty", "-m", "one")
    job = workflow["jobs"]["nightly"]
    always = {name: said(value, given) for name, value in job["env"].items()}
    given = {**given, **{f"env.{name}": value for name, value in always.items()}}
    for step in job["steps"]:
        command = said(step.get("run", ""), given)
        if not re.search("docs/nightly|summary", command):
            continue
        own = {name: said(value, given) for name, value in step.get("env", {}).items()}
        assert own.get("TOUCHSTONE_FAULTS", "0") == ("150" if own and state == "nightly" else "0")
        environment = {**os.environ, **always, **own, "GITHUB_STEP_SUMMARY": str(page)}
        environment |= {"PYTHONPATH": str(ROOT / "plugins"), "TOUCHSTONE_FAULTS": "0"}
        subprocess.run(["bash", "-e", "-c", command], cwd=nightly.path, env=environment, check=True)
    assert wanted <= set(nightly.pytest_words)
    assert "# Touchstone: no failures" in page.read_text()
    assert list((nightly.path / "build" / "last-night").glob("*.jsonl"))
    assert (nightly.path / state / "latest.html").is_file()


def test_old_reports_go(nightly: Nightly) -> None:
    nightly.state.mkdir(parents=True)
    for day in range(10, 14):
        for kind in ("html", "checks.html"):
            (nightly.state / f"touchstone-202001{day}T000000Z.{kind}").touch()
    assert nightly.run(TOUCHSTONE_KEEP="2").returncode == 0
    left = sorted(path.name for path in nightly.state.glob("touchstone-*"))
    assert left[:2] == ["touchstone-20200113T000000Z.checks.html", "touchstone-20200113T000000Z.html"]
    assert len(left) == 4


def test_value_of_the_matrix_is_asked_for(nightly: Nightly) -> None:
    done = nightly.run("--matrix", "nightly")
    assert done.returncode == 2
    assert "--matrix=NAME" in done.stderr


def test_script_may_be_changed_while_it_runs(nightly: Nightly) -> None:
    bootstrap = nightly.path / "bootstrap"
    script = nightly.path / "docs" / "nightly" / "run"
    text = bootstrap.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\necho 'fi )' >{script}\n", 1)
    bootstrap.write_text(text)
    done = nightly.run()
    assert done.returncode == 0, done.stderr
    assert "nightly: report in" in done.stderr


def git(path: Path, *words: str) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
    return subprocess.run(
        ["git", *identity, *words], cwd=path, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_checkout_is_updated_first(nightly: Nightly, tmp_path: Path) -> None:
    """And the script of the new commit runs. What cannot be updated is run as it is, which is told."""
    (nightly.path / ".gitignore").write_text("build/\n")
    git(nightly.path, "init", "-q", "-b", "main")
    git(nightly.path, "add", "-A")
    git(nightly.path, "commit", "-q", "-m", "one")
    origin = tmp_path / "origin"
    git(tmp_path, "clone", "-q", str(nightly.path), str(origin))
    git(nightly.path, "remote", "add", "origin", str(origin))
    script = origin / "docs" / "nightly" / "run"
    script.write_text(script.read_text().replace("nightly: report in", "nightly, of a new commit: report in"))
    git(origin, "commit", "-q", "-a", "-m", "two")
    assert "of a new commit" not in nightly.run().stderr
    done = nightly.run("qemu-amd", TOUCHSTONE_UPDATE="main")
    assert done.returncode == 0, done.stderr
    assert "nightly, of a new commit: report in" in done.stderr
    assert nightly.pytest_words[1] == "--target=qemu-amd"
    assert git(nightly.path, "rev-parse", "HEAD") == git(origin, "rev-parse", "HEAD")
    shutil.rmtree(origin)
    done = nightly.run(TOUCHSTONE_UPDATE="main")
    assert done.returncode == 0
    head = git(nightly.path, "rev-parse", "--short", "HEAD")
    assert f"the checkout could NOT be updated to main of origin; running {head}" in done.stderr
