from __future__ import annotations

from touchstone.reporting.disassembly import listing

INC_AND_INTO = bytes.fromhex("40ce0f0b")


def test_32_bit_code_is_shown_as_such() -> None:
    assert [line.split(maxsplit=2)[2] for line in listing(INC_AND_INTO, bits=32)] == [
        "inc eax",
        "into",
        "ud2",
    ]
    assert "inc" not in " ".join(listing(INC_AND_INTO))


def test_the_arrow_stands_at_an_instruction_of_32_bit_code() -> None:
    assert listing(INC_AND_INTO, 1, "#OF", 32)[1] == "-> +0x001  ce    into    <- #OF"
