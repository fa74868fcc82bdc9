from collections.abc import Callable

import pytest

from touchstone.drivers.emulated.backtrace import backtrace, parse_registers
from touchstone.machine.symbols import Symbols


class Code(Symbols):
    """Symbols of an imaginary image: 4 KiB of code at 0x100000 with a CALL every 16 bytes."""

    begin, end = 0x100000, 0x101000

    def __init__(self) -> None:
        """It has no file."""

    def is_code(self, address: int) -> bool:
        return self.begin <= address < self.end

    def code(self, address: int, length: int) -> bytes:
        text = (b"\xe8\0\0\0\0" + b"\x90" * 11) * 256
        return text[address - self.begin :][:length] if self.is_code(address) else b""

    def describe(self, address: int, *, returns: bool = False) -> str:
        return (
            f"f{(address - self.begin) // 256}" + (" after a call" if returns else "")
            if self.is_code(address)
            else ""
        )


def memory_of(words: list[int], base: int = 0x8000) -> Callable[[int, int], bytes]:
    data = b"".join(word.to_bytes(8, "little") for word in words)

    def read(address: int, length: int) -> bytes:
        if not base <= address <= address + length <= base + len(data):
            raise OSError(address)
        return data[address - base :][:length]

    return read


def test_frame_pointers_are_followed_as_long_as_they_are_valid() -> None:
    # [saved rbp, return address] at 0x8010 and at 0x8030; the outermost frame's rbp is 0.
    words = [1, 2, 0x8030, 0x100115, 5, 6, 0, 0x100225, *([0x100335] * 40)]
    registers = {"rip": 0x100403, "rsp": 0x8000, "rbp": 0x8010}
    assert backtrace(registers, memory_of(words), Code()) == (
        "0x100403 f4",
        "0x100115 f1 after a call",
        "0x100225 f2 after a call",
    )


@pytest.mark.parametrize("rbp", [0, 0x8011, 0x7000, 0xFFFFFFFFFFFFFFF8, 0x8008])
def test_without_frame_pointers_the_stack_is_searched_and_the_frames_are_marked(rbp: int) -> None:
    words = [1, 0x100115, 0x100116, 0x100003, 7, 0x100225, *([0] * 512)]
    registers = {"rip": 0x100403, "rsp": 0x8000, "rbp": rbp}
    assert backtrace(registers, memory_of(words), Code()) == (
        "0x100403 f4",
        "0x100115 ? f1 after a call",
        "0x100225 ? f2 after a call",
    )


def test_a_loop_of_frames_ends() -> None:
    registers = {"rip": 0x100403, "rsp": 0x8000, "rbp": 0x8000}
    assert len(backtrace(registers, memory_of([0x8000, 0x100115]), Code())) == 2


def test_frames_go_on_once_on_another_stack() -> None:
    """A panic has a stack of its own; what its frames lead to is the caller's."""
    # On the panic's stack at 0x8010, on the caller's, below it, at 0x8000 - 0x100000.
    panic, caller = [1, 2, 0x4010, 0x100115], [3, 4, 0x4020, 0x100225, 0x9_0000, 0x100335, *([0] * 600)]
    memory, below = memory_of(panic), memory_of(caller, base=0x4000)

    def read(address: int, length: int) -> bytes:
        return memory(address, length) if address >= 0x8000 else below(address, length)

    registers = {"rip": 0x100403, "rsp": 0x8000, "rbp": 0x8010}
    assert backtrace(registers, read, Code()) == (
        "0x100403 f4",
        "0x100115 f1 after a call",
        "0x100225 f2 after a call",
        "0x100335 f3 after a call",
    )


def test_an_unreadable_stack_leaves_the_innermost_frame() -> None:
    registers = {"rip": 0xF0000000, "rsp": 0x5000, "rbp": 0x5000}
    assert backtrace(registers, memory_of([]), Code()) == ("0xf0000000 (not in the image)",)
    assert backtrace({"rip": 0x100403}, memory_of([]), Code()) == ("0x100403 f4",)
    assert backtrace({}, memory_of([]), Code()) == ()


@pytest.mark.parametrize(
    "text",
    [
        "RAX=000000000000000d RBX=0000000000000000\nR8 =0000000000000008 RIP=00000000f0000005 RFL=00000002",
        "CPU0:\nrax: 00000000_0000000d\nr8 : 00000000_00000008\nrip: 00000000_f0000005\neflags 0x00000046",
        "RAX=000000000000000d\n R8=0000000000000008\nRIP=00000000f0000005 (00000000f0000005)",
    ],
    ids=["QEMU", "Bochs' debugger", "Bochs' log"],
)
def test_registers_of_every_monitor_are_understood(text: str) -> None:
    registers = parse_registers(text)
    assert (registers["rax"], registers["r8"], registers["rip"]) == (13, 8, 0xF0000005)
