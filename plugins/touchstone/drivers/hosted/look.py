"""What a guest's CPUs do, seen from the Linux under it, where each of them is a thread."""

from __future__ import annotations

from touchstone.machine.patience import Look, Thread

NANO = 1e-9
# Documentation/scheduler/sched-stats.rst, "/proc/<pid>/schedstat"; proc(5), "/proc/pid/stat". The shell reads
# them itself: on an emulated box, each program that it starts takes a tenth of a second.
_THREADS = """
read -r up rest </proc/uptime && echo "$up" &&
for process in $(
{processes}
); do
    for task in /proc/$process/task/*; do
        {{ read -r ran <$task/schedstat && read -r stat <$task/stat; }} 2>/dev/null && echo "$ran $stat"
    done
done; :
"""


def look_at(processes: str) -> str:
    """A shell script. ``processes``: prints the numbers of those that a guest consists of."""
    return _THREADS.format(processes=processes)


def read_look(said: str, took: float) -> Look | None:
    """What the script has printed, within ``took`` seconds; None for what does not say it."""
    first, *lines = said.splitlines() or [""]
    threads = {}
    try:
        clock = float(first)
        for line in lines:
            # SECONDS WAITED TURNS TID (NAME) STATE ...; a name may have spaces and parentheses.
            ran, _, turns, tid, _ = line.split(" ", 4)
            state = line.rpartition(") ")[2][:1]
            threads[tid] = Thread(int(ran) * NANO, int(turns), waits=state != "R")
    except ValueError:
        return None
    if not any(one.turns for one in threads.values()):
        return None  # a kernel that does not keep account of it says zeros
    return Look(clock, threads, took)
