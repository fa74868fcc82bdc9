"""Programs that build something: run to their end, or ended with all that they started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from touchstone.machine.polling import SLICE

SHOWN_LINES = 60
_OUTER_MAKE = ("MAKEFLAGS", "MAKELEVEL")


def run_tool(command: Sequence[str], directory: Path | None = None) -> tuple[int, bytes]:
    """Run a program in a directory (default: where we are): its exit status, and all that it printed.

    It has a session of its own: Ctrl-C reaches us alone, and whatever interrupts us ends make and its
    compilers before it goes on. OSError if it cannot be started.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        with _interrupt_deferred():
            process = subprocess.Popen(
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={
                    key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL")
                },
            )
        return _read_all(process)
    except BaseException:
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.communicate()
        raise


def _read_all(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    """Its status and its output, once it has ended. In slices, as in ``polling``: Ctrl-C always ends it."""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            output, _ = process.communicate(timeout=SLICE)
            return process.returncode, output


def tail_of(output: bytes, most: int = SHOWN_LINES) -> str:
    """The end of what a program printed."""
    lines = output.decode("utf-8", "backslashreplace").strip().splitlines()
    return "\n".join(lines if len(lines) <= most else ["...", *lines[-most:]])


@contextlib.contextmanager
def _interrupt_deferred() -> Iterator[None]:
    """Ctrl-C between the start of a process and our knowing of it would leave it running: it waits."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)
