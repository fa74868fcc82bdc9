"""How a Bochs is started: the target's options, checked, and the configuration file made of them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from touchstone.drivers.options import check_apic, check_uefi_memory, options_of
from touchstone.machine.driver import InfrastructureError
from touchstone.machine.settings import SettingsError, TargetSettings

INSTALL = "apt-get install bochs bochs-term bochsbios vgabios"
OPTIONS: Mapping[str, type] = {
    "ips": int,
    "ignore_bad_msrs": bool,
    "binary": str,
    "bios": str,
    "uefi": bool,
    "apic": str,
    "vga_bios": str,
}
"""``ips``: simulated instructions per second; ``ignore_bad_msrs``: unknown MSRs read as 0 instead of #GP;
``uefi``: a UEFI firmware boots the machine, Debian's OVMF or that of ``bios``."""

UEFI_IPS = 4_000_000
"""OVMF has a timer, too."""
LINUX_IPS = 50_000_000
"""With fewer, the timer's interrupts eat the CPU; with more, everything that waits for time waits longer."""

DEFAULT_MODEL = {"intel": "corei7_skylake_x", "amd": "ryzen"}

# info: at SIGINT, which leads into its debugger, Bochs writes such a line, of no module that could be named
# here. If it was just writing one, it waits for itself then, for ever: a guest that makes it write always
# could not be examined. Those of a CPU are the registers that it dumps when it panics, those of biosdev say
# when the boot sector was reached.
# quantum: instructions of a CPU before Bochs turns to the next one. It pays for each turn, also of a CPU that
# is halted; the default is 16, 32 the most. An odd number, so that where turns end moves through a loop of
# any even length.
# fastboot: no pause for a boot menu. The CD drive: the BIOS looks for a second drive, and where there is
# none, for a long time. Together they are most of the way to the agent (measured: 2.6 s without, 0.4 s with).
_CONFIGURATION = """\
display_library: term
plugin_ctrl: unmapped=1, biosdev=1, speaker=0, extfpuirq=1, parallel=0, serial=1, gameport=0
cpu: model={model}, count={cpus}, reset_on_triple_fault=0, ignore_bad_msrs={ignore_bad_msrs}
cpu: ips={ips}, quantum=31
memory: guest={memory}, host={memory}
romimage: file={bios}{bios_options}
vgaromimage: file={vga_bios}
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, mode=flat, path={directory}/disk.img, cylinders=0
ata0-slave: type=cdrom, path="", status=ejected
boot: disk
panic: action=fatal
error: action=report
info: action=ignore, biosdev=report{cpu_logs}
debug: action=ignore
log: {directory}/log
clock: sync=none
"""


@dataclass(frozen=True)
class BochsSettings:
    """The options of ``OPTIONS``, checked."""

    model: str
    cpus: int
    memory_mib: int
    ips: int
    ignore_bad_msrs: bool
    binary: str
    bios: str
    vga_bios: str
    uefi: bool


def read_settings(settings: TargetSettings) -> BochsSettings:
    """What Bochs is asked for. SettingsError for what it could not be."""
    options = options_of(settings, OPTIONS, "Bochs' driver")
    check_uefi_memory(settings)
    check_apic(settings, options)
    uefi = bool(options.get("uefi"))
    model = settings.cpu_model or DEFAULT_MODEL[settings.vendor]
    if not re.fullmatch(r"[a-z0-9_]+", model):
        raise SettingsError("cpu-model", f"{model!r} is not a model of `bochs --help cpu`")
    # BIOS and serial port wait in simulated time: the more instructions a second is worth, the longer.
    ips = options.get("ips", UEFI_IPS if uefi else 1_000_000)
    assert isinstance(ips, int)
    if not 1_000_000 <= ips <= 1_000_000_000:
        raise SettingsError("ips", f"{ips} is not between 1000000 and 1000000000")
    return BochsSettings(
        model=model,
        cpus=settings.cpus,
        memory_mib=settings.memory_mib,
        ips=ips,
        # OVMF reads IA32_PLATFORM_ID, which Bochs does not have.
        ignore_bad_msrs=bool(options.get("ignore_bad_msrs", uefi)),
        binary=str(options.get("binary", "bochs")),
        bios=str(options.get("bios", "" if uefi else "/usr/share/bochs/BIOS-bochs-latest")),
        vga_bios=str(options.get("vga_bios", "/usr/share/bochs/VGABIOS-lgpl-latest")),
        uefi=uefi,
    )


def check_firmware(bochs: BochsSettings) -> None:
    """InfrastructureError unless what the BIOSes are read from is there."""
    # A UEFI firmware is fetched where it is not named.
    for path in (*([Path(bochs.bios)] if bochs.bios else []), Path(bochs.vga_bios)):
        if not path.is_file():
            raise InfrastructureError(f"{path} is missing ({INSTALL})")


def prepare(bochs: BochsSettings, directory: Path, devices: str) -> list[str]:
    """Write what Bochs reads into a directory that has its ``disk.img``; return the command that starts it.

    ``devices``: lines of the configuration file for what this machine has besides disk and processors.
    """
    base = _CONFIGURATION.format(
        model=bochs.model,
        cpus=bochs.cpus,
        ips=bochs.ips,
        ignore_bad_msrs=int(bochs.ignore_bad_msrs),
        memory=bochs.memory_mib,
        bios=bochs.bios,
        bios_options="" if bochs.uefi else ", options=fastboot",
        vga_bios=bochs.vga_bios,
        directory=directory,
        cpu_logs="".join(f", CPU{number:x}=report" for number in range(bochs.cpus)),
    )
    configuration, commands = directory / "bochsrc", directory / "commands"
    configuration.write_text(base + devices, encoding="utf-8")
    commands.write_text("continue\n", encoding="ascii")
    debugger = ask_program(bochs.binary).debugger_option
    return [bochs.binary, "-q", *debugger, "-f", str(configuration), "-rc", str(commands)]


@dataclass(frozen=True)
class BochsProgram:
    """What a Bochs tells of itself when it is asked for help."""

    version: tuple[int, ...] | None
    """None if it does not tell."""
    debugger_option: tuple[str, ...]
    """What makes it start its debugger: since 3.0 an option, which older ones take for an error."""


@cache
def ask_program(binary: str) -> BochsProgram:
    """Ask a Bochs what it is, once per process."""
    option = "-debugger"
    try:
        run = subprocess.run(
            [binary, "--help"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return BochsProgram(None, ())  # starting it fails as well, and says why
    said = run.stdout + run.stderr
    banner = re.search(rb"Bochs x86 Emulator (\d+(?:\.\d+)*)", said)
    return BochsProgram(
        version=tuple(map(int, banner[1].split(b"."))) if banner else None,
        debugger_option=(option,) if re.search(rf"^ +{option} ".encode(), said, re.MULTILINE) else (),
    )


def read_linux_settings(settings: TargetSettings) -> BochsSettings:
    """Bochs' settings for a Linux machine: those of the target's options that Bochs' driver knows.

    SettingsError as for that driver. The target's other options are those of the SSH driver.
    """
    # A stock kernel reads MSRs before it can take a fault.
    options: dict[str, object] = {"ips": LINUX_IPS, "ignore_bad_msrs": True}
    for key, value in settings.options.items():
        if (name := key.replace("-", "_")) in OPTIONS:
            options[name] = value
    return read_settings(replace(settings, options=options))
