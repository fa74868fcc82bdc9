"""Work on this very machine: it goes on, and each kind notices what it is there to notice."""

import os
import re
import select
import signal
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WORK = HERE.parents[1] / "targets" / "agent" / "linux" / "work"
WRAPPED = (
    "clock_gettime",
    "clock_nanosleep",
    "read",
    "sigqueue",
    "madvise",
    "waitpid",
    "getcpu",
    "ptrace",
    "syscall",
)
KINDS = ("processes", "faults", "timers", "ptrace", "signals", "vdso", "fpu")
LIES: dict[tuple[str, str], str | tuple[str, ...]] = {
    ("processes", "message-damaged"): "the child's answer to 0x",
    ("processes", "status-wrong"): "the child ended with status 0x600, not 0x700",
    ("faults", "page-kept"): "after MADV_DONTNEED, page 0 has 0xc3",
    ("timers", "timer-lost"): "intervals are over",
    ("timers", "timer-early"): "but only",
    ("timers", "sleep-short"): "a sleep of 300000 ns took",
    ("perf", "software-lost"): "NMIs were lost",
    ("ptrace", "step-lost"): "a single step came to",
    ("ptrace", "breakpoint-lost"): "going on to the breakpoint came to",
    ("signals", "signal-lost"): "of 16 queued signals 15 were delivered",
    ("signals", "signal-doubled"): "of 16 queued signals 17 were delivered",
    ("signals", "signal-changed"): "came with the value",
    ("vdso", "clock-behind"): "by the vDSO is",
    ("vdso", "clock-ahead"): "by the vDSO is",
    ("vdso", "cpu-wrong"): "getcpu() says",
    ("fpu", "xmm"): "M11 has changed while it was kept",
    ("fpu", "ymm"): "M3 has changed while it was kept",
    # It comes at any time: while the registers are kept, or while sums are made of them.
    ("fpu", "x87"): ("ST5 has changed while it was kept", "a sum of long doubles is"),
    ("fpu", "mxcsr"): ("MXCSR was", "a sum of doubles is"),
    ("fpu", "control"): ("the x87's control word was", "a sum of long doubles is"),
}


@pytest.fixture(scope="module")
def liar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("work") / "work_liar"
    command = ["gcc", "-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-static", f"-I{WORK}"]
    command += [f"-Wl,--wrap={name}" for name in WRAPPED]
    sources = [HERE / "work_liar.c", *sorted(WORK.glob("*.c")), *sorted(WORK.glob("*.S"))]
    built = subprocess.run([*command, "-o", program, *sources], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return program


def say(liar: Path, kind: str, lie: str) -> str:
    ran = subprocess.run([liar, kind, lie], capture_output=True, text=True, check=False, timeout=600)
    return ran.stdout + ran.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_honest_work_goes_on(liar: Path, kind: str) -> None:
    if "ptrace: Operation not permitted" in (said := say(liar, kind, "none")):
        pytest.skip("this machine lets nobody be debugged")
    found = re.fullmatch(rf" {kind}=(\d+):0\n", said)
    assert found, said
    assert int(found[1]) >= 8


@pytest.mark.parametrize(("kind", "lie"), LIES)
def test_a_lie_is_noticed(liar: Path, kind: str, lie: str) -> None:
    if lie == "ymm" and " avx " not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this machine has no YMM registers")
    said = say(liar, kind, lie)
    if kind == "perf" and said.startswith("-95 "):
        pytest.skip(f"this machine counts nothing: {said}")
    assert re.match(rf" {kind}=\d+:[1-9]\d* text={kind} on CPU \d+, round \d+: ", said), said
    words = LIES[kind, lie]
    assert any(word in said for word in ((words,) if isinstance(words, str) else words)), said


def test_perf_goes_on_or_says_why_not(liar: Path) -> None:
    said = say(liar, "perf", "none")
    assert re.fullmatch(r" perf=\d+:0\n|-95 perf: no hardware counter of cycles: perf_event_open: .+\n", said)


@pytest.mark.parametrize(
    ("kinds", "answer"),
    [
        ("fpu,fpu", "-22 kinds: fpu given twice"),
        ("fpu,", "-22 kinds: all, processes, faults, timers, perf, ptrace, signals, vdso, fpu; not ''"),
        ("gpu", "-22 kinds: all, processes, faults, timers, perf, ptrace, signals, vdso, fpu; not 'gpu'"),
    ],
)
def test_what_is_no_kind_is_refused(liar: Path, kinds: str, answer: str) -> None:
    assert say(liar, kinds, "none") == f"{answer}\n"


def test_no_worker_outlives_who_started_it(liar: Path) -> None:
    """Also when that is killed in the midst of it."""
    starter = subprocess.Popen([liar, "processes,fpu", "endless"], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    with starter.stdout as said:
        assert said.readline() == "working\n"
        children = Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text().split()
        assert len(children) == 2 * len(os.sched_getaffinity(0))
        waiting = [os.pidfd_open(int(child)) for child in children]
        starter.send_signal(signal.SIGKILL)
        starter.wait()
        # Nobody else has the pipe: the workers let go of it.
        assert said.read() == ""
    for fd in waiting:
        with os.fdopen(fd, "rb"):
            assert select.select([fd], [], [], 60)[0], "a worker lives on"
