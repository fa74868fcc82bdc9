"""Emulator processes that never outlive us, and the private directories that they live in."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue

from touchstone.machine.driver import InfrastructureError

PREFIX = "touchstone-"
EXPECTED = "TCG doesn't support requested feature"
"""QEMU says so for every feature of the model that it lacks, and every CPU."""
MAX_SOCKET_PATH = 107
"""Bytes of a unix socket's path (sun_path)."""

Popen = subprocess.Popen[bytes]


class PrivateDirectory:
    """A directory that only we can enter, for sockets, logs and memory dumps of one emulator.

    An flock on a file in it says that its owner lives: one whose owner was killed is removed by the next run.
    """

    def __init__(self) -> None:
        base = Path(tempfile.gettempdir())
        if len(os.fsencode(base)) > MAX_SOCKET_PATH - 40:
            base = Path("/tmp")  # a unix socket's path must fit into 107 bytes
        _sweep(base)
        try:
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        except OSError as error:
            raise InfrastructureError(
                f"no private directory in {base}: {error} (set TMPDIR to another)"
            ) from error

    def remove(self) -> None:
        """Remove it with everything in it. Safe to repeat."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def _sweep(base: Path, older_than: float = 60.0) -> None:
    """Remove directories whose owner was killed. A young one may not have got its lock yet."""
    for path in base.glob(PREFIX + "*"):
        try:
            stat = path.lstat()
            if stat.st_uid != os.getuid() or time.time() - stat.st_mtime < older_than or path.is_symlink():
                continue
            lock = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            pass  # its owner lives
        finally:
            os.close(lock)


OUTSIDE = (
    *(signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT),
    *(signal.SIGXCPU, signal.SIGXFSZ),
)
"""Signals that a process gets from others: see ``EmulatorProcess.killed_from_outside``."""


class _Spawner:
    """One thread that starts all processes, as long as we live.

    The death signal below is sent when the *thread* dies that started the process.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[Callable[[], Popen], Future[Popen]]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._start = threading.Lock()

    def spawn(self, start: Callable[[], Popen]) -> Popen:
        with self._start:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="touchstone-spawner", daemon=True)
                self._thread.start()
        done: Future[Popen] = Future()
        self._queue.put((start, done))
        return done.result()

    def _serve(self) -> None:
        while True:
            start, done = self._queue.get()
            try:
                done.set_result(start())
            except BaseException as error:
                done.set_exception(error)


_spawner = _Spawner()
_living: weakref.WeakSet[EmulatorProcess] = weakref.WeakSet()


class EmulatorProcess:
    """A child process that dies with us, whatever we die of.

    - It is killed by the kernel when we are (PR_SET_PDEATHSIG, which ``setpriv`` sets before it becomes the
      emulator: Python's preexec_fn would have to fork a process with threads). Should we die before that, the
      emulator finds nobody at the sockets that it is told to connect to, and gives up.
    - It has a session of its own: Ctrl-C at the terminal reaches pytest alone, which then stops it in order.
    - What is left at the exit of the interpreter is killed there.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        stderr: Path,
        stdio: int | None = None,
        environment: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """``stderr`` takes standard error (and output); ``stdio`` is a descriptor for all three instead."""
        self.command = list(command)
        self.stderr_path = stderr
        with stderr.open("wb") as log:

            def start() -> Popen:
                return subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", "--", *self.command],
                    stdin=subprocess.DEVNULL if stdio is None else stdio,
                    stdout=log if stdio is None else stdio,
                    stderr=log if stdio is None else stdio,
                    start_new_session=True,
                    env=environment,
                    cwd=cwd,
                )

            try:
                self._popen = _spawner.spawn(start)
            except FileNotFoundError as error:
                raise InfrastructureError(
                    f"setpriv is missing (apt-get install util-linux): {error}"
                ) from error
            except OSError as error:
                raise InfrastructureError(f"cannot start {self.command[0]}: {error}") from error
        self.pid = self._popen.pid
        self.pidfd = os.pidfd_open(self.pid)
        """Readable when the process has ended."""
        _living.add(self)

    def status(self) -> int | None:
        """None while it runs, else its exit status (negative: the signal)."""
        return self._popen.poll()

    def describe_end(self) -> str:
        """How it ended: ``killed by SIGKILL``, ``ended with status 1``."""
        status = self.status()
        if status is None:
            return "still running"
        if status >= 0:
            return f"ended with status {status}"
        try:
            return f"killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"killed by signal {-status}"

    @property
    def killed_from_outside(self) -> bool:
        """Whether a signal ended it that somebody sends: a person, systemd, the kernel when memory runs out.

        What a guest can make an emulator die of are signals of its own faults (SIGSEGV, SIGABRT).
        """
        return -(self.status() or 0) in OUTSIDE

    def wait(self, timeout: float) -> bool:
        """Wait for its end; whether it ended."""
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def interrupt(self) -> None:
        """Send SIGINT: a debugger takes over."""
        if self.status() is None:
            self._popen.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End it, now. Safe to repeat."""
        if self.status() is None:
            self._popen.kill()
        self._popen.wait()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        _living.discard(self)

    def stderr(self, size: int = 4096) -> str:
        """The end of what it said on standard error."""
        try:
            text = self.stderr_path.read_bytes().decode("utf-8", "backslashreplace")
        except OSError:
            return ""
        return "\n".join(line for line in text.splitlines() if EXPECTED not in line)[-size:].strip()


_cleanups: weakref.WeakSet[PrivateDirectory] = weakref.WeakSet()


def private_directory() -> PrivateDirectory:
    """A new private directory, removed at the exit of the interpreter if nobody did before."""
    directory = PrivateDirectory()
    _cleanups.add(directory)
    return directory


@atexit.register
def _leave_nothing_behind() -> None:
    for process in list(_living):
        process.kill()
    for directory in list(_cleanups):
        directory.remove()


def available_mib() -> int | None:
    """Memory that the host can give away, in MiB; None where it does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as meminfo:
            fields = dict(line.split(":", 1) for line in meminfo)
        return int(fields["MemAvailable"].split()[0]) // 1024
    except (OSError, KeyError, ValueError):
        return None


def check_memory(mib: int, overhead_mib: int = 96) -> None:
    """InfrastructureError unless the host has ``mib`` (and what an emulator itself needs) to spare."""
    available = available_mib()
    if available is not None and available < mib + overhead_mib:
        raise InfrastructureError(
            f"not enough free memory: {mib + overhead_mib} MiB are needed, {available} MiB are available "
            "(give the target less with memory-mib, or end something)"
        )
