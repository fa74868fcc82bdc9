"""Which YAML files of a folder of suites have requirements, and no suite."""

from __future__ import annotations

from pathlib import Path

FILE, FOLDER = "requirements.yaml", "requirements"
"""One file of requirements, and a folder of them: either, or both."""


def is_statements_file(path: Path, conformance: Path) -> bool:
    """Whether a YAML file has requirements of this folder of suites."""
    return path == conformance / FILE or path.parent == conformance / FOLDER


def statement_files(conformance: Path) -> list[Path]:
    """The files of requirements of a folder of suites, in the order in which reports have them."""
    paths = [conformance / FILE, *sorted((conformance / FOLDER).glob("*.y*ml"))]
    return [path for path in paths if path.is_file()]
