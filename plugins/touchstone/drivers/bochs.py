"""Machines of Bochs: an Intel CPU with VMX, or an AMD one with SVM, without any of it in the host."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from touchstone.drivers.base import DeathNotice, ImageProvider
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
PENDING = b"ptime"
"""A command of Bochs' debugger that changes nothing."""
DEBUGGER_TIMEOUT = 5.0
"""Seconds that Bochs' debugger may take for a command."""

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


class Terminal:
    """The pseudo-terminal that Bochs draws its screen on and its debugger speaks on; we always read it."""

    PROMPT = re.compile(rb"<bochs:\d+> ?$")
    ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")

    def __init__(self) -> None:
        self._master, self.slave = os.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 132, 0, 0))
        self._text = bytearray()
        self._changed = threading.Condition()
        self._ended = False
        # If nobody read, Bochs would stop at a full terminal, and be taken for a hung guest.
        self._reader = threading.Thread(target=self._read, name="touchstone-bochs-terminal", daemon=True)

    def started(self) -> None:
        """Bochs has the other end now."""
        os.close(self.slave)
        self._reader.start()

    def keep_readable(self) -> None:
        """Leave a command that the debugger reads when it is entered.

        At every HLT of the guest, Bochs waits for a millisecond until there is something to read on its
        standard input. So there always is.
        """
        os.write(self._master, PENDING + b"\n")

    def entered(self, timeout: float = DEBUGGER_TIMEOUT) -> None:
        """Wait until the debugger was entered, and has done what lay there for it."""
        self._await(re.compile(PENDING + rb": \d+\s+" + self.PROMPT.pattern), timeout)

    def command(self, line: str, timeout: float = DEBUGGER_TIMEOUT) -> str:
        """Give the debugger a command and return its answer. InfrastructureError if there is none."""
        with self._changed:
            self._text.clear()
        os.write(self._master, line.encode("ascii") + b"\n")
        return self.prompt(timeout).removeprefix(line).strip()

    def prompt(self, timeout: float = DEBUGGER_TIMEOUT) -> str:
        """Wait for the debugger's prompt and return what stood before it."""
        text = self._await(self.PROMPT, timeout)
        return self.PROMPT.sub(b"", text).decode("ascii", "backslashreplace").replace("\r\n", "\n").strip()

    def tail(self, size: int = 2000) -> str:
        """The end of what was written there."""
        with self._changed:
            return self._plain()[-size:].decode("ascii", "backslashreplace").replace("\r\n", "\n").strip()

    def close(self) -> None:
        """Close it, after the end of Bochs."""
        if self._reader.is_alive():
            self._reader.join(5)
        for fd in (self._master,) if self._reader.ident else (self._master, self.slave):
            with contextlib.suppress(OSError):
                os.close(fd)

    def _plain(self) -> bytes:
        return self.ESCAPES.sub(b"", bytes(self._text))

    def _await(self, end: re.Pattern[bytes], timeout: float) -> bytes:
        """Wait until the text ends so, and return it."""

        def found() -> bool:
            return end.search(self.ESCAPES.sub(b"", bytes(self._text[-200:]))) is not None

        with self._changed:
            self._changed.wait_for(lambda: self._ended or found(), timeout)
            if not found():
                raise InfrastructureError(f"Bochs' debugger did not answer within {timeout:g} s")
            return self._plain()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # EIO: the last process has closed the other end
                data = b""
            with self._changed:
                self._text += data
                del self._text[:-1_000_000]
                self._ended = not data
                self._changed.notify_all()
            if not data:
                return


class BochsDriver(EmulatorDriver):
    """One Bochs machine. See ``touchstone.machine.driver.Driver`` for what the methods promise."""

    emulator = "Bochs"
    install = "apt-get install bochs bochs-term bochsbios vgabios"
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
        dump = self._directory.path / "memory"
        self._terminal.command(f"set $cpu={cpu}")
        said = self._terminal.command(f'writemem "{dump}" {address:#x} {length}')
        try:
            data = dump.read_bytes()
        except OSError:
            raise InfrastructureError(f"Bochs wrote no memory of {address:#x}: {said}") from None
        dump.unlink()
        return data

    def _boot(self) -> TargetInfo:
        assert self._image is not None
        directory = self._directory = private_directory()
        death = self._death = DeathNotice()
        terminal = self._terminal = Terminal()
        self._stopped = False
        for path in (Path(self._bochs.bios), Path(self._bochs.vga_bios)):
            if not path.is_file():
                raise InfrastructureError(f"{path} is missing ({self.install})")
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
                    self._command(directory.path),
                    stderr=directory.path / "stderr",
                    stdio=terminal.slave,
                    environment={**os.environ, "TERM": "xterm"},
                    cwd=directory.path,
                )
            finally:
                terminal.started()
            connection = self._accept(listener, process, began)
            while not _is_ours(connection):
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

    def _command(self, directory: Path) -> list[str]:
        return [
            self._bochs.binary,
            "-q",
            "-f",
            str(directory / "bochsrc"),
            "-rc",
            str(directory / "commands"),
        ]

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
        panic = self._panic()
        return super()._reason() + (f": {panic}" if panic else "")

    def _state(self) -> str:
        return "Bochs is still running"

    def _emulator_log(self) -> str:
        """The end of Bochs' log since the boot sector, without dumped registers; else its last words."""
        booted = self._log_text().partition("] Booting from ")[2]
        if lines := [line for line in booted.splitlines()[1:] if not _DUMPED.search(line)]:
            return "\n".join(lines[-40:])
        # Whatever keeps Bochs from starting at all is told on its terminal.
        said = self._terminal.tail() if self._terminal else ""
        lines = [*self._log_text().splitlines()[-10:], *said.splitlines()]
        return "\n".join(line for line in lines if not _INFORMATION.match(line))

    def _log_text(self) -> str:
        if self._directory is None:
            return ""
        try:
            with (self._directory.path / "log").open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 262144))
                return log.read().decode("utf-8", "backslashreplace")
        except OSError:
            return ""

    def _panic(self) -> str:
        found = re.findall(r">>PANIC<< (.*)", self._log_text())
        return found[-1].strip() if found else ""

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
            return _dumped_registers(self._log_text())
        self._interrupt()
        assert self._terminal is not None
        registers = {}
        for cpu in range(self.settings.cpus):
            self._terminal.command(f"set $cpu={cpu}")
            parts = [self._terminal.command(command) for command in ("r", "sreg", "creg")]
            registers[cpu] = "\n".join(parts)
        return registers

    def _reader(self, cpu: int) -> Callable[[int, int], bytes] | None:
        return partial(self.read_memory, cpu=cpu) if self._alive() else None


_INFORMATION = re.compile(r"^\d+i\[")
_DUMPED = re.compile(r"^\d+i\[CPU(\d+) *\] (?:\| )?(?P<text>.*)")


def _dumped_registers(log: str) -> dict[int, str]:
    """What Bochs writes of every CPU into its log when it panics; the last dump counts."""
    panic = log.rfind(">>PANIC<<")
    found: dict[int, list[str]] = {}
    if panic >= 0:
        for line in log[panic:].splitlines()[1:]:
            if match := _DUMPED.search(line):
                found.setdefault(int(match[1]), []).append(match["text"])
    return {cpu: "\n".join(lines) for cpu, lines in sorted(found.items())}


def _is_ours(connection: socket.socket) -> bool:
    """Whether a process of our user is at the other end: anybody on this host can reach a loopback port."""
    host, port = connection.getpeername()
    address = f"{struct.unpack('=I', socket.inet_aton(host))[0]:08X}:{port:04X}"
    try:
        rows = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return True
    owners = [fields[7] for fields in map(str.split, rows) if fields[1] == address]
    return not owners or owners[0] == str(os.getuid())
