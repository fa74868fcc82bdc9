"""QEMU's monitor (QMP), synchronously: qemu.qmp in an event loop that all machines of a process share."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qemu.qmp import EventListener, Message, QMPClient, QMPError, Runstate
from qemu.qmp.qmp_client import ExecInterruptedError, ExecuteError

from touchstone.drivers.event_loop import LoopThread
from touchstone.machine.driver import InfrastructureError

TIMEOUT = 30.0
"""Seconds for a command: a machine whose CPUs are busy elsewhere is not one that does not answer."""

# What it logs as an error, it also raises, and we report that.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)


class MonitorGone(InfrastructureError):
    """QEMU ended, or closed its monitor."""


class MonitorRefused(InfrastructureError):
    """QEMU answered a command with an error."""


class _EventHandler(EventListener):
    """Hands every event to a function, in the loop's thread, and keeps none."""

    def __init__(self, handler: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__()
        self._handler = handler

    async def put(self, event: Message) -> None:
        self._handler(event)


class Monitor:
    """One QEMU's monitor. QEMU connects to us, so there is no socket to wait for and nothing to poll."""

    def __init__(self, path: Path, on_event: Callable[[Mapping[str, Any]], None], name: str = "qemu") -> None:
        """Listen on ``path``. ``on_event`` gets every event, in the loop's thread; it must not block."""
        self._thread = LoopThread.shared()
        self._on_event = on_event
        self._negotiated: concurrent.futures.Future[None] | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._client = self._thread.call(self._listen(path, name), TIMEOUT)

    async def _listen(self, path: Path, name: str) -> QMPClient:
        client = QMPClient(name)
        client.events.event_filter = lambda _: False  # it would keep all events of a long session
        client.register_listener(_EventHandler(self._on_event))
        await client.start_server(str(path))
        return client

    def accept(self, done: Callable[[], None]) -> None:
        """Begin to wait for QEMU and to negotiate; ``done`` is called in the loop's thread after that."""

        async def accept() -> None:
            self._accepting = asyncio.current_task()
            await self._client.accept()

        self._negotiated = self._thread.submit(accept())
        self._negotiated.add_done_callback(lambda _: done())

    def established(self, timeout: float) -> None:
        """Wait until the negotiation is over. MonitorGone if it failed."""
        assert self._negotiated is not None
        try:
            self._negotiated.result(timeout)
        except TimeoutError:  # first: it is an OSError as well
            raise InfrastructureError(f"QEMU did not open its monitor in {timeout:g} s") from None
        except (QMPError, EOFError, OSError) as error:
            raise MonitorGone(f"QEMU did not open its monitor: {error}") from error

    def version(self) -> tuple[int, int]:
        """QEMU's version, major and minor."""
        greeting = self._client.greeting
        if greeting is None:
            return (0, 0)
        numbers: dict[str, int] = greeting.QMP.version["qemu"]  # type: ignore[assignment]
        return (numbers["major"], numbers["minor"])

    def execute(self, command: str, timeout: float = TIMEOUT, **arguments: Any) -> Any:
        """Run a command; ``_`` in an argument's name becomes ``-``. MonitorRefused, MonitorGone."""
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        try:
            return self._thread.call(self._client.execute(command, named or None), timeout)
        except ExecuteError as error:
            raise MonitorRefused(f"{command}: {error}") from None
        except TimeoutError:  # before OSError, which it is as well
            raise InfrastructureError(f"{command}: no answer of QEMU's monitor in {timeout:g} s") from None
        except (ExecInterruptedError, QMPError, EOFError, OSError, RuntimeError) as error:
            raise MonitorGone(f"{command}: QEMU's monitor is gone ({error!r})") from error

    def submit(self, command: str, then: Callable[[Any], None]) -> None:
        """Run a command from the loop's thread; ``then`` gets its value there. Failures are dropped."""

        async def run() -> None:
            with contextlib.suppress(QMPError, EOFError, OSError):
                then(await self._client.execute(command))

        self._thread.submit(run())

    def human(self, line: str, timeout: float = TIMEOUT, cpu: int | None = None) -> str:
        """Run a line of the human monitor; ``cpu`` is the one that it is about."""
        selected = {} if cpu is None else {"cpu_index": cpu}
        text = self.execute("human-monitor-command", timeout, command_line=line, **selected)
        return str(text).replace("\r\n", "\n")

    def close(self) -> None:
        """Disconnect. Safe in any state, and to repeat."""

        async def disconnect() -> None:
            if self._accepting is not None and not self._accepting.done():
                self._accepting.cancel()
                await asyncio.wait([self._accepting])  # its cleaning up must be over before we disconnect
            with contextlib.suppress(EOFError, OSError, QMPError):  # it re-raises what the reader died of
                if self._client.runstate is not Runstate.IDLE:
                    await self._client.disconnect()

        with contextlib.suppress(TimeoutError, RuntimeError):
            self._thread.call(disconnect(), TIMEOUT)
