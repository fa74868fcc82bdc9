"""What a machine that hangs may have in common with another one that hangs: where its CPUs stand.

Only what cannot be had by chance counts. A CPU in the OS' code waits there for whatever reason, and so does
one in a probe: nothing is said of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile

from touchstone.drivers.emulated.trace import SHOWN, Exit
from touchstone.machine.symbols import Symbols


def standstill(frames: Mapping[int, Sequence[str]], exits: Sequence[Exit], symbols: Symbols) -> str:
    """In what CPUs are stuck, whatever the probe: exits without end, or functions of the subject.

    Empty: they stand elsewhere, or where the subject is in memory is not known.

    ``frames``: of each CPU, innermost first, as ``backtrace`` returns them.
    """
    found = []
    for cpu, its in frames.items():
        if not its:
            continue
        here = _address(its[0])
        inside = symbols.is_subjects(here)
        last = [one for one in exits if one.cpu == cpu][-SHOWN:]
        again = len(last) == SHOWN and len({(one.code, one.rip) for one in last}) == 1
        # It is on its way to the next one, or back from the last one.
        if again and (inside or here == last[0].rip):
            found.append(f"exit {last[0].code:#x} without end")
        elif inside:
            found.append(f"in {_functions(its, symbols)}")
    return "; ".join(sorted(set(found)))


def _functions(frames: Sequence[str], symbols: Symbols) -> str:
    """The subject's functions that a CPU is in, innermost first: a loop is one place in many instructions."""
    # A return address may be the first of the next function: the CALL in front of it counts.
    places = [_address(frames[0]), *(_address(one) - 1 for one in frames[1:])]
    ours = list(takewhile(symbols.is_subjects, places))
    file = symbols.line(ours[0]).partition(":")[0]
    names = [found.name if (found := symbols.function(one)) else f"{one:#x}" for one in ours]
    return ", called by ".join([f"{names[0]} ({file})" if file else names[0], *names[1:]])


def _address(frame: str) -> int:
    return int(frame.split(maxsplit=1)[0], 16)
