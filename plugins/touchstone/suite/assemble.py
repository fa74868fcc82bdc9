"""Assembles all bodies of a session in one run of GNU as: bytes, labels, and errors at the suite's lines."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from touchstone.suite import raising
from touchstone.suite.body import check, is_plain, labels, rename, statements
from touchstone.suite.code import Code, Text
from touchstone.suite.constants import CONSTANTS
from touchstone.suite.kept_codes import KeptCodes
from touchstone.suite.model import Body
from touchstone.suite.problems import Problem, did_you_mean
from touchstone.suite.registers import SUB_REGISTERS

LARGEST = 1024
"""Bytes of a body that the agent takes (``targets/agent/PROTOCOL.md``)."""
SECONDS = 120
"""The assembler needs a fraction of a second; more means that it hangs."""

SECTION = ".probe."
"""Of each body, with its number behind it."""
_MESSAGE = re.compile(r"[^:]*:(\d+): (?:(Error|Warning|Fatal error|Info): )?(.*)")


class AssemblerMissing(Exception):
    """GNU as is not on PATH, does not end, or fails without an error message for a body."""


@dataclass(frozen=True)
class Assembled:
    """Bytes of the bodies, and what is wrong with those that have none."""

    codes: Mapping[Body, Code]
    problems: Mapping[Body, tuple[Problem, ...]]
    """For every body that cannot be assembled: why, at the suite's lines."""


class Assembler:
    """Assembles bodies; each distinct text once."""

    def __init__(self, program: str = "as", kept: KeptCodes | None = None) -> None:
        """``kept``: what was assembled before, to which is added what had no mistakes."""
        self.program = program
        self._kept = kept
        self._known: dict[Text, Code | tuple[tuple[int, str], ...]] = {}

    def assemble(self, bodies: Iterable[Body]) -> Assembled:
        """Bytes of every body; those that cannot be assembled have problems instead.

        Runs the assembler once, and again without the bodies that it refused. Raises AssemblerMissing.
        """
        bodies = list(bodies)
        texts: dict[Text, Body] = {}
        for body in bodies:
            text = body.code_bits, body.lines
            if text in self._known or text in texts:
                continue
            kept = None if self._kept is None else self._kept.get(text)
            if kept is None:
                texts[text] = body
            else:
                self._known[text] = kept
        for text, body in list(texts.items()):
            refused = [(body.sources.index(problem.source), problem.text) for problem in check(body)]
            if refused:
                self._known[text] = tuple(refused)
                del texts[text]
        self._run(list(texts.values()))
        if self._kept is not None:
            made = {text: code for text in texts if isinstance(code := self._known[text], Code)}
            self._kept.add(made, self._known)
        codes: dict[Body, Code] = {}
        problems: dict[Body, tuple[Problem, ...]] = {}
        for body in bodies:
            found = self._known[body.code_bits, body.lines]
            if isinstance(found, Code):
                codes[body] = found
            else:
                problems[body] = tuple(Problem(body.sources[line], text) for line, text in found)
        return Assembled(codes, problems)

    def _run(self, bodies: list[Body]) -> None:
        if not bodies:
            return
        listing = _Listing(bodies)
        with tempfile.TemporaryDirectory(prefix="touchstone-as-") as folder:
            output = Path(folder) / "probes.o"
            messages, status = self._process(listing.text, output)
            wrong: dict[int, list[tuple[int, str]]] = {}
            stray = []
            for line, text in messages:
                owner = listing.owners[line - 1] if 0 < line <= len(listing.owners) else None
                if owner:
                    wrong.setdefault(owner[0], []).append((owner[1], f"the assembler says: {text}"))
                else:
                    stray.append(text)
            if status and not wrong:
                raise AssemblerMissing(f"`{self.program}` failed with status {status}: {'; '.join(stray)}")
            if not status:
                self._collect(bodies, output)
        for index, found in wrong.items():
            self._known[bodies[index].code_bits, bodies[index].lines] = tuple(found)
        if status:
            self._run([body for index, body in enumerate(bodies) if index not in wrong])

    def _process(self, text: str, output: Path) -> tuple[list[tuple[int, str]], int]:
        """Messages as (line of the listing, text), and the exit status."""
        program = shutil.which(self.program)
        if program is None:
            raise AssemblerMissing(
                f"no `{self.program}` on PATH: install GNU binutils (apt install binutils)"
            )
        command = [program, "--64", "--fatal-warnings", "-o", str(output), "-"]
        try:
            done = subprocess.run(
                command, input=text, capture_output=True, text=True, timeout=SECONDS, check=False,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"}, cwd=output.parent,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise AssemblerMissing(f"`{program}` did not end within {SECONDS} s") from error
        except OSError as error:
            raise AssemblerMissing(f"`{program}` cannot be run: {error.strerror}") from error
        found, unplaced = [], []
        for line in done.stderr.splitlines():
            parts = _MESSAGE.fullmatch(line)
            if parts and parts[2] and parts[2] != "Info":
                found.append((int(parts[1]), parts[3]))
            elif not parts and "Assembler messages" not in line:
                unplaced.append((0, line))
        return found or unplaced, done.returncode

    def _collect(self, bodies: list[Body], output: Path) -> None:
        # To import what reads ELF takes as long as to read this file; most runs have nothing to assemble.
        from touchstone.suite.object_file import read_sections  # noqa: PLC0415

        sections = read_sections(output, SECTION)
        for index, body in enumerate(bodies):
            self._known[body.code_bits, body.lines] = _code(
                index,
                body,
                sections.data.get(index, b""),
                sections.symbols.get(index, {}),
                sections.relocations,
            )


def _code(
    index: int,
    body: Body,
    data: bytes,
    symbols: Mapping[str, int],
    relocations: Mapping[int, tuple[str, int]],
) -> Code | tuple[tuple[int, str], ...]:
    lines = tuple(symbols[f"b{index}${line}"] for line in range(len(body.lines)))
    if index in relocations:
        symbol, offset = relocations[index]
        line = max(number for number, start in enumerate(lines) if start <= offset)
        return ((line, _unresolved(symbol, body)),)
    if not data:
        return ((0, "the body has no instruction"),)
    if len(data) > LARGEST:
        return ((0, f"the body has {len(data)} bytes; a probe has at most {LARGEST}"),)
    prefix = f"b{index}$$"
    places = {name[len(prefix) :]: value for name, value in symbols.items() if name.startswith(prefix)}
    return Code(data, places, lines, body.code_bits)


def _unresolved(symbol: str, body: Body) -> str:
    """Error for a relocation: an unknown symbol, or an address that depends on where the body is loaded."""
    if symbol and not symbol.startswith("."):
        hint = did_you_mean(
            symbol, [*labels(body), *SUB_REGISTERS, *(name.lower() for name in CONSTANTS), *CONSTANTS]
        )
        return f"'{symbol}' is no register, no constant and no label of this body{hint}"
    way = (
        "take the address of a label with `lea rax, [rip + label]`"
        if body.code_bits == 64
        else "start a register with the address of a label: `given: {rsi: label}`"
    )
    return f"a body does not know where it will lie; {way}"


class _Listing:
    """The input of one run of the assembler: a section for each body, with symbol names of its own."""

    def __init__(self, bodies: list[Body]) -> None:
        self.owners: list[tuple[int, int] | None] = []
        """(body, line) for every line of the text."""
        self._lines: list[str] = []
        self._add(".intel_syntax noprefix")
        for name, value in CONSTANTS.items():
            self._add(f"{name} = {value:#x}")
        for line in raising.macros():
            self._add(line)
        for index, body in enumerate(bodies):
            self._body(index, body)
        self.text = "\n".join(self._lines) + "\n"

    def _add(self, text: str, owner: tuple[int, int] | None = None) -> None:
        self._lines.append(text)
        self.owners.append(owner)

    def _body(self, index: int, body: Body) -> None:
        self._add(f'.section {SECTION}{index},"ax",@progbits; .code{body.code_bits}')
        self._add(raising.code_size(body.code_bits))
        if is_plain(body):  # most of them
            for line, text in enumerate(body.lines):
                self._add(f"b{index}${line}:")
                self._add(text, (index, line))
            return
        parsed = statements(body)
        names = {
            item.label: f"b{index}$${item.label}"
            for item in parsed
            if item.label and not item.label.isdigit()
        }
        line = -1
        for item in parsed:
            while line < item.line:
                line += 1
                self._add(f"b{index}${line}:")
            self._add(rename(item, names, body.code_bits), (index, item.line))
        for rest in range(line + 1, len(body.lines)):
            self._add(f"b{index}${rest}:")
