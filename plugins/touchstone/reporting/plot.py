"""Plots as SVG, for pages without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 120, 28
"""Pixels."""
MARGIN = 3
FLAT = 0.1
"""What changes by less than this part of itself over the whole plot does not fill its height."""


def line_plot(values: Sequence[tuple[str, float]]) -> str:
    """A line over values, the oldest first, each with what names it; the newest is a dot.

    The height is the range of the values, but at least a tenth of the greatest: a change of 1 % does not look
    like one of 50 %. A pointer at the plot shows the ends and where it changed most.
    """
    numbers = [value for _, value in values]
    low, high = min(numbers), max(numbers)
    span = max(high - low, abs(high) * FLAT, 1e-9)
    bottom = low - (span - (high - low)) / 2
    step = (WIDTH - 2 * MARGIN) / max(len(numbers) - 1, 1)

    def point(index: int) -> tuple[float, float]:
        up = (numbers[index] - bottom) / span
        return round(MARGIN + index * step, 1), round(HEIGHT - MARGIN - up * (HEIGHT - 2 * MARGIN), 1)

    path = " ".join(
        f"{'L' if index else 'M'}{point(index)[0]:g} {point(index)[1]:g}" for index in range(len(numbers))
    )
    x, y = point(len(numbers) - 1)
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        f"<title>{escape(_told(values))}</title>"
        f'<path d="{path}"/><circle cx="{x:g}" cy="{y:g}" r="2.5"/></svg>'
    )


def _told(values: Sequence[tuple[str, float]]) -> str:
    """The first value, and each that differs from the one before."""
    told = [values[0], *(now for was, now in pairwise(values) if was[1] != now[1])]
    return "\n".join(f"{name}: {value:g}" for name, value in told)
