"""Host keys of boxes: known_hosts or a pinned fingerprint decides; an unknown key is refused."""

from __future__ import annotations

import paramiko

from touchstone.drivers.ssh.address import Address
from touchstone.machine.driver import InfrastructureError


class HostKeys:
    """What is known of one box's host keys."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def prepare(self, client: paramiko.SSHClient) -> None:
        """Let the client accept what is known, and nothing else."""
        client.set_missing_host_key_policy(_Refuse(self))
        if self._address.fingerprints:
            return  # a pinned key overrides known_hosts, which may still have the previous key
        for path in self._address.known_hosts:
            if path.is_file():
                try:
                    client.load_system_host_keys(str(path))
                except (OSError, UnicodeDecodeError) as error:
                    raise InfrastructureError(f"{path}: {error}") from None

    def judge(self, key: paramiko.PKey) -> None:
        """InfrastructureError unless the key is pinned. Called for keys that known_hosts does not have."""
        if key.fingerprint in self._address.fingerprints:
            return
        raise InfrastructureError(self.changed(key) if self._address.fingerprints else self._unknown(key))

    def changed(self, key: paramiko.PKey) -> str:
        """The message for a key other than the known one."""
        address = self._address
        if address.fingerprints:
            known, where = " or ".join(address.fingerprints), "the inventory"
        else:
            known, where = "another one", " or ".join(str(path) for path in address.known_hosts)
        return (
            f"the host key of {address.shown} is {self._show(key)}, but {where} has {known}:"
            " somebody may be in between, or the box was installed anew. If you know that it was,"
            f" {self._remedy(key, replace=True)}"
        )

    def _unknown(self, key: paramiko.PKey) -> str:
        address = self._address
        return (
            f"the host key of {address.shown} is not known: it shows {self._show(key)}."
            " Compare that with what the box itself says (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub there);"
            f" if it is the same, {self._remedy(key, replace=False)}"
        )

    def _show(self, key: paramiko.PKey) -> str:
        return f"{key.get_name()} {key.fingerprint}"

    def _remedy(self, key: paramiko.PKey, *, replace: bool) -> str:
        address = self._address
        name = address.host if address.port == 22 else f"[{address.host}]:{address.port}"
        line = f"{name} {key.get_name()} {key.get_base64()}"
        pin = f'fingerprint = "{key.fingerprint}"'
        if replace and address.fingerprints:
            return f"change its entry of the inventory to:\n  {pin}"
        doing = "replace its line in" if replace else "add this line to"
        file = address.known_hosts[0]
        return f"{doing} {file}:\n  {line}\nor this one to its entry of the inventory:\n  {pin}"


class _Refuse(paramiko.MissingHostKeyPolicy):
    def __init__(self, keys: HostKeys) -> None:
        self._keys = keys

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        self._keys.judge(key)
