"""Where this checkout is."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def suite_files(root: Path = ROOT) -> list[Path]:
    """The suites of a checkout that are written in YAML."""
    found = (root / "conformance").glob("*/*.yaml")
    return sorted(path for path in found if path.parent.name != "requirements")
