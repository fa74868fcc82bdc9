"""Writes Allure results: each with one call, to a temporary file that is renamed when it is complete.

allure-pytest's own logger writes a result through Python's incremental JSON encoder, in hundreds of small
pieces: with it, writing costs as much as everything else that is reported of a check that holds.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import allure_commons
import attr
from allure_commons.logger import AllureFileLogger
from allure_commons.model2 import TestResult


class ResultFiles:
    """Replaces allure-pytest's logger, and passes everything but results on to it.

    What cannot be written, because the disk is full, is lost, and a check's verdict is not.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._indent = 4 if os.environ.get("ALLURE_INDENT_OUTPUT") else None  # as allure-pytest has it
        self._replaced: list[Any] = []  # it has no annotations
        self.lost = ""
        """Why something could not be written: the first reason. Empty while all could be."""

    def take_over(self) -> None:
        """Replace the logger, once it is registered. Safe to repeat."""
        manager = allure_commons.plugin_manager
        if manager.is_registered(self):
            return
        self._replaced = [one for one in manager.get_plugins() if isinstance(one, AllureFileLogger)]
        for logger in self._replaced:
            manager.unregister(logger)
        manager.register(self)

    def close(self) -> None:
        """Register the logger again, because allure-pytest unregisters it at the end. Safe to repeat."""
        manager = allure_commons.plugin_manager
        if not manager.is_registered(self):
            return
        manager.unregister(self)
        while self._replaced:
            manager.register(self._replaced.pop())

    def attempt(self, write: Callable[[], object]) -> None:
        """Write something; that it cannot be written is noted."""
        try:
            write()
        except OSError as error:
            self.lost = self.lost or f"{error.filename or self._directory}: {error.strerror or error}"

    @allure_commons.hookimpl
    def report_result(self, result: TestResult) -> None:
        """Write the result of a test."""
        self.attempt(lambda: self._write_result(result))

    def _write_result(self, result: TestResult) -> None:
        name = result.file_pattern.format(prefix=uuid4())
        text = json.dumps(_plain(result), indent=self._indent, ensure_ascii=False)
        new = f"{self._directory}/{name}.tmp"
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            try:
                data = memoryview(text.encode("utf-8", "backslashreplace"))
                while data:
                    data = data[os.write(file, data) :]
            finally:
                os.close(file)
            os.replace(new, f"{self._directory}/{name}")
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(new)  # half of a result
            raise

    @allure_commons.hookimpl
    def report_container(self, container: Any) -> None:
        """Hand on."""
        self._hand_on("report_container", container)

    @allure_commons.hookimpl
    def report_attached_file(self, source: Any, file_name: str) -> None:
        """Hand on."""
        self._hand_on("report_attached_file", source, file_name)

    @allure_commons.hookimpl
    def report_attached_data(self, body: Any, file_name: str) -> None:
        """Hand on."""
        self._hand_on("report_attached_data", body, file_name)

    @allure_commons.hookimpl
    def report_globals(self, globals_item: Any) -> None:
        """Hand on."""
        self._hand_on("report_globals", globals_item)

    def _hand_on(self, hook: str, *values: Any) -> None:
        for logger in self._replaced:
            self.attempt(partial(getattr(logger, hook), *values))


_names: dict[type, tuple[str, ...]] = {}
"""Fields of Allure's models; none: another type."""
_AS_IT_IS = frozenset({str, int, float, bool, type(None)})


def _plain(value: Any) -> Any:
    """A model of Allure's as JSON has it: what says nothing is left out, as allure-pytest does.

    This runs for every label of every result, so the values that stay as they are do not get a call.
    """
    kind = type(value)
    if kind is list or kind is tuple:
        return [one if type(one) in _AS_IT_IS else _plain(one) for one in value]
    names = _names.get(kind)
    if names is None:
        names = _names[kind] = tuple(one.name for one in attr.fields(kind)) if attr.has(kind) else ()
    if names:
        found = {}
        for name in names:
            field = getattr(value, name)
            if field:
                found[name] = field if type(field) in _AS_IT_IS else _plain(field)
            elif field is False:
                found[name] = field
        return found
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
