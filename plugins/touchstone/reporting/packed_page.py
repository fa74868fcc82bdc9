"""Makes Allure's page a tenth of its size: compressed, with short names for what has long ones.

Allure writes its program and each file of its data as base64 into the page, which so opens without a server.
In a packed page both are compressed with gzip, all files together, and the page's first script unpacks them:
every browser can since 2023. Allure's program finds its data where it looks for it.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from urllib.parse import quote

_FILE = re.compile(r'd\("((?:[^"\\]|\\.)+)",\s*"([A-Za-z0-9+/=]*)"\)')
_DATA = re.compile(r"<script defer>\s*Promise\.allSettled\(\[.*?</script>", re.DOTALL)
_PROGRAM = re.compile(r'<script\s+src="data:text/javascript;base64,([A-Za-z0-9+/=]+)"></script>')
_PACKED = re.compile(r'<script type="application/gzip" id="packed-data">([A-Za-z0-9+/=]*)</script>')
_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
_RESULTS = "data/test-results/"
INDEX = "touchstone/index.json"
"""The file of a packed page that says where a check is."""
LONG = 20
"""Characters of a text that is kept once."""
_MARKS = re.compile("[\0\1\2]")
"""Of what a packed page is made of; files that have them are kept as base64."""
_MARKED = re.compile("\1([^\1]*)\1|\2([^\2]*)\2")
_TEXT, _BYTES = "t", "b"
"""Kinds of a file: UTF-8 as it is; anything else as base64."""

_UNPACK = """
(async () => {
  const unpack = async (id) => {
    const packed = await fetch("data:application/gzip;base64," + document.getElementById(id).textContent);
    return new Response(packed.body.pipeThrough(new DecompressionStream("gzip"))).text();
  };
  const base64 = (text) => {
    const bytes = new TextEncoder().encode(text);
    let letters = "";
    for (let at = 0; at < bytes.length; at += 8192) {
      letters += String.fromCharCode(...bytes.subarray(at, at + 8192));
    }
    return btoa(letters);
  };
  const known = [];
  const whole = (_, first, number) => {
    if (first === undefined) return known[parseInt(number, 36)];
    known.push(first);
    return first;
  };
  const files = {};
  const packed = await unpack("packed-data");
  const parts = packed.replace(/\\x01([^\\x01]*)\\x01|\\x02([^\\x02]*)\\x02/g, whole).split("\\0");
  for (let at = 0; at + 2 < parts.length; at += 3) {
    files[parts[at]] = { kind: parts[at + 1], content: parts[at + 2] };
  }
  window.allureReportData = new Proxy(files, {
    get: (_, name) => Object.hasOwn(files, name)
      ? (files[name].kind === "t" ? base64(files[name].content) : files[name].content)
      : undefined,
  });
  window.allureReportDataReady = true;
  const index = JSON.parse(files["touchstone/index.json"].content);
  const find = () => {
    const id = index[decodeURIComponent(location.hash.slice(1))];
    if (id) location.replace("#" + id);
  };
  addEventListener("hashchange", find);
  find();
  const program = document.createElement("script");
  program.src = URL.createObjectURL(new Blob([await unpack("packed-program")], { type: "text/javascript" }));
  document.body.append(program);
})().catch((error) => {
  document.body.textContent = `This report cannot be shown: ${error}. It needs a browser of 2023 or later.`;
});
"""


class UnknownPage(Exception):
    """Allure wrote another kind of page than the version that is pinned does."""


def pack(page: str) -> str:
    """Pack Allure's page. UnknownPage if it is not as expected."""
    program, data = _PROGRAM.search(page), _DATA.search(page)
    if program is None or data is None:
        raise UnknownPage("there is no program or no data in it")
    files = dict(_files(data[0]))
    if not files:
        raise UnknownPage("there are no files in its data")
    short = _short(files)
    short[INDEX] = (_TEXT, json.dumps(_index(short), separators=(",", ":"), ensure_ascii=False))
    packed = "".join(f"{part}\0" for name, file in short.items() for part in (name, *file))
    scripts = (
        f'<script type="application/gzip" id="packed-program">{_gzip(base64.b64decode(program[1]))}</script>'
        f'<script type="application/gzip" id="packed-data">{_gzip(_once(packed).encode())}</script>'
        f"<script>{_UNPACK}</script>"
    )
    body = page.rindex("</body>")
    rest = f"{page[:body]}{scripts}{page[body:]}"
    return rest.replace(program[0], "", 1).replace(data[0], "", 1)


def fragment(check: str, target: str, subject: str) -> str:
    """What behind the ``#`` of a packed page's address shows a check."""
    return quote(_place(check, target, subject), safe="")


def _place(check: str, target: str, subject: str) -> str:
    return f"{check}@{target}@{subject}"


def _index(files: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Check, target and subject to Allure's identity of the result; of several attempts, the last one's."""
    found = {}
    for name, (_, text) in files.items():
        if name.startswith(_RESULTS):
            result = json.loads(text)
            said = {one["name"]: one["value"] for one in result.get("parameters", ())}
            if "target" in said and not result.get("isRetry"):
                place = _place(result["fullName"], said["target"], said.get("subject", ""))
                found[place] = name.removeprefix(_RESULTS).removesuffix(".json")
    return found


def files_of(page: str) -> Mapping[str, bytes]:
    """The files of a packed page's data. UnknownPage if there are none."""
    found = _PACKED.search(page)
    if found is None:
        raise UnknownPage("it is not packed")
    known: list[str] = []

    def whole(marked: re.Match[str]) -> str:
        if marked[1] is None:
            return known[int(marked[2], 36)]
        known.append(marked[1])
        return marked[1]

    packed = gzip.decompress(base64.b64decode(found[1])).decode()
    parts = _MARKED.sub(whole, packed).split("\0")
    return {
        name: content.encode() if kind == _TEXT else base64.b64decode(content)
        for name, kind, content in zip(*[iter(parts[:-1])] * 3, strict=True)
    }


def _files(script: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Name, kind and content of each file."""
    for found in _FILE.finditer(script):
        name, encoded = json.loads(f'"{found[1]}"'), found[2]
        try:
            text = base64.b64decode(encoded).decode()
        except (UnicodeDecodeError, binascii.Error):
            yield name, (_BYTES, encoded)
            continue
        yield name, ((_BYTES, encoded) if _MARKS.search(text) else (_TEXT, text))


def _short(files: Mapping[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """The same with a short name for each identity of 32 digits, which nothing can compress.

    In an order in which what is alike is together: results of the same check follow on each other.
    """
    names: dict[str, str] = {}

    def short(found: re.Match[str]) -> str:
        return names.setdefault(found[0], f"i{len(names):x}")

    return {
        _ID.sub(short, name): (kind, _ID.sub(short, content) if kind == _TEXT else content)
        for name, (kind, content) in sorted(files.items(), key=lambda one: _alike(*one))
    }


def _once(packed: str) -> str:
    """The same with every longer text once, and a number where it comes again: gzip looks back 32 KiB only.

    A text ends at a quotation mark, or at an escaped end of line.
    """
    texts = re.split(r'(\\n|")', packed)
    counts = Counter(text for text in texts if len(text) >= LONG)
    numbers: dict[str, str] = {}
    parts = []
    for text in texts:
        if counts[text] < 2:
            parts.append(text)
        elif (number := numbers.get(text)) is not None:
            parts.append(f"\2{number}\2")
        elif "\0" not in text:
            numbers[text] = _base36(len(numbers))
            parts.append(f"\1{text}\1")
        else:
            parts.append(text)
    return "".join(parts)


def _base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return (_base36(number // 36) if number >= 36 else "") + digits[number % 36]


def _alike(name: str, file: tuple[str, str]) -> tuple[str, ...]:
    if name.startswith(_RESULTS):
        found = re.search(r'"fullName":"([^"]*)"', file[1])
        return "results", found[1] if found else "", name
    return "others", *reversed(name.split("/"))


def _gzip(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()
