"""What came of comparing: rows of a table, the differences among them, and both for all CPUs of a case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from touchstone.suite.model import Source

Cells = tuple[str, str, str]
"""``given``, ``expected`` and ``measured``, as texts."""


class Demand(Enum):
    """What a row of the table demands."""

    NOTHING = "nothing"
    VALUE = "value"
    """A value, one of several, or none of several."""
    UNCHANGED = "unchanged"
    """The value at the start."""
    NATIVE = "native"
    """The value that the same probe gave on the bare machine."""
    EXITS = "exits"
    """How far an exit counter of the subject rose."""


class Row:
    """One line of the table that a report shows.

    Its texts may be made when somebody reads them: nobody reads those of most registers of most checks.
    """

    __slots__ = ("_cells", "demand", "name", "ok", "source")

    def __init__(
        self,
        name: str,
        cells: Cells | Callable[[], Cells],
        ok: bool | None,
        source: Source | None = None,
        demand: Demand = Demand.VALUE,
    ) -> None:
        """``cells`` are ``given``, ``expected`` and ``measured`` as texts, or a function that makes them."""
        self.name = name
        self._cells = cells
        self.ok = ok
        """None: nothing was demanded."""
        self.source = source
        """Where the suite demands it."""
        self.demand = demand if ok is not None else Demand.NOTHING

    @property
    def cells(self) -> Cells:
        """``given``, ``expected`` and ``measured``."""
        if callable(self._cells):
            self._cells = self._cells()
        return self._cells

    @property
    def given(self) -> str:
        """The value at the start."""
        return self.cells[0]

    @property
    def expected(self) -> str:
        """Empty: nothing was demanded."""
        return self.cells[1]

    @property
    def measured(self) -> str:
        """The value at the end."""
        return self.cells[2]

    @property
    def stays(self) -> bool:
        """Whether it demands no more than that something stays as it was, or is as on the bare machine."""
        return self.demand in (Demand.UNCHANGED, Demand.NATIVE)


@dataclass(frozen=True)
class Table:
    """All that was measured on one CPU, and what was demanded of it."""

    cpu: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Difference:
    """One demand that is not met."""

    cpu: int
    what: str
    expected: str
    measured: str
    source: Source | None
    demand: Demand = Demand.VALUE

    def __str__(self) -> str:
        return f"CPU {self.cpu}: {self.what}: expected {self.expected}, measured {self.measured}"


class Judgement:
    """What came of one case."""

    def __init__(self, differences: tuple[Difference, ...], tables: Callable[[], tuple[Table, ...]]) -> None:
        """``tables`` are made when somebody reads them: nobody reads those of most checks."""
        self.differences = differences
        self._make_tables = tables

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """One per CPU, in the order of the results."""
        return self._make_tables()

    @property
    def ok(self) -> bool:
        """Whether everything that was demanded holds."""
        return not self.differences
