"""Where progress is shown: on the terminal in spite of pytest's capture, and from xdist's workers as well."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from touchstone.reporting.terminal import write_lines

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController  # type: ignore[import-untyped]

RELAY = "touchstone_progress"
"""Key of a worker's input: the path of the socket that takes its lines."""
LONGEST = 4096
"""Bytes of a line."""


def progress_writer(config: pytest.Config) -> Callable[[str], None] | None:
    """What shows a line of progress; None if none is to be shown (``-q``), or there is nobody to show it."""
    if config.get_verbosity() < 0:
        return None
    if (workerinput := getattr(config, "workerinput", None)) is not None:
        return _sender(workerinput[RELAY]) if RELAY in workerinput else None
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return None
    capture = config.pluginmanager.get_plugin("capturemanager")

    def write(line: str) -> None:
        with capture.global_and_fixture_disabled() if capture is not None else contextlib.nullcontext():
            write_lines(reporter, line)
            reporter.flush()

    return write


def _sender(path: str) -> Callable[[str], None]:
    def send(line: str) -> None:
        # The controller may have ended, or have a great deal to read.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
            wire.setblocking(False)
            wire.sendto(line.encode("utf-8", "backslashreplace")[:LONGEST], path)

    return send


class Relay:
    """Shows the lines of all workers. In the controller, which captures nothing while they run."""

    def __init__(self, config: pytest.Config) -> None:
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        self._reporter = reporter
        self._terminal = config.get_terminal_writer()
        self._directory = Path(tempfile.mkdtemp(prefix="touchstone-progress-"))
        self.path = str(self._directory / "socket")
        self._wire = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._wire.bind(self.path)
        self._thread = threading.Thread(target=self._serve, name="touchstone-progress", daemon=True)
        self._thread.start()

    def pytest_sessionfinish(self) -> None:
        """Show no more: the summary follows."""
        if self._thread.is_alive():
            _sender(self.path)("")
            self._thread.join(10)

    def pytest_unconfigure(self) -> None:
        """Leave nothing behind."""
        self.pytest_sessionfinish()
        self._wire.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _serve(self) -> None:
        while line := self._wire.recv(LONGEST).decode("utf-8", "replace"):
            if self._reporter is not None:
                # The dots of workers leave the line open, and pytest does not know of it.
                if self._terminal.width_of_current_line:
                    self._reporter.write_line("")
                write_lines(self._reporter, line)


def relay_for(node: WorkerController) -> None:
    """Tell a worker where its lines go."""
    config = node.config
    relay = config.pluginmanager.get_plugin(RELAY)
    if relay is None:
        try:
            relay = Relay(config)
        except OSError:  # a path that is too long for a socket, no room: then without
            return
        config.pluginmanager.register(relay, RELAY)
    node.workerinput[RELAY] = relay.path
