"""Modes and places: ``mode`` and ``bits`` of a check, ``at``, ``cs-base`` and ``pages`` of its ``given``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from yaml.nodes import MappingNode, Node, ScalarNode

from touchstone.machine.probe import CODE_SIZE, GPRS, LEGACY_GPRS, CodeBits, Mode, Operand
from touchstone.suite import more_registers
from touchstone.suite.handle import FIRST_INTERRUPT, NMI
from touchstone.suite.model import Case, Given, GivenPage, LabelAddress, Requirement, Source, Value
from touchstone.suite.operands import operand
from touchstone.suite.positions import Document
from touchstone.suite.problems import did_you_mean_or_all

MODES: tuple[Mode, ...] = get_args(Mode)
MODE_OF: Mapping[str, Mode] = {word: word for word in MODES}
BITS_OF: Mapping[Mode, tuple[CodeBits, ...]] = {
    "long": (64, 32, 16),
    "pae-paging": (32, 16),
    "32-bit-paging": (32, 16),
    "no-paging": (32, 16),
    "real": (16,),
    "virtual-8086": (16,),
}
"""The kinds of code that each mode has; the first is the one of a check that does not say."""
PAGES = 8
"""Pages that one request can change (``targets/agent/PROTOCOL.md``)."""
PAGE_WORDS: Mapping[str, tuple[int, int]] = {
    "absent": (0, 1),
    "writable": (2, 0),
    "read-only": (0, 2),
    "user": (4, 0),
    "supervisor": (0, 4),
    "no-execute": (1 << 63, 0),
    "reserved-bit": (1 << 51, 0),
    "wb": (0, 0x98),
    "wt": (0x08, 0x90),
    "uc-minus": (0x10, 0x88),
    "uc": (0x18, 0x80),
    "pat-4": (0x80, 0x18),
    "pat-5": (0x88, 0x10),
    "pat-6": (0x90, 0x08),
    "pat-7": (0x98, 0),
}
"""Word to the bits of a page's entry that it sets and clears (SDM 3A 4.5, 11.12.3; APM2 5.4, 7.8)."""
_BARE = "os == bare"
_LEAVES_LONG_MODE = "subject == none or vendor == amd or msr.0x48b[39]"
"""A guest of VMX can leave long mode only if it is unrestricted: bit 7 of the secondary controls may be 1."""
_LINEAR_MAX = 2**64
"""An address that may be the one behind the body."""


def at(doc: Document, node: Node) -> dict[str, object]:
    """The fields of ``Given`` that ``at`` sets: an offset, ``page-end``, or ``{LABEL: linear address}``."""
    if isinstance(node, ScalarNode) and node.value == "page-end":
        return {"at_page_end": True}
    if not isinstance(node, MappingNode):
        what = "at (an offset in the code area, page-end, or {LABEL: linear address})"
        return {"at": doc.number(node, what, 0, CODE_SIZE - 2) or 0}
    found = []
    for name, key, value in doc.entries(node, "at"):
        place = operand(name)
        if not isinstance(place, LabelAddress) and not (place is not None and place.base == "start"):
            doc.wrong(key, f"at names a place in the body: start, end or a label, not '{name}'")
            continue
        address = doc.number(value, f"at.{name} (a linear address)", 0, _LINEAR_MAX)
        if address is not None:
            found.append((place, address))
    if len(found) > 1:
        doc.wrong(node, "at puts one place of the body at a linear address; keep one of them")
    return {"linear": found[0]} if found else {}


def base(doc: Document, node: Node) -> int | None:
    """``cs-base``: the base of the code segment."""
    return doc.number(node, "cs-base", 0, 2**32 - 1)


def pages(doc: Document, node: Node) -> tuple[GivenPage, ...]:
    """``pages``: ``{scratch+0x1000: absent, 0x5000: [read-only, uc], 0x7fff0000: {same-as: scratch}}``."""
    found = []
    for name, key, value in doc.entries(node, "pages"):
        address = operand(name)
        if address is None:
            doc.wrong(key, f"a page is named by an address in it: scratch+0x1000, end, 0x5000, not '{name}'")
            continue
        alias, words = None, value
        if isinstance(value, MappingNode):
            keys = doc.take(value, "a page", ("same-as", "is"))
            if "same-as" in keys:
                text = doc.scalar(keys["same-as"][1], "same-as")
                alias = operand(text) if text is not None else None
                if alias is None and text is not None:
                    doc.wrong(keys["same-as"][1], f"same-as is an address, as scratch+0x1000, not '{text}'")
            elif "is" not in keys:
                doc.wrong(value, "a page is words (absent, read-only, ...), or {same-as: ADDRESS, is: words}")
                continue
            words = keys["is"][1] if "is" in keys else MappingNode(node.tag, [])
        to_set, to_clear = _words(doc, words)
        found.append(GivenPage(address, to_set, to_clear, alias))
    if len(found) > PAGES:
        doc.wrong(node, f"{len(found)} pages; a probe can be given {PAGES}")
    return tuple(found)


def _words(doc: Document, node: Node) -> tuple[int, int]:
    to_set = to_clear = 0
    if isinstance(node, MappingNode):
        return 0, 0
    for item in doc.items(node, "a page"):
        word = doc.scalar(item, "a page")
        if word is None:
            continue
        if word not in PAGE_WORDS:
            hint = (
                "; no entry of the PAT is WC after reset: set one with msrs: {ia32-pat: ...}, and write pat-4"
                " to pat-7"
                if word == "wc"
                else did_you_mean_or_all(word, PAGE_WORDS)
            )
            doc.wrong(item, f"a page cannot be '{word}'{hint}")
            continue
        ones, zeros = PAGE_WORDS[word]
        if ones & to_clear or zeros & to_set:
            doc.wrong(item, f"'{word}' contradicts another word of this page")
        to_set |= ones
        to_clear |= zeros
    return to_set, to_clear


def needs(mode: Mode, bits: CodeBits, given: Given, source: Source) -> tuple[Requirement, ...]:
    """What a case needs of its target because of its mode and place."""
    texts = []
    if mode != "long" or bits == 16 or given.linear or given.base is not None or given.pages:
        texts.append(_BARE)
    if mode != "long":
        texts.append(_LEAVES_LONG_MODE)
    return tuple([Requirement(text, source) for text in texts])


def check(doc: Document, case: Case, source: Source) -> None:
    """Problems with a case whose mode, kind of code, privilege and place do not go together."""
    mode, bits, given = case.mode, case.body.code_bits, case.given

    def wrong(text: str) -> None:
        doc.problems.add(source, text)

    if bits not in BITS_OF[mode]:
        kinds = " or ".join(map(str, BITS_OF[mode]))
        wrong(f"bits: {bits} does not exist in mode: {mode}, which has code of {kinds} bits")
    if given.base is not None and bits == 64:
        wrong("cs-base says nothing for 64-bit code, whose segment has no base")
    if given.linear and bits != 64 and given.linear[1] > 2**32:
        wrong(f"at: {given.linear[1]:#x} is no address of {bits}-bit code, which ends at 4 GiB")
    if mode == "long":
        return
    user = case.cpl == 3 or mode == "virtual-8086"
    if case.cpl and mode == "real":
        wrong(f"cpl: {case.cpl}: mode: real has no privilege levels")
    if case.cpl and mode == "virtual-8086":
        wrong(f"cpl: {case.cpl}: mode: virtual-8086 is always at CPL 3; leave cpl out")
    if user and given.handlers:
        wrong(f"handle: at CPL 3 a body in mode: {mode} has no handlers")
    if any(
        vector == NMI or vector >= FIRST_INTERRUPT or isinstance(to, str)
        for vector, to in given.handlers.items()
    ):
        wrong(f"handle: in mode: {mode} handlers are code of the body, for exceptions")
    if mode in ("no-paging", "real") and (given.linear or given.pages):
        wrong(f"{'pages' if given.pages else 'at'}: mode: {mode} has no paging")
    if mode in ("real", "virtual-8086") and given.base is not None:
        wrong(f"cs-base: in mode: {mode} the base of all segments is that of the slot")
    if mode == "virtual-8086" and given.linear:
        wrong("at: in mode: virtual-8086 the code is in the slot, below 1 MiB")
    if mode in ("32-bit-paging", "virtual-8086") and any(page.set >> 32 for page in given.pages):
        wrong("an entry of 32-bit paging has neither no-execute nor a reserved bit 51")
    for name, value in given.registers.items():
        if name not in LEGACY_GPRS:
            wrong(f"{name}: mode: {mode} has no registers but EAX to EDI")
        elif isinstance(value, Operand) and value.base == "number" and value.offset >> 32:
            wrong(f"{name}: {value.offset:#x} does not fit into the 32 bits of a register in mode: {mode}")
    for item in case.expect.fields:
        if more_registers.of_tables([item]) and item.source:
            doc.problems.add(item.source, f"{item.what} is measured in mode: long only, not in mode: {mode}")
        if item.register in GPRS and item.register not in LEGACY_GPRS and item.source:
            doc.problems.add(item.source, f"{item.what}: mode: {mode} has no registers but EAX to EDI")
    stack = given.registers.get("rsp")
    if stack is not None and not user and not (isinstance(stack, Operand) and stack.base == "stack"):
        wrong(f"rsp: in mode: {mode} exceptions use the body's stack: stack, stack-N")


def mode(doc: Document, node: Node, hint: str = "") -> str | None:
    """The value of a key ``mode``; None after a problem, which ``hint`` ends."""
    text = doc.scalar(node, "mode")
    if text is None or text in MODE_OF:
        return text
    doc.wrong(node, f"mode must be {', '.join(MODES[:-1])} or {MODES[-1]}, not '{text}'{hint}")
    return None


def code_bits(chosen: Mode, said: str | None) -> CodeBits:
    """The kind of code of a case: what it says, else the widest one of its mode."""
    return next((one for one in (64, 32, 16) if str(one) == said), BITS_OF[chosen][0])


def values(given: Given) -> list[tuple[str, Value]]:
    """Every address that ``at`` and ``pages`` name, with its key."""
    found: list[tuple[str, Value]] = [("at", given.linear[0])] if given.linear else []
    for page in given.pages:
        found.append(("pages", page.address))
        if page.alias is not None:
            found.append(("pages", page.alias))
    return found
