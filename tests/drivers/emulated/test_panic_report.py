"""The report of the tiny OS' panic, as targets/bare/panic.c writes it."""

from __future__ import annotations

from touchstone.drivers.emulated.panic_report import Panic, last_panic

EXCEPTION = """\
=1 070ef84c 2 ok cpu=3 of=4 end=done rip=f001804c rflags=46 rcx=6a0 #c17c
!1 panic cpu=2 vec=0e rip=10f592 in=subject #4ff6
panic: vector 14 rip 000000000010f592 error 10 cpu 2 cs 8 rflags 46
panic: cr2 0000000000000000 cr3 114000 cr4 40620
panic: rsp 00000000002c7d20 rbp 00000000002c7d80 rsi 00000000002c0030 rdi 0000000000597fd0
"""


def test_an_exception_has_its_place_and_its_stack() -> None:
    registers = {"rip": 0x10F592, "rsp": 0x2C7D20, "rbp": 0x2C7D80}
    assert last_panic(EXCEPTION) == Panic(2, "0e", registers, in_subject=True)
    elsewhere = EXCEPTION.replace(" in=subject", "")
    assert last_panic(elsewhere) == Panic(2, "0e", registers, in_subject=False)


def test_a_report_that_breaks_off_has_what_has_come() -> None:
    assert last_panic(EXCEPTION.partition("panic: rsp")[0]) == Panic(2, "0e", {"rip": 0x10F592}, True)


def test_a_panic_by_words_has_no_place() -> None:
    assert last_panic("unexpected exit\n!1 panic cpu=0 text=see the line before #abb5\n") == Panic(0)
    assert last_panic(EXCEPTION + "!1 panic cpu=1 text=a b #0000\n") == Panic(1), "the last one counts"


def test_the_stack_is_that_of_the_panic_which_counts() -> None:
    """One CPU after the other may panic."""
    again = EXCEPTION.replace("cpu=2", "cpu=1").replace("00000000002c7d", "00000000001b5e")
    registers = {"rip": 0x10F592, "rsp": 0x1B5E20, "rbp": 0x1B5E80}
    assert last_panic(EXCEPTION + again) == Panic(1, "0e", registers, in_subject=True)


def test_what_only_looks_like_one_is_none() -> None:
    assert last_panic("") is None
    assert last_panic("someone said: !1 panic cpu=0 text=x #abb5\n") is None
    assert last_panic("!1 panic cpu=0 vec=0e rip=1 without its checksum\n") is None
