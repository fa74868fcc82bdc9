"""A box that is a place of labgrid: acquired before it is used, and released however the run ends.

labgrid's own client is run, as a person would run it. Its library would bring gRPC's threads into a process
that starts others; and the program may lie in an environment of its own, with the version that the lab has.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import yaml

from touchstone.drivers.power import Power
from touchstone.drivers.ssh.address import Address
from touchstone.drivers.ssh.boxes import RackBox
from touchstone.drivers.ssh.settings import PlaceName
from touchstone.machine.driver import AgentRefused, HostError, InfrastructureError, Say
from touchstone.shipped import build_directory

CLIENT = "labgrid-client"
TIMEOUT = 120.0
"""Seconds that the client may take, such as for a power cycle."""
POLL = 15.0
"""Seconds between two looks at a place that somebody has: each of them costs a second of CPU time."""
RECORD_POLL = 0.5
"""The same, while a run of this checkout has it."""
RELEASED = 60.0
"""Seconds to wait for a release; it is tried on behind that."""
POWER = re.compile(r"\w*Power\w*|NetworkSysfsGPIO")
"""Classes of the resources with which ``labgrid-client power`` can work."""

# Outlives the run, however that ends: its standard input ends then. A signal to all processes of the run, as
# systemd sends one, does not end it. It holds the lock of the record until the place is free.
_GUARD = """
trap '' HUP INT TERM
read -r _
for pause in 1 5 20 60 0; do
    "$@" && exit
    sleep $pause
done
"""


class Place:
    """One place, for one run at a time.

    Args:
        place: Which one.
        patience: Seconds to wait for another user of it.
        records: Where it is written down under which name the place is acquired. A run that finds it without
            a lock releases what a run has kept that was killed with its guard.
        poll: Seconds between two looks while somebody else has it.
    """

    def __init__(
        self, place: PlaceName, patience: float, records: Path | None = None, poll: float = POLL
    ) -> None:
        self.place = place
        self._patience = patience
        self._poll = poll
        self._record = (records or build_directory() / "labgrid") / f"{place.name}.user"
        user = os.environ.get("LG_USERNAME") or getpass.getuser()
        self._user = f"{user}-touchstone-{os.getpid()}-{secrets.token_hex(3)}"
        self._host = os.environ.get("LG_HOSTNAME") or socket.gethostname()
        self._locked: IO[str] | None = None
        """The record, locked."""
        self._guard: subprocess.Popen[bytes] | None = None

    def acquire(self, progress: Say) -> None:
        """Wait for it, and say who has it. HostError when it takes too long, and for all else that fails."""
        progress(f"acquiring {self.place}")
        deadline = time.monotonic() + self._patience
        self._record.parent.mkdir(parents=True, exist_ok=True)
        try:
            record = self._locked = self._record.open("a+")
            self._lock(record.fileno(), progress, deadline)
            self._holder()  # before there is anything to release: is there such a place?
            record.seek(0)
            if before := record.read().strip():
                self._release_from(before, progress)
            record.truncate(0)
            record.write(f"{self._host}/{self._user}")
            record.flush()
            os.fsync(record.fileno())
            self._guard = self._start_guard(record.fileno())
            self._acquire(progress, deadline)
        except BaseException:
            with contextlib.suppress(HostError):
                self.release()
            raise

    def release(self) -> None:
        """Release it: it is free when this returns, or is tried on behind our back. Safe to repeat."""
        guard, self._guard = self._guard, None
        record, self._locked = self._locked, None
        try:
            if guard is not None:
                assert guard.stdin is not None
                guard.stdin.close()
                guard.wait(RELEASED)
        except subprocess.TimeoutExpired:
            raise HostError(
                f"{self.place} could not be released yet; if it stays so:"
                f" {CLIENT} -p {self.place.name} release-from {self._host}/{self._user}"
            ) from None
        finally:
            if record is not None:
                record.close()  # the guard has the lock too, as long as it works

    def resources(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Class and values of each resource of the place, which is acquired. HostError."""
        text = self._demand("env")
        try:
            listed = yaml.safe_load(text)["targets"][self.place.name]["resources"]
            return [(str(cls), dict(values)) for one in listed for cls, values in one.items()]
        except (yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise HostError(f"{self.place}: what {CLIENT} env prints is not understood: {error}") from None

    def power_cycle(self) -> None:
        """Switch it off and on. InfrastructureError."""
        done = self._client("power", "cycle")
        if done.returncode:
            raise InfrastructureError(f"{CLIENT} power cycle failed for {self.place}: {_complaint(done)}")

    def _lock(self, record: int, progress: Say, deadline: float) -> None:
        """Lock the record, which other runs of this checkout, and guards, have while they have the place."""
        waits = False
        while True:
            try:
                fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                holder = self._record.read_text(encoding="utf-8", errors="replace").strip() or "another run"
            if not waits:
                waits = True
                progress(f"waiting for {self.place}, which is held by {holder}")
            if time.monotonic() >= deadline:
                raise HostError(
                    f"{self.place} is held by {holder}, and did not become free in {self._patience:g} s"
                )
            time.sleep(RECORD_POLL)

    def _acquire(self, progress: Say, deadline: float) -> None:
        waits, attempts = False, 0
        while True:
            holder = self._holder()
            if not holder:
                done = self._client("acquire")
                if done.returncode == 0:
                    break
                attempts += 1
                if attempts > 1:  # the first time, somebody may have been faster
                    raise HostError(f"{self.place} is free and cannot be acquired: {_complaint(done)}")
                continue
            attempts = 0
            if not waits:
                waits = True
                progress(f"waiting for {self.place}, which is held by {holder}")
            if (left := deadline - time.monotonic()) <= 0:
                raise HostError(
                    f"{self.place} is held by {holder}, and did not become free in {self._patience:g} s"
                )
            time.sleep(min(self._poll, left))
        if waits:
            progress(f"{self.place} is ours now")

    def _holder(self) -> str:
        """Who has it since when: ``lab-host/alice, since 2026-11-29 14:03:20``; nothing if it is free."""
        text = self._demand("show")
        shown = re.match(r"Place '(.*)':", text)
        if shown is None or shown[1] != self.place.name:  # a part of a name, and an alias, mean a place too
            meant = f"; there is {shown[1]!r}" if shown else ""
            raise HostError(f"there is no place {self.place.name!r} in labgrid{meant}")
        acquired = re.search(r"^  acquired: (.+)$", text, re.M)
        changed = re.search(r"^  changed: ([^.\n]+)", text, re.M)
        if acquired is None or acquired[1] == "None":
            return ""
        return acquired[1] + (f", since {changed[1]}" if changed else "")

    def _release_from(self, holder: str, progress: Say) -> None:
        done = self._client("show")
        if f"\n  acquired: {holder}\n" in done.stdout:
            progress(f"releasing {self.place}, which {holder} has left acquired")
            self._client("release-from", holder)

    def _start_guard(self, record: int) -> subprocess.Popen[bytes]:
        words = [*self._words(), "release-from", f"{self._host}/{self._user}"]
        return subprocess.Popen(
            ["sh", "-c", _GUARD, "touchstone-labgrid", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[record],
            env=self._environment(),
        )

    def _demand(self, *words: str) -> str:
        """What the client prints. HostError if it fails."""
        done = self._client(*words)
        if done.returncode:
            named = self.place.coordinator or os.environ.get("LG_COORDINATOR")
            hint = "" if named else " (labgrid-coordinator or $LG_COORDINATOR say where it is)"
            raise HostError(f"{self.place}: {CLIENT} {words[0]}: {_complaint(done)}{hint}")
        return done.stdout

    def _client(self, *words: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [*self._words(), *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="backslashreplace",
                timeout=TIMEOUT,
                check=False,
                start_new_session=True,
                env=self._environment(),
            )
        except subprocess.TimeoutExpired:
            raise HostError(f"{self.place}: {CLIENT} {words[0]} took more than {TIMEOUT:g} s") from None

    def _words(self) -> list[str]:
        beside = Path(sys.executable).parent  # where the extra puts it; it need not be on PATH
        client = shutil.which(CLIENT) or shutil.which(CLIENT, path=str(beside))
        if client is None:
            raise HostError(
                f"{self.place} needs {CLIENT}, which is not there: install labgrid in an environment of its"
                " own and have its programs on PATH, or pip install 'touchstone[labgrid]'"
            )
        coordinator = ["-x", self.place.coordinator] if self.place.coordinator else []
        return [client, *coordinator, "-p", self.place.name]

    def _environment(self) -> Mapping[str, str]:
        others = ("LG_ENV", "LG_PLACE", "LG_STATE")  # would have a say
        kept = {key: value for key, value in os.environ.items() if key not in others}
        return {**kept, "LG_USERNAME": self._user, "LG_HOSTNAME": self._host}


class PlaceBox(RackBox):
    """A box in a rack that is a place of labgrid. What the inventory says goes before what the place says."""

    def __init__(
        self, address: Address, power: Power | None, console: str, headers: Path | None, place: Place
    ) -> None:
        """``address``: its host may be empty."""
        super().__init__(address, power, console, headers)
        self._place = place

    def start(self, progress: Say) -> None:
        """See Box."""
        self._place.acquire(progress)
        resources = self._place.resources()
        if not self._address.host:
            self._address = _address(self._address, resources, self._place.place)
        if self._power is None and any(POWER.fullmatch(cls) for cls, _ in resources):
            self._power = PlacePower(self._place)

    def stop(self) -> None:
        """See Box."""
        self._place.release()


@dataclass(frozen=True)
class PlacePower:
    """The power port among the resources of a place, which is acquired."""

    place: Place

    def reset(self) -> None:
        """See Power."""
        self.place.power_cycle()

    def inject_nmi(self) -> None:
        """See Power."""
        raise AgentRefused("unsupported", "labgrid sends no NMI: name a power control for this box")


def _address(named: Address, resources: Sequence[tuple[str, Mapping[str, Any]]], place: PlaceName) -> Address:
    """Completed by the first NetworkService. HostError without one."""
    for cls, values in resources:
        if cls == "NetworkService" and values.get("address"):
            return replace(
                named,
                host=str(values["address"]),
                port=named.port or int(values.get("port") or 0),
                user=named.user or str(values.get("username") or ""),
            )
    raise HostError(f"{place} has no NetworkService, and the inventory names no host for this box")


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    """What the client said last: above it may be a traceback."""
    lines = [line.strip() for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
    said = lines[-1] if lines else f"status {done.returncode}"
    return said.removeprefix(f"{CLIENT}: ").removeprefix("Error: ")
