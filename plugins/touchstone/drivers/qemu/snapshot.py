"""The state of a booted machine, kept in a file of its own, and put back by QEMU's snapshot jobs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from filelock import FileLock, Timeout

from touchstone.drivers.qemu.qmp import Monitor
from touchstone.machine.driver import InfrastructureError, Say

NODE = "store"
TAG = "booted"
SIZE = 1 << 20
"""Bytes of the disk that the store pretends to be; the machine's state lies behind them."""
TIMEOUT = 120.0
"""Seconds for a job."""
PATIENCE = 1800.0
"""Seconds to wait for another process that boots the same machine."""


class Jobs:
    """QEMU's jobs, each waited for by its events."""

    def __init__(self, monitor: Monitor, changes: SimpleQueue[tuple[str, str]]) -> None:
        """``changes``: gets id and status of every JOB_STATUS_CHANGE, from whatever thread."""
        self._monitor = monitor
        self._changes = changes
        self._number = 0

    def run(self, command: str, timeout: float = TIMEOUT, **arguments: Any) -> None:
        """Run a job to its end. InfrastructureError with what it says went wrong."""
        self._number += 1
        job = f"touchstone-{self._number}"
        self._monitor.execute(command, job_id=job, **arguments)
        deadline = time.monotonic() + timeout
        while True:
            try:
                name, status = self._changes.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise InfrastructureError(f"{command}: not done after {timeout:g} s") from None
            if name == job and status == "concluded":
                break
        errors = [entry.get("error") for entry in self._monitor.execute("query-jobs") if entry["id"] == job]
        self._monitor.execute("job-dismiss", id=job)
        if errors and errors[0]:
            raise InfrastructureError(f"{command}: {errors[0]}")


class SnapshotStore:
    """One machine's snapshot: a private qcow2 file, filled from the cache or by ``save``.

    The cache is shared: a file there is complete, never changes, and is named by all that must be the same
    for a state to be put back. Of several processes that want the same machine at once, one boots it.
    """

    def __init__(self, file: Path, cache: Path, machine: Sequence[str]) -> None:
        """``machine``: what makes two machines the same; QEMU's version, its command, the image."""
        digest = hashlib.sha256(json.dumps(list(machine)).encode()).hexdigest()[:16]
        self._file = file
        self._cached = cache / f"snapshot-{digest}.qcow2"
        self._boot = FileLock(f"{self._cached}.lock", thread_local=False)
        """Held by who boots the machine, until there is a snapshot or will be none."""
        self.filled = False
        """Whether ``restore`` has something to put back."""

    def fetch(self, progress: Say) -> None:
        """Take a copy of the cache's, if there is one; else an empty file, and ``release`` must follow."""
        if self._copy():
            return
        try:
            self._boot.acquire(timeout=0)
        except Timeout:
            progress("waiting for another run that boots the same machine")
            with contextlib.suppress(Timeout):  # then it is booted twice
                self._boot.acquire(timeout=PATIENCE)
        if self._copy():
            self.release()
        else:
            self._file.touch()

    def release(self) -> None:
        """Let others boot the machine. Safe to repeat."""
        self._boot.release(force=True)

    def _copy(self) -> bool:
        try:
            shutil.copyfile(self._cached, self._file)
        except FileNotFoundError:
            return False
        self.filled = True
        return True

    def attach(self, monitor: Monitor, jobs: Jobs) -> None:
        """Give the file to a QEMU, as a disk that no guest sees."""
        monitor.execute("blockdev-add", driver="file", node_name=f"{NODE}-file", filename=str(self._file))
        if not self.filled:
            options = {"driver": "qcow2", "file": f"{NODE}-file", "size": SIZE}
            jobs.run("blockdev-create", options=options)
        monitor.execute("blockdev-add", driver="qcow2", node_name=NODE, file=f"{NODE}-file")

    def save(self, monitor: Monitor, jobs: Jobs) -> None:
        """Keep the state of the machine, here and in the cache. The machine is stopped meanwhile."""
        monitor.execute("stop")
        jobs.run("snapshot-save", tag=TAG, vmstate=NODE, devices=[NODE])
        self.filled = True
        # Closed, so that all of it is in the file, and opened again.
        monitor.execute("blockdev-del", node_name=NODE)
        monitor.execute("blockdev-del", node_name=f"{NODE}-file")
        self._publish()
        self.release()
        self.attach(monitor, jobs)
        monitor.execute("cont")

    def restore(self, monitor: Monitor, jobs: Jobs) -> None:
        """Put the state back and let the machine run."""
        monitor.execute("stop")
        jobs.run("snapshot-load", tag=TAG, vmstate=NODE, devices=[NODE])
        monitor.execute("cont")

    def forget(self) -> None:
        """The cached state is of no use (a QEMU refused it): the next machine boots."""
        self.filled = False
        self._cached.unlink(missing_ok=True)

    def _publish(self) -> None:
        descriptor, name = tempfile.mkstemp(prefix=".snapshot-", dir=self._cached.parent)
        try:
            with open(descriptor, "wb") as target, self._file.open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
            os.replace(name, self._cached)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
