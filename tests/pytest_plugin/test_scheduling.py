"""The scheduler without workers and processes."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from touchstone.pytest_plugin.scheduling import TargetScheduling
from touchstone.pytest_plugin.xdist import target_of, unit_of

NAMES = ["qemu-amd", "qemu-amd-old", "bochs"]


class Worker:
    """As xdist's: runs what it is sent in order, and a test only when it knows the next one or the end."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.queue: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, indices: list[int]) -> None:
        assert not self.shutting_down, "work for a worker that was told to go"
        self.queue += indices

    def shutdown(self) -> None:
        self.shutting_down = True

    @property
    def can_run(self) -> bool:
        return len(self.queue) >= 2 or bool(self.queue and self.shutting_down)


@pytest.mark.parametrize(
    ("nodeid", "target"),
    [
        ("a.yaml::exits.x[qemu-amd]", "qemu-amd"),
        ("a.yaml::exits.x[qemu-amd-old]", "qemu-amd-old"),
        ("test_a.py::test_x[qemu-amd-4-True]", "qemu-amd"),
        ("test_a.py::test_x[4-bochs]", "bochs"),
        ("test_a.py::test_x[other]", None),
        ("test_a.py::test_x", None),
    ],
)
def test_target_of(nodeid: str, target: str | None) -> None:
    assert target_of(nodeid, NAMES) == target


def simulate(
    tests: dict[str, int], workers: int, crashes: int, seed: int, cpus: int | None = None
) -> tuple[list[str], list[str]]:
    """Run to the end with crashes at random moments; returns finished and crashed tests.

    At most ``cpus`` workers run tests of targets whose names are in capitals.
    """
    chance = random.Random(seed)
    nodeids = [f"s.yaml::c{n}[{name}]" for name, count in tests.items() for n in range(count)]
    chance.shuffle(nodeids)
    nodeids.sort(key=lambda one: list(tests).index(one.split("[")[1][:-1]))
    scheduling = TargetScheduling(
        workers,
        lambda nodeid: unit_of(nodeid, list(tests)),
        takes_cpu=lambda unit: unit[-1].isupper(),
        cpus=cpus,
    )
    alive = [Worker(f"gw{n}") for n in range(workers)]
    done: list[str] = []
    crashed: list[str] = []
    owners: dict[str, set[str]] = {}
    for worker in alive:
        scheduling.add_node(worker)
        scheduling.add_node_collection(worker, nodeids)
    assert scheduling.collection_is_completed
    scheduling.schedule()
    for _ in range(10_000):
        if scheduling.tests_finished:
            for worker in alive:
                worker.shutdown()
        busy = [one for one in alive if one.queue and nodeids[one.queue[0]][-2].isupper()]
        assert cpus is None or len(busy) <= cpus
        ready = [worker for worker in alive if worker.can_run]
        if not ready:
            break
        worker = chance.choice(ready)
        nodeid = nodeids[worker.queue[0]]
        owners.setdefault(nodeid.split("[")[1], set()).add(worker.gateway.id)
        if crashes and chance.random() < 0.2:
            crashes -= 1
            alive.remove(worker)
            crash = scheduling.remove_node(worker)
            assert crash == nodeid
            crashed.append(crash)
            other = Worker(f"{worker.gateway.id}'")
            alive.append(other)
            scheduling.add_node(other)
            scheduling.add_node_collection(other, nodeids)
            scheduling.schedule()
            owners[nodeid.split("[")[1]].clear()
            continue
        index = worker.queue.pop(0)
        done.append(nodeids[index])
        scheduling.mark_test_complete(worker, index)
    assert all(len(names) <= 1 for names in owners.values()) or crashed, "two workers drove one target"
    assert not scheduling.has_pending
    return done, crashed


@pytest.mark.parametrize("seed", range(40))
def test_every_test_runs_once(seed: int) -> None:
    chance = random.Random(1000 + seed)
    tests = {name: chance.choice([1, 2, 3, 20]) for name in ("a", "b", "c")[: chance.randint(1, 3)]}
    done, crashed = simulate(tests, workers=chance.randint(1, 5), crashes=chance.randint(0, 4), seed=seed)
    assert sorted(done + crashed) == sorted(
        f"s.yaml::c{n}[{name}]" for name in tests for n in range(tests[name])
    )


@pytest.mark.parametrize("seed", range(60))
def test_no_more_emulators_run_than_there_are_cpus(seed: int) -> None:
    """However fast which target is: the order in which tests end is the simulation's dice."""
    chance = random.Random(2000 + seed)
    names = [*"ABCDE"[: chance.randint(1, 5)], *"xy"[: chance.randint(0, 2)]]
    tests = {name: chance.choice([1, 2, 3, 20]) for name in names}
    cpus = chance.randint(1, 3)
    workers = sum(name.islower() for name in names) + min(cpus, sum(name.isupper() for name in names))
    done, crashed = simulate(tests, workers, chance.choice([0, 0, 3]), seed, cpus)
    assert sorted(done + crashed) == sorted(
        f"s.yaml::c{n}[{name}]" for name in tests for n in range(tests[name])
    )


def test_workers_that_collected_different_tests_get_none() -> None:
    said: list[str] = []
    scheduling = TargetScheduling(2, lambda nodeid: nodeid, said.append)
    workers = [Worker("gw0"), Worker("gw1")]
    for worker, tests in zip(workers, (["a"], ["b"]), strict=True):
        scheduling.add_node(worker)
        scheduling.add_node_collection(worker, tests)
    scheduling.schedule()
    assert [worker.queue for worker in workers] == [[], []]
    assert said == ["the workers collected different tests: nothing is run"]


def test_longest_unit_is_given_out_first() -> None:
    costs = {"target short": 1.0, "target long": 9.0}
    scheduling = TargetScheduling(
        1, lambda nodeid: unit_of(nodeid, ["short", "long"]), cost_of=lambda unit: costs.get(unit, 0.0)
    )
    worker = Worker("gw0")
    scheduling.add_node(worker)
    nodeids = ["test_x.py::test_x", "s.yaml::a[short]", "s.yaml::a[long]", "s.yaml::b[long]"]
    scheduling.add_node_collection(worker, nodeids)
    scheduling.schedule()
    assert worker.queue == [2, 3]
    scheduling.mark_test_complete(worker, 2)
    scheduling.mark_test_complete(worker, 3)
    assert worker.queue == [2, 3, 1, 0]


def given_out(
    tests: dict[str, int], workers: int, parts: dict[str, int], costs: dict[str, float] | None = None
) -> list[list[str]]:
    """What each worker gets at first, and what nobody has yet."""
    nodeids = [f"s.yaml::c{n}[{name}]" for name, count in tests.items() for n in range(count)]
    scheduling = TargetScheduling(
        workers,
        lambda nodeid: unit_of(nodeid, list(tests)),
        cost_of=lambda unit: (costs or {}).get(unit.split()[-1], 0.0),
        parts_of=lambda unit: parts.get(unit.split()[-1], 1),
    )
    them = [Worker(f"gw{n}") for n in range(workers)]
    for worker in them:
        scheduling.add_node(worker)
        scheduling.add_node_collection(worker, nodeids)
    scheduling.schedule()
    return [[nodeids[index] for index in worker.queue] for worker in them]


@pytest.mark.parametrize(
    ("tests", "workers", "parts", "sizes"),
    [
        ({"a": 9}, 3, {"a": 3}, [3, 3, 3]),
        ({"a": 9}, 3, {"a": 2}, [4, 5, 0]),
        ({"a": 9, "b": 4}, 2, {"a": 2}, [9, 4]),
        ({"a": 9, "b": 4}, 3, {"a": 3, "b": 3}, [4, 5, 4]),
        ({"a": 9, "b": 8}, 4, {"b": 3, "a": 1}, [9, 2, 3, 3]),
        ({"a": 5}, 4, {"a": 9}, [2, 3, 0, 0]),
    ],
)
def test_target_is_split_over_workers_that_have_nothing_else(
    tests: dict[str, int], workers: int, parts: dict[str, int], sizes: list[int]
) -> None:
    found = given_out(tests, workers, parts)
    assert [len(one) for one in found] == sizes
    everything = [one for part in found for one in part]
    assert len(set(everything)) == len(everything) == sum(tests.values())


def test_longest_target_is_split_by_its_cost() -> None:
    found = given_out({"a": 9, "b": 4}, 3, {"a": 2, "b": 2}, {"a": 5.0, "b": 60.0})
    assert [len(one) for one in found] == [2, 2, 9]
