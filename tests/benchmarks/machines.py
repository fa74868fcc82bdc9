"""The targets of the inventory, for benchmarks."""

from __future__ import annotations

from pathlib import Path

from touchstone.config.inventory import read_inventory
from touchstone.machine.settings import TargetSettings

ROOT = Path(__file__).resolve().parents[2]


def settings_of(name: str) -> TargetSettings:
    """What targets/inventory.toml says about a target."""
    (target,) = read_inventory(ROOT / "targets" / "inventory.toml").select([name])
    return target.settings
