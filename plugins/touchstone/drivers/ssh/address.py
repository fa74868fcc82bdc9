"""Where a box is and who we are there: the inventory's words, completed by ssh_config."""

from __future__ import annotations

import getpass
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from touchstone.machine.driver import InfrastructureError

CONFIG = Path("~/.ssh/config")
KNOWN_HOSTS = Path("~/.ssh/known_hosts")


@dataclass(frozen=True)
class Address:
    """How to get into a box. What is empty comes from ssh_config, or from its defaults."""

    host: str
    """A name, an address, or a ``Host`` of ssh_config."""
    port: int = 0
    user: str = ""
    keys: tuple[Path, ...] = ()
    """Private keys. With none: ssh_config's, the agent's, and those in ``~/.ssh``."""
    fingerprints: tuple[str, ...] = ()
    """``SHA256:...`` of host keys that are good. With none: known_hosts decides."""
    known_hosts: tuple[Path, ...] = ()
    password_variable: str = ""
    """Environment variable that holds the password."""
    jumps: tuple[str, ...] = ()
    """``[user@]host[:port]`` of each machine to go through, the first one first."""
    config: Path | None = CONFIG
    """None: no ssh_config has a say."""

    @property
    def shown(self) -> str:
        """``root@amd-box port 2222``, for sentences."""
        return f"{self.user}@{self.host}" + (f" port {self.port}" if self.port not in (0, 22) else "")

    def resolved(self) -> Address:
        """The same with nothing left open. InfrastructureError for a broken ssh_config."""
        said = _lookup(self.config, self.host)
        # OpenSSH passes over an IdentityFile that does not exist.
        named = [Path(name).expanduser() for name in said.get("identityfile", [])]
        keys = self.keys or tuple(path for path in named if path.is_file())
        jump = str(said.get("proxyjump", "none"))
        port = self.port or _port(str(said.get("port", "22")), self.config)
        files = str(said.get("userknownhostsfile", "")).split()
        return replace(
            self,
            host=str(said.get("hostname", self.host)),
            port=port,
            user=self.user or str(said.get("user", "")) or getpass.getuser(),
            keys=tuple(key.expanduser() for key in keys),
            known_hosts=tuple(
                path.expanduser() for path in self.known_hosts or tuple(map(Path, files)) or (KNOWN_HOSTS,)
            ),
            jumps=self.jumps or (() if jump == "none" else tuple(jump.split(","))),
        )

    def jump_address(self, index: int) -> Address:
        """The machine to go through that ``jumps[index]`` names: ssh_config and known_hosts judge it."""
        text = self.jumps[index].strip()
        user, _, where = text.rpartition("@")
        host, port = where, 0
        if where.startswith("["):
            host, _, rest = where[1:].partition("]")
            port = _port(rest.removeprefix(":"), self.config) if rest else 0
        elif where.count(":") == 1:
            host, _, number = where.partition(":")
            port = _port(number, self.config)
        hop = Address(host, port, user, known_hosts=self.known_hosts, config=self.config)
        # Its own ProxyJump counts for the first one only, as in OpenSSH; the others are reached through it.
        return hop.resolved() if index == 0 else replace(hop.resolved(), jumps=())

    def password(self) -> str | None:
        """The password, if a variable was named. InfrastructureError if it is not set."""
        if not self.password_variable:
            return None
        value = os.environ.get(self.password_variable)
        if value is None:
            raise InfrastructureError(
                f"the password of {self.shown} is expected in the environment variable"
                f" {self.password_variable}, which is not set"
            )
        return value


def _lookup(config: Path | None, host: str) -> dict[str, Any]:
    if config is None:
        return {}
    path = config.expanduser()
    if not path.is_file():
        if config != CONFIG:
            raise InfrastructureError(f"{path}: there is no such ssh_config")
        return {}
    import paramiko  # noqa: PLC0415 - a quarter of a second, for every run whose inventory has a box

    try:
        return dict(paramiko.SSHConfig.from_path(str(path)).lookup(host))
    except (OSError, UnicodeDecodeError, paramiko.SSHException, paramiko.ConfigParseError) as error:
        raise InfrastructureError(f"{path}: {error}") from None


def _port(text: str, config: Path | None) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise InfrastructureError(f"{config or 'the inventory'}: {text!r} is not a port")
    return int(text)
