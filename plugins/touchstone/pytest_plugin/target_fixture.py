"""The values of the fixtures ``target`` and ``probe``: what a Python check can do with its target.

The probes that it runs, and how they end, are kept in the record of the check.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from touchstone.engine.asking import Asking
from touchstone.engine.outcomes import Autopsied, Deviation, Finding, Unsupported
from touchstone.engine.random_campaign import Campaign, run_campaign
from touchstone.engine.records import CaseRun, CheckRecord
from touchstone.engine.send_ahead import find_gone
from touchstone.engine.session import TargetSession
from touchstone.engine.standing import offsets_in_probe
from touchstone.engine.work import Work
from touchstone.machine.agent import REPLY_TIMEOUT
from touchstone.machine.driver import AgentRefused, TargetError, TargetInfo
from touchstone.machine.probe import CodeBits, Operand, Place, ProbeRequest, ProbeResult
from touchstone.suite.model import Body, Source
from touchstone.suite.request import PAGE
from touchstone.words import Phase

if TYPE_CHECKING:
    from touchstone.pytest_plugin.run import Run

KVM_TIMEOUT = 30.0
"""Seconds for inserting KVM, running a guest, and removing KVM."""

On = Literal["first", "last", "every-cpu"] | int | Sequence[int]


class TargetHandle:
    """The target of one check.

    A target that dies or hangs ends the check with the verdict crash or hang.
    """

    def __init__(self, session: TargetSession, record: CheckRecord) -> None:
        self._session = session
        self._record = record
        self._began_at = session.serial_position()

    def begin_again(self, record: CheckRecord) -> None:
        """The check is judged once more: what it does from now on goes to another record."""
        self._record = record
        self._began_at = self._session.serial_position()

    @property
    def name(self) -> str:
        """Its name in the inventory."""
        return self._session.target.name

    @property
    def info(self) -> TargetInfo:
        """What its agent reports: vendor, CPUs, addresses of the slots."""
        assert self._session.info is not None
        return self._session.info

    @property
    def vendor(self) -> str:
        """``intel`` or ``amd``."""
        return self.info.vendor

    @property
    def cpus(self) -> int:
        """How many CPUs there are."""
        return self.info.cpus

    @property
    def phase(self) -> Phase | None:
        """Where it is now: ``native``, ``loaded``, ``unloaded``."""
        return self._session.phase

    def run(self, request: ProbeRequest, label: str = "") -> list[ProbeResult]:
        """Run a probe. AgentRefused when the agent cannot."""
        __tracebackhide__ = True
        case = self._record.begin_run(CaseRun(label, request.code, request))
        try:
            with self._asking() as driver:
                results = driver.run(request)
        except AgentRefused as error:
            case.was_refused(error)
            raise
        except Finding as error:
            case.not_survived(
                error.verdict, offsets_in_probe(self._record.autopsy, self._session.info, request)
            )
            raise
        finally:
            case.is_over()
        case.answered(results)
        return results

    def load(self, option: str | None = None) -> None:
        """Load the subject on all CPUs. AgentRefused when it refuses, and then nothing has changed.

        Unsupported if it was unloaded and another boot would load it: the machine would be a new one.
        """
        __tracebackhide__ = True
        with self._asking() as driver:
            if driver.loads_by_reset and self._session.phase == "unloaded":
                raise Unsupported(f"{self.name} loads {self._session.subject.title} by a reset")
            self._session.load(option)

    def unload(self) -> None:
        """Unload the subject. AgentRefused when it refuses.

        Unsupported if it does not claim to be unloadable: the check is skipped.
        """
        __tracebackhide__ = True
        subject = self._session.subject
        if not subject.absent and not subject.claims.get("unloadable"):
            raise Unsupported(f"needs subject.unloadable, and {subject.name} does not claim unloadable")
        with self._asking():
            self._session.unload()

    def reset(self) -> None:
        """Reset the machine; it is ``native`` then."""
        self._session.reset(self._record)

    def query(self) -> Mapping[str, str]:
        """What the subject says of itself: ``loaded``, ``version``, ``cpus``, ..."""
        __tracebackhide__ = True
        with self._asking() as driver:
            return driver.query()

    def exits(self, cpu: int = 0) -> Mapping[str, int]:
        """Exit counters of a CPU since loading."""
        __tracebackhide__ = True
        with self._asking() as driver:
            return driver.exits(cpu)

    def trace(self, cpu: int = 0, count: int = 16) -> list[str]:
        """The last exits of a CPU, newest last."""
        __tracebackhide__ = True
        with self._asking() as driver:
            return driver.trace(cpu, count)

    def send_nmis(self, cpus: Sequence[int], count: int = 1) -> None:
        """Send NMIs from inside."""
        __tracebackhide__ = True
        with self._asking() as driver:
            driver.send_nmis(tuple(cpus), count)

    def inject_nmi(self) -> None:
        """Inject an NMI from outside. AgentRefused with code ``unsupported`` where that cannot be done."""
        __tracebackhide__ = True
        with self._asking() as driver:
            driver.inject_nmi()

    def nmi_counts(self) -> list[int]:
        """NMIs taken since boot, per CPU."""
        __tracebackhide__ = True
        with self._asking() as driver:
            return driver.nmi_counts()

    def request(
        self,
        verb: str,
        pairs: Mapping[str, str],
        timeout: float = REPLY_TIMEOUT,
        limit: float | None = None,
    ) -> Mapping[str, str]:
        """Ask the agent for what only some agents can do (PROTOCOL.md). AgentRefused if this one cannot."""
        __tracebackhide__ = True
        with self._asking() as driver:
            return driver.request(verb, pairs, timeout, limit)

    def work(self, *kinds: str) -> Work:
        """Have processes work on every CPU, and check their own results, for as long as a ``with`` lasts.

        ``kinds`` are ``processes``, ``faults``, ``timers``, ``perf``, ``ptrace``, ``signals``, ``vdso`` and
        ``fpu``; none: all that the target can do. Skips the check if the target cannot (``os == linux`` can).
        """
        return Work(kinds, lambda pairs, limit: self.request("work", pairs, limit=limit), self)

    def try_kvm(self) -> Mapping[str, str]:
        """Use Linux' own hypervisor, and leave it as it was: what came of each step.

        ``kvm`` in PROTOCOL.md has the keys. AgentRefused where the OS has none.
        """
        __tracebackhide__ = True
        return self.request("kvm", {}, timeout=KVM_TIMEOUT)

    def run_campaign(self, seed: int, seconds: float) -> Campaign:
        """Run random probes natively and loaded. The target is ``loaded`` afterwards."""
        __tracebackhide__ = True
        session = self._session
        with session.progress.stage(self.name):
            return run_campaign(session, self._record.check, seed, seconds, session.progress)

    def serial(self) -> str:
        """The serial log since the check began."""
        return self._session.serial_since(self._began_at)

    def demand_subject(self) -> None:
        """Deviation if the loaded subject is gone from a CPU, though nobody has unloaded it."""
        __tracebackhide__ = True
        with self._asking():
            gone = find_gone(self._session, self._record)
        if gone is not None:
            raise Deviation(gone)

    def gather_evidence(self) -> None:
        """The serial log and the subject's last exits, for a failure's report, and whether it is there."""
        self._session.gather_evidence(self._record, (0,), self._began_at)
        with contextlib.suppress(Autopsied, TargetError):  # what follows is reached from whatever is left
            find_gone(self._session, self._record)

    def _asking(self) -> Asking:
        return self._session.asking(self._record)


class Prober:
    """Assembles and runs a probe: ``probe("cpuid", rax=0x40000000, on="every-cpu")``."""

    def __init__(self, run: Run, target: TargetHandle) -> None:
        self._run = run
        self._target = target

    def __call__(
        self,
        text: str,
        *,
        on: On = "first",
        together: bool = False,
        cpl: Literal[0, 3] = 0,
        at: int = 0,
        seed: int | None = None,
        rflags: int = 2,
        bits: Mapping[str, tuple[int, int]] | None = None,
        memory: tuple[tuple[int, bytes], ...] = (),
        read: tuple[int, int] | None = None,
        keep: tuple[int, ...] = (),
        code_bits: CodeBits = 64,
        place: Place | None = None,
        timeout: float = 5.0,
        **registers: int | Operand,
    ) -> list[ProbeResult]:
        """Run lines of assembly; one result per CPU.

        Args:
            text: GNU as, Intel syntax, one or several lines.
            on: ``first``, ``last``, ``every-cpu``, a CPU's number, or several.
            together: All CPUs start at the same time.
            cpl: Privilege level.
            at: Offset in the code area.
            seed: Random start values of the registers that are not named.
            rflags: RFLAGS at the start.
            bits: ``cr0``, ``cr4``, ``efer``: masks to set and to clear before.
            memory: (offset in the scratch area, bytes) to put there.
            read: (offset, length) of the scratch area to get back.
            keep: MSRs to restore after it.
            code_bits: Kind of code: 64, 32 or 16.
            place: Mode, linear address and pages; the code starts at its offset in a page.
            timeout: Seconds after which it counts as hung.
            registers: Start values: numbers, or Operand addresses.
        """
        __tracebackhide__ = True
        here = inspect.currentframe()  # inspect.stack() reads the source of every frame
        assert here is not None
        assert here.f_back is not None
        lines = tuple(line for line in text.splitlines() if line.strip())
        source = Source(Path(here.f_back.f_code.co_filename), here.f_back.f_lineno, 1)
        code = self._run.plan.assemble(Body(lines, (source,) * len(lines), code_bits))
        if place is not None and place.linear is not None:
            at = place.linear % PAGE
        request = ProbeRequest(
            code=code.data,
            cpl=cpl,
            cpus=self._cpus(on),
            together=together,
            at=at,
            seed=seed,
            registers={
                name: value if isinstance(value, Operand) else Operand(offset=value & (2**64 - 1))
                for name, value in registers.items()
            },
            rflags=rflags,
            bits=bits or {},
            memory=memory,
            read=read,
            keep=keep,
            code_bits=code_bits,
            place=place or Place(),
            timeout=timeout,
        )
        return self._target.run(request, label="; ".join(line.strip() for line in lines))

    def _cpus(self, on: On) -> tuple[int, ...]:
        if isinstance(on, int):
            return (on,)
        if isinstance(on, str):
            last = self._target.cpus
            return {"first": (0,), "last": (last - 1,), "every-cpu": tuple(range(last))}[on]
        return tuple(on)
