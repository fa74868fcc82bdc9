"""Payloads: other people's test images on the bare machine and under the subject, compared line by line."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from touchstone.config.payloads import Form, PayloadEntry, Said, read_lines, said_until_end
from touchstone.engine.outcomes import (
    Blocked,
    Crash,
    Deviation,
    Finding,
    Hang,
    MachineDeviates,
    Unsupported,
    infrastructure,
)
from touchstone.machine.driver import (
    AgentRefused,
    Autopsy,
    HostError,
    Say,
    TargetDied,
    TargetError,
    TargetHung,
)
from touchstone.machine.payload import PayloadEnd, PayloadMachine

CONTEXT = 8
"""Lines of a payload's output that a failure shows, up to the one that it is about."""


@dataclass(frozen=True)
class Output:
    """What a payload has said in one run, and how that ended."""

    text: str
    lines: Sequence[Said]
    end: PayloadEnd
    facts: Mapping[str, str]
    """See Driver."""
    version: tuple[int, ...] | None
    """Of the emulator."""
    autopsy: Autopsy | None = None
    """Of a machine that the payload has not ended itself."""
    seconds: float = 0.0
    """How long it had the machine."""


@dataclass(frozen=True)
class Line:
    """One line of a payload on the bare machine and under the subject; None: it was not there."""

    name: str
    native: Said | None
    loaded: Said | None


@dataclass(frozen=True)
class BothOutputs:
    """A payload's two runs. Without a hypervisor, the same one twice."""

    native: Output
    loaded: Output
    subject: str
    """The subject's title."""

    @property
    def lines(self) -> list[Line]:
        """In the order of the native run; what only the other one has comes last."""
        native = {one.name: one for one in self.native.lines}
        loaded = {one.name: one for one in self.loaded.lines}
        return [Line(name, native.get(name), loaded.get(name)) for name in dict.fromkeys((*native, *loaded))]

    @property
    def came_as_far(self) -> bool:
        """Whether the loaded run has all lines of the native one, whose end a dying machine may swallow."""
        native, loaded = ([one.name for one in output.lines] for output in (self.native, self.loaded))
        return loaded[: len(native)] == native

    def around(self, line: Line) -> str:
        """The output of both runs up to the line, as far as a failure shows it."""
        parts = []
        for title, output, said in (
            ("on the bare machine", self.native, line.native),
            (f"under {self.subject}", self.loaded, line.loaded),
        ):
            parts.append(f"{title}:")
            parts += [f"    {one}" for one in _up_to(output.text, said)]
        return "\n".join(parts)


def _up_to(text: str, said: Said | None) -> list[str]:
    """The lines that end with one, or the last ones."""
    lines = [one for one in text.splitlines() if one.strip()]
    at = next(
        (at for at, one in enumerate(lines) if said is not None and one.strip() == said.line), len(lines) - 1
    )
    return lines[max(0, at + 1 - CONTEXT) : at + 1]


def run_payload(
    make: Callable[[], PayloadMachine],
    entry: PayloadEntry,
    forms: Sequence[Form],
    *,
    native: Output | None,
    progress: Say,
) -> Output:
    """Run a payload to its end on a new machine, with the subject loaded if it has run without (``native``).

    Infrastructure, LabFailed; Deviation, Crash or Hang if the subject cannot be loaded.
    """
    machine = make()
    try:
        try:
            machine.start(progress)
        except TargetError as error:
            raise infrastructure(error) from error
        if native is not None:
            _load(machine)
        began = time.monotonic()
        try:
            text, end = machine.run_payload(
                lambda said: said_until_end(said, entry, forms) is not None, _limit(entry, native)
            )
        except AgentRefused as error:
            raise infrastructure(HostError(f"{entry.payload.program}: {error}")) from error
        except TargetError as error:
            raise infrastructure(error) from error
        seconds = time.monotonic() - began
        # However much of it was read, and whatever has become of the machine meanwhile.
        if (said := said_until_end(text, entry, forms)) is not None:
            text, end = said, PayloadEnd("said", "it said that it had ended")
        autopsy = machine.autopsy() if end.how in ("died", "time") else None
        lines, version = read_lines(text, forms), machine.emulator_version
        return Output(text, lines, end, machine.facts(), version, autopsy, seconds)
    finally:
        machine.stop()


def _limit(entry: PayloadEntry, native: Output | None) -> float:
    """Seconds that a payload has, not stretched yet: under the subject at least what it has taken natively.

    Otherwise one that a bare machine ends just in time could only be slower than that, and hang.
    """
    if native is None or native.end.how == "time":
        return entry.timeout
    return max(entry.timeout, native.seconds)


def _load(machine: PayloadMachine) -> None:
    try:
        machine.load()
    except AgentRefused as error:
        raise Deviation(f"loading was refused: {error}") from None
    except TargetDied as error:
        raise Crash(f"the target died while the subject was loaded: {error}") from error
    except TargetHung as error:
        raise Hang(f"loading: {error}") from error
    except TargetError as error:
        raise infrastructure(error) from error


def judge_end(both: BothOutputs) -> None:
    """Judge how a payload has ended under the subject. Returns if that is as on the bare machine."""
    native, loaded = both.native.end, both.loaded.end
    if loaded.how == native.how == "died" and both.came_as_far:
        # A hypervisor, and an emulator, each has its own words for a triple fault.
        raise MachineDeviates(f"on the bare machine, it died behind the same line: {native.text}")
    if native.how == "time" and loaded.how in ("exit", "said"):
        raise Unsupported(f"on the bare machine, {native.text}; under {both.subject}, {loaded.text}")
    if loaded != native:
        kinds: dict[str, type[Finding]] = {"died": Crash, "time": Hang}
        raise kinds.get(loaded.how, Deviation)(
            f"under {both.subject}, {loaded.text}; on the bare machine, {native.text}"
        )
    if native.how in ("died", "time"):
        raise MachineDeviates(f"on the bare machine, {native.text}, too")
    if not both.native.lines and not both.loaded.lines:
        raise Unsupported(f"no line that it printed has a form of the list; {native.text}, in both runs")


def judge_line(both: BothOutputs, line: Line) -> None:
    """Judge one line of a payload. Returns if it passes under the subject.

    What the bare machine breaks, and the subject makes good, accuses nobody, as for a check.
    """
    native, loaded = line.native, line.loaded
    if loaded is None and both.loaded.end.how in ("died", "time"):
        raise Blocked(f"under {both.subject}, it did not get so far: {both.loaded.end.text}")
    if native is None and both.native.end.how in ("died", "time"):
        raise Unsupported(f"on the bare machine, it did not get so far: {both.native.end.text}")
    if native is not None and loaded is not None and (native.result, loaded.result) == ("fail", "pass"):
        return
    if native is None or loaded is None or native.result != loaded.result:
        raise Deviation(f"under {both.subject}, {_said(loaded)}; on the bare machine, {_said(native)}")
    if native.result == "fail":
        raise MachineDeviates(f"on the bare machine, {_said(native)}")
    if native.result == "skip":
        raise Unsupported(f"the payload skips it: {native.line}")


def _said(said: Said | None) -> str:
    return "it is not printed" if said is None else f"{said.line!r}"
