"""Tests what a processor's virtualization does not do, so that no subject is accused of it."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from touchstone.engine.bare_machine import BareMachine
from touchstone.engine.cpu import PROBE_TIMEOUT
from touchstone.engine.intercepts import SelfTest, self_test
from touchstone.engine.known import Known
from touchstone.engine.outcomes import Autopsied, Infrastructure
from touchstone.engine.plan import TargetPlan
from touchstone.machine.driver import Driver, InfrastructureError, TargetDied, TargetHung, TargetInfo
from touchstone.machine.intercepts.names import INTERCEPTS, MACHINE
from touchstone.suite.assemble import Assembler
from touchstone.suite.model import Requirement
from touchstone.suite.requires import names_used
from touchstone.words import Phase


class Tested(Protocol):
    """What is needed of the session of the target."""

    known: Known
    bare: BareMachine

    @property
    def phase(self) -> Phase | None:
        """Where the target is."""

    @property
    def progress(self) -> Callable[[str], None]:
        """Says what happens."""

    def cannot(self, check: str) -> str | None:
        """Why a target that was reached is not asked for a check."""

    def asking(self) -> AbstractContextManager[Driver]:
        """See ``TargetSession.asking``."""

    def reset_machine(self) -> None:
        """Reset the machine."""

    def without_os(self) -> Driver | None:
        """See ``Driver.without_os``."""


class HardwareTest:
    """When, and on what machine, a target's virtualization is tested. What comes of it is in ``known``."""

    def __init__(self, tested: Tested, plan: TargetPlan) -> None:
        self._tested = tested
        self._plan = plan
        self._done_without_os = False

    @property
    def is_wanted(self) -> bool:
        """Whether a check that is planned asks for it, and it was not tested yet."""
        return self._tested.known.self_test is None and any(self._plan.facts(INTERCEPTS, MACHINE))

    def test(self) -> None:
        """Test it on the bare machine. One that does not survive that is reset."""
        it = self._tested
        asked = self._plan.facts(INTERCEPTS, MACHINE)
        wanted = {name for check, name in asked if it.cannot(check) is None}

        def asking() -> AbstractContextManager[Driver]:
            it.bare.be_as_before()
            return it.asking()

        def reset() -> TargetInfo:
            it.reset_machine()
            assert it.known.info is not None
            return it.known.info

        assert it.known.info is not None
        it.known.self_test = SelfTest()
        _test_to_the_end(it.known.self_test, it.known.info, asking, reset, wanted, self._plan.assembler)

    def test_without_os(self, requirements: Iterable[Requirement]) -> None:
        """Test the processor of a target with an OS on the bare OS, if there is the same machine without it.

        Asked for once a check with such ``requirements`` does not hold: it takes a boot. Infrastructure if
        that fails.
        """
        it = self._tested
        names = [name for one in requirements for name in names_used(one)]
        if self._done_without_os or not any(name.startswith((INTERCEPTS, MACHINE)) for name in names):
            return
        self._done_without_os = True
        assert it.known.info is not None
        unneeded = it.known.subject.absent or it.known.info.os == "bare"
        driver = None if unneeded else it.without_os()
        if driver is None:
            return
        it.progress(f"testing the virtualization hardware of {it.known.target.name} without its OS")
        try:
            self._test_on(driver)
        except InfrastructureError as error:
            what = f"the processor of {it.known.target.name} cannot be tested: {error}"
            raise Infrastructure(what) from error
        if it.phase == "loaded":
            with it.asking() as asked:
                it.known.measure_made_good(asked)

    def _test_on(self, driver: Driver) -> None:
        """Test it on a machine of its own, which is started and stopped. InfrastructureError."""
        it = self._tested
        wanted = {name for _, name in self._plan.facts(INTERCEPTS, MACHINE)}
        it.known.self_test = SelfTest()
        try:
            info = driver.start(it.progress)
            _test_to_the_end(
                it.known.self_test,
                info,
                lambda: nullcontext(driver),
                lambda: driver.reset(it.progress),
                wanted,
                self._plan.assembler,
            )
        finally:
            driver.stop()


def _test_to_the_end(
    found: SelfTest,
    info: TargetInfo,
    asking: Callable[[], AbstractContextManager[Driver]],
    reset: Callable[[], TargetInfo],
    wanted: Container[str],
    assembler: Assembler,
) -> None:
    """Test until nothing is left, or the machine was lost too often. Raises what ``asking`` and ``reset`` do.

    ``wanted``: what is asked of it although it may not survive that.
    """
    while not found.is_over:
        machine = asking()
        try:
            with machine as driver:
                self_test(driver, info, PROBE_TIMEOUT, found, wanted, assembler)
            found.is_over = True
        except (Autopsied, TargetDied, TargetHung) as error:
            why = error.autopsy.reason if isinstance(error, Autopsied) else error
            found.was_lost(f"the machine is lost: {why}")
            info = reset()
