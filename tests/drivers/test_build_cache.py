"""What is built once, whoever asks for it; what stays while it is used; what a killed build leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from touchstone.drivers.build_cache import ATTEMPTS, BuildCache, Recipe
from touchstone.machine.driver import InfrastructureError

pytestmark = pytest.mark.usefixtures("nothing_left_behind")

KEEP = 2


class Workbench:
    """A cache, and things of one name to build in it: their content is their key."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "cache"
        self.cache = BuildCache(self.directory, KEEP)
        self.built: list[str] = []
        self.said: list[str] = []

    def recipe(self, content: str, name: str = "thing") -> Recipe:
        def make(into: Path) -> None:
            self.built.append(content)
            (into / "file").write_text(content)

        return Recipe(name, "the thing", ("file",), lambda: content, make)

    def provide(self, content: str, name: str = "thing") -> Path:
        return self.cache.provide(self.recipe(content, name), self.said.append)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir() if path.name != ".lock")


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path)


@contextmanager
def another_process(code: str) -> Iterator[subprocess.Popen[str]]:
    """A process that imports the cache, runs this, and writes lines; killed at the end."""
    program = "import sys, time\nfrom pathlib import Path\n" + textwrap.dedent(code)
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def holder(bench: Workbench, content: str) -> str:
    """Code of a process that builds a thing, says so, and uses it until its input ends."""
    return f"""
        from touchstone.drivers.build_cache import BuildCache, Recipe
        def make(into):
            (into / "file").write_text({content!r})
        recipe = Recipe("thing", "the thing", ("file",), lambda: {content!r}, make)
        print(BuildCache(Path({str(bench.directory)!r}), {KEEP}).provide(recipe, print), flush=True)
        sys.stdin.read()
    """


def test_the_same_content_is_built_once(bench: Workbench) -> None:
    folder = bench.provide("a")
    assert (folder / "file").read_text() == "a"
    assert bench.provide("b") != folder
    assert bench.provide("a") == folder
    assert bench.built == ["a", "b"]


def test_switching_between_contents_builds_nothing_again(bench: Workbench) -> None:
    for content in "abababab":
        assert (bench.provide(content) / "file").read_text() == content
    assert bench.built == ["a", "b"]


def test_a_failed_build_leaves_nothing(bench: Workbench) -> None:
    def fail(into: Path) -> None:
        (into / "file").write_text("half")
        raise InfrastructureError("the compiler's words")

    with pytest.raises(InfrastructureError, match="the compiler's words"):
        bench.cache.provide(Recipe("thing", "the thing", ("file",), lambda: "a", fail), bench.said.append)
    assert bench.names() == []


def test_a_build_that_makes_too_little_is_an_error(bench: Workbench) -> None:
    recipe = Recipe("thing", "the thing", ("file",), lambda: "a", lambda _: None)
    with pytest.raises(InfrastructureError, match=r"^building the thing succeeded, but made no file$"):
        bench.cache.provide(recipe, bench.said.append)
    assert bench.names() == []


def test_a_killed_build_leaves_nothing_that_looks_finished(bench: Workbench) -> None:
    code = f"""
        from touchstone.drivers.build_cache import BuildCache, Recipe
        def make(into):
            (into / "file").write_text("half")
            print("half-way", flush=True)
            sys.stdin.read()
        recipe = Recipe("thing", "the thing", ("file",), lambda: "a", make)
        BuildCache(Path({str(bench.directory)!r}), {KEEP}).provide(recipe, print)
    """
    with another_process(code) as process:
        assert process.stdout
        assert process.stdout.readline() == "half-way\n"
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert [name[:5] for name in bench.names()] == [".new-"]
    assert (bench.provide("a") / "file").read_text() == "a"
    assert bench.names() == ["thing-a"], "what the killed build left is removed by the next build"


def test_a_second_process_waits_and_takes_what_the_first_one_built(bench: Workbench) -> None:
    code = f"""
        from touchstone.drivers.build_cache import BuildCache, Recipe
        def make(into):
            print("building", flush=True)
            sys.stdin.readline()
            (into / "file").write_text("by the other one")
        recipe = Recipe("thing", "the thing", ("file",), lambda: "a", make)
        BuildCache(Path({str(bench.directory)!r}), {KEEP}).provide(recipe, print)
        sys.stdin.read()
    """
    waiting = threading.Event()
    found: list[Path] = []

    def progress(step: str) -> None:
        bench.said.append(step)
        waiting.set()

    with another_process(code) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "building\n"
        thread = threading.Thread(
            target=lambda: found.append(bench.cache.provide(bench.recipe("a"), progress))
        )
        thread.start()
        assert waiting.wait(60)
        assert found == []
        process.stdin.write("\n")
        process.stdin.flush()
        thread.join(60)
    assert bench.said == [f"waiting for another run that builds in {bench.directory}"]
    assert bench.built == []
    assert [(path / "file").read_text() for path in found] == ["by the other one"]


def test_old_folders_are_removed_and_the_last_ones_kept(bench: Workbench) -> None:
    """Each is built by a process that has ended, so that nobody uses it any more."""
    for content in "abcd":
        with another_process(holder(bench, content)) as process:
            assert process.stdout
            assert process.stdout.readline()
    assert bench.names() == ["thing-c", "thing-d"]


def test_used_again_is_not_old(bench: Workbench) -> None:
    for content in "abac":
        with another_process(holder(bench, content)) as process:
            assert process.stdout
            assert process.stdout.readline()
    assert bench.names() == ["thing-a", "thing-c"]


def test_other_names_do_not_count(bench: Workbench) -> None:
    with another_process(holder(bench, "a")) as process:
        assert process.stdout
        assert process.stdout.readline()
    for content in "bcd":
        bench.provide(content, "thing-2")
    assert bench.names() == ["thing-2-b", "thing-2-c", "thing-2-d", "thing-a"]


def test_what_a_process_uses_is_not_removed_before_it_ends(bench: Workbench) -> None:
    with another_process(holder(bench, "a")) as process:
        assert process.stdout
        folder = Path(process.stdout.readline().rstrip("\n"))
        for content in "bcd":
            bench.provide(content)
        assert (folder / "file").read_text() == "a"
    bench.provide("e")
    assert not folder.exists()
    assert bench.names() == ["thing-b", "thing-c", "thing-d", "thing-e"], "this process uses all of them"


def test_what_somebody_damaged_is_built_again(bench: Workbench) -> None:
    folder = bench.provide("a")
    (folder / "file").unlink()
    assert (bench.provide("a") / "file").read_text() == "a"
    (folder / ".in-use").unlink()
    assert (bench.provide("a") / "file").read_text() == "a"
    assert bench.built == ["a"] * 3


def test_sources_that_change_while_they_are_built_are_built_again(bench: Workbench) -> None:
    source = ["old"]

    def make(into: Path) -> None:
        (into / "file").write_text(source[0])
        source[0] = "new"

    recipe = Recipe("thing", "the thing", ("file",), lambda: source[0], make)
    folder = bench.cache.provide(recipe, bench.said.append)
    assert folder.name == "thing-new"
    assert (folder / "file").read_text() == "new"
    assert bench.names() == ["thing-new"]
    assert bench.said == ["the sources of the thing changed while it was built"]


def test_sources_that_never_rest_are_an_error(bench: Workbench) -> None:
    built: list[Path] = []

    def make(into: Path) -> None:
        (into / "file").touch()
        built.append(into)

    recipe = Recipe("thing", "the thing", ("file",), lambda: str(len(built)), make)
    with pytest.raises(
        InfrastructureError, match=f"changed {ATTEMPTS} times while it was built: let whatever"
    ):
        bench.cache.provide(recipe, bench.said.append)
    assert bench.names() == []
