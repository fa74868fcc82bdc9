"""The agent's line protocol (``targets/agent/PROTOCOL.md``) as bytes: how lines are written and found."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

VERSION = "1"
MAX_REQUEST = 4096
"""Longest request that an agent takes, in bytes, LF included."""
MAX_LINE = 64 * 1024
"""A longer run of bytes without LF cannot be an answer; its front is given up (the serial log has it)."""


def crc(data: bytes) -> int:
    """CRC-16/CCITT-FALSE: of ``b"123456789"`` it is 0x29b1."""
    return binascii.crc_hqx(data, 0xFFFF)


def decimal(text: str) -> int:
    """The value of 1 to 20 decimal digits; ValueError for anything else, however long it is."""
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a number of up to 20 digits")
    return int(text)


def seal(body: str) -> bytes:
    """A line of the protocol: the body, its checksum, LF. ValueError if it is not printable ASCII."""
    if not (body.isascii() and body.isprintable()):
        raise ValueError(f"not printable ASCII: {body!r}")
    data = body.encode("ascii")
    return b"%b #%04x\n" % (data, crc(data))


def format_request(nonce: str, number: int, verb: str, pairs: Iterable[tuple[str, str]] = ()) -> bytes:
    """A request. ValueError when it holds a space or a character that the protocol cannot carry."""
    words = [f"@{VERSION}", nonce, str(number), verb]
    for key, value in pairs:
        if " " in key or " " in value or not value:
            raise ValueError(f"{key}={value!r}: a value must not be empty or hold spaces")
        words.append(f"{key}={value}")
    return seal(" ".join(words))


@dataclass(frozen=True)
class Answer:
    """A line that answers a request."""

    nonce: str
    number: int
    ok: bool
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def code(self) -> str:
        """Code word of a refusal."""
        return self.fields.get("code", "")

    @property
    def text(self) -> str:
        """Reason of a refusal, for people."""
        return self.fields.get("text", "")


@dataclass(frozen=True)
class Event:
    """A line that nobody asked for."""

    word: str
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Damaged:
    """A line that begins as one of the protocol's and is not well-formed: evidence, never an answer."""

    text: str
    why: str


@dataclass(frozen=True)
class Malformed(Damaged):
    """An answer that came as it was sent, since its checksum is right, and whose pairs are none."""

    nonce: str
    number: int


Line = Answer | Event | Damaged

_SEALED = re.compile(rb"^(?P<body>.*) #(?P<crc>[0-9a-f]{4})$", re.DOTALL)
_BEGIN = re.compile(rb"[=!]\d+ ")
_NUMBER = re.compile(r"[0-9]{1,20}")
_NONCE = re.compile(r"-|[0-9a-f]{8}")
_WORD = re.compile(r"[a-z][a-z0-9_-]*")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]*")


def parse_fields(words: list[str]) -> dict[str, str] | str:
    """The pairs of a line; ``text`` runs to its end. A string is the complaint."""
    fields: dict[str, str] = {}
    for index, word in enumerate(words):
        key, equals, value = word.partition("=")
        if not equals or not _KEY.fullmatch(key):
            return f"{word[:80]!r} is not key=value"
        if key == "text":
            fields["text"] = " ".join([value, *words[index + 1 :]])
            return fields
        if key in fields:
            return f"{key[:80]} occurs twice"
        fields[key] = value
    return fields


def parse_body(body: str) -> Line | str:
    """The meaning of a line of printable ASCII whose checksum was right. A string is the complaint."""
    words = body.split(" ")
    head = words[0]
    if head[1:] != VERSION:
        return f"protocol version {head[1:40]}, not {VERSION}"
    if head[0] == "!":
        if len(words) < 2 or not _WORD.fullmatch(words[1]):
            return "no event word"
        fields = parse_fields(words[2:])
        return fields if isinstance(fields, str) else Event(words[1], fields)
    if len(words) < 4:
        return "too few words"
    _, nonce, number, status = words[:4]
    if not _NONCE.fullmatch(nonce):
        return f"nonce {nonce[:40]!r} is not 8 hex digits"
    if not _NUMBER.fullmatch(number):
        return f"id {number[:40]!r} is not a number"
    if status not in ("ok", "err"):
        return f"{status[:40]!r} is neither ok nor err"
    fields = parse_fields(words[4:])
    if isinstance(fields, str):
        return Malformed(_show(body.encode("ascii")), fields, nonce, int(number))
    if status == "err" and "code" not in fields:
        return "err without a code"
    return Answer(nonce, int(number), status == "ok", fields)


def parse_line(line: bytes) -> Line | None:
    """What a line (without LF) says, or None if it is log text.

    Another CPU may have written half a line of log text in front of it, so the protocol's part may begin
    anywhere: the first place from which on the checksum is right.
    """
    line = line.removesuffix(b"\r")
    first: re.Match[bytes] | None = None
    sealed = _SEALED.match(line)
    for begin in islice(_BEGIN.finditer(line), 32):  # a flood of "=1 " must not cost a checksum each
        first = first or begin
        if sealed is None or begin.start() >= sealed.end("body"):
            break
        body = line[begin.start() : sealed.end("body")]
        if crc(body) != int(sealed["crc"], 16):
            continue
        text = body.decode("latin-1")
        if not (text.isascii() and text.isprintable()):
            return Damaged(_show(body), "bytes outside of printable ASCII")
        parsed = parse_body(text)
        return Damaged(_show(line), parsed) if isinstance(parsed, str) else parsed
    if first is None or first.start() != 0:
        return None
    return Damaged(_show(line), "no checksum at its end" if sealed is None else "wrong checksum")


def _show(line: bytes) -> str:
    return line[:200].decode("ascii", "backslashreplace") + ("..." if len(line) > 200 else "")


class LineSplitter:
    """Finds the protocol's lines in a stream of console bytes, cut anywhere."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Line]:
        """The lines that these bytes complete, in order; log text is left out."""
        searched = len(self._rest)
        self._rest += data
        found: list[Line] = []
        begin = 0
        while (end := self._rest.find(b"\n", max(begin, searched))) >= 0:
            line = parse_line(bytes(self._rest[begin:end]))
            if line is not None:
                found.append(line)
            begin = end + 1
        del self._rest[:begin]
        if len(self._rest) > MAX_LINE:
            del self._rest[:-MAX_LINE]
        return found

    @property
    def rest(self) -> bytes:
        """The beginning of a line that has no end yet."""
        return bytes(self._rest)
