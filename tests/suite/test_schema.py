from __future__ import annotations

from pathlib import Path

from touchstone.suite.schema import text

FILE = Path(__file__).parents[2] / "conformance" / "suite.schema.json"


def test_the_schema_in_conformance_is_current() -> None:
    wanted = text()
    assert FILE.read_text(encoding="utf-8") == wanted, (
        "renew it: python -m touchstone.suite.schema > conformance/suite.schema.json"
    )
