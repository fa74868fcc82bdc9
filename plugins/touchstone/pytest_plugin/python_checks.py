"""Checks written in Python: what YAML lines cannot say, a choreography of loads, NMIs and resets.

::

    @pytest.mark.touchstone(
        id="broadcast.load.again",
        title="Loading works again after unloading",
        area="broadcast",
        phase="native",
        cite={"doc": "design", "title": "Veneer", "says": "Load and unload as often as asked."},
    )
    def test_load_again(target, probe):
        target.load()
        target.unload()
        ...
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from touchstone.config.tomlfile import did_you_mean
from touchstone.engine.facts import static_facts
from touchstone.engine.records import CheckOnTarget
from touchstone.pytest_plugin.collect import reason_to_skip
from touchstone.pytest_plugin.marks import CHECK, mark_item, register_words
from touchstone.pytest_plugin.run import Run, run_of
from touchstone.suite import requires
from touchstone.suite.model import Check, Citation, Requirement, Source
from touchstone.words import AREAS, LEVELS, PHASES

REQUIRED = ("id", "title", "area", "cite")
KEYS = (*REQUIRED, "level", "phase", "claims", "requires", "tags", "proves")


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Run a marked function once per target."""
    mark = metafunc.definition.get_closest_marker("touchstone")
    assert mark is not None
    if "target" not in metafunc.fixturenames:
        _wrong(metafunc.definition, "it must use the fixture target or probe")
    try:
        names = [target.name for target in run_of(metafunc.config).targets]
    except pytest.UsageError as error:
        raise pytest.Collector.CollectError(str(error)) from None
    check = check_of(metafunc.definition, mark)
    try:
        run_of(metafunc.config).register(check)
    except ValueError as error:
        raise pytest.Collector.CollectError(str(error)) from None
    register_words(metafunc.config, check)
    metafunc.parametrize("target", names, indirect=True, ids=names)


def adopt(run: Run, item: pytest.Item) -> None:
    """Make a check of an item whose function is marked; any other is left alone."""
    mark = item.get_closest_marker("touchstone")
    callspec = getattr(item, "callspec", None)
    if mark is None or callspec is None or not isinstance(item, pytest.Function):
        return
    target = next((one for one in run.targets if one.name == callspec.params.get("target")), None)
    if target is None:
        return
    check = check_of(item, mark)
    item.stash[CHECK] = CheckOnTarget(check, target)
    mark_item(item, check, reason_to_skip(check, target, static_facts(target, run.subject)))


def check_of(item: Any, mark: pytest.Mark) -> Check:
    """The check that a mark describes. CollectError with everything that is wrong in it."""
    function = item.obj
    lines, first = inspect.getsourcelines(function)
    path = Path(os.path.relpath(item.path, item.config.invocation_params.dir))
    source = Source(path, first, 1)
    values = dict(mark.kwargs)
    errors = [f"unknown argument {key!r}{did_you_mean(key, KEYS)}" for key in values if key not in KEYS]
    errors += [f"{key} is missing" for key in REQUIRED if key not in values]
    if mark.args:
        errors.append("all arguments are named: id=..., title=...")
    for key, words in (("area", AREAS), ("level", LEVELS), ("phase", PHASES)):
        if key in values and values[key] not in words:
            errors.append(f"{key} must be one of {', '.join(words)}, not {values[key]!r}")
    cites = values.get("cite", ())
    citations = []
    for cite in [cites] if isinstance(cites, Mapping) else cites:
        try:
            citations.append(Citation(**cite))
        except TypeError as error:
            errors.append(f"cite: {str(error).removeprefix('Citation.__init__() ')}")
    needed = values.get("requires")
    if needed is not None:
        try:
            requires.parse(needed)
        except requires.ExpressionError as error:
            errors.append(f"requires: {error.text}")
    if errors:
        _wrong(item, *errors)
    return Check(
        id=values["id"],
        title=values["title"],
        area=values["area"],
        level=values.get("level", "must"),
        cite=tuple(citations),
        phase=values.get("phase", "loaded"),
        requires=() if needed is None else (Requirement(needed, source),),
        cases=(),
        timeout=0.0,
        claims=values.get("claims", True),
        tags=tuple(values.get("tags", ())),
        proves=tuple(values.get("proves", ())),
        text=inspect.cleandoc("".join(lines)) if lines else "",
        source=source,
        end_line=first + len(lines) - 1,
    )


def _wrong(item: Any, *errors: str) -> None:
    line = item.obj.__code__.co_firstlineno
    where = f"{os.path.relpath(item.path, item.config.invocation_params.dir)}:{line}"
    name = getattr(item, "originalname", None) or item.name
    raise pytest.Collector.CollectError(
        "\n".join(f"{where}: {name}: touchstone mark: {text}" for text in errors)
    )
