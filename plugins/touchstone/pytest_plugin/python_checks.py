"""Checks written in Python: what a suite cannot say, such as a sequence of loads, NMIs and resets.

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
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any

import pytest

from touchstone.config.references import unknown_words
from touchstone.config.tomlfile import did_you_mean
from touchstone.engine.facts import static_facts
from touchstone.engine.records import CheckOnTarget
from touchstone.pytest_plugin.collect import reason_to_skip
from touchstone.pytest_plugin.marks import CHECK, mark_item, register_words
from touchstone.pytest_plugin.run import Run, run_of
from touchstone.suite import requires
from touchstone.suite.claims import implied, problem_with
from touchstone.suite.model import Check, Citation, Requirement, Source
from touchstone.words import AREAS, LEVELS, PHASES

REQUIRED = ("id", "title", "area", "cite")
KEYS = (*REQUIRED, "level", "phase", "claims", "requires", "tags", "proves")


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Run a marked function once per target."""
    mark = _combined(metafunc.definition.iter_markers("touchstone"))
    if "target" not in metafunc.fixturenames:
        _wrong(metafunc.definition, "it must use the fixture target or probe")
    try:
        names = [target.name for target in run_of(metafunc.config).targets]
    except pytest.UsageError as error:
        raise pytest.Collector.CollectError(str(error)) from None
    marks = [mark.combined_with(one) for one in _of_parameters(metafunc.definition)] or [mark]
    checks = [check_of(metafunc.definition, one) for one in marks]
    for check in checks:
        problems = [text for _, text in unknown_words(check.requires, run_of(metafunc.config).inventory)]
        if problems:
            _wrong(metafunc.definition, *problems)
    if len({check.id for check in checks}) < len(checks):
        _wrong(metafunc.definition, "two parameters have the same id")
    for check in checks:
        try:
            run_of(metafunc.config).register(check)
        except ValueError as error:
            raise pytest.Collector.CollectError(str(error)) from None
        register_words(metafunc.config, check)
    metafunc.parametrize("target", names, indirect=True, ids=names)


def _combined(marks: Iterable[pytest.Mark]) -> pytest.Mark:
    """One mark of at least one, the closest first: what a mark does not say, the ones around it say."""
    return reduce(pytest.Mark.combined_with, reversed(list(marks)))


def _of_parameters(definition: pytest.Item) -> list[pytest.Mark]:
    """The marks of ``pytest.param(..., marks=pytest.mark.touchstone(...))``: each parameter is a check."""
    found = []
    for parametrized in definition.iter_markers("parametrize"):
        values = parametrized.args[1] if len(parametrized.args) > 1 else parametrized.kwargs.get("argvalues")
        # Iterating over anything else (a generator) would leave nothing of it to pytest.
        for value in values if isinstance(values, Collection) else ():
            marks = [getattr(mark, "mark", mark) for mark in getattr(value, "marks", ())]
            found += [mark for mark in marks if mark.name == "touchstone"]
    return found


def _of_item(item: pytest.Function) -> pytest.Mark | None:
    """The mark of an item: its parameter's, its function's, its class's and its module's in one."""
    marks = list(item.iter_markers("touchstone"))
    of_parameter = _of_parameter(item)
    of_scopes = [one for one in marks if one not in of_parameter]
    return _combined([*of_parameter[-1:], *of_scopes]) if marks else None


def _of_parameter(item: pytest.Function) -> list[pytest.Mark]:
    of_function = getattr(item.obj, "pytestmark", ())
    marks = item.iter_markers("touchstone")
    return [one for one in marks if one in item.own_markers and one not in of_function]


def _part(item: pytest.Function, parameters: str, target: str) -> str:
    """The parameters, without the target, if it takes them to tell the checks of a function apart."""
    if any("id" in mark.kwargs for mark in _of_parameter(item)):
        return ""
    return f"-{parameters}-".replace(f"-{target}-", "-", 1)[1:-1]  # a parameter may begin with a minus


def adopt(run: Run, item: pytest.Item) -> None:
    """Make an item whose function has the mark ``touchstone`` a check; leave any other item as it is."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or not isinstance(item, pytest.Function):
        return
    mark = _of_item(item)
    if mark is None:
        return
    target = next((one for one in run.targets if one.name == callspec.params.get("target")), None)
    if target is None:
        return
    check = check_of(item, mark)
    item.stash[CHECK] = CheckOnTarget(check, target, part=_part(item, callspec.id, target.name))
    mark_item(item, check, reason_to_skip(check, target, static_facts(target, run.subject)))


def check_of(item: Any, mark: pytest.Mark) -> Check:
    """The check that a mark ``touchstone`` describes. CollectError with everything that is wrong in it."""
    function = item.obj
    lines, first = _source_of(function)
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
    known = run_of(item.config).requirements if values.get("proves") else ()
    errors += [
        f"proves: there is no requirement {word!r}{did_you_mean(word, known)}"
        for word in values.get("proves", ())
        if word not in known
    ]
    needed = values.get("requires")
    needs = [] if needed is None else [Requirement(needed, source)]
    if needed is not None:
        try:
            used = requires.names_used(needed)
        except requires.ExpressionError as error:
            errors.append(f"requires: {error.text}")
        else:
            claims = [name.removeprefix("subject.") for name in sorted(used) if name.startswith("subject.")]
            errors += [f"requires: {text}" for name in claims if (text := problem_with(name)) is not None]
    if errors:
        _wrong(item, *errors)
    return Check(
        id=values["id"],
        title=values["title"],
        area=values["area"],
        level=values.get("level", "must"),
        cite=tuple(citations),
        phase=values.get("phase", "loaded"),
        requires=(*needs, *implied((), values.get("phase") == "unloaded", source)),
        cases=(),
        timeout=0.0,
        claims=values.get("claims", True),
        tags=tuple(values.get("tags", ())),
        proves=tuple(values.get("proves", ())),
        text=inspect.cleandoc("".join(lines)) if lines else "",
        source=source,
        end_line=first + len(lines) - 1,
    )


@lru_cache(maxsize=16)  # it breaks a file into tokens, and a function has items one after the other
def _source_of(function: Callable[..., object]) -> tuple[list[str], int]:
    return inspect.getsourcelines(function)


def _wrong(item: Any, *errors: str) -> None:
    line = item.obj.__code__.co_firstlineno
    where = f"{os.path.relpath(item.path, item.config.invocation_params.dir)}:{line}"
    name = getattr(item, "originalname", None) or item.name
    raise pytest.Collector.CollectError(
        "\n".join(f"{where}: {name}: touchstone mark: {text}" for text in errors)
    )
