"""Where a run's directory may be, as a box's mounts have it, whatever shell its user has."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.debian import program
from touchstone.drivers.ssh.install import _MAKE, _fill

SHELLS = [["sh"], ["bash"], ["busybox", "sh"]]
PACKAGES = {"sh": "dash", "bash": "bash", "busybox": "busybox"}
ROOT = "/dev/sda1 / ext4 rw,relatime 0 0"


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("mounts", "chosen"),
    [
        # What the initramfs has mounted comes before the root file system.
        (("tmpfs {run} tmpfs rw,nosuid,noexec 0 0", ROOT), "tmp"),
        ((ROOT, "tmpfs {run} tmpfs rw,nosuid,noexec 0 0"), "tmp"),
        ((ROOT, "tmpfs {run} tmpfs rw,nosuid 0 0"), "run"),
        ((ROOT, "tmpfs {run}way tmpfs rw,noexec 0 0"), "run"),
        ((ROOT, "tmpfs {run} tmpfs rw,noexec 0 0", "tmpfs {run} tmpfs rw 0 0"), "run"),
        (("/dev/sda1 / ext4 rw,noexec 0 0", "tmpfs {tmp} tmpfs rw 0 0"), "tmp"),
        (("/dev/sda1 / ext4 rw,noexec 0 0",), None),
    ],
)
def test_programs_must_run_there(
    tmp_path: Path, shell: list[str], mounts: tuple[str, ...], chosen: str | None
) -> None:
    interpreter = program(shell[0], PACKAGES[shell[0]])
    bases = {name: tmp_path / name for name in ("run", "tmp")}
    for base in bases.values():
        base.mkdir()
    table = tmp_path / "mounts"
    table.write_text("".join(f"{line.format(**bases)}\n" for line in mounts))
    values = {
        "BASES": " ".join(map(str, (tmp_path / "nowhere", *bases.values()))),
        "NAME": "touchstone.1",
        "UNDO": "undo",
        "PART": ".part",
        "MOUNTS": str(table),
    }
    done = subprocess.run(
        [interpreter.path, *shell[1:], "-c", _fill(_MAKE, values)],
        env=interpreter.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    made = [path for base in bases.values() for path in base.iterdir()]
    if chosen is None:
        assert (done.returncode, done.stdout, made) == (1, "", [])
    else:
        assert (done.returncode, done.stdout) == (0, f"{bases[chosen]}/touchstone.1\n"), done.stderr
        assert made == [bases[chosen] / "touchstone.1"]
        assert made[0].stat().st_mode & 0o7777 == 0o700
