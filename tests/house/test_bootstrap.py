"""bootstrap, with a Python and an apt-get that write down what they are asked to do."""

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PYTHON = """\
#!/bin/sh
# Stands for Python: makes a "virtual environment" that holds a copy of itself.
echo "python $*" >>"$LOG"
case "$1 $2" in
"-V ") echo "Python ${VERSION:-3.11.9}" ;;
"-c import venv, ensurepip") exit "${NO_VENV:-0}" ;;
"-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m pip") [ -z "${PIP_HOOK:-}" ] || eval "$PIP_HOOK" ;;
"-m compileall") [ -z "${COMPILE_HOOK:-}" ] || eval "$COMPILE_HOOK" ;;
"-m touchstone.drivers.build") [ -z "${BUILD_HOOK:-}" ] || eval "$BUILD_HOOK" ;;
esac
"""

BUILD = "python -m touchstone.drivers.build"

APT = """\
#!/bin/sh
echo "$(basename "$0") $*" >>"$LOG"
case "$*" in
*update*) touch "$LISTS" ;;
*show*) [ -e "$LISTS" ] ;;
*install*) [ -e "$LISTS" ] && ln -s "$REAL_GCC" "$BIN/gcc" ;;
esac
"""

TOOLS = (
    "awk basename bash bochs cat cp cut dirname find flock env grep ld ln make mkdir mv nproc printf "
    "qemu-system-x86_64 rm rmdir sh sha256sum sleep touch tr true"
)

NOTING = """\
#!/bin/sh
name=${{0##*/}}
echo "$name" >>"{started}"
for directory in {directories}; do
	[ ! -x "$directory/$name" ] || exec "$directory/$name" "$@"
done
exit 127
"""
ENOUGH = {"dirname": 1, "sha256sum": 3, "cat": 1, "find": 1, "true": 1}
"""What a checkout that is ready starts, and how often, to see that it is and to run ``true``."""


class Checkout:
    """A directory with bootstrap in it, and stand-ins for what bootstrap calls."""

    def __init__(self, base: Path) -> None:
        self.root = base / "a check out"
        self.log = base / "log"
        self.bin = base / "bin"
        self.env = {
            **os.environ,
            "LOG": str(self.log),
            "BIN": str(self.bin),
            "LISTS": str(base / "lists"),
            "TOUCHSTONE_PYTHON": str(base / "python3"),
            "REAL_GCC": shutil.which("gcc") or "",
        }
        for directory in ("targets/bare", "targets/agent", "hypervisor"):
            (self.root / directory).mkdir(parents=True)
        shutil.copy(ROOT / "bootstrap", self.root)
        (self.root / "requirements.lock").write_text("one==1 --hash=sha256:0\n")
        (self.root / "pyproject.toml").write_text("")
        (self.root / "targets" / "bare" / "source").write_text("")
        self._script(base / "python3", PYTHON)

    def _script(self, path: Path, text: str) -> None:
        path.unlink(missing_ok=True)  # never write through a link into the system's own directories
        path.write_text(text)
        path.chmod(0o755)

    def grow_old(self) -> None:
        """Everything here was made an hour ago, the sources before it: what a test changes from here on
        is newer, which two files of one tick of the file system's clock are not.
        """
        hour = 3600
        now = time.time()
        stamp = self.root / "build" / "images-stamp"
        for path in [self.root, *self.root.rglob("*")]:
            age = hour if path == stamp else 2 * hour
            os.utime(path, (now - age, now - age), follow_symlinks=False)

    def become(self, uid: int) -> None:
        """From here on, ``id -u`` says this."""
        self._script(self.bin / "id", f"#!/bin/sh\necho {uid}\n")

    def without_gcc(self) -> None:
        """From here on there is no gcc, and an apt-get that can install it once it has package lists."""
        self.bin.mkdir()
        for tool in TOOLS.split():
            (self.bin / tool).symlink_to(shutil.which(tool) or pytest.fail(f"{tool} is missing here"))
        if boxes_compiler := shutil.which("gcc-12"):  # asked for where it is not the one that gcc is
            (self.bin / "gcc-12").symlink_to(boxes_compiler)
        for name in ("apt-get", "apt-cache", "dpkg"):
            self._script(self.bin / name, APT)
        self.become(0)
        self.env["PATH"] = str(self.bin)

    def command(self, *arguments: str) -> list[str]:
        return [str(self.root / "bootstrap"), *arguments]

    def run(self, *arguments: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        self.log.write_text("")
        return subprocess.run(
            self.command(*arguments),
            cwd=cwd or self.root,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def did(self, what: str) -> int:
        """How many lines of the log begin with this."""
        return sum(line.startswith(what) for line in self.log.read_text().splitlines())


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def ready(checkout: Checkout) -> Checkout:
    done = checkout.run()
    assert done.returncode == 0, done.stderr
    checkout.grow_old()
    return checkout


def test_python_keeps_what_it_compiles(ready: Checkout) -> None:
    done = ready.run("sh", "-c", "echo ${PYTHONDONTWRITEBYTECODE-unset}", PYTHONDONTWRITEBYTECODE="1")
    assert done.stdout == "unset\n"


def test_first_run_makes_everything_then_runs_the_command(checkout: Checkout) -> None:
    done = checkout.run("sh", "-c", 'echo "$VIRTUAL_ENV|${PATH%%:*}|$1"', "sh", "a  b")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{checkout.root}/.venv|{checkout.root}/.venv/bin|a  b\n"
    assert checkout.did("python -m venv") == 1
    assert checkout.did(
        "python -m pip --quiet --disable-pip-version-check --no-input install --require-hashes"
    )
    assert checkout.did("python -m compileall") == 1
    assert checkout.did(f"{BUILD} {checkout.root}/hypervisor") == 1


def test_packages_that_cannot_be_compiled_are_compiled_when_they_are_imported(checkout: Checkout) -> None:
    assert checkout.run("true", COMPILE_HOOK="exit 1").returncode == 0
    assert checkout.did("python -m compileall") == 1
    assert checkout.run("true").returncode == 0
    assert checkout.did("python -m") == 0


def test_second_run_does_nothing_but_the_command(ready: Checkout) -> None:
    done = ready.run("true")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert ready.log.read_text() == "python -V\n"


def test_without_a_command_it_says_what_to_do_next(ready: Checkout) -> None:
    assert "./bootstrap pytest --target=qemu-amd" in ready.run().stderr


def test_the_status_is_the_command_s(ready: Checkout) -> None:
    assert ready.run("sh", "-c", "exit 7").returncode == 7


def test_the_caller_s_directory_is_kept(ready: Checkout, tmp_path: Path) -> None:
    for directory in (ready.root / "targets", tmp_path):
        assert ready.run("pwd", cwd=directory).stdout.strip() == str(directory)


@pytest.mark.parametrize("changed", ["requirements.lock", "bootstrap"])
def test_other_packages_mean_another_venv(ready: Checkout, changed: str) -> None:
    with (ready.root / changed).open("a") as file:
        file.write("# changed\n")
    assert ready.run().returncode == 0
    assert ready.did("python -m venv") == 1


def test_other_settings_only_mean_another_installation(ready: Checkout) -> None:
    (ready.root / "pyproject.toml").write_text("# changed\n")
    assert ready.run().returncode == 0
    assert (ready.did("python -m venv"), ready.did("python -m pip")) == (0, 1)


def test_an_upgraded_python_means_another_venv(ready: Checkout) -> None:
    assert ready.run(VERSION="3.13.0").returncode == 0
    assert ready.did("python -m venv") == 1


@pytest.mark.parametrize("where", ["targets/bare", "targets/agent", "hypervisor"])
def test_a_changed_source_is_built(ready: Checkout, where: str) -> None:
    (ready.root / where / "source.c").touch()
    assert ready.run().returncode == 0
    assert (ready.did(BUILD), ready.did("python -m")) == (1, 1)
    assert ready.run().returncode == 0
    assert ready.did(BUILD) == 0


def test_a_source_that_changes_while_it_is_built_is_built_again(ready: Checkout) -> None:
    source = ready.root / "hypervisor" / "source.c"
    source.touch()
    stamp = ready.root / "build" / "images-stamp.new"
    # Until the file system's clock has gone on: two files of one tick have the same date.
    hook = f'until touch "{source}" && [ -n "$(find "{source}" -newer "{stamp}")" ]; do :; done'
    assert ready.run(BUILD_HOOK=hook).returncode == 0
    assert ready.run().returncode == 0
    assert ready.did(BUILD) == 1


def test_a_failed_build_does_not_count(ready: Checkout) -> None:
    (ready.root / "hypervisor" / "source.c").touch()
    done = ready.run(BUILD_HOOK="exit 1")
    assert done.returncode == 1
    assert "the images could not be built" in done.stderr
    assert ready.run().returncode == 0
    assert ready.did(BUILD) == 1


def test_a_failed_installation_does_not_count(checkout: Checkout) -> None:
    done = checkout.run("true", PIP_HOOK="exit 1")
    assert done.returncode == 1
    assert "pip could not install" in done.stderr
    assert checkout.run("true").returncode == 0
    assert checkout.did("python -m venv") == 1


def test_a_lock_that_changes_while_packages_are_installed_is_not_done(checkout: Checkout) -> None:
    hook = f'echo "# changed" >>{shlex.quote(str(checkout.root / "requirements.lock"))}'
    assert checkout.run("true", PIP_HOOK=hook).returncode == 0
    assert checkout.run("true").returncode == 0
    assert checkout.did("python -m venv") == 1


def test_killed_half_way_does_not_count(checkout: Checkout) -> None:
    started = checkout.root / "started"
    hook = f'touch "{started}"; sleep 600'
    process = subprocess.Popen(
        checkout.command("true"),
        env={**checkout.env, "PIP_HOOK": hook},
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(started.exists)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert checkout.run("true").returncode == 0
    assert checkout.did("python -m venv") == 1


def test_two_at_once_make_one_venv(checkout: Checkout) -> None:
    started, go_on = checkout.root / "started", checkout.root / "go-on"
    hook = f'touch "{started}"; while [ ! -e "{go_on}" ]; do sleep 0.05; done'
    checkout.log.write_text("")
    first = subprocess.Popen(
        checkout.command("true"), env={**checkout.env, "PIP_HOOK": hook}, stderr=subprocess.DEVNULL
    )
    try:
        until(started.exists)
        second = subprocess.Popen(
            checkout.command("true"), env=checkout.env, stderr=subprocess.PIPE, text=True
        )
        assert second.stderr
        said = second.stderr.readline()
    finally:
        go_on.touch()
    second.communicate(timeout=60)
    assert (first.wait(60), second.returncode) == (0, 0)
    assert "another bootstrap is at work" in said
    assert checkout.did("python -m venv") == 1


def test_somebody_else_s_venv_stays(checkout: Checkout) -> None:
    (checkout.root / ".venv").mkdir()
    (checkout.root / ".venv" / "mine").touch()
    done = checkout.run()
    assert done.returncode == 1
    assert "was not made by bootstrap" in done.stderr
    assert (checkout.root / ".venv" / "mine").exists()


def test_missing_packages_are_named_and_installed(checkout: Checkout) -> None:
    checkout.without_gcc()
    done = checkout.run("true")
    assert done.returncode == 0, done.stderr
    assert "gcc              compiles what runs on targets" in done.stderr
    calls = [line for line in checkout.log.read_text().splitlines() if line.startswith("apt-get")]
    assert [call.split()[-2:] for call in calls] == [
        ["update", "--no-install-recommends"],
        ["gcc", "--no-install-recommends"],
    ]


def test_package_lists_that_are_there_are_not_fetched_again(checkout: Checkout) -> None:
    checkout.without_gcc()
    Path(checkout.env["LISTS"]).touch()
    assert checkout.run("true").returncode == 0
    assert checkout.did("apt-get") == 1


def test_neither_root_nor_sudo_is_told_what_root_should_do(checkout: Checkout) -> None:
    checkout.without_gcc()
    checkout.become(1000)
    done = checkout.run("true")
    assert done.returncode == 1
    assert "have root run 'apt-get install --no-install-recommends gcc'" in done.stderr


def test_emulators_can_be_done_without(checkout: Checkout) -> None:
    checkout.without_gcc()
    checkout.become(1000)
    (checkout.bin / "gcc").symlink_to(checkout.env["REAL_GCC"])
    (checkout.bin / "qemu-system-x86_64").unlink()
    done = checkout.run("true")
    assert done.returncode == 0, done.stderr
    assert "warning: not root" in done.stderr
    assert "qemu-system-x86" in done.stderr


def test_no_python_at_all(checkout: Checkout) -> None:
    done = checkout.run("true", TOUCHSTONE_PYTHON="/nowhere/python3")
    assert done.returncode == 1
    assert "there is no /nowhere/python3" in done.stderr


def test_help_and_unknown_options(checkout: Checkout) -> None:
    assert checkout.run("--help").stdout.startswith("usage: ./bootstrap")
    done = checkout.run("--force")
    assert done.returncode == 1
    assert "unknown option --force" in done.stderr


def test_this_checkout_once_ready_starts_next_to_nothing(tmp_path: Path) -> None:
    """Whatever is found on PATH notes that it is started, by bootstrap or by the real Makefile."""
    subprocess.run([ROOT / "bootstrap", "true"], check=True)
    directories = [path for path in os.get_exec_path() if os.path.isdir(path)]
    started, noting, programs = tmp_path / "started", tmp_path / "noting", tmp_path / "bin"
    noting.write_text(NOTING.format(started=started, directories=shlex.join(directories)))
    noting.chmod(0o755)
    programs.mkdir()
    for name in {name for path in directories for name in os.listdir(path)}:
        (programs / name).symlink_to(noting)
    subprocess.run([ROOT / "bootstrap", "true"], env={**os.environ, "PATH": str(programs)}, check=True)
    assert Counter(started.read_text().split()) == ENOUGH


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
