"""A virtual box: an emulator with a Linux of ours, which is entered over SSH like any other box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from touchstone.drivers.bochs import config as bochs_config
from touchstone.drivers.emulated import kernel_words
from touchstone.drivers.linux_image.recipe import names
from touchstone.drivers.qemu import config as qemu_config
from touchstone.drivers.ssh.address import Address
from touchstone.machine.driver import Autopsy, InfrastructureError, Say, TargetDied
from touchstone.machine.settings import SettingsError, TargetSettings

if TYPE_CHECKING:  # every run validates the whole inventory: import late what only a started box needs
    from touchstone.drivers.emulated.linux_machine import LinuxMachine
    from touchstone.drivers.linux_image.image import LinuxImage
    from touchstone.drivers.ssh.console import LogSource

EMULATORS: Mapping[str, Mapping[str, type]] = {"qemu": qemu_config.OPTIONS, "bochs": bochs_config.OPTIONS}
"""With the options of their drivers."""
OPTIONS: Mapping[str, type] = {"image": str, "emulator": str, **kernel_words.OPTIONS}
"""``image``: a recipe in targets/images; ``emulator``: one of EMULATORS (default: ``qemu``)."""


def read_settings(settings: TargetSettings) -> tuple[str, str]:
    """Image and emulator of a virtual box. SettingsError for what it cannot be."""
    options = {key.replace("-", "_"): value for key, value in settings.options.items()}
    emulator = options.get("emulator", "qemu")
    if not isinstance(emulator, str) or emulator not in EMULATORS:
        raise SettingsError("emulator", f"{emulator!r} is none of {', '.join(EMULATORS)}")
    known = {**OPTIONS, **EMULATORS[emulator]}
    for key in options:
        if key not in known:
            raise SettingsError(key, f"a virtual box has no such option; it has {', '.join(sorted(known))}")
    image = options["image"]
    if not isinstance(image, str) or image not in names():
        raise SettingsError("image", f"{image!r} is none of {', '.join(names())} in targets/images")
    kernel_words.kernel_words(settings)
    if emulator == "bochs":
        bochs_config.read_linux_settings(settings)
    else:
        qemu_config.read_linux_settings(settings)
    return image, emulator


def without_linux(settings: TargetSettings, memory_mib: int) -> TargetSettings:
    """The same machine for the bare OS: the same emulator and CPUs, with less memory."""
    _, emulator = read_settings(settings)
    known = EMULATORS[emulator]
    options = {key: value for key, value in settings.options.items() if key.replace("-", "_") in known}
    return replace(settings, driver=emulator, memory_mib=memory_mib, options=options)


class VirtualBox:
    """An emulated machine that we start, and throw away afterwards. See ``Box``."""

    disposable = True

    def __init__(self, settings: TargetSettings, log_directory: Path) -> None:
        """Starts nothing. The console has a log of its own; the driver takes over what is in it."""
        image, emulator = read_settings(settings)
        from touchstone.drivers.bochs import linux as linux_bochs  # noqa: PLC0415
        from touchstone.drivers.linux_image.image import build_image  # noqa: PLC0415
        from touchstone.drivers.qemu import linux as linux_qemu  # noqa: PLC0415

        machine = linux_bochs.BochsLinuxMachine if emulator == "bochs" else linux_qemu.QemuLinuxMachine
        self._machine: LinuxMachine[Any] = machine(
            settings, lambda progress: build_image(image, progress), log_directory / "console"
        )
        self._image: LinuxImage | None = None

    def start(self, progress: Say) -> None:
        """See Box."""
        self._machine.start(progress)

    def version(self) -> tuple[int, ...] | None:
        """See Box."""
        return self._machine.emulator_version

    def facts(self) -> Mapping[str, str]:
        """See Box."""
        return self._machine.facts()

    def stop(self) -> None:
        """See Box."""
        self._machine.stop()

    def address(self) -> Address:
        """See Box."""
        found = self._machine.address()
        return Address(
            found.host,
            found.port,
            found.user,
            keys=(found.key,),
            fingerprints=(found.host_key,),
            config=None,
        )

    def bring_back(self, progress: Say) -> bool:
        """See Box. To where it was after its boot."""
        try:
            self._machine.restore(progress)
        except (InfrastructureError, TargetDied) as error:
            progress(f"{self._machine.name} cannot be restored ({error}): starting it anew")
            self._machine.stop()
            self._machine.start(progress)
        return True

    def headers(self, release: str, progress: Say) -> Path | None:
        """See Box."""
        from touchstone.drivers.linux_image.image import kernel_headers  # noqa: PLC0415

        return kernel_headers(self._machine.image, progress)

    def console(self) -> LogSource | None:
        """See Box."""
        return _MachineConsole(self._machine)

    def death(self) -> str:
        """See Box."""
        return self._machine.death()

    def was_shot(self) -> bool:
        """See Box."""
        return self._machine.was_shot()

    def death_fd(self) -> int | None:
        """See Box."""
        return self._machine.death_fd

    def inject_nmi(self) -> None:
        """See Box."""
        self._machine.inject_nmi()

    def autopsy(self) -> Autopsy | None:
        """See Box."""
        found = self._machine.autopsy()
        return replace(found, serial="")


class _MachineConsole:
    def __init__(self, machine: LinuxMachine[Any]) -> None:
        self._machine = machine
        self._mark = machine.console_mark()

    def collect(self) -> bytes:
        while (mark := self._machine.console_mark()) != self._mark:
            text = self._machine.console_since(self._mark)
            # If more has come since the position was taken, it is in the text as well: read again.
            if self._machine.console_mark() == mark:
                self._mark = mark
                return text.encode()
        return b""

    def close(self) -> None:
        """The machine closes its log itself."""
