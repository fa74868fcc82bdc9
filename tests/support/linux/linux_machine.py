"""A stock Debian kernel, its own modules and one program of ours, in QEMU or Bochs."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support.checkout import ROOT
from touchstone.drivers.linux_image.cpio import RootFileSystem

PROGRAM = ROOT / "tests" / "linux"
HOST = ROOT / "hypervisor" / "hosts" / "linux"
AGENT = ROOT / "targets" / "agent" / "linux"
ABI_CHECK = ROOT / "tests" / "agent" / "abi_check.c"
BUILD = ROOT / "build"
CACHE = BUILD / "downloads" / "kernels"

TESTS = (
    "insert",
    "kvm-first",
    "bad-requests",
    "only-root",
    "load",
    "kvm-while-loaded",
    "cycles",
    "memory",
    "hotplug",
    "remove-while-loaded",
    "suspend",
    "reboot-while-loaded",
)
"""Those of checks.c."""
AGENT_TESTS = (
    "agent-alone",
    "agent-bad-requests",
    "agent-under-veneer",
    "agent-around-loading",
    "agent-without-a-cpu",
    "agent-remove",
)
"""Those of agent.c."""
NO_HEADERS = "no kernel headers here: apt-get install linux-headers-amd64"
NO_DEBUG_KERNEL = "no kernel that looks for bugs here: tests/linux/debug-kernel/build makes one"


@dataclass(frozen=True)
class Kernel:
    """Debian's packages of one kernel: headers that are installed, and the image, unpacked below ``root``."""

    release: str
    headers: Path
    root: Path
    looks_for_bugs: bool = False
    """It is one of ``debug-kernel/build``: slow, and it tells of what is wrong."""

    @property
    def image(self) -> Path:
        """What a boot loader loads."""
        return self.root / "boot" / f"vmlinuz-{self.release}"

    def with_dependencies(self, module: str) -> list[Path]:
        """A module's file behind those that it needs."""
        return list(dict.fromkeys(self._walk(module)))

    def _walk(self, module: str) -> Iterator[Path]:
        modules = (self.root / "lib/modules" / self.release / "kernel").rglob("*.ko")
        found = next(path for path in modules if path.stem.replace("-", "_") == module)
        names = subprocess.run(
            ["modinfo", "-F", "depends", str(found)], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in filter(None, names.split(",")):
            yield from self._walk(name)
        yield found


def kernels() -> list[str]:
    """Releases whose headers are installed, of Debian's plain amd64 flavour."""
    prefix = "linux-headers-"
    found = (path.name.removeprefix(prefix) for path in Path("/usr/src").glob(f"{prefix}*-amd64"))
    return sorted(name for name in found if not name.endswith(("-cloud-amd64", "-rt-amd64")))


def debug_kernels() -> list[str]:
    """Releases of the kernels that ``debug-kernel/build`` has made."""
    return sorted(path.read_text().strip() for path in BUILD.glob("debug-kernel-*/release"))


def each(found: list[str], none: str) -> list[object]:
    """What tests are parametrized with: the releases, or a skip that says why there are none."""
    return list(found) or [pytest.param("none", marks=pytest.mark.skip(none))]


def get_debug_kernel(release: str) -> Kernel:
    """One of ``debug_kernels``."""
    files = BUILD.glob("debug-kernel-*/release")
    [made] = (path.parent for path in files if path.read_text().strip() == release)
    return Kernel(release, made / "objects", made / "root", looks_for_bugs=True)


def get_kernel(release: str) -> Kernel:
    """Fetch and unpack the image's package, once. Skips the test where that cannot be."""
    if " " in str(BUILD):
        pytest.skip(f"the kernel's build takes no path with spaces: {BUILD}")
    kernel = Kernel(release, Path(f"/usr/src/linux-headers-{release}"), CACHE / release)
    if kernel.image.is_file():
        return kernel
    for needed in ("apt-get", "dpkg-deb", "modinfo"):
        if not shutil.which(needed):
            pytest.skip(f"no {needed} here, to get Debian's kernel with")
    with _lock():
        if not kernel.image.is_file():
            _unpack_kernel(kernel)
    return kernel


def _unpack_kernel(kernel: Kernel) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    package = f"linux-image-{kernel.release}"
    command = ["apt-get", "-qq", "download", package]
    fetched = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, check=False)
    archives = sorted(CACHE.glob(f"{package}_*.deb"))
    if fetched.returncode or not archives:
        pytest.skip(f"apt-get download {package}: {fetched.stderr.strip()}")
    unpacked = CACHE / f"{kernel.release}.new"
    shutil.rmtree(unpacked, ignore_errors=True)
    subprocess.run(["dpkg-deb", "-x", str(archives[-1]), str(unpacked)], check=True)
    for module in unpacked.rglob("*.ko.xz"):
        subprocess.run(["xz", "-d", str(module)], check=True)
    unpacked.rename(kernel.root)
    archives[-1].unlink()


def oldest_kernel() -> Kernel:
    """Of the stock ones. Skips the test where there is none."""
    return get_kernel(_stock_releases()[0])


def newest_kernel() -> Kernel:
    """Of the stock ones. Skips the test where there is none."""
    return get_kernel(_stock_releases()[-1])


def _stock_releases() -> list[str]:
    found = kernels()
    if not found:
        pytest.skip(NO_HEADERS)
    return found


def build_module(kernel: Kernel, into: Path = BUILD) -> tuple[Path, str]:
    """veneer.ko for a kernel, and everything that the build said."""
    said = _make(HOST, kernel, into)
    return into / f"linux-{kernel.release}" / "veneer.ko", said


def build_agent(kernel: Kernel) -> tuple[Path, Path]:
    """The agent's module for a kernel, and its program."""
    built = BUILD / f"agent-linux-{kernel.release}"
    said = _make(AGENT, kernel, built)
    assert "warning:" not in said, said
    return built / "touchstone_agent.ko", built / "touchstone-agent"


def _make(source: Path, kernel: Kernel, into: Path) -> str:
    command = ["make", "--no-print-directory", "-C", str(source), f"KDIR={kernel.headers}", f"BUILD={into}"]
    with _lock():
        built = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    assert built.returncode == 0, built.stdout
    return built.stdout


def _lock() -> FileLock:
    """Of what all tests and all runs of a checkout share: held by whoever makes some of it."""
    BUILD.mkdir(exist_ok=True)
    return FileLock(BUILD / ".linux-tests.lock")


def build_init(directory: Path) -> Path:
    """The program that tests the module."""
    work = sorted((AGENT / "work").glob("*.[cS]"))
    return _build_program(directory / "init", *sorted(PROGRAM.glob("*.c")), *work)


def _build_program(program: Path, *sources: Path) -> Path:
    command = ["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-static"]
    command += [f"-I{AGENT}", f"-I{AGENT}/work", "-o", str(program), *map(str, sources)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return program


def build_initrd(kernel: Kernel, vendor_kvm: str, directory: Path, *, agent: bool = False) -> Path:
    """Build what is tested and what tests it: a file in ``directory`` that the kernel unpacks.

    ``vendor_kvm`` is ``kvm_amd`` or ``kvm_intel``; ``agent``: what agent.c needs, as well.
    """
    module, _ = build_module(kernel)
    files = {"init": build_init(directory), "modules/veneer.ko": _strip(module, "--strip-debug", directory)}
    for index, path in enumerate(kernel.with_dependencies(vendor_kvm)):
        # Nobody looks for its names in the kernel's log.
        files[f"modules/kvm/{index}.ko"] = _strip(path, "--strip-unneeded", directory)
    if agent:
        module, program = build_agent(kernel)
        files["modules/touchstone_agent.ko"] = _strip(module, "--strip-debug", directory)
        files["touchstone-agent"] = program
        files["abi-check"] = _build_program(directory / "abi-check", ABI_CHECK)
    root = RootFileSystem()
    for name in ("dev", "proc", "sys", "modules/kvm"):
        root.directory(name)
    root.character_device("dev/console", 5, 1)
    for name, path in files.items():
        root.file(name, path.read_bytes(), 0o755)
    initrd = directory / "initrd"
    with initrd.open("wb") as target:
        root.write(target)
    return initrd


def _strip(module: Path, how: str, directory: Path) -> Path:
    """A copy of what a machine needs of a module, to start sooner with less memory.

    Without its signature: an emulated CPU takes longer to check that than for the rest of the insertion.
    """
    stripped = directory / module.name
    subprocess.run(["strip", how, "-o", str(stripped), str(module)], check=True)
    return stripped


def expect_ok(tests: Iterable[str], output: str) -> None:
    """Everything that a machine has said on its console has an ``ok`` for each of these tests."""
    for test in tests:
        assert re.search(rf"^ok {test}\r?$", output, re.MULTILINE), output


def expect_all(output: str) -> None:
    """Every test of checks.c was ``ok``."""
    expect_ok(TESTS, output)
    # The last one is seen in what follows it: Veneer left before the machine went down.
    assert "veneer: unloaded" in output.split("ok reboot-while-loaded")[1], output


def expect_last_words(output: str) -> None:
    """A machine that was told to ``die`` has said of what."""
    said = re.search(r"^veneer: guest triple fault (.*)$", output, re.MULTILINE)
    assert said, output
    for part in ("rip=", "guest-rip=", "exits="):
        assert part in said[1]
    assert "FAIL" not in output
