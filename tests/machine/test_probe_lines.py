import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from touchstone.machine.probe import Operand, ProbeRequest
from touchstone.machine.probe_lines import encode_operand, encode_probe, splitmix64


def test_splitmix64_is_vignas() -> None:
    assert splitmix64(0, 3) == (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F)
    assert splitmix64(1234567, 2) == (6457827717110365317, 3203168211198807973)


def test_a_request_says_everything_that_was_asked_for() -> None:
    probe = ProbeRequest(
        code=b"\x0f\x01",
        cpus=(1, 63),
        together=True,
        seed=-1,
        rflags=0x102,
        registers={"rax": Operand(offset=-1), "rcx": Operand(offset=0xC0000080)},
        bits={"cr4": (0x40000, 0x10)},
        debug={"dr7": Operand(offset=0x401), "dr0": Operand("start")},
        memory=((0, b"\x01\x02"), (0x1F, b"\x03")),
        read=(8, 16),
        keep=(0xC0000082, 0x10),
        tables=True,
    )
    assert encode_probe(probe) == [
        ("code", "0f01"),
        ("on", "8000000000000002"),
        ("once", "1"),
        ("seed", "ffffffffffffffff"),
        ("rax", "ffffffffffffffff"),
        ("rcx", "0c0000080"),
        ("rflags", "102"),
        ("cr4", "40000:10"),
        ("dr7", "401"),
        ("dr0", "c0"),
        ("mem", "0:0102"),
        ("mem", "1f:03"),
        ("read", "8:10"),
        ("keep", "c0000082,10"),
        ("tables", "1"),
    ]


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1))
def test_a_number_is_never_taken_for_an_address(number: int) -> None:
    text = encode_operand(Operand(offset=number))
    assert text[0] not in "sct"
    assert int(text, 16) == number


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (ProbeRequest(code=b""), "needs code"),
        (ProbeRequest(code=b"\x90", registers={"eax": Operand()}), "'eax' is not a general-purpose register"),
        (ProbeRequest(code=b"\x90", cpus=(256,)), "CPU 256 is not between 0 and 255"),
    ],
)
def test_what_the_protocol_cannot_say_is_refused_here(probe: ProbeRequest, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_probe(probe)
