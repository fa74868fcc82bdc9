"""Files of requirements for tests."""

from __future__ import annotations


def requirements(*ids: str, more: str = "") -> str:
    """A file with a requirement for each id. ``more``: lines of each, such as ``vendor: amd``."""
    return "".join(
        f"- id: {one}\n  statement: What {one} says.\n  cite: {{doc: intel-sdm, title: T, says: S}}\n"
        + (f"  {more}\n" if more else "")
        for one in ids
    )
