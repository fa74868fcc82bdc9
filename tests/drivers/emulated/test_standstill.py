"""What hangs have in common: only what the subject does, and never where a machine waits that hangs."""

from __future__ import annotations

import pytest

from touchstone.drivers.emulated.standstill import standstill
from touchstone.drivers.emulated.trace import SHOWN, Exit
from touchstone.machine.moved_symbols import SeveralSymbols
from touchstone.machine.symbols import Symbol, Symbols

PROBE = 0xF0000000
FUNCTIONS = {0x1000: "cpu_sleep", 0x2000: "exited", 0x2100: "handle_invd", 0x2200: "wait", 0x3000: "os_main"}
SLEEPS = ("0x1006 cpu_sleep+0x6 (bare/cpu.c:49)", "0x3005 os_main+0x5")


class Image(Symbols):
    """The subject's code is from 2000h to 3000h, with a function of 100h bytes every 100h bytes."""

    linked = True

    def __init__(self) -> None:
        """It has no file."""
        self.path = None

    def find(self, name: str) -> Symbol | None:
        address = {"subject_text_start": 0x2000, "subject_text_end": 0x3000}.get(name)
        return Symbol(name, address, 0) if self.linked and address is not None else None

    def function(self, address: int) -> Symbol | None:
        begin = address // 0x100 * 0x100
        return Symbol(FUNCTIONS[begin], begin, 0x100) if begin in FUNCTIONS else None

    def line(self, address: int) -> str:
        return f"core/{FUNCTIONS[address // 0x100 * 0x100]}.c:{address & 0xFF}"


class Elsewhere(Image):
    """An image without a subject."""

    linked = False


class Program(Image):
    """The subject, where a firmware has put it."""

    linked = False

    def is_code(self, address: int) -> bool:
        return 0x2000 <= address < 0x3000

    def is_subjects(self, address: int) -> bool:
        return self.is_code(address)


def exits(*rips: int, cpu: int = 0, code: int = 0x37) -> list[Exit]:
    return [Exit(cpu, number, code, rip, 0, 0, f"{rip:#x}") for number, rip in enumerate(rips, start=1)]


def test_a_loop_is_one_place_whatever_instruction_it_was_stopped_at() -> None:
    stopped = {f"{at:#x} handle_invd+0x{at & 0xFF:x} (core/system.c:{at})" for at in (0x2100, 0x2102, 0x21FF)}
    found = {standstill({0: (one, "0x2052 ? exited+0x52"), 1: SLEEPS}, [], Image()) for one in stopped}
    assert found == {"in handle_invd (core/handle_invd.c), called by exited"}


def test_another_caller_is_another_place() -> None:
    """Many handlers wait with one function."""
    waits = "0x2210 wait+0x10"
    one = standstill({0: (waits, "0x2052 exited+0x52")}, [], Image())
    assert one == "in wait (core/wait.c), called by exited"
    assert standstill({0: (waits, "0x2110 handle_invd+0x10", "0x2052 ?")}, [], Image()) != one


def test_a_caller_whose_call_is_its_last_instruction_is_not_the_function_behind_it() -> None:
    assert standstill({0: ("0x2210 wait", "0x2100 exited+0x100")}, [], Image()).endswith("called by exited")


def test_the_os_around_the_subject_is_no_part_of_the_place() -> None:
    frames = ("0x2210 wait+0x10", "0x3050 os_main+0x50", "0x2052 exited+0x52")
    assert standstill({0: frames}, [], Image()) == "in wait (core/wait.c)"


@pytest.mark.parametrize("inside", [True, False], ids=["in the subject", "in the guest"])
def test_an_exit_that_comes_again_and_again_is_told_by_its_code(inside: bool) -> None:
    """The CPU is anywhere between the exit and the entry, so that its place is another one each time."""
    frames = ("0x2052 exited+0x52",) if inside else (f"{PROBE:#x} (not in the image)",)
    assert standstill({0: frames}, exits(*[PROBE] * 9), Image()) == "exit 0x37 without end"


@pytest.mark.parametrize(
    "last",
    [
        exits(*[PROBE] * (SHOWN - 1)),
        exits(*[PROBE] * SHOWN, PROBE + 3),
        exits(*[PROBE] * SHOWN, cpu=1),
        [*exits(*[PROBE] * 7), *exits(PROBE, code=0xA)],
    ],
    ids=["too few", "at another place", "of another CPU", "of another kind"],
)
def test_exits_that_do_not_repeat_say_nothing(last: list[Exit]) -> None:
    assert standstill({0: (f"{PROBE:#x} (not in the image)",)}, last, Image()) == ""
    assert standstill({0: ("0x2052 exited",)}, last, Image()) == "in exited (core/exited.c)"


def test_what_was_repeated_before_is_not_why_a_cpu_waits_in_the_os() -> None:
    assert standstill({0: SLEEPS}, exits(*[PROBE] * SHOWN), Image()) == ""


def test_a_probe_that_loops_or_an_os_that_waits_has_nothing_in_common_with_others() -> None:
    assert standstill({0: (f"{PROBE:#x} (not in the image)",), 1: SLEEPS, 2: ()}, [], Image()) == ""


def test_without_a_subject_in_the_image_nothing_is_known() -> None:
    assert standstill({0: ("0x2052 exited+0x52",)}, [], Elsewhere()) == ""


def test_a_program_that_is_found_in_memory_is_the_subject() -> None:
    """As a UEFI firmware loads it, beside an image that has none."""
    frames = ("0x2110 handle_invd+0x10", "0x2052 exited+0x52", "0x3050 os_main+0x50")
    symbols = SeveralSymbols([Elsewhere(), Program()])
    assert standstill({0: frames}, [], symbols) == "in handle_invd (core/handle_invd.c), called by exited"
    assert standstill({0: SLEEPS}, [], symbols) == ""


def test_places_of_several_cpus_are_told_in_one_order() -> None:
    waits, exited = ("0x2210 wait+0x10",), ("0x2052 exited+0x52",)
    expected = "in exited (core/exited.c); in wait (core/wait.c)"
    assert standstill({0: waits, 1: exited, 2: waits}, [], Image()) == expected
    assert standstill({0: exited, 1: waits}, [], Image()) == expected
