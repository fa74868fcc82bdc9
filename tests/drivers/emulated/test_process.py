"""No emulator outlives us, whatever we die of."""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.emulators import ends_within
from touchstone.drivers.build import BareImage
from touchstone.drivers.emulated.process import PREFIX, EmulatorProcess, PrivateDirectory
from touchstone.machine.driver import InfrastructureError

Owner = Callable[[str], tuple[subprocess.Popen[str], int]]

OWNER = """
import sys
from pathlib import Path
sys.path[:0] = {path}
import tempfile
tempfile.tempdir = {base!r}
from tests.support.emulators import HANG, qemu, silent, CPUID
from touchstone.drivers.build import BareImage
from touchstone.drivers.registry import make_driver
from dataclasses import replace
driver = make_driver({settings}, BareImage.beside(Path({image!r})), Path({logs!r}))
driver.start(silent)
print(driver.pid, flush=True)
{then}
"""


@pytest.fixture(params=["qemu", "bochs"])
def owner(request: pytest.FixtureRequest, image: BareImage, tmp_path: Path) -> Iterator[Owner]:
    """Starts a process that owns an emulator and then does as told; (process, pid of the emulator)."""
    settings = {
        "qemu": "qemu(2)",
        "bochs": "replace(qemu(2), driver='bochs', vendor='intel')",
    }[request.param]
    owners = []

    def start(then: str) -> tuple[subprocess.Popen[str], int]:
        code = OWNER.format(
            path=sys.path,
            base=tempfile.gettempdir(),
            settings=settings,
            image=str(image.elf),
            logs=str(tmp_path),
            then=then,
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        owners.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.strip(), process.communicate()[1]
        return process, int(line)

    yield start
    for process in owners:
        process.kill()
        process.communicate()


def remove_private_directories() -> None:
    for path in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        os.utime(path, (0, 0))
    PrivateDirectory().remove()


def test_the_kernel_ends_it_when_we_are_killed(owner: Owner) -> None:
    process, pid = owner("driver.run(replace(HANG, timeout=600.0))")
    assert not ends_within(pid, 0)
    process.kill()
    assert ends_within(pid, 60)
    # The emulator goes when the thread that started it does; the directory's lock with the last one.
    process.wait(60)
    assert len(list(Path(tempfile.gettempdir()).glob(PREFIX + "*"))) == 1
    remove_private_directories()  # as the next run does
    assert list(Path(tempfile.gettempdir()).glob(PREFIX + "*")) == []


def test_a_forgotten_one_ends_with_the_interpreter(owner: Owner) -> None:
    process, pid = owner("driver.run(CPUID)")
    assert process.wait(60) == 0
    assert ends_within(pid, 0)


def test_an_unhandled_exception_leaves_nothing(owner: Owner) -> None:
    process, pid = owner("raise SystemExit(3)")
    assert process.wait(60) == 3
    assert ends_within(pid, 0)


def test_ctrl_c_reaches_us_alone_and_we_end_it(owner: Owner) -> None:
    then = """
try:
    driver.run(replace(HANG, timeout=600.0))
except KeyboardInterrupt:
    alive = Path(f"/proc/{driver.pid}").exists()
    driver.stop()
    print("alive" if alive else "dead", flush=True)
"""
    process, pid = owner(then)
    # Wherever the signal finds it, before the request or in the middle of it, the emulator must go.
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert ends_within(pid, 0)
    if output.strip():
        assert output.strip() == "alive"
    else:
        assert "KeyboardInterrupt" in errors  # it came before the request had begun


def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    process = EmulatorProcess(["/nowhere/at/all"], stderr=tmp_path / "stderr")
    assert process.wait(60)
    assert process.describe_end() == "ended with status 127"
    assert "/nowhere/at/all" in process.stderr()
    process.kill()


def test_setpriv_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InfrastructureError, match="apt-get install util-linux"):
        EmulatorProcess(["true"], stderr=tmp_path / "stderr")


def test_a_private_directory_is_swept_only_when_its_owner_is_gone() -> None:
    base = Path(tempfile.gettempdir())
    living = PrivateDirectory()
    dead = base / f"{PREFIX}dead"
    dead.mkdir()
    (dead / "lock").touch()
    (dead / "qmp").touch()
    young = base / f"{PREFIX}young"
    young.mkdir()
    foreign = base / f"{PREFIX}file"
    foreign.touch()
    for path in (living.path, dead, foreign):
        os.utime(path, (0, 0))
    PrivateDirectory().remove()
    assert living.path.exists()
    assert not dead.exists()
    assert young.exists()
    assert foreign.exists()
    living.remove()
    living.remove()
    assert not living.path.exists()
    young.rmdir()
    foreign.unlink()


def test_a_private_directory_is_locked_by_its_owner() -> None:
    directory = PrivateDirectory()
    fd = os.open(directory.path / "lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)
    directory.remove()


def test_a_deep_temporary_directory_does_not_break_unix_sockets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    directory = PrivateDirectory()
    assert len(str(directory.path / "serial")) < 107
    directory.remove()


def test_nobody_waits_for_an_emulator_to_end_by_itself(tmp_path: Path) -> None:
    process = EmulatorProcess(["sleep", "600"], stderr=tmp_path / "stderr")
    began = time.monotonic()
    process.kill()
    process.kill()
    assert time.monotonic() - began < 300
    assert process.describe_end() == "killed by SIGKILL"
