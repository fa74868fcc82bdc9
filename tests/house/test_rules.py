"""What holds for the whole checkout: the lock, and what no file may say."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
# Put together here, so that this file is no hit itself.
PRIVATE_PYTEST = "_" + "pytest"


def tracked(*patterns: str) -> list[Path]:
    """Files of the project; the ones that are about to be are among them."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, str]:
    return {normal(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", LOCK, re.MULTILINE)}


def wanted() -> list[str]:
    groups = PROJECT["dependency-groups"].values()
    return [*PROJECT["project"]["dependencies"], *(one for group in groups for one in group)]


@pytest.mark.parametrize("requirement", wanted())
def test_every_dependency_is_exact_and_locked(requirement: str) -> None:
    name, _, version = requirement.partition("==")
    assert version, f"{requirement}: not an exact version"
    assert locked().get(normal(name)) == version


def test_every_locked_package_has_hashes_and_no_address() -> None:
    entries = re.split(r"^(?=[\w.-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) == len(locked()) >= len(wanted())
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in LOCK


def test_the_report_s_lock_names_no_host_to_download_from() -> None:
    assert '"resolved"' not in (ROOT / "report" / "package-lock.json").read_text()


def test_plugins_use_public_pytest_only() -> None:
    private = re.compile(rf"\b(?:from|import)\s+{PRIVATE_PYTEST}\b")
    assert [str(path) for path in tracked("plugins/**.py") if private.search(path.read_text())] == []


def test_c_files_say_their_licence() -> None:
    """What `touchstone new` writes is whose hypervisor it becomes."""
    theirs = ROOT / "plugins/touchstone/new/templates"
    sources = [path for path in tracked("*.c", "*.h", "*.S") if not path.is_relative_to(theirs)]
    assert sources
    without = [path for path in sources if "SPDX-License-Identifier: MIT" not in path.read_text()[:200]]
    assert [str(path.relative_to(ROOT)) for path in without] == []


def test_what_tests_share_is_in_support() -> None:
    """Beside what belongs to one folder and lies in it."""
    imported = re.compile(r"^\s*(?:from|import) tests\.(?!support\b)([\w.]+)", re.MULTILINE)
    wrong = [
        f"{path.relative_to(ROOT)}: tests.{name}"
        for path in tracked("tests/**.py")
        for name in imported.findall(path.read_text())
        if ".".join(path.relative_to(ROOT / "tests").parts[:-1]) != name.rpartition(".")[0]
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "path",
    tracked("bootstrap", ".ci/run", "docs/nightly/run", "*.sh"),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_scripts_can_be_run(path: Path) -> None:
    assert path.stat().st_mode & 0o111
    shell = "bash" if "bash" in path.read_text().splitlines()[0] else "sh"
    subprocess.run([shell, "-n", path], check=True)


def test_the_readme_names_every_room_and_command() -> None:
    package = ROOT / "plugins" / "touchstone"
    rooms = {
        f"{path.parent.name}/"
        for path in (*package.glob("*/__init__.py"), *package.glob("drivers/*/__init__.py"))
    }
    commands = {path.stem for path in (package / "commands").glob("*.py")} - {"__init__"}
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in sorted(rooms | commands) if f"`{name}`" not in page] == []
