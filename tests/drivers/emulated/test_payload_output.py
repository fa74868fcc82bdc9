"""What a payload may print: one that does so for ever would be as many items as it has time for."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any, cast

from touchstone.drivers.emulated.driver import MOST_OUTPUT, EmulatorDriver
from touchstone.machine.payload import PayloadEnd

LINE = "PASS: again\n"


class Machine:
    """One that lives, and prints more each time it is looked at."""

    def __init__(self, lines: int) -> None:
        self.lines = lines
        self.printed = ""
        self.settings = SimpleNamespace(timeout_factor=1.0)
        death, self._alive = os.pipe()
        self._running = lambda: SimpleNamespace(death_fd=death)

    def serial_position(self) -> int:
        return 0

    def request(self, verb: str, pairs: dict[str, str]) -> None:
        assert verb == "payload"

    def _collect(self) -> None:
        self.printed += LINE * self.lines

    def _said(self, mark: int) -> str:
        return self.printed


def run(machine: Machine, timeout: float) -> tuple[str, PayloadEnd]:
    driver = cast("EmulatorDriver[Any]", machine)
    return EmulatorDriver.run_payload(driver, lambda _: False, timeout)


def test_one_that_prints_without_an_end_is_ended() -> None:
    said, end = run(Machine(20_000), 3600)
    assert (end.how, end.text) == ("time", "it had printed 512 KiB, and not ended")
    assert len(said) == MOST_OUTPUT


def test_one_that_prints_less_has_its_time() -> None:
    said, end = run(Machine(1), 0.2)
    assert (end.how, end.text) == ("time", "it had not ended after 0.2 s")
    assert said.startswith(LINE)


EXIT = PayloadEnd("exit", "it ended the machine with code 0")


class ShortMachine(Machine):
    """One that has ended when it is told to run its payload."""

    def __init__(self) -> None:
        super().__init__(1)
        self.ended = False
        death, self._alive = os.pipe()
        emulator = SimpleNamespace(death_fd=death, process=SimpleNamespace(wait=lambda _: None))

        def running() -> SimpleNamespace:
            assert not self.ended, "of a machine that has ended, this would be the lab's failure"
            return emulator

        self._running = running

    def request(self, verb: str, pairs: dict[str, str]) -> None:
        self.ended = True
        os.close(self._alive)

    def _payload_end(self, _: SimpleNamespace) -> PayloadEnd:
        return EXIT


def test_one_that_ends_the_machine_at_once_is_no_machine_that_has_failed() -> None:
    assert run(ShortMachine(), 3600) == (LINE, EXIT)
