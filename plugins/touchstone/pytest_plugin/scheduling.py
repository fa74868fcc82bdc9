"""Distribution over xdist's workers: a machine has one worker, and if that dies only one check is lost.

xdist's own schedulers by scope run a test that killed its worker again on every replacement, and lose those
behind it; ``--dist=loadgroup`` spreads a group over workers with the current releases. So this is a complete
implementation of ``xdist.scheduler.protocol.Scheduling``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController  # type: ignore[import-untyped]

LOW_WATER = 2
"""A worker starts a test only when it knows the next one, or that there is none: keep two in its queue."""


class TargetScheduling:
    """One unit of work per target (and per file of other tests), each given to one worker.

    Where there are more workers than units, those that may be are split, until every worker has a part.

    Args:
        workers: How many workers will report their collection.
        unit_of: Node id to the name of its unit.
        log: Takes a line if workers do not agree on what they collected.
        cost_of: Name of a unit to how long it takes: those that take longest are given out first, so that
            no worker is left alone with one of them at the end.
        parts_of: Name of a unit to the number of workers that may have a part of it.
        takes_cpu: Whether a unit keeps a CPU of this host busy, as an emulator does.
        cpus: How many workers may have such units at the same time; None: all.
    """

    def __init__(
        self,
        workers: int,
        unit_of: Callable[[str], str],
        log: Callable[[str], None] = lambda text: None,
        cost_of: Callable[[str], float] = lambda unit: 0.0,
        parts_of: Callable[[str], int] = lambda unit: 1,
        takes_cpu: Callable[[str], bool] = lambda unit: False,
        cpus: int | None = None,
    ) -> None:
        self._workers = workers
        self._unit_of = unit_of
        self._log = log
        self._cost_of = cost_of
        self._parts_of = parts_of
        self._takes_cpu = takes_cpu
        self._cpus = cpus
        self._collections: dict[WorkerController, list[str]] = {}
        self._collection: list[str] | None = None
        self._units: deque[list[int]] = deque()
        """Indices of tests that no worker has, unit by unit."""
        self._queues: dict[WorkerController, deque[int]] = {}
        """Indices of tests that each worker has and has not finished, in its order."""

    @property
    def nodes(self) -> list[WorkerController]:
        """Workers that are up."""
        return list(self._queues)

    @property
    def collection_is_completed(self) -> bool:
        """Every worker that was there from the beginning has said what it collected."""
        return len(self._collections) >= self._workers

    @property
    def tests_finished(self) -> bool:
        """Nothing is left to give out, and every worker is at its last test."""
        if not self.collection_is_completed or self._units:
            return False
        return all(len(queue) < LOW_WATER for queue in self._queues.values())

    @property
    def has_pending(self) -> bool:
        """There are tests that are not finished."""
        return bool(self._units) or any(self._queues.values())

    def add_node(self, node: WorkerController) -> None:
        """A worker was started; it gets tests when it has collected."""
        self._queues[node] = deque()

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        """A worker has collected."""
        if self._collection is not None and list(collection) != self._collection:
            self._log(f"{node.gateway.id} collected other tests than the workers before it; it gets none")
            node.shutdown()
            return
        self._collections[node] = list(collection)

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        """A worker has finished a test."""
        self._queues[node].remove(item_index)
        self._feed(node)

    def mark_test_pending(self, item: str) -> None:
        """Run a test again, before anything else (pytest-rerunfailures)."""
        assert self._collection is not None
        self._units.appendleft([self._collection.index(item)])
        for node in self.nodes:
            self._feed(node)

    def remove_pending_tests_from_node(self, node: WorkerController, indices: Sequence[int]) -> None:
        """Part of the protocol, called only for schedulers that move tests from worker to worker."""
        raise NotImplementedError("tests are never taken away from the worker that has their target")

    def remove_node(self, node: WorkerController) -> str | None:
        """A worker is gone. Returns the test that it was running; those behind it go to the next worker."""
        queue = self._queues.pop(node)
        if not queue or self._collection is None:
            return None
        crashed = queue.popleft()
        units: dict[str, list[int]] = {}
        for index in queue:
            units.setdefault(self._unit_of(self._collection[index]), []).append(index)
        self._units.extendleft(reversed(units.values()))
        for other in self.nodes:
            self._feed(other)
        return self._collection[crashed]

    def schedule(self) -> None:
        """Give out work: at first when every worker has collected, later when a replacement has."""
        if self._collection is None:
            collections = list(self._collections.values())
            if any(other != collections[0] for other in collections):
                self._log("the workers collected different tests: nothing is run")
                for node in self.nodes:
                    node.shutdown()
                return
            self._collection = collections[0]
            units: dict[str, list[int]] = {}
            for index, nodeid in enumerate(self._collection):
                units.setdefault(self._unit_of(nodeid), []).append(index)
            self._units.extend(self._split(units))
        for node in self.nodes:
            self._feed(node)

    def _split(self, units: Mapping[str, Sequence[int]]) -> Iterator[list[int]]:
        """Units and parts of units, the longest first. A part has no gaps: its phases follow as before."""
        parts = dict.fromkeys(units, 1)

        def size(name: str) -> tuple[float, float]:
            return self._cost_of(name) / parts[name], len(units[name]) / parts[name]

        def may_be_split(name: str) -> bool:
            return parts[name] < min(self._parts_of(name), len(units[name]) // LOW_WATER)

        for _ in range(len(units), self._workers):
            longest = max(filter(may_be_split, units), key=size, default=None)
            if longest is None:
                break
            parts[longest] += 1
        for name in sorted(units, key=lambda name: size(name)[0], reverse=True):
            tests, count = units[name], parts[name]
            ends = [len(tests) * number // count for number in range(count + 1)]
            yield from (list(tests[first:last]) for first, last in pairwise(ends))

    def _feed(self, node: WorkerController) -> None:
        """Give a worker units until it has enough to go on; let it go when there are none for it.

        What is left then takes a CPU, and as many workers as there are CPUs have such units. These go on.
        """
        if node.shutting_down or node not in self._collections:
            return
        queue = self._queues[node]
        while len(queue) < LOW_WATER:
            unit = self._next_unit(node)
            if unit is None:
                node.shutdown()
                return
            queue.extend(unit)
            node.send_runtest_some(unit)
        if not self._units:
            node.shutdown()

    def _next_unit(self, node: WorkerController) -> list[int] | None:
        """Take the first unit away that a worker may have."""
        others = sum(self._is_busy(queue) for other, queue in self._queues.items() if other is not node)
        is_free = self._cpus is None or others < self._cpus
        for unit in self._units:
            if is_free or not self._is_busy(unit):
                self._units.remove(unit)
                return unit
        return None

    def _is_busy(self, indices: Iterable[int]) -> bool:
        """Whether one of some tests takes a CPU."""
        assert self._collection is not None
        return any(self._takes_cpu(self._unit_of(self._collection[index])) for index in indices)
