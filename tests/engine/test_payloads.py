"""How a payload's two runs are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from touchstone.config.payloads import PayloadEntry, Result, Said
from touchstone.engine.outcomes import (
    Blocked,
    Crash,
    Deviation,
    Hang,
    MachineDeviates,
    Unsupported,
)
from touchstone.engine.payloads import BothOutputs, Output, judge_end, judge_line, run_payload
from touchstone.machine.driver import Autopsy, Say
from touchstone.machine.payload import Payload, PayloadEnd

EXIT = PayloadEnd("exit", "it ended the machine with code 0")
OTHER = PayloadEnd("exit", "it ended the machine with code 1")
DIED = PayloadEnd("died", "guest triple fault")
TIME = PayloadEnd("time", "it had not ended after 60 s")


def output(end: PayloadEnd, **results: Result) -> Output:
    lines = [Said(name, result, f"{result.upper()}: {name}") for name, result in results.items()]
    return Output("\n".join(one.line for one in lines), lines, end, {}, None)


def both(native: Output, loaded: Output) -> BothOutputs:
    return BothOutputs(native, loaded, "Mine")


@pytest.mark.parametrize(
    ("native", "loaded", "raised"),
    [
        (output(EXIT, a="pass"), output(EXIT, a="fail"), None),
        (output(EXIT, a="pass"), output(OTHER, a="pass"), Deviation),
        (output(EXIT, a="pass"), output(DIED, a="pass"), Crash),
        (output(EXIT, a="pass"), output(TIME, a="pass"), Hang),
        (output(TIME, a="pass"), output(TIME, a="pass"), MachineDeviates),
        (output(TIME, a="pass"), output(EXIT, a="pass"), Unsupported),
        (output(TIME, a="pass"), output(PayloadEnd("said", "it said so"), a="pass"), Unsupported),
        (output(TIME, a="pass"), output(DIED, a="pass"), Crash),
        (output(DIED, a="pass"), output(PayloadEnd("died", "other words"), a="fail"), MachineDeviates),
        (output(DIED, a="pass"), output(PayloadEnd("died", "x"), a="pass", b="pass"), MachineDeviates),
        (output(DIED, a="pass", b="pass"), output(PayloadEnd("died", "other words"), a="pass"), Crash),
        (output(EXIT), output(EXIT), Unsupported),
    ],
)
def test_a_payload_must_end_as_on_the_bare_machine(
    native: Output, loaded: Output, raised: type[BaseException] | None
) -> None:
    if raised is None:
        judge_end(both(native, loaded))
        return
    with pytest.raises(raised) as error:
        judge_end(both(native, loaded))
    assert type(error.value) is raised


@pytest.mark.parametrize(
    ("native", "loaded", "raised"),
    [
        (output(EXIT, a="pass"), output(EXIT, a="pass"), None),
        (output(EXIT, a="pass"), output(EXIT, a="fail"), Deviation),
        (output(EXIT, a="fail"), output(EXIT, a="pass"), None),
        (output(EXIT, a="pass"), output(EXIT, a="skip"), Deviation),
        (output(EXIT, a="fail"), output(EXIT, a="fail"), MachineDeviates),
        (output(EXIT, a="skip"), output(EXIT, a="skip"), Unsupported),
        (output(EXIT, a="pass"), output(EXIT), Deviation),
        (output(EXIT), output(EXIT, a="pass"), Deviation),
        (output(EXIT, a="pass"), output(DIED), Blocked),
        (output(EXIT, a="pass"), output(TIME), Blocked),
        (output(TIME), output(EXIT, a="pass"), Unsupported),
        (output(TIME, a="pass"), output(TIME, a="fail"), Deviation),
    ],
)
def test_a_line_must_be_as_on_the_bare_machine_or_better(
    native: Output, loaded: Output, raised: type[BaseException] | None
) -> None:
    (line,) = both(native, loaded).lines
    if raised is None:
        judge_line(both(native, loaded), line)
        return
    with pytest.raises(raised) as error:
        judge_line(both(native, loaded), line)
    assert type(error.value) is raised


def test_lines_come_in_the_order_of_the_bare_machine_s_run() -> None:
    found = both(output(EXIT, a="pass", b="pass"), output(EXIT, c="pass", b="pass", a="pass"))
    assert [line.name for line in found.lines] == ["a", "b", "c"]
    assert "PASS: b" in found.around(found.lines[1])
    assert "PASS: c" not in found.around(found.lines[1]).split("under Mine:")[0]


class Machine:
    """One whose payload ends at once, and that remembers how long it might have taken."""

    emulator_version: tuple[int, ...] | None = None

    def __init__(self) -> None:
        self.timeout = 0.0

    def start(self, progress: Say) -> None:
        pass

    def load(self, option: str | None = None) -> None:
        pass

    def run_payload(self, over: Callable[[str], bool], timeout: float) -> tuple[str, PayloadEnd]:
        self.timeout = timeout
        return "", EXIT

    def facts(self) -> Mapping[str, str]:
        return {}

    def autopsy(self) -> Autopsy:
        raise AssertionError

    def stop(self) -> None:
        pass


@pytest.mark.parametrize(
    ("native", "limit"),
    [
        (None, 60),
        (Output("", [], EXIT, {}, None, seconds=2.0), 60),
        (Output("", [], EXIT, {}, None, seconds=200.0), 200),
        (Output("", [], TIME, {}, None, seconds=240.0), 60),
    ],
)
def test_under_a_hypervisor_it_has_at_least_the_time_that_it_took_on_the_bare_machine(
    native: Output | None, limit: float
) -> None:
    machine = Machine()
    entry = PayloadEntry("it", Payload(Path("it")), 1, 60, None, (Path("it"), 1))
    run_payload(lambda: machine, entry, [], native=native, progress=lambda _: None)
    assert machine.timeout == limit
