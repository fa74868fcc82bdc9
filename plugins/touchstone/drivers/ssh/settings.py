"""What the inventory says about a box: read, checked, and nothing contacted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from touchstone.drivers.options import options_of
from touchstone.drivers.power import CommandPower, IpmiPower, Power, QmpPower
from touchstone.drivers.ssh.address import CONFIG, Address
from touchstone.drivers.ssh.lock import PATIENCE
from touchstone.machine.settings import SettingsError, TargetSettings

OPTIONS: Mapping[str, type] = {
    "host": str,
    "port": int,
    "user": str,
    "key": str,
    "password_env": str,
    "fingerprint": str,
    "known_hosts": str,
    "proxy_jump": str,
    "ssh_config": str,
    "kernel_headers": str,
    "console": str,
    "power_reset": str,
    "power_nmi": str,
    "ipmi": str,
    "ipmi_user": str,
    "ipmi_password_env": str,
    "qmp": str,
    "labgrid_place": str,
    "labgrid_coordinator": str,
    "lock_timeout": int,
    "boot_timeout": int,
}
"""Keys of a box's entry, with ``-`` for ``_``. docs/add-your-box.md says what each of them means."""
BOOT_TIMEOUT = 300.0
"""Seconds from a reset to sshd: servers take minutes for their firmware alone."""
_PLACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")
_COORDINATOR = re.compile(r"[A-Za-z0-9_.-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@dataclass(frozen=True)
class PlaceName:
    """A place, as the inventory names it."""

    name: str
    coordinator: str = ""
    """``HOST:PORT``; empty: ``$LG_COORDINATOR``, or labgrid's default."""

    def __str__(self) -> str:
        where = f" at {self.coordinator}" if self.coordinator else ""
        return f"the place {self.name} of labgrid{where}"


@dataclass(frozen=True)
class SshSettings:
    """The options of ``OPTIONS``, checked."""

    address: Address
    """Its host is empty if the resources of a place of labgrid are to say it."""
    power: Power | None
    console: str
    headers: Path | None
    lock_timeout: float
    boot_timeout: float
    place: PlaceName | None
    """The place of labgrid that the box is."""


def read_settings(settings: TargetSettings) -> SshSettings:
    """What a box's entry says. SettingsError for what no box can be."""
    if "password" in settings.options:
        raise SettingsError(
            "password", "a password is never in a file: name an environment variable with password-env"
        )
    options = options_of(settings, OPTIONS, "the SSH driver")

    def text(key: str) -> str:
        return str(options.get(key, ""))

    def number(key: str, default: float, most: int) -> int:
        value = options.get(key, default)
        assert isinstance(value, int | float)
        if not 1 <= value <= most:
            raise SettingsError(key, f"{value} is not between 1 and {most}")
        return int(value)

    place = _place(text)
    if not text("host") and place is None:
        raise SettingsError("host", "it is missing: a name, an address, or a Host of ssh_config")
    prints = tuple(text("fingerprint").replace(",", " ").split())
    for one in prints:
        if not _FINGERPRINT.fullmatch(one):
            raise SettingsError(
                "fingerprint", f"{one!r} is none: 'SHA256:' and 43 letters, as ssh-keygen -l prints it"
            )
    jumps = tuple(part.strip() for part in text("proxy_jump").split(",") if part.strip())
    return SshSettings(
        address=Address(
            host=text("host"),
            port=number("port", 22, 65535) if "port" in options else 0,
            user=text("user"),
            keys=(Path(text("key")).expanduser(),) if text("key") else (),
            fingerprints=prints,
            known_hosts=(Path(text("known_hosts")),) if text("known_hosts") else (),
            password_variable=text("password_env"),
            jumps=jumps,
            config=Path(text("ssh_config")) if text("ssh_config") else CONFIG,
        ),
        power=_power(text),
        console=text("console"),
        headers=Path(text("kernel_headers")).expanduser() if text("kernel_headers") else None,
        lock_timeout=number("lock_timeout", PATIENCE, 7 * 86400),
        boot_timeout=number("boot_timeout", BOOT_TIMEOUT, 86400),
        place=place,
    )


def _place(text: Callable[[str], str]) -> PlaceName | None:
    name, coordinator = text("labgrid_place"), text("labgrid_coordinator")
    if not name:
        if coordinator:
            raise SettingsError("labgrid_coordinator", "it goes with labgrid-place")
        return None
    if not _PLACE.fullmatch(name):
        raise SettingsError("labgrid_place", f"{name!r} is no place's name: no pattern, no alias")
    if coordinator and not _COORDINATOR.fullmatch(coordinator):
        raise SettingsError("labgrid_coordinator", f"{coordinator!r} is not HOST or HOST:PORT")
    return PlaceName(name, coordinator)


def _power(text: Callable[[str], str]) -> Power | None:
    ways = [key for key in ("power_reset", "ipmi", "qmp") if text(key)]
    if len(ways) > 1:
        raise SettingsError(ways[1], f"{ways[0].replace('_', '-')} is given too: one power control is enough")
    if text("power_nmi") and ways != ["power_reset"]:
        raise SettingsError("power_nmi", "it goes with power-reset; ipmi and qmp can do it by themselves")
    if text("power_reset"):
        return CommandPower(text("power_reset"), text("power_nmi"))
    if text("ipmi"):
        for key in ("ipmi_user", "ipmi_password_env"):
            if not text(key):
                raise SettingsError(key, "ipmi needs it")
        return IpmiPower(text("ipmi"), text("ipmi_user"), text("ipmi_password_env"))
    return QmpPower(Path(text("qmp")).expanduser()) if text("qmp") else None
