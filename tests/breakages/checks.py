"""Where the checks are: node ids, by the checks' ids, without collecting anything."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.checkout import suite_files

_YAML = re.compile(r"^\s*- id: ([\w.-]+)\s*$", re.MULTILINE)
_TITLE = re.compile(r"^\s*- id: ([\w.-]+)$.*?^ +title: ([^\n]*)$", re.MULTILINE | re.DOTALL)
_PYTHON_TITLE = re.compile(r'^ +id="([\w.-]+)",\n +title=(?:f?"|\(\s*")(.*?)"', re.MULTILINE)
_PYTHON = re.compile(r'^ +id="([\w.-]+)",$.*?^def (test_\w+)', re.MULTILINE | re.DOTALL)


def find_checks(root: Path) -> dict[str, str]:
    """Node ids of all checks below ``conformance/``, relative to the checkout and without the target."""
    found = {}
    for path in suite_files(root):
        for check in _YAML.findall(path.read_text(encoding="utf-8")):
            found[check] = f"{path.relative_to(root)}::{check}"
    for path in sorted((root / "conformance").glob("*/test_*.py")):
        for check, function in _PYTHON.findall(path.read_text(encoding="utf-8")):
            found[check] = f"{path.relative_to(root)}::{function}"
    return found


def find_titles(root: Path) -> dict[str, str]:
    """The checks' titles, by id."""
    found = {}
    for path in suite_files(root):
        for match in _TITLE.finditer(path.read_text(encoding="utf-8")):
            found[match[1]] = match[2].strip('"')
    for path in sorted((root / "conformance").glob("*/test_*.py")):
        for match in _PYTHON_TITLE.finditer(path.read_text(encoding="utf-8")):
            found[match[1]] = match[2]
    return found
