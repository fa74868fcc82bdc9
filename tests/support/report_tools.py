"""Allure, of which reports are made: a package of Node.js, and nothing but reports needs it."""

from __future__ import annotations

import shutil

import pytest

from touchstone import cli

INSTALLED = (cli.report_tools() / "node_modules" / "allure").is_dir() and shutil.which("node") is not None
needs_allure = pytest.mark.skipif(
    not INSTALLED, reason="Allure is not installed: npm ci --ignore-scripts --prefix report"
)
