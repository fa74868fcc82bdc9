"""Allure, of which reports are made: a package of Node.js, and nothing but reports needs it."""

from __future__ import annotations

import shutil
from hashlib import md5
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from allure_commons import model2
from allure_commons.logger import AllureFileLogger
from allure_commons.model2 import Label, Parameter, Status, StatusDetails

from touchstone import cli

INSTALLED = (cli.report_tools() / "node_modules" / "allure").is_dir() and shutil.which("node") is not None
needs_allure = pytest.mark.skipif(
    not INSTALLED, reason="Allure is not installed: npm ci --ignore-scripts --prefix report"
)

STATUS = {"conformant": Status.PASSED, "deviation": Status.FAILED, "crash": Status.FAILED}


def write_results(directory: Path, verdicts: dict[tuple[str, str], str], subject: str = "") -> Path:
    """Results as a run leaves them, for ``{(check, target): verdict}``."""
    parameters = [Parameter("subject", subject)] if subject else []
    logger: Any = AllureFileLogger(str(directory))  # type: ignore[no-untyped-call]
    for (check, target), verdict in verdicts.items():
        message = StatusDetails(message=f"{verdict}: CPU 0: rax: expected 0x1, measured 0x2")
        logger.report_result(
            model2.TestResult(
                uuid=str(uuid4()),
                name=f"{check} holds",
                fullName=check,
                testCaseId=_hash(check),
                historyId=_hash(check, target),
                status=STATUS[verdict],
                statusDetails=None if verdict == "conformant" else message,
                parameters=[Parameter("target", target), *parameters],
                labels=[Label("target", target), Label("verdict", verdict), Label("suite", "exits")],
                start=1000,
                stop=1010,
            )
        )
    return directory


def _hash(*parts: str) -> str:
    return md5("\0".join(parts).encode(), usedforsecurity=False).hexdigest()
