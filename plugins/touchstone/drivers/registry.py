"""Which driver drives which target. Nothing of a driver is imported before its first target."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from touchstone.drivers.build import BareImage, build_bare
from touchstone.machine.driver import Driver, InfrastructureError, Say
from touchstone.machine.payload import Payload, PayloadMachine
from touchstone.machine.settings import SettingsError, TargetSettings
from touchstone.shipped import build_directory

if TYPE_CHECKING:
    from touchstone.drivers.emulated.driver import ImageProvider
    from touchstone.drivers.emulated.uefi import ProvideProgram
    from touchstone.drivers.hosted.deploy import GuestProgram
    from touchstone.drivers.ssh.boxes import Box
    from touchstone.drivers.ssh.deployable import Deployable
    from touchstone.drivers.ssh.visit import VisitSettings

DRIVERS = ("bochs", "qemu", "ssh")
"""Names of the drivers, as the inventory writes them."""


def validate(settings: TargetSettings) -> None:
    """SettingsError unless the target's driver can work with these settings. Contacts nothing."""
    if settings.vendor not in ("intel", "amd"):
        raise SettingsError("vendor", f"{settings.vendor!r} is neither 'intel' nor 'amd'")
    if settings.timeout_factor <= 0:
        raise SettingsError("timeout-factor", f"{settings.timeout_factor} is not positive")
    if settings.driver == "qemu":
        from touchstone.drivers.qemu import config as qemu_config  # noqa: PLC0415

        qemu_config.read_settings(settings)
    elif settings.driver == "bochs":
        from touchstone.drivers.bochs import config as bochs_config  # noqa: PLC0415

        bochs_config.read_settings(settings)
    elif settings.driver == "ssh" and is_virtual(settings):
        from touchstone.drivers.ssh import virtual as ssh_virtual  # noqa: PLC0415

        ssh_virtual.read_settings(settings)
    elif settings.driver == "ssh":
        from touchstone.drivers.ssh import settings as ssh_settings  # noqa: PLC0415

        ssh_settings.read_settings(settings)
    else:
        raise SettingsError("driver", f"{settings.driver!r} is none of {', '.join(DRIVERS)}")


def make_driver(
    settings: TargetSettings,
    subject: Path | BareImage | None,
    log_directory: Path,
    program: ProvideProgram | None = None,
) -> Driver:
    """A driver for a target, not started.

    ``subject`` is the directory of the subject's sources, None for the bare machine, or an image that is
    built already. ``log_directory`` gets the serial log, ``NAME.serial.log``. ``program``: the subject's on a
    target with a UEFI firmware, where it is not in the image. SettingsError as ``validate``.
    """
    validate(settings)
    provide: ImageProvider = _provider(subject, x2apic=settings.x2apic)
    if settings.driver == "qemu":
        from touchstone.drivers.qemu import kvm  # noqa: PLC0415
        from touchstone.drivers.qemu.driver import QemuDriver  # noqa: PLC0415

        problem = lambda say: kvm.problem(settings.vendor, say)  # noqa: E731
        return QemuDriver(settings, provide, log_directory, problem, program)
    from touchstone.drivers.bochs.driver import BochsDriver  # noqa: PLC0415

    return BochsDriver(settings, provide, log_directory, program)


def make_payload_machine(
    settings: TargetSettings, subject: Path | None, payload: Payload, log_directory: Path, cpus: int = 1
) -> PayloadMachine:
    """A machine for one run of a payload, not started, as ``make_driver`` makes one.

    It is the target with ``cpus`` CPUs and as much memory as a payload may want.
    """
    from touchstone.drivers.emulated.payload_image import IMAGE_BASE, MEMORY_MIB  # noqa: PLC0415

    settings = replace(settings, cpus=cpus, memory_mib=max(settings.memory_mib, MEMORY_MIB))
    if settings.driver == "qemu":
        # SeaBIOS, unless the target names a firmware: the fast one leaves timer and interrupts unset.
        settings = replace(settings, options={"firmware": "", **settings.options})
    validate(settings)

    def provide(progress: Say) -> BareImage:
        return build_bare(subject, progress, base=IMAGE_BASE)

    if settings.driver == "qemu":
        from touchstone.drivers.qemu import kvm  # noqa: PLC0415
        from touchstone.drivers.qemu.driver import QemuDriver  # noqa: PLC0415

        problem = lambda say: kvm.problem(settings.vendor, say)  # noqa: E731
        return QemuDriver(settings, provide, log_directory, problem, payload=payload)
    from touchstone.drivers.bochs.driver import BochsDriver  # noqa: PLC0415

    return BochsDriver(settings, provide, log_directory, payload=payload)


def make_box_driver(
    settings: TargetSettings, subject: Deployable | None, log_directory: Path, root: Path | None = None
) -> Driver:
    """A driver for a box with Linux, not started. ``subject``: None for the bare machine."""
    from touchstone.drivers.ssh.build import ModuleCache  # noqa: PLC0415
    from touchstone.drivers.ssh.deployable import the_agent  # noqa: PLC0415
    from touchstone.drivers.ssh.driver import SshDriver  # noqa: PLC0415

    validate(settings)
    box, visit = _box(settings, log_directory)
    cache = ModuleCache(build_directory(root) / "linux")
    bare = partial(_make_bare, settings, log_directory / "bare") if is_virtual(settings) else None
    return SshDriver(settings, box, the_agent(root), subject, cache, log_directory, visit, bare)


def _make_bare(settings: TargetSettings, log_directory: Path) -> Driver:
    """The machine of a virtual box with one CPU and the bare OS, not started."""
    from touchstone.drivers.ssh.virtual import without_linux  # noqa: PLC0415

    alone = replace(without_linux(settings, TargetSettings.memory_mib), cpus=1)
    return make_driver(alone, None, log_directory)


def make_hosted_driver(settings: TargetSettings, program: GuestProgram, log_directory: Path) -> Driver:
    """A driver for a machine that is a subject's guest on a box with Linux, not started.

    The native machine is the same emulator with the same CPUs, and boots the same image by itself.
    InfrastructureError for a box that nobody can compare with: one that is no virtual machine of ours.
    """
    from touchstone.drivers.hosted.deploy import MEMORY_MIB  # noqa: PLC0415
    from touchstone.drivers.hosted.driver import HostedDriver  # noqa: PLC0415
    from touchstone.drivers.hosted.guest import GuestOnBox  # noqa: PLC0415
    from touchstone.drivers.ssh.build import ModuleCache  # noqa: PLC0415
    from touchstone.drivers.ssh.virtual import without_linux  # noqa: PLC0415

    validate(settings)
    if not is_virtual(settings):
        raise InfrastructureError(
            f"{settings.name} is no virtual box (image = ...): what {program.title}'s guest answers cannot be"
            " compared with what the box's processor answers to the same image"
        )
    box, visit = _box(settings, log_directory)
    cache = ModuleCache(build_directory() / "linux")
    guest = GuestOnBox(settings, box, program, _provider(None), cache, log_directory, visit)
    native = make_driver(without_linux(settings, MEMORY_MIB), None, log_directory / "native")
    return HostedDriver(settings.name, native, guest, program.name)


def make_here_driver(settings: TargetSettings, log_directory: Path) -> Driver:
    """A driver for the machine that we run on, not started."""
    if settings.ring0:
        from touchstone.drivers.here.module import AgentsModule, ModuleDriver  # noqa: PLC0415

        return ModuleDriver(settings, AgentsModule(build_directory() / "linux"), log_directory)
    from touchstone.drivers.here.driver import HereDriver  # noqa: PLC0415
    from touchstone.drivers.here.program import provide_program  # noqa: PLC0415

    return HereDriver(settings, provide_program, log_directory)


def _box(settings: TargetSettings, log_directory: Path) -> tuple[Box, VisitSettings]:
    """The box of a target, and how it is visited."""
    from touchstone.drivers.ssh.boxes import RackBox  # noqa: PLC0415
    from touchstone.drivers.ssh.settings import read_settings  # noqa: PLC0415
    from touchstone.drivers.ssh.visit import VisitSettings  # noqa: PLC0415

    if is_virtual(settings):
        from touchstone.drivers.ssh.virtual import VirtualBox  # noqa: PLC0415

        return VirtualBox(settings, log_directory), VisitSettings()
    said = read_settings(settings)
    box = RackBox(said.address, said.power, said.console, said.headers)
    if said.place is not None:
        from touchstone.drivers.ssh.labgrid import Place, PlaceBox  # noqa: PLC0415

        place = Place(said.place, said.lock_timeout)
        box = PlaceBox(said.address, said.power, said.console, said.headers, place)
    return box, VisitSettings(lock_timeout=said.lock_timeout, boot_timeout=said.boot_timeout)


def is_virtual(settings: TargetSettings) -> bool:
    """Whether a box is one that we make and start ourselves."""
    return "image" in settings.options


def unavailable(settings: TargetSettings, progress: Say = lambda _: None) -> str:
    """Why this host cannot run the target (a flag or a parameter that is missing), or nothing.

    Starts a short-lived machine where only that tells; nothing for what an installation would cure.
    """
    if settings.driver == "qemu":
        from touchstone.drivers.qemu import config as qemu_config  # noqa: PLC0415
        from touchstone.drivers.qemu import kvm  # noqa: PLC0415

        qemu = qemu_config.read_settings(settings)
        if qemu.accel == "kvm":
            return kvm.problem(settings.vendor, progress)
        if settings.x2apic and qemu.accel == "tcg":
            return qemu_config.without_x2apic(qemu.binary)
    return ""


def _provider(subject: Path | BareImage | None, *, x2apic: bool = False) -> ImageProvider:
    if isinstance(subject, BareImage):
        return lambda progress: subject
    return lambda progress: build_bare(subject, progress, x2apic=x2apic)
