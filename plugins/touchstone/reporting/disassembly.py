"""A probe's machine code, disassembled, with an arrow where it ended."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(512)
def disassemble(code: bytes, bits: int = 64) -> tuple[tuple[int, str, str], ...]:
    """(offset, bytes in hex, text) of every instruction, in Intel syntax; data is decoded as well."""
    from iced_x86 import Decoder, Formatter, FormatterSyntax  # noqa: PLC0415

    formatter = Formatter(FormatterSyntax.INTEL)
    formatter.space_after_operand_separator = True
    formatter.hex_prefix, formatter.hex_suffix = "0x", ""
    formatter.branch_leading_zeros = False
    formatter.show_branch_size = False
    lines = []
    for instruction in Decoder(bits, code, ip=0):
        raw = code[instruction.ip : instruction.ip + instruction.len]
        text = formatter.format(instruction) if not instruction.is_invalid else "(bad)"
        lines.append((instruction.ip, raw.hex(), text))
    return tuple(lines)


def listing(code: bytes, arrow: int | None = None, why: str = "", bits: int = 64) -> list[str]:
    """Lines to print. ``arrow`` is the offset that RIP had; ``why`` is written behind it."""
    lines = disassemble(code, bits)
    width = min(max((len(raw) for _, raw, _ in lines), default=0), 30)
    shown = [
        f"{'->' if offset == arrow else '  '} +{offset:#05x}  {raw:<{width}}  {text}"
        + (f"    <- {why}" if offset == arrow and why else "")
        for offset, raw, text in lines
    ]
    if arrow is not None and arrow == len(code):
        shown.append(f"-> +{arrow:#05x}  {'':<{width}}  (its end)" + (f"    <- {why}" if why else ""))
    elif arrow is not None and arrow not in {offset for offset, _, _ in lines}:
        shown.append(f"-> RIP is {arrow:+#x} from the start" + (f": {why}" if why else ""))
    return shown
