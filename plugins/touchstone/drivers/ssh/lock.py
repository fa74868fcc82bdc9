"""The lock on a box: one run at a time, whichever machine it runs on."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import select
import shlex
import socket
import threading
import time
from collections.abc import Callable
from typing import NoReturn

import paramiko

from touchstone.drivers.ssh.link import CONNECTION_ENDED, Link, LinkLost, hang_up
from touchstone.drivers.ssh.root import Root
from touchstone.machine.driver import HostError, InfrastructureError, TargetHung
from touchstone.machine.polling import poll_for

LOCK = "/run/touchstone/lock"
"""In a directory that only root can enter: whoever can open the file can keep the lock, and whoever can write
to its directory can put a link in its place. Only root writes to /run, other than to /run/lock."""
PATIENCE = 1800.0
"""Seconds to wait for another run."""
BEAT = 15.0
"""Seconds between two heartbeats of the holder."""
SILENCE = 45.0
"""Seconds; the box releases the lock after one to two times as long without a heartbeat: the network is down,
and sshd has not noticed."""

GRANTED = 30.0
"""Seconds until the box says whether it is free, and until a holder that could not get it has ended."""
LET_GO = 5.0
"""Seconds that a holder may take to end."""

# The shell that runs this script is the holder: it has the lock (flock on descriptor 9) until it ends. It
# reads heartbeats from standard input, a line each, and ends at the end of its input, which sshd closes when
# the connection ends. A second process, the guard, kills it when no heartbeats come. If another holder has
# the lock and is of this same run, left behind by a lost connection, it is killed and not waited for. Apart
# from that, nothing is started but a sleep now and then: a program that starts executes CPUID, which shows
# in a hypervisor's exit counters.
_SCRIPT = r"""
lock=@LOCK@ who=@WHO@ token=@TOKEN@ since=@NOW@
dir=${lock%/*}
umask 077
mkdir -p "${dir%/*}"
mkdir "$dir" 2>/dev/null
set -- $(ls -ldn "$dir")
case $1/$3 in
    drwx------*/$(id -u)) ;;
    *) echo "$dir must be a directory of ours that nobody else can enter, not: $*" >&2; exit 77 ;;
esac
exec 9<>"$lock" || exit 73
if ! flock -n 9; then
    read -r held pid rest <"$lock"
    if [ "$held" = "$token" ] && [ "$pid" -gt 1 ] 2>/dev/null; then
        kill "$pid"
    else
        echo "busy $rest"
    fi
    flock -w @PATIENCE@ 9 || exit 75
    since=$(date -u '+%F %T')
fi
echo "$token $$ $who, since $since UTC" >"$lock"
echo held
trap '' USR1  # a heartbeat may come before the guard has set its trap
(
    exec 9>&- </dev/null >/dev/null 2>&1
    trap 'alive=1' USR1
    trap 'kill $nap; exit' TERM
    alive=1
    while [ -n "$alive" ]; do
        alive=
        sleep @SILENCE@ & nap=$!
        while kill -0 $nap; do wait $nap; done
        # The holder may be gone and its PID reused: only our parent is the holder.
        read -r _ _ _ parent _ </proc/self/stat
        [ "$parent" = $$ ] || exit
    done
    kill $$
) &
guard=$!
while read -r beat; do kill -USR1 $guard || break; done 2>/dev/null
: >"$lock"
kill $guard
wait
"""


class BoxLock:
    """Holds a box as long as its channel is open. Made once per run: its token tells a run its own lock."""

    def __init__(self, path: str = LOCK, patience: float = PATIENCE, silence: float = SILENCE) -> None:
        self._path = path
        self._patience = patience
        self._silence = silence
        self._token = secrets.token_hex(8)
        self._channel: paramiko.Channel | None = None
        self._link: Link | None = None
        self._stop: threading.Event | None = None

    @property
    def held(self) -> bool:
        """Whether the holder on the box is still there, as far as is known."""
        return self._channel is not None and not (self._channel.closed or self._channel.eof_received)

    @property
    def lost(self) -> bool:
        """Whether the holder on the box has ended without our doing; False if only the connection ended."""
        return self._channel is not None and bool(self._channel.eof_received)

    def acquire(self, root: Root, progress: Callable[[str], None]) -> None:
        """Get the lock; tell ``progress`` who has it. HostError when it takes too long."""
        self.release()
        who = f"{getpass.getuser()} on {socket.gethostname()}, process {os.getpid()}"
        script = _SCRIPT
        for key, value in {
            "LOCK": self._path,
            "WHO": who,
            "TOKEN": self._token,
            "PATIENCE": f"{max(1, round(self._patience))}",
            "SILENCE": f"{self._silence:g}",
            "NOW": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
        }.items():
            script = script.replace(f"@{key}@", shlex.quote(value))
        shown = root.link.address.shown
        channel = root.link.session(root.wrap(script))
        try:
            holder = self._await(channel, shown, progress)
        except BaseException:
            hang_up(channel)
            raise
        if holder:
            progress(f"{shown} is free now")
        self._channel, self._link = channel, root.link
        stop = self._stop = threading.Event()
        threading.Thread(target=_beat, args=(channel, stop), name="touchstone-lock", daemon=True).start()

    def release(self, *, wait: bool = True) -> None:
        """Release the lock: it is free when this returns, if that is waited for. Safe to repeat."""
        if self._stop is not None:
            self._stop.set()
            self._stop = None
        channel, self._channel = self._channel, None
        if channel is None:
            return
        try:
            if wait and self._link is not None and self._link.alive and not channel.closed:
                with contextlib.suppress(*CONNECTION_ENDED):
                    channel.shutdown_write()
                    channel.status_event.wait(LET_GO * self._link.factor)
        finally:
            hang_up(channel)

    def _await(self, channel: paramiko.Channel, shown: str, progress: Callable[[str], None]) -> str:
        """Wait for the word ``held``; returns who had the lock until then."""
        said, holder = b"", ""
        deadline = time.monotonic() + GRANTED
        poll = select.poll()
        poll.register(channel.fileno(), select.POLLIN)
        while True:
            ended = channel.closed or channel.eof_received
            while channel.recv_ready():
                said += channel.recv(4096)
            *lines, said = said.split(b"\n")
            for line in lines:
                text = line.decode("utf-8", "backslashreplace")
                if text == "held":
                    return holder
                if text.startswith("busy"):
                    holder = text.removeprefix("busy").strip() or "another run"
                    progress(f"waiting for {shown}, which is held by {holder}")
                    deadline = time.monotonic() + self._patience + GRANTED
            if ended:
                self._refused(channel, shown, holder)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TargetHung(f"{shown} does not say whether it is free")
            poll_for(poll, left)

    def _refused(self, channel: paramiko.Channel, shown: str, holder: str) -> NoReturn:
        channel.status_event.wait(GRANTED)
        status = channel.exit_status
        if status == 75:
            raise HostError(f"{shown} is held by {holder}, and did not become free in {self._patience:g} s")
        if status < 0:
            raise LinkLost(f"the connection to {shown} ended while its lock was asked for")
        said = channel.recv_stderr(4096).decode("utf-8", "backslashreplace").strip()
        raise InfrastructureError(f"{shown}: the lock {self._path} cannot be taken (status {status}): {said}")


def _beat(channel: paramiko.Channel, stop: threading.Event) -> None:
    """Send heartbeats to the holder on the box."""
    while not stop.wait(BEAT):
        try:
            channel.sendall(b".\n")
        except CONNECTION_ENDED:
            return
