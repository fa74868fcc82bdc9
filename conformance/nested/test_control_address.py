"""The address from which control hypercalls are expected: all 64 bits of it count, and so does CPL."""

import pytest

from touchstone.machine.probe import Operand, Page, Place, ProbeRequest

UD = 6
NUMBERS = (0x56656E01, 0x56656E03, 0x56656E04)
"""Veneer's hypercalls that change nothing: prove, counters, trace."""
CALLS = {"amd": bytes.fromhex("0f01d9"), "intel": bytes.fromhex("0f01c1")}
USER = 1 << 2


def control_address(target):
    """Where the subject expects control hypercalls, which ``query`` of Veneer says."""
    said = target.query().get("control")
    if said is None:
        pytest.skip("the subject does not say where it expects control hypercalls")
    return int(said, 16)


def refused(target, number, request):
    (result,) = target.run(request, label=f"hypercall {number:#x}")
    assert result.vector == UD, (
        f"hypercall {number:#x} at RIP {result.rip:#x} ended with vector {result.vector}"
    )
    return result


@pytest.mark.touchstone(
    id="nested.hypercall.equal-low-half",
    title="A hypercall from an address that equals the expected one in its low half raises #UD",
    area="nested",
    level="must",
    requires="os == bare and subject.control-closed",
    proves=["control-closed"],
    cite={
        "doc": "touchstone-design",
        "title": "Veneer",
        "says": "Control is a hypercall that only CPL 0 may use, from where it is expected; anybody "
        "else gets #UD",
    },
)
@pytest.mark.parametrize("upper", [1 << 32, 1 << 46, 0xFFFF_8000 << 32])
def test_equal_low_half(target, upper):
    linear = upper | control_address(target)
    for number in NUMBERS:
        result = refused(
            target,
            number,
            ProbeRequest(
                code=CALLS[target.vendor],
                at=linear & 0xFFF,
                place=Place(linear=linear),
                registers={"rax": Operand(offset=number)},
            ),
        )
        assert result.rip == linear


@pytest.mark.touchstone(
    id="nested.hypercall.expected-address-ring-3",
    title="A hypercall from the expected address raises #UD at CPL 3",
    area="nested",
    level="must",
    requires="os == bare and subject.control-closed",
    proves=["control-closed"],
    cite={
        "doc": "touchstone-design",
        "title": "Veneer",
        "says": "Control is a hypercall that only CPL 0 may use, from where it is expected; anybody "
        "else gets #UD",
    },
)
def test_expected_address_at_cpl_3(target):
    address = control_address(target)
    for number in NUMBERS:
        result = refused(
            target,
            number,
            ProbeRequest(
                code=bytes.fromhex("ffe7"),  # jmp rdi
                cpl=3,
                place=Place(pages=(Page(Operand(offset=address), set=USER),)),
                registers={"rax": Operand(offset=number), "rdi": Operand(offset=address)},
            ),
        )
        assert result.rip == address
