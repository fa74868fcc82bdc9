"""The state of a booted machine, kept in a file of its own, and put back by QEMU's snapshot jobs."""

from __future__ import annotations

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

from touchstone.drivers.qemu.qmp import Monitor
from touchstone.machine.driver import InfrastructureError

NODE = "store"
TAG = "booted"
SIZE = 1 << 20
"""Bytes of the disk that the store pretends to be; the machine's state lies behind them."""
TIMEOUT = 120.0
"""Seconds for a job."""


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
    for a state to be put back.
    """

    def __init__(self, file: Path, cache: Path, machine: Sequence[str]) -> None:
        """``machine``: what makes two machines the same; QEMU's version, its command, the image."""
        digest = hashlib.sha256(json.dumps(list(machine)).encode()).hexdigest()[:16]
        self._file = file
        self._cached = cache / f"snapshot-{digest}.qcow2"
        self.filled = False
        """Whether ``restore`` has something to put back."""

    def fetch(self) -> None:
        """Take a copy of the cache's, if there is one; else an empty file."""
        try:
            shutil.copyfile(self._cached, self._file)
            self.filled = True
        except FileNotFoundError:
            self._file.touch()

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
