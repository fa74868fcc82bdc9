"""A stock Debian kernel, its own modules and one program of ours, in QEMU or Bochs."""

from __future__ import annotations

import functools
import lzma
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support import debian
from tests.support.checkout import ROOT
from touchstone.drivers.linux_image.cpio import RootFileSystem
from touchstone.drivers.linux_image.image import build_image, kernel_headers
from touchstone.drivers.linux_image.modules import depends, module_name

PROGRAM = ROOT / "tests" / "linux"
HOST = ROOT / "hypervisor" / "hosts" / "linux"
AGENT = ROOT / "targets" / "agent" / "linux"
ABI_CHECK = ROOT / "tests" / "agent" / "abi_check.c"
BUILD = ROOT / "build"

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
REFUSED_TESTS = ("refused",)
"""Those of a processor that Veneer refuses: with ``refused=1`` on the kernel's command line."""
AGENT_TESTS = (
    "agent-alone",
    "agent-bad-requests",
    "agent-under-veneer",
    "agent-around-loading",
    "agent-without-a-cpu",
    "agent-remove",
)
"""Those of agent.c."""
STOCK_KERNELS = ("debian-12", "debian-13")
"""Recipes in targets/images whose kernels the module is tested in, the oldest first."""
NO_DEBUG_KERNEL = "no kernel that looks for bugs here: tests/linux/debug-kernel/build makes one"
OTHER_COMPILER = "modules for this kernel are built by the compiler of Debian 13 only"


@dataclass(frozen=True)
class Kernel:
    """One kernel: where modules are built for it, and the package of the image, unpacked below ``root``."""

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
        tops = [self.root / "lib", self.root / "usr/lib"]  # The latter since Debian 13.
        modules = [
            path for top in tops for path in (top / "modules" / self.release / "kernel").rglob("*.ko*")
        ]
        found = next((path for path in modules if module_name(path.name) == module), None)
        assert found, f"Linux {self.release} has no module {module}"
        for name in depends(found.read_bytes(), found.name):
            yield from self._walk(name)
        yield found


def debug_kernels() -> list[str]:
    """Releases of the kernels that ``debug-kernel/build`` has made."""
    return sorted(path.read_text().strip() for path in BUILD.glob("debug-kernel-*/release"))


def each_debug_kernel() -> list[object]:
    """What tests are parametrized with: the releases, or a skip that says why there are none."""
    return list(debug_kernels()) or [pytest.param("none", marks=pytest.mark.skip(NO_DEBUG_KERNEL))]


def get_debug_kernel(release: str) -> Kernel:
    """One of ``debug_kernels``."""
    files = BUILD.glob("debug-kernel-*/release")
    [made] = (path.parent for path in files if path.read_text().strip() == release)
    return Kernel(release, made / "objects", made / "root", looks_for_bugs=True)


def get_kernel(name: str) -> Kernel:
    """One of ``STOCK_KERNELS``, fetched and unpacked once. Skips where no module can be built for it."""
    if " " in str(BUILD):
        pytest.skip(f"the kernel's build takes no path with spaces: {BUILD}")
    if name == "debian-13" and debian.host_recipe() != name:
        pytest.skip(OTHER_COMPILER)
    image = build_image(name, print)
    directory = f"linux-image-{image.release}"
    root = debian.unpacked(directory, [directory], name, keep=[directory], finish=_decompress_modules)
    return Kernel(image.release, kernel_headers(image, print), root)


def _decompress_modules(root: Path) -> None:
    for module in root.rglob("*.ko.xz"):
        module.with_suffix("").write_bytes(lzma.decompress(module.read_bytes()))
        module.unlink()


def oldest_kernel() -> Kernel:
    """Of the stock ones."""
    return get_kernel(STOCK_KERNELS[0])


def newest_kernel() -> Kernel:
    """Of the stock ones for which a module can be built here."""
    return get_kernel(STOCK_KERNELS[-1] if debian.host_recipe() == STOCK_KERNELS[-1] else STOCK_KERNELS[0])


def build_module(kernel: Kernel, into: Path = BUILD, host: Path = HOST) -> tuple[Path, str]:
    """veneer.ko for a kernel, and everything that the build said.

    ``host``: its folder, in another copy of Veneer than that of the checkout.
    """
    said = _make(host, kernel.headers, into)
    return into / f"linux-{kernel.release}" / "veneer.ko", said


@functools.cache
def shared_module(kernel: Kernel) -> Path:
    """veneer.ko for a kernel, which tests share: a process asks make once whether it is up to date."""
    return build_module(kernel)[0]


def build_agent(release: str, headers: Path) -> tuple[Path, Path]:
    """The agent's module for a kernel, and its program: built once for all tests."""
    built = BUILD / f"agent-linux-{release}"
    said = _make(AGENT, headers, built)
    # objtool of newer kernels (Debian 13's 6.12.118) says it of every global function that does not return
    # and is not on the kernel's own list, tools/objtool/noreturns.h.
    ours = [line for line in said.splitlines() if not line.endswith("is missing a __noreturn annotation")]
    assert "warning:" not in "\n".join(ours), said
    return built / "touchstone_agent.ko", built / "touchstone-agent"


def _make(source: Path, headers: Path, into: Path) -> str:
    command = ["make", "--no-print-directory", "-C", str(source), f"KDIR={headers}", f"BUILD={into}"]
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
    """Each source by itself: several tests build the program, and objects.py knows what was compiled."""
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]
    flags += [f"-I{folder}" for folder in (PROGRAM, AGENT, AGENT / "work")]
    objects = [program.with_name(f"{program.name}-{source.name}.o") for source in sources]
    for source, output in zip(sources, objects, strict=True):
        _gcc(*flags, "-MMD", "-c", "-o", str(output), str(source))
    _gcc("-static", "-o", str(program), *map(str, objects))
    return program


def _gcc(*arguments: str) -> None:
    built = subprocess.run(["gcc", *arguments], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr


def build_initrd(
    kernel: Kernel, vendor_kvm: str, directory: Path, *, agent: bool = False, module: Path | None = None
) -> Path:
    """Build what is tested and what tests it: a file in ``directory`` that the kernel unpacks.

    ``vendor_kvm`` is ``kvm_amd`` or ``kvm_intel``; ``agent``: what agent.c needs, as well; ``module``:
    another veneer.ko than that of the checkout.
    """
    if module is None:
        module = shared_module(kernel)
    files = {"init": build_init(directory), "modules/veneer.ko": _strip(module, "--strip-debug", directory)}
    for index, path in enumerate(kernel.with_dependencies(vendor_kvm)):
        # Nobody looks for its names in the kernel's log.
        files[f"modules/kvm/{index}.ko"] = _strip(path, "--strip-unneeded", directory)
    if agent:
        module, program = build_agent(kernel.release, kernel.headers)
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


def _strip(path: Path, how: str, directory: Path) -> Path:
    """A copy of what a machine needs of a module, to start sooner with less memory.

    Without its signature: an emulated CPU takes longer to check that than for the rest of the insertion.
    """
    stripped = directory / path.name.removesuffix(".xz")
    module = path
    if path.suffix == ".xz":
        module = directory / "whole.ko"
        module.write_bytes(lzma.decompress(path.read_bytes()))
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
