"""Machines of Bochs: an Intel CPU with VMX, or an AMD one with SVM, without any of it in the host."""

from __future__ import annotations

import os
import re
import shutil
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from touchstone.drivers.base import DeathNotice, ImageProvider
from touchstone.drivers.bochs_log import dumped_registers, last_panic, log_tail, read_log
from touchstone.drivers.bochs_terminal import Terminal
from touchstone.drivers.emulator import EmulatorDriver, Evidence, options_of
from touchstone.drivers.process import EmulatorProcess, private_directory
from touchstone.machine.driver import AgentRefused, InfrastructureError, TargetError, TargetInfo
from touchstone.machine.settings import SettingsError, TargetSettings

OPTIONS: Mapping[str, type] = {
    "ips": int,
    "ignore_bad_msrs": bool,
    "binary": str,
    "bios": str,
    "vga_bios": str,
}
"""``ips``: simulated instructions per second; ``ignore_bad_msrs``: unknown MSRs read as 0 instead of #GP."""

DEFAULT_MODEL = {"intel": "corei7_skylake_x", "amd": "ryzen"}
INSTALL = "apt-get install bochs bochs-term bochsbios vgabios"

# fastboot: no pause for a boot menu. The CD drive: the BIOS looks for a second drive, and where there is
# none, for a long time. Together they are most of the way to the agent (measured: 2.6 s without, 0.4 s with).
_CONFIGURATION = """\
display_library: term
plugin_ctrl: unmapped=1, biosdev=1, speaker=0, extfpuirq=1, parallel=0, serial=1, gameport=0
cpu: model={model}, count={cpus}, ips={ips}, reset_on_triple_fault=0, ignore_bad_msrs={ignore_bad_msrs}
memory: guest={memory}, host={memory}
romimage: file={bios}, options=fastboot
vgaromimage: file={vga_bios}
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, mode=flat, path={directory}/disk.img, cylinders=0
ata0-slave: type=cdrom, path="", status=ejected
boot: disk
com1: enabled=1, mode=socket-client, dev=127.0.0.1:{port}
panic: action=fatal
error: action=report
info: action=report
debug: action=ignore
log: {directory}/log
clock: sync=none
"""


@dataclass(frozen=True)
class BochsSettings:
    """The options of ``OPTIONS``, checked."""

    model: str
    ips: int
    ignore_bad_msrs: bool
    binary: str
    bios: str
    vga_bios: str


def read_settings(settings: TargetSettings) -> BochsSettings:
    """What Bochs is asked for. SettingsError for what it could not be."""
    options = options_of(settings, OPTIONS, "Bochs' driver")
    model = settings.cpu_model or DEFAULT_MODEL[settings.vendor]
    if not re.fullmatch(r"[a-z0-9_]+", model):
        raise SettingsError("cpu-model", f"{model!r} is not a model of `bochs --help cpu`")
    # BIOS and serial port wait in simulated time: the more instructions a second is worth, the longer.
    ips = options.get("ips", 1_000_000)
    assert isinstance(ips, int)
    if not 1_000_000 <= ips <= 1_000_000_000:
        raise SettingsError("ips", f"{ips} is not between 1000000 and 1000000000")
    return BochsSettings(
        model=model,
        ips=ips,
        ignore_bad_msrs=bool(options.get("ignore_bad_msrs", False)),
        binary=str(options.get("binary", "bochs")),
        bios=str(options.get("bios", "/usr/share/bochs/BIOS-bochs-latest")),
        vga_bios=str(options.get("vga_bios", "/usr/share/bochs/VGABIOS-lgpl-latest")),
    )


def check_firmware(bochs: BochsSettings) -> None:
    """InfrastructureError unless what the BIOSes are read from is there."""
    for path in (Path(bochs.bios), Path(bochs.vga_bios)):
        if not path.is_file():
            raise InfrastructureError(f"{path} is missing ({INSTALL})")


def bochs_command(bochs: BochsSettings, directory: Path) -> list[str]:
    """How Bochs is started with a ``bochsrc``, and ``commands`` for its debugger, in a directory."""
    return [bochs.binary, "-q", "-f", str(directory / "bochsrc"), "-rc", str(directory / "commands")]


class BochsDriver(EmulatorDriver):
    """One Bochs machine. See ``touchstone.machine.driver.Driver`` for what the methods promise."""

    emulator = "Bochs"
    install = INSTALL
    boot_timeout = 40.0

    def __init__(self, settings: TargetSettings, provide_image: ImageProvider, log_directory: Path) -> None:
        """SettingsError when the settings cannot be a Bochs machine; starts nothing."""
        super().__init__(settings, provide_image, log_directory)
        self._bochs = read_settings(settings)
        self.program = self._bochs.binary
        self._terminal: Terminal | None = None
        self._stopped = False

    def inject_nmi(self) -> None:
        """See Driver. Bochs has no way to do it."""
        raise AgentRefused("unsupported", "Bochs cannot inject an NMI from outside")

    def read_memory(self, address: int, length: int, cpu: int = 0) -> bytes:
        """Guest memory at a linear address of a CPU. The machine must stand in the debugger (``autopsy``)."""
        if self._terminal is None or self._directory is None or not self._alive():
            raise InfrastructureError("Bochs is not running")
        self._interrupt()
        return self._terminal.memory(self._directory.path, address, length, cpu)

    def _boot(self) -> TargetInfo:
        assert self._image is not None
        directory = self._directory = private_directory()
        death = self._death = DeathNotice()
        terminal = self._terminal = Terminal()
        self._stopped = False
        check_firmware(self._bochs)
        # A copy: Bochs opens it for writing, and a new build must not change a disk under a running machine.
        shutil.copyfile(self._image.disk, directory.path / "disk.img")
        (directory.path / "commands").write_text("continue\n", encoding="ascii")
        with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
            port = listener.getsockname()[1]
            (directory.path / "bochsrc").write_text(
                self._configuration(directory.path, port), encoding="utf-8"
            )
            death.arm()
            began = time.monotonic()
            try:
                process = self._process = EmulatorProcess(
                    bochs_command(self._bochs, directory.path),
                    stderr=directory.path / "stderr",
                    stdio=terminal.slave,
                    environment={**os.environ, "TERM": "xterm"},
                    cwd=directory.path,
                )
            finally:
                terminal.started()
            connection = self._accept(listener, process, began)
            while not is_ours(connection):
                connection.close()
                connection = self._accept(listener, process, began)
        terminal.keep_readable()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        info = self._reach(connection, quick_ack=True)
        self.reach_seconds = time.monotonic() - began
        return info

    def _configuration(self, directory: Path, port: int) -> str:
        return _CONFIGURATION.format(
            model=self._bochs.model,
            cpus=self.settings.cpus,
            ips=self._bochs.ips,
            ignore_bad_msrs=int(self._bochs.ignore_bad_msrs),
            memory=self.settings.memory_mib,
            bios=self._bochs.bios,
            vga_bios=self._bochs.vga_bios,
            directory=directory,
            port=port,
        )

    def _image_file(self) -> Path:
        assert self._image is not None
        return self._image.disk

    def _description(self) -> str:
        return self._bochs.model

    def _release(self) -> None:
        if self._terminal is not None:
            self._terminal.close()
            self._terminal = None

    def _alive(self) -> bool:
        return self._process is not None and self._process.status() is None

    def _reason(self) -> str:
        panic = last_panic(self._log_text())
        return super()._reason() + (f": {panic}" if panic else "")

    def _state(self) -> str:
        return "Bochs is still running"

    def _emulator_log(self) -> str:
        return log_tail(self._log_text(), self._terminal.tail() if self._terminal else "")

    def _log_text(self) -> str:
        return read_log(self._directory.path / "log") if self._directory else ""

    def _interrupt(self) -> None:
        """Stop the machine: SIGINT makes Bochs enter its debugger at the next instruction."""
        if not self._stopped:
            assert self._process is not None
            assert self._terminal is not None
            self._process.interrupt()
            self._terminal.entered()
            self._stopped = True

    def _failure(self, error: TargetError) -> str:
        if "wrong value for parameter 'model'" in self._emulator_log():
            return f"{self.name}: this Bochs has no CPU model {self._bochs.model!r} (see bochs --help cpu)"
        return super()._failure(error)

    def _registers(self, evidence: Evidence) -> Mapping[int, str]:
        if not self._alive():
            return dumped_registers(self._log_text())
        self._interrupt()
        assert self._terminal is not None
        return self._terminal.registers(self.settings.cpus)

    def _reader(self, cpu: int) -> Callable[[int, int], bytes] | None:
        return partial(self.read_memory, cpu=cpu) if self._alive() else None


def is_ours(connection: socket.socket) -> bool:
    """Whether a process of our user is at the other end: anybody on this host can reach a loopback port."""
    host, port = connection.getpeername()
    address = f"{struct.unpack('=I', socket.inet_aton(host))[0]:08X}:{port:04X}"
    try:
        rows = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return True
    owners = [fields[7] for fields in map(str.split, rows) if fields[1] == address]
    return not owners or owners[0] == str(os.getuid())
