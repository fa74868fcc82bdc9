"""A session on a machine that only counts what it is asked, and fails where it is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from touchstone.config.inventory import Target
from touchstone.config.subjects import Subject
from touchstone.engine.ahead import Ahead
from touchstone.engine.cpu import READ_LEAVES
from touchstone.engine.plan import TargetPlan
from touchstone.engine.progress import StageProgress
from touchstone.engine.session import TargetSession
from touchstone.machine.driver import AgentRefused, Autopsy, Driver, Say, TargetInfo
from touchstone.machine.probe import GPRS, ProbeRequest, ProbeResult
from touchstone.machine.settings import TargetSettings
from touchstone.suite.model import Check, Source


class FakeMachine(Driver):
    """``fails`` names operations and the error of their next call."""

    def __init__(self, fails: dict[str, Exception] | None = None) -> None:
        self.name = "box"
        self.fails = fails or {}
        self.calls: list[str] = []

    def _call(self, operation: str) -> None:
        self.calls.append(operation)
        if operation in self.fails:
            raise self.fails.pop(operation)

    def start(self, progress: Say) -> TargetInfo:
        self._call("start")
        return TargetInfo("amd", 2, "bare", "veneer", "1", 0x100000, 0x40000000, 0x10000)

    def reset(self, progress: Say) -> TargetInfo:
        self._call("reset")
        return TargetInfo("amd", 2, "bare", "veneer", "1", 0x100000, 0x40000000, 0x10000)

    def stop(self) -> None:
        self._call("stop")

    def run(self, probe: ProbeRequest) -> list[ProbeResult]:
        self._call("cpuid" if probe.code == READ_LEAVES else "run")
        zeros = dict.fromkeys(GPRS, 0)
        size = probe.read[1] if probe.read else 0
        return [
            ProbeResult(cpu, None, None, zeros, zeros, 0, 2, 0, 0, memory=bytes(size)) for cpu in probe.cpus
        ]

    def run_many(self, probes: Sequence[ProbeRequest]) -> Iterator[list[ProbeResult] | AgentRefused]:
        self._call("run_many")
        return (self.run(probe) for probe in probes)

    def load(self, option: str | None = None) -> None:
        self._call("load")

    def unload(self) -> None:
        self._call("unload")

    def query(self) -> Mapping[str, str]:
        self._call("query")
        return {"loaded": "1", "version": "1", "cpus": "2"}

    def exits(self, cpu: int) -> Mapping[str, int]:
        self._call("exits")
        return {}

    def trace(self, cpu: int, count: int) -> list[str]:
        self._call("trace")
        return []

    def send_nmis(self, cpus: tuple[int, ...], count: int) -> None:
        self._call("send_nmis")

    def inject_nmi(self) -> None:
        self._call("inject_nmi")

    def nmi_counts(self) -> list[int]:
        self._call("nmi_counts")
        return [0, 0]

    def request(
        self, verb: str, pairs: Mapping[str, str], timeout: float = 60.0, limit: float | None = None
    ) -> Mapping[str, str]:
        self._call(verb)
        return {}

    def autopsy(self) -> Autopsy:
        self._call("autopsy")
        return Autopsy("triple fault")

    def serial_position(self) -> int:
        return 0

    def serial_since(self, position: int) -> str:
        return ""


def check(name: str = "exits.a") -> Check:
    source = Source(Path("suite.yaml"), 1, 1)
    return Check(name, name, "exits", "must", (), "loaded", (), (), 5.0, True, (), (), "", source, 1)


def session_on(
    machine: FakeMachine | None = None,
    target: str = "box",
    title: str = "Veneer",
    make: Callable[[], Driver] | None = None,
) -> TargetSession:
    settings = TargetSettings(target, "fake", "amd", 2)
    return TargetSession(
        Target(settings, target, "inventory.toml:1"),
        Subject("veneer", title),
        make or (lambda: machine or FakeMachine()),
        TargetPlan(),
        {},
        StageProgress(None),
        Ahead(),
    )
