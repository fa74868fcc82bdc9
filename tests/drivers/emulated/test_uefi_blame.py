"""Whose doing it is if a machine with a UEFI firmware does not come up: the lab's, or the subject's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from touchstone.drivers.emulated.driver import STARTS_SUBJECT, EmulatorDriver
from touchstone.drivers.emulated.machine import EmulatedMachine
from touchstone.machine.driver import HostError, InfrastructureError, TargetDied, TargetError, TargetHung

FIRMWARE = "BdsDxe: starting Boot0001\n"


class Machine:
    """One that fails to come up with an error, and has printed something before."""

    name = "uefi"
    program = sys.executable

    def __init__(self, printed: str, *, with_program: bool = True, shot: bool = False) -> None:
        self.printed = printed
        self.settings = SimpleNamespace(memory_mib=64)
        self.stopped = False
        self._with_program = with_program
        self._switched_on_at = len(STARTS_SUBJECT)  # of the boot before
        self._shot = shot

    def _check_host(self) -> None: ...
    def _collect(self) -> None: ...

    def serial_since(self, mark: int) -> str:
        return f"{STARTS_SUBJECT}{self.printed}"[mark:]

    def _explain(self, died: TargetDied) -> TargetError:
        return InfrastructureError("it was shot") if self._shot else died

    def _runs_the_subject(self) -> bool:
        return EmulatorDriver._runs_the_subject(cast("EmulatorDriver[Any]", self))

    def _start_failure(self, error: TargetError) -> str:
        return f"uefi did not start: {error}"

    def stop(self) -> None:
        self.stopped = True


def fails(machine: Machine, error: TargetError) -> Callable[[], None]:
    def boot() -> None:
        raise error

    return lambda: EmulatedMachine._switch_on(cast("EmulatedMachine[Any]", machine), boot)


@pytest.mark.parametrize("error", [TargetDied("guest triple fault"), TargetHung("not ready")])
def test_what_ends_a_machine_that_has_started_the_subject_is_the_subjects(error: TargetError) -> None:
    machine = Machine(f"{FIRMWARE}{STARTS_SUBJECT}\n")
    with pytest.raises(type(error), match=f"^{error}$"):
        fails(machine, error)()
    assert not machine.stopped, "it is autopsied"


@pytest.mark.parametrize(
    ("machine", "error"),
    [
        (Machine(FIRMWARE), TargetDied("guest triple fault")),
        (Machine(FIRMWARE), TargetHung("not ready")),
        (Machine(f"{STARTS_SUBJECT}\n", with_program=False), TargetHung("not ready")),
        (Machine(f"{STARTS_SUBJECT}\n", shot=True), TargetDied("killed")),
        (Machine(f"{STARTS_SUBJECT}\n"), HostError("no such program")),
    ],
)
def test_all_else_is_the_labs(machine: Machine, error: TargetError) -> None:
    with pytest.raises(InfrastructureError, match=f"^uefi did not start: {error}$"):
        fails(machine, error)()
    assert machine.stopped
