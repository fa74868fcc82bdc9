"""Of several processes that want the same machine at once, one boots it, and the others take its snapshot."""

from __future__ import annotations

import threading
from pathlib import Path

from touchstone.drivers.qemu.snapshot import SnapshotStore

STATE = b"the state of a machine that has booted"


def a_store(directory: Path, name: str, machine: str = "same") -> SnapshotStore:
    return SnapshotStore(directory / name, directory, [machine])


def waiting(store: SnapshotStore) -> threading.Thread:
    """A thread that fetches, once it has said that it waits."""
    waits = threading.Event()

    def said(sentence: str) -> None:
        assert sentence == "waiting for another run that boots the same machine"
        waits.set()

    thread = threading.Thread(target=store.fetch, args=(said,))
    thread.start()
    assert waits.wait(60)
    return thread


def refuse(sentence: str) -> None:
    raise AssertionError(sentence)


def test_who_comes_second_takes_the_snapshot_of_the_first(tmp_path: Path) -> None:
    first, second = a_store(tmp_path, "first"), a_store(tmp_path, "second")
    first.fetch(refuse)
    assert not first.filled
    thread = waiting(second)
    (tmp_path / "first").write_bytes(STATE)
    first._publish()
    first.release()
    thread.join(60)
    assert second.filled
    assert (tmp_path / "second").read_bytes() == STATE
    third = a_store(tmp_path, "third")
    third.fetch(refuse)
    assert third.filled


def test_a_boot_that_fails_is_the_next_ones_turn(tmp_path: Path) -> None:
    first, second = a_store(tmp_path, "first"), a_store(tmp_path, "second")
    first.fetch(refuse)
    thread = waiting(second)
    first.release()
    thread.join(60)
    assert not second.filled
    assert (tmp_path / "second").read_bytes() == b""
    second.release()
    second.release()


def test_other_machines_wait_for_nobody(tmp_path: Path) -> None:
    a_store(tmp_path, "first").fetch(refuse)
    other = a_store(tmp_path, "other", "another")
    other.fetch(refuse)
    assert not other.filled
