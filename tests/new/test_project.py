"""``touchstone new``: what it makes and refuses, and that what it makes is judged from a wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from touchstone import cli
from touchstone.drivers.linux_image.image import build_image, kernel_headers
from touchstone.new import project
from touchstone.shipped import source_root


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel of this checkout is unpacked in, as pip would."""
    base = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel", "--no-deps"]
    command += ["--no-index", "--no-build-isolation", "--wheel-dir", str(base), str(source_root())]
    subprocess.run(command, check=True)
    (wheel,) = base.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(base / "site")
    return base / "site"


def run(installed: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python where the installed package hides that of the checkout, with caches of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**inherited, "PYTHONPATH": str(installed), "XDG_CACHE_HOME": str(cwd.parent / "cache")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def test_a_new_project_is_judged_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    made = run(installed, tmp_path, "-m", "touchstone.cli", "new", "my-hv")
    assert made.returncode == 0, made.stderr
    assert re.search(r"next: cd my-hv && \S*pytest --target=qemu-amd", made.stdout)
    mine = tmp_path / "my-hv"
    wanted = "broadcast.my-hv.signature or exits.cpuid.upper-halves or broadcast.signature.every-cpu"
    done = run(
        installed, mine, "-m", "pytest", "--target=qemu-amd", "-k", wanted, "-p", "no:hypothesispytest"
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "touchstone: my-hv on qemu-amd" in done.stdout
    assert re.search(r"FAILED suites/my-hv\.yaml::broadcast\.my-hv\.signature\[qemu-amd\]", done.stdout)
    assert re.search(r"all\s+.*conformant, 2 deviation", done.stdout)
    assert not (mine / "targets").exists()

    # The command that a failure prints works where it was printed, also for a suite of the package.
    (again,) = re.findall(
        r"again: pytest '(\S+::broadcast\.signature\.every-cpu\[qemu-amd\])' (.*)", done.stdout
    )
    node, options = again
    assert node.startswith(str(installed))
    done = run(installed, mine, "-m", "pytest", "-p", "no:hypothesispytest", node, *options.split())
    assert "1 failed" in done.stdout, done.stdout + done.stderr


def test_the_wheel_has_what_a_checkout_has_and_nothing_that_was_built(installed: Path) -> None:
    shipped = installed / "touchstone" / "shipped"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "conformance", "hypervisor", "targets", "report"],
        cwd=source_root(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    wanted = {name for name in listed.split("\0") if name and "/." not in name}
    # Python and pytest keep byte code beside what they have imported.
    files = [path for path in shipped.rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    assert {str(path.relative_to(shipped)) for path in files} == wanted


def test_the_report_s_settings_go_to_the_user_s_cache(installed: Path, tmp_path: Path) -> None:
    show = "from touchstone import cli; print(cli.report_tools())"
    done = run(installed, tmp_path, "-c", show)
    assert done.returncode == 0, done.stderr
    tools = Path(done.stdout.strip())
    assert tools == tmp_path.parent / "cache" / "touchstone" / "report"
    assert (tools / "package-lock.json").read_bytes() == (
        source_root() / "report/package-lock.json"
    ).read_bytes()


def test_the_linux_skeleton_is_a_module(tmp_path: Path) -> None:
    project.make_project("my-hv", ["linux"], tmp_path / "mine")
    headers = kernel_headers(build_image("debian-12", print), print)
    command = ["make", f"KDIR={headers}", f"BUILD={tmp_path / 'build'}"]
    done = subprocess.run(
        command, cwd=tmp_path / "mine" / "linux", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stdout + done.stderr
    assert (tmp_path / "build" / "my_hv.ko").is_file()


def test_the_uefi_skeleton_is_a_program(tmp_path: Path) -> None:
    project.make_project("my-hv", ["uefi"], tmp_path / "mine")
    (tmp_path / "build").mkdir()
    command = ["make", f"UEFI={source_root() / 'targets' / 'uefi'}", f"BUILD={tmp_path / 'build'}"]
    done = subprocess.run(
        command, cwd=tmp_path / "mine" / "uefi", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stdout + done.stderr
    assert (tmp_path / "build" / "my-hv.efi").read_bytes()[:2] == b"MZ"


@pytest.mark.parametrize("way", project.WAYS)
def test_what_is_said_next_is_about_the_way_in(
    way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["new", "my-hv", f"--directory={tmp_path / 'mine'}", f"--way={way}"]) == 0
    target = project.TARGETS[way][0]
    (said,) = re.findall(r"^next: cd \S+ && (.+)$", capsys.readouterr().out, re.MULTILINE)
    program, option = said.split()
    assert option == f"--target={target}"
    assert subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0
    assert f"pytest --target={target} " in (tmp_path / "mine" / "README.md").read_text()
    workflow = (tmp_path / "mine" / ".github" / "workflows" / "touchstone.yml").read_text()
    assert f"target: [{', '.join(project.TARGETS[way])}]" in workflow


def test_all_ways_are_in_one_subject_file(tmp_path: Path) -> None:
    files = project.make_project("my-hv", list(project.WAYS), tmp_path / "mine")
    assert files.count("my-hv.toml") == 1
    made = [path for path in (tmp_path / "mine").rglob("*") if path.is_file()]
    text = (tmp_path / "mine" / "my-hv.toml").read_text()
    assert "[deploy.bare]" in text
    assert "[deploy.linux]" in text
    assert "[deploy.uefi]" in text
    assert not re.search("@[A-Z]+@", "".join(path.read_text() for path in made))


@pytest.mark.parametrize("name", ["", "My-HV", "a b", "-a", "none", "veneer", "../x", "a--b"])
def test_names_that_cannot_be(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["new", f"--directory={tmp_path / 'mine'}", "--way=bare", "--", name]) == 2
    assert "cannot be a hypervisor's name" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    assert cli.main(["new", "my-hv", f"--directory={tmp_path / 'mine'}", "--way=bare"]) == 2
    assert "is not empty: name another directory" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["file"]


def test_an_interrupted_one_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(project, "_copy", interrupted)
    assert cli.main(["new", "my-hv", f"--directory={tmp_path / 'mine'}", "--way=bare"]) == 130
    assert list(tmp_path.iterdir()) == []
