"""A target's driver, as a run holds it: made when it is needed first, locked against other runs, stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from touchstone.machine.driver import Driver, TargetInfo

if TYPE_CHECKING:
    from touchstone.engine.locks import TargetLock


class HeldDriver:
    """The driver of one target, and the lock of its machine. Reading an attribute starts nothing.

    Args:
        make: Makes the driver.
        progress: Says what happens.
    """

    def __init__(self, make: Callable[[], Driver], progress: Callable[[str], None]) -> None:
        self._make = make
        self._progress = progress
        self._lock: TargetLock | None = None
        self.found: Driver | None = None
        """None: not needed yet, or stopped."""

    @property
    def driver(self) -> Driver:
        """The driver that was found."""
        assert self.found is not None, "the target is started first"
        return self.found

    # --- its life

    def find(self) -> None:
        """Make it; raises what making it raises."""
        self.found = self._make()

    @property
    def needs_lock(self) -> bool:
        """Whether another run may be driving the same machine."""
        return self.driver.lock_key is not None

    def lock(self) -> None:
        """Wait for the machine, if another run is driving it. HostError."""
        from touchstone.engine.locks import TargetLock  # noqa: PLC0415

        key = self.driver.lock_key
        assert key is not None
        self._lock = TargetLock(key)
        self._lock.acquire(self._progress)

    def start(self) -> TargetInfo:
        """Start the machine; raises what ``Driver.start`` raises."""
        return self.driver.start(self._progress)

    def reset(self) -> TargetInfo:
        """Reset the machine; raises what ``Driver.reset`` raises."""
        return self.driver.reset(self._progress)

    def distrust(self) -> None:
        """Whatever the driver believes of the machine may be wrong, if there is one yet."""
        if self.found is not None:
            self.found.distrust()

    @contextmanager
    def waiting_in_full(self) -> Iterator[None]:
        """Within it, nothing is said to hang before its whole time is over."""
        driver = self.driver
        driver.wait_in_full(wanted=True)
        try:
            yield
        finally:
            driver.wait_in_full(wanted=False)

    def stop(self) -> None:
        """Stop the machine, and let others drive it, whether that works or not."""
        if self.found is None:
            return
        driver, self.found = self.found, None
        try:
            driver.stop()
        finally:
            if self._lock is not None:
                self._lock.release()

    # --- what it says of its machine

    @property
    def emulator_version(self) -> tuple[int, ...] | None:
        """See ``Driver.emulator_version``."""
        return None if self.found is None else self.found.emulator_version

    @property
    def loads_another_machine(self) -> bool:
        """See ``Driver.loads_another_machine``."""
        return self.found is not None and self.found.loads_another_machine

    @property
    def outlives_runs(self) -> bool:
        """See ``Driver.outlives_runs``."""
        return self.found is not None and self.found.outlives_runs
