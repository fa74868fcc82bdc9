"""OpenSSH's own sshd as a box of ours: in namespaces of its own, with its own /run, boot id and dmesg."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

import paramiko

from tests.support.debian import program

PATIENCE = 60.0
"""Seconds for what takes a moment, on a machine that is busy elsewhere."""
_START = r"""
set -e
mount -t proc proc /proc
mount --bind "$1/run" /run
mount --bind "$1/sbin" /usr/local/sbin
if [ ! -d /lib/modules ]; then  # as in a container: put together a /usr/lib that has one
    mkdir -p "$1/usr-lib/modules" "$1/usr-lib-before"
    mount --bind /usr/lib "$1/usr-lib-before"
    for entry in /usr/lib/*; do ln -sfn "$1/usr-lib-before/${entry##*/}" "$1/usr-lib/"; done
    mount --bind "$1/usr-lib" /usr/lib
fi
mount --bind "$1/lib-modules" /lib/modules
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/boot_id" /proc/sys/kernel/random/boot_id
mount -t tmpfs -o size=96k,mode=755 tmpfs "$1/small"
"$2" -D -e -f "$1/sshd_config" &
exec sleep infinity
"""
_CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {home}/host_key
AuthorizedKeysFile {home}/authorized_keys
StrictModes no
PidFile none
UsePAM no
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 100
MaxSessions 100
Subsystem sftp internal-sftp
"""


def _own_parts(root: Path) -> str:
    """Where an sshd of several programs, as there are since OpenSSH 9.8, finds its own below ``root``."""
    programs = root / "usr/lib/openssh"
    found = (("SshdSessionPath", programs / "sshd-session"), ("SshdAuthPath", programs / "sshd-auth"))
    return "".join(f"{key} {path}\n" for key, path in found if path.is_file())


def why_no_namespaces() -> str:
    """Why a private /run, /proc and tmpfs cannot be had, or nothing."""
    if os.geteuid() != 0:
        return "a box of its own needs root, for mount namespaces"
    tried = subprocess.run(
        ["unshare", "-m", "-p", "-f", "--kill-child", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        capture_output=True,
        check=False,
    )
    return f"unshare: {tried.stderr.decode().strip()}" if tried.returncode else ""


class Sshd:
    """One box. ``run`` and ``small`` are its /run and a file system of 96 KiB, seen from here."""

    def __init__(self, home: Path) -> None:
        self._program = program("sshd", "openssh-server")
        self.home = home
        self._port_holder, self.port = hold_a_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.run = home / "run"
        self.small = home / "small"
        self.modules = home / "modules"
        self.lib_modules = home / "lib-modules"
        inside = (self.run / "sshd", self.run / "lock", home / "sbin", self.lib_modules)
        for directory in (*inside, self.small, self.modules):
            directory.mkdir(parents=True)
        self.run.chmod(0o755)
        (home / "root").mkdir()
        (home / "passwd").write_text(
            f"root:x:0:0:root:{home}/root:/bin/sh\n"
            f"visitor:x:{os.getuid() + 4711}:65534::{home}/root:/bin/sh\n"
            "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
        )
        (home / "kmsg").write_text("[    0.000000] Linux version 9\n")
        self.set_boot_id("00000000-0000-4000-8000-000000000001")
        self.tool("dmesg", f'[ "$1" ] && exec tail -n +1 -f {home}/kmsg\nexec cat {home}/kmsg\n')
        self.key = home / "id"
        key = make_key(self.key)
        (home / "authorized_keys").write_text(f"{key.get_name()} {key.get_base64()}\n")
        self.host_key = make_key(home / "host_key")
        parts = "" if self._program.root is None else _own_parts(self._program.root)
        (home / "sshd_config").write_text(_CONFIG.format(port=self.port, home=home) + parts)

    @classmethod
    def attach(cls, home: Path, port: int) -> Sshd:
        """A box that another process started: to get in, not to switch it off."""
        box = cls.__new__(cls)
        box.home, box.port, box.process = home, port, None
        box.run, box.small, box.modules = home / "run", home / "small", home / "modules"
        box.key = home / "id"
        box.host_key = paramiko.PKey.from_path(home / "host_key")
        return box

    def tool(self, name: str, script: str) -> None:
        """Put a program of our own in front of the box's."""
        path = self.home / "sbin" / name
        new = self.home / f"{name}.new"  # somebody may be calling it
        new.write_text(f"#!/bin/sh\n{script}")
        new.chmod(0o755)
        new.rename(path)

    def set_boot_id(self, text: str) -> None:
        """It has "rebooted"."""
        (self.home / "boot_id").write_text(f"{text}\n")

    def new_host_key(self) -> None:
        """It has been "installed anew"."""
        self.host_key = make_key(self.home / "host_key")

    def start(self) -> None:
        # --kill-child: all that runs in the box ends with it.
        box = ["setpriv", "--pdeathsig", "KILL", "unshare", "-m", "-p", "-f", "--kill-child"]
        self.process = self._spawn([*box, "sh", "-c", _START, "sh", self.home, self._program.path])
        self._await()

    def _spawn(self, command: list[str | Path]) -> subprocess.Popen[bytes]:
        with (self.home / "sshd.log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._program.environment(),
                start_new_session=True,
            )

    def _await(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), PATIENCE).close()
                return
            except OSError:
                ended = self.process is None or self.process.poll() is not None
                if ended or time.monotonic() > deadline:
                    raise AssertionError((self.home / "sshd.log").read_text()) from None
                time.sleep(0.01)

    def stop(self) -> None:
        """Pull its plug: everything that runs in it is killed."""
        if self.process is not None:
            inside = [fd for pid in self.processes()[:1] if (fd := _pidfd(pid)) is not None]
            self.process.kill()
            self.process.wait()
            self.process = None
            for init in inside:  # it is killed after its parent, and the rest before it ends
                _await_end(init)

    def close(self) -> None:
        """Stop it for good."""
        self.stop()
        self._port_holder.close()

    def kill_sshd(self) -> None:
        """Kill every sshd. The box lives on, and what was started from their sessions."""
        killed = []
        for pid in self.processes():
            if (fd := _pidfd(pid)) is None:  # one of them may end while we look
                continue
            with contextlib.suppress(OSError):
                if Path(os.readlink(f"/proc/{pid}/exe")).name in ("sshd", "sshd-session", "sshd-auth"):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
                    killed.append(fd)
                    continue
            os.close(fd)
        for fd in killed:  # until then they hold their sockets
            _await_end(fd)

    def start_sshd(self) -> None:
        """Start sshd again in the box that lives."""
        init = self.processes()[0]
        # --root: in a chroot, the root of the mount namespace is another directory than the root of the box.
        inside = ["nsenter", "-t", str(init), "-m", "-p", "--root", "--wd"]
        self._spawn([*inside, self._program.path, "-f", self.home / "sshd_config"]).wait()
        self._await()

    def processes(self) -> list[int]:
        """Process ids, as seen from here, of all that runs in the box."""
        assert self.process is not None
        found, waiting = [], [self.process.pid]
        while waiting:
            pid = waiting.pop()
            children = [
                int(p.name)
                for p in Path("/proc").iterdir()
                if p.name.isdigit() and _parent(int(p.name)) == pid
            ]
            found += children
            waiting += children
        return found


def make_key(path: Path) -> paramiko.PKey:
    """A new key pair in a file."""
    path.unlink(missing_ok=True)
    key = paramiko.ECDSAKey.generate()
    key.write_private_key_file(str(path))
    path.chmod(0o600)
    return key


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _await_end(pidfd: int) -> None:
    """Wait for the end of a process that was killed. Closes the descriptor."""
    try:
        assert select.select([pidfd], [], [], PATIENCE)[0], "a process that was killed does not end"
    finally:
        os.close(pidfd)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return -1


def hold_a_port() -> tuple[socket.socket, int]:
    """A port of ours as long as the socket is open, also while no sshd listens there.

    Both have SO_REUSEADDR, so sshd can listen next to a socket that only has a name. To nobody else does the
    kernel give the port: not for a server, and not as the near end of a connection, which might then meet
    itself.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder, int(holder.getsockname()[1])
