"""A kernel and an initramfs in QEMU, whose processors have SVM."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.linux import linux_machine
from touchstone.drivers.emulated.process import EmulatorProcess, private_directory
from touchstone.drivers.linux_image.vmlinux import elf_kernel
from touchstone.drivers.qemu.config import installed_version
from touchstone.drivers.qemu.linux import PATIENT_KERNEL, accelerator
from touchstone.machine.channel import SocketChannel

QEMU = "qemu-system-x86_64"
REFUSED_CPU = "EPYC,+svm,-npt"
"""Veneer refuses it: it has no nested paging."""
TIMEOUT = 1200.0
"""Seconds; on an idle machine with two cores it takes about 30."""
DEBUG_TIMEOUT = 3600.0
CONNECT_TIMEOUT = 120.0
DIRTY_MEMORY = "init_on_alloc=0 page_poison=1"
"""Who allocates pages and does not ask for zeros gets aa (hex), as on a machine that has run for a while
anything. Debian's kernels zero all of them otherwise."""
BUGS = re.compile(
    r"^.*(?:WARNING:|BUG:|INFO:|KASAN|Oops|unchecked MSR|general protection|Call Trace|ODEBUG|corruption).*$",
    re.MULTILINE,
)
"""What lockdep, KASAN and the other detectives of a kernel say begins with one of these."""


class QemuMachine:
    """A QEMU that has been started, and its console, whose bytes are in a file beside the initramfs."""

    def __init__(
        self, kernel: linux_machine.Kernel, initrd: Path, words: list[str], *, boot_loader: bool = False
    ) -> None:
        """``words``: what its command line has besides kernel and initramfs.

        ``boot_loader``: start the kernel as a boot loader does. It unpacks itself, which takes an emulated
        CPU longer than the rest of the boot, to a place of its own choice, and has five levels of page
        tables if the CPU has.
        """
        self._timeout = DEBUG_TIMEOUT if kernel.looks_for_bugs else TIMEOUT
        accel = accelerator("tcg", installed_version(QEMU))
        command = [QEMU, "-accel", accel, "-m", "1024" if kernel.looks_for_bugs else "512"]
        command += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"]
        image = kernel.image if boot_loader or kernel.looks_for_bugs else elf_kernel(kernel.image)
        command += ["-kernel", str(image), "-initrd", str(initrd), *words]
        self._process = EmulatorProcess(command, stderr=initrd.parent / "console")

    def said(self) -> str:
        """Everything on the console so far."""
        return self._process.stderr_path.read_text(encoding="utf-8", errors="replace")

    def wait(self) -> str:
        """Everything on the console until the machine starts again. Fails the test if it does not."""
        if not self._process.wait(self._timeout):
            pytest.fail(f"not done after {self._timeout:.0f} s:\n{self.said()}")
        return self.said()

    def kill(self) -> None:
        """End it, now."""
        self._process.kill()


def _words(kernel: linux_machine.Kernel, cpu: str, cpus: int, append: str) -> list[str]:
    # Warnings too, where they are looked for.
    loglevel = "loglevel=5" if kernel.looks_for_bugs else "quiet"
    line = f"console=ttyS0 tsc=reliable {loglevel} panic=-1 suspend.pm_test_delay=0 {PATIENT_KERNEL}"
    line += f" {DIRTY_MEMORY} {append}"
    return ["-cpu", cpu, "-smp", str(cpus), "-append", line]


def run_qemu(
    kernel: linux_machine.Kernel,
    tmp_path: Path,
    cpu: str,
    cpus: int,
    append: str = "",
    module: Path | None = None,
    *,
    boot_loader: bool = False,
) -> str:
    """Everything on the console until the machine starts again; with another veneer.ko, if it is given.

    ``boot_loader``: see ``QemuMachine``.
    """
    _need_qemu()
    initrd = linux_machine.build_initrd(kernel, "kvm_amd", tmp_path, module=module)
    machine = QemuMachine(kernel, initrd, _words(kernel, cpu, cpus, append), boot_loader=boot_loader)
    try:
        return machine.wait()
    finally:
        machine.kill()


@contextlib.contextmanager
def serve_agent(
    kernel: linux_machine.Kernel, tmp_path: Path, cpu: str, cpus: int
) -> Iterator[tuple[QemuMachine, SocketChannel]]:
    """A machine that runs agent.c, and its second serial port."""
    _need_qemu()
    initrd = linux_machine.build_initrd(kernel, "kvm_amd", tmp_path, agent=True)
    directory = private_directory()
    with contextlib.ExitStack() as stack:
        stack.callback(directory.remove)
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(str(directory.path / "agent"))
        listener.listen(1)
        listener.settimeout(CONNECT_TIMEOUT)
        words = [
            *_words(kernel, cpu, cpus, "agent=1"),
            "-chardev",
            f"socket,id=agent,path={directory.path}/agent",
        ]
        machine = QemuMachine(kernel, initrd, [*words, "-serial", "chardev:agent"])
        stack.callback(machine.kill)
        # The test's failure does not say what the machine has seen.
        stack.callback(lambda: print(machine.said()))
        channel = SocketChannel(listener.accept()[0])
        stack.callback(channel.close)
        yield machine, channel


def _need_qemu() -> None:
    if not shutil.which(QEMU):
        pytest.skip(f"no {QEMU} here")


def expect_no_bugs(output: str) -> None:
    """A kernel that looks for bugs did until the end, and has found none since its first program began."""
    assert re.search(r"^# lockdep looked at [1-9]\d* classes of locks until the end", output, re.MULTILINE), (
        output
    )
    assert not BUGS.findall(output[output.index("# 4 CPUs") :]), output
