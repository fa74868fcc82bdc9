"""Files for a box's kernel: built once for the same sources, and kept while they are used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from touchstone.drivers.ssh.build import ModuleCache
from touchstone.drivers.ssh.deployable import Deployable

Provide = Callable[[str], Path]


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    directory = tmp_path / "sources"
    directory.mkdir()
    return directory


@pytest.fixture
def provide(tmp_path: Path, sources: Path) -> Provide:
    """Builds a subject, always of the same name, whose only source is this text: where the module is."""
    what = Deployable("mine", "Mine", sources, "cp source.c {build}/mine.ko", ("mine.ko",))
    cache = ModuleCache(tmp_path / "cache")

    def of(text: str) -> Path:
        (sources / "source.c").write_text(text)

        def make(into: Path) -> None:
            (into / "mine.ko").write_bytes((sources / "source.c").read_bytes())

        (module,) = cache.provide(what, "6.1", "#1 SMP", make, lambda _: None)
        return module

    return of


def test_two_subjects_of_one_name_have_a_module_each(provide: Provide) -> None:
    before, after = provide("before"), provide("after")
    assert (before.read_text(), after.read_text()) == ("before", "after")
    assert provide("before") == before


def test_a_module_in_use_is_kept_while_many_others_are_built(provide: Provide) -> None:
    modules = [provide(str(number)) for number in range(10)]
    assert [module.read_text() for module in modules] == [str(number) for number in range(10)]


def test_sources_that_change_while_they_are_built_are_built_again(tmp_path: Path, sources: Path) -> None:
    source = sources / "source.c"
    source.write_text("old")
    what = Deployable("mine", "Mine", sources, "cp source.c {build}/mine.ko", ("mine.ko",))

    def make(into: Path) -> None:
        (into / "mine.ko").write_bytes(source.read_bytes())
        source.write_text("new")

    (module,) = ModuleCache(tmp_path / "cache").provide(what, "6.1", "#1 SMP", make, lambda _: None)
    assert module.read_text() == "new"
