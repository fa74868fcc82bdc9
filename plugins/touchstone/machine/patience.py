"""How long a silent target is waited for: its whole time, or until it shows that no answer will come."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

INTERVAL = 0.03
"""Part of the whole time of a request after which a silent target is looked at, again and
again; or as long as the request may take on a fast machine, if that is shorter.
"""
LEAST = 0.06
"""Part of the whole time that a target which computes is given at least."""
COMPUTED = 3.0
"""Of that time, one in so many seconds must have been computed by one thread."""
TIMES = 10.0
"""It is given the longest silence so many times that has ended with an answer to such a request."""


@dataclass(frozen=True)
class Thread:
    """A thread that a target consists of."""

    seconds: float
    """CPU time."""
    turns: int
    """How often it was given a CPU."""
    waits: bool
    """It neither runs nor is ready to."""


@dataclass(frozen=True)
class Look:
    """What the threads of a target have done until now, as the machine says that they run on."""

    clock: float
    """Of that machine, in seconds: an emulated one's may be slower than ours."""
    threads: Mapping[str, Thread]
    took: float
    """Seconds until it was said: how fast the machine is now."""


Observe = Callable[[float], Look | None]
"""Looks at the target, within so many seconds; None: nothing can be said of it (now)."""


class Patience:
    """Looks at a target while it is silent, and knows how long its silences were."""

    def __init__(
        self, observe: Observe, cpus: int, factor: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        """``cpus`` of the target; ``factor``: by which its timeouts are stretched."""
        self.now = now
        self.in_full = False
        """Every request is given its whole time."""
        self._observe = observe
        self._factor = factor
        # A CPU of the target that computes keeps a CPU of the machine from whoever is to say what it does.
        self._crowd = 1.0 + cpus
        self._usual: float | None = None
        self._longest: dict[str, float] = {}

    def measure_pace(self, limit: float) -> None:
        """Look at a target that is well, to know how long it takes. ``limit`` in seconds."""
        looks = [self._observe(limit) for _ in range(3)]
        known = [look.took for look in looks if look is not None]
        self._usual = max(known) if len(known) == len(looks) else None

    def begin(self, request: str, deadline: float) -> Silence:
        """A silence begins, in which the answer to such a request is waited for."""
        return Silence(self, request, deadline)

    def looks(self) -> bool:
        """Whether a silent target is looked at."""
        return self._usual is not None and not self.in_full

    def observe(self, limit: float) -> Look | None:
        """See Observe."""
        return self._observe(limit)

    def ended(self, request: str, part: float) -> None:
        """A silence has ended with an answer, after a part of the whole time."""
        self._longest[request] = max(self._longest.get(request, 0.0), part)

    def unstretched(self, whole: float) -> float:
        """What a request may take on a fast machine, of what it may take here."""
        return whole / self._factor

    def busy_part(self, request: str, took: float) -> float | None:
        """Part of the whole time after which a target that computes has got lost; None: not known yet.

        ``took``: what the shortest look took.
        """
        if request not in self._longest or self._usual is None:
            return None
        slowdown = max(1.0, took / (self._usual * self._crowd))
        return max(LEAST, TIMES * self._longest[request]) * slowdown


class Silence:
    """From when an answer is waited for, or from the last byte, to the next one."""

    def __init__(self, patience: Patience, request: str, deadline: float) -> None:
        """See ``Patience.begin``."""
        self._patience = patience
        self._request = request
        self._deadline = deadline
        self._began = patience.now()
        self._whole = max(1e-3, deadline - self._began)
        self._short = patience.unstretched(self._whole)
        self._looks: list[Look] = []
        self._still = 0
        """Index of the look since which no thread has run."""
        self.next_look = self._after(self._began) if patience.looks() else deadline
        """When to look; the deadline: no more."""

    def _after(self, moment: float) -> float:
        return min(self._deadline, moment + min(self._whole * INTERVAL, self._short))

    def ended(self) -> None:
        """Something was said."""
        self._patience.ended(self._request, (self._patience.now() - self._began) / self._whole)

    def look(self) -> str:
        """Why no answer will come, or nothing."""
        look = self._patience.observe(self._deadline - self._patience.now())
        now = self._patience.now()
        if look is None or not look.threads:
            self.next_look = self._deadline
            return ""
        self.next_look = self._after(now)
        self._looks.append(look)
        if not _still(self._looks[self._still], look):
            self._still = len(self._looks) - 1
        # Who only waits is not slower on a slow machine: what an answer may take on a fast one is enough, on
        # the clock by which timers are set. What is computed takes longer there.
        if look.clock - self._looks[self._still].clock >= self._short:
            return "none of its threads runs, or is ready to"
        part = self._patience.busy_part(self._request, min(one.took for one in self._looks))
        if part is None or now - self._began < self._whole * part:
            return ""
        # It has not been looked at from the beginning. Who gets little of a CPU is given more time.
        if _busiest(self._looks[0], look) < self._whole * part / COMPUTED:
            return ""
        return f"it computes, for {TIMES:g} times as long as before any answer"

    def evidence(self) -> str:
        """What was seen, a line for each look."""
        silent = self._patience.now() - self._began
        lines = [f"silent for {silent:.1f} s of {self._whole:.0f} s; CPU time of its threads, by number:"]
        for look in self._looks:
            ran = ", ".join(
                f"{name} {one.seconds:.2f} s{'' if one.waits else ' and runs'}"
                for name, one in look.threads.items()
            )
            lines.append(f"+{look.clock - self._looks[0].clock:.1f} s: {ran} (told in {look.took:.2f} s)")
        return "\n".join(lines)


def _still(before: Look, now: Look) -> bool:
    """Whether no thread has had a CPU in between, or wants one."""
    waits = all(one.waits for look in (before, now) for one in look.threads.values())
    return waits and before.threads == now.threads


def _busiest(before: Look, now: Look) -> float:
    """CPU time in between of the thread that had most of it."""
    both = before.threads.keys() & now.threads.keys()
    return max((now.threads[name].seconds - before.threads[name].seconds for name in both), default=0.0)
