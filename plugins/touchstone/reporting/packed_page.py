"""Makes Allure's page a tenth of its size: what it does not need is left out, the rest compressed.

Allure writes its program and each file of its data as base64 into the page, which so opens without a
server. In a packed page the data is one pool of values and the program has no fonts, since every system has
some; both are compressed with gzip, and the page's first script unpacks them: every browser can since 2023.
Allure's program finds its data where it looks for it. Identities of 32 hexadecimal digits, which nothing
can compress, are replaced by short names: they are compared within the page only.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from touchstone.reporting.pool import pooled

_FILE = re.compile(r'd\("((?:[^"\\]|\\.)+)",\s*"([A-Za-z0-9+/=]*)"\)')
_DATA = re.compile(r"<script defer>\s*Promise\.allSettled\(\[.*?</script>", re.DOTALL)
_PROGRAM = re.compile(r'<script\s+src="data:text/javascript;base64,([A-Za-z0-9+/=]+)"></script>')
_FONT = re.compile(rb'"data:font/woff2?;base64,[A-Za-z0-9+/=]*"')
_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
_RESULTS = "data/test-results/"
_ATTACHMENTS = "data/attachments/"
_UNSEEN = ("retryHash", "titlePath")
"""Of a result: what Allure's page does not show, or what means nothing without the identities."""
_OF_HISTORY = ("status", "error", "start", "stop", "duration", "url")
"""Of an earlier run of a result: what Allure's page shows."""
INDEX = "touchstone/index.json"
"""The file of a packed page that says where a check is."""
JSON, TEXT, BYTES = "json", "text", "bytes"
"""Kinds of a file: a value of JSON; UTF-8; anything else, as base64."""
File = tuple[str, Any]
"""Kind and content."""

UNPACK = """
(async () => {
  const unpack = (id) => fetch("data:application/gzip;base64," + document.getElementById(id).textContent)
    .then((packed) => new Response(packed.body.pipeThrough(new DecompressionStream("gzip"))));
  const base64 = (text) => {
    const bytes = new TextEncoder().encode(text);
    let letters = "";
    for (let at = 0; at < bytes.length; at += 8192) {
      letters += String.fromCharCode(...bytes.subarray(at, at + 8192));
    }
    return btoa(letters);
  };
  class Lines {
    constructor(lines) { this.lines = lines; }
    toString() { return this.lines.join("\\n"); }
    toJSON() { return this.toString(); }
  }
  const valueOf = (bytes) => {
    const text = (part) => new TextDecoder().decode(part);
    let at = bytes.indexOf(10) + 1;
    const head = JSON.parse(text(bytes.subarray(0, at)));
    const streams = head.sizes.map((size) => ({ data: bytes.subarray(at, (at += size)), at: 0, before: 0 }));
    const lines = text(streams.at(-2).data).split("\\n").values();
    const others = text(streams.at(-1).data).split("\\n").values();
    const take = (stream) => {
      for (let number = 0, unit = 1; ; unit *= 128) {
        const digit = stream.data[stream.at++];
        if (digit < 128) return number + digit * unit;
        number += (digit - 128) * unit;
      }
    };
    const change = (stream, code) => (stream.before += code % 2 ? -(code + 1) / 2 : code / 2);
    const values = [], alone = [];
    const partsOf = (where, whole) => {
      const codes = where.map(take);
      const next = codes.map((code, at) => code === 0 && !whole.includes(at));
      const count = next.filter(Boolean).length;
      const own = count ? alone.splice(-count).values() : [];
      return codes.map((code, at) => {
        if (whole.includes(at)) return change(where[at], code);
        return values[next[at] ? (where[at].before = own.next().value) : change(where[at], code - 1)];
      });
    };
    const sequence = (lengths, parts) => partsOf(Array(take(lengths)).fill(parts), []);
    let column = 5;
    const tables = head.shapes.map((shape) => {
      const [keys, whole] = typeof shape === "number" ? [null, []] : shape;
      return { keys, whole, where: streams.slice(column, (column += keys ? keys.length : shape)) };
    });
    const next = [
      () => lines.next().value,
      () => JSON.parse(others.next().value),
      () => new Lines(sequence(streams[1], streams[2])),
      () => sequence(streams[3], streams[4]),
      ...tables.map(({ keys, whole, where }) => () => {
        const parts = partsOf(where, whole);
        return keys ? Object.fromEntries(keys.map((key, at) => [key, parts[at]])) : parts;
      }),
    ];
    while (streams[0].at < streams[0].data.length) {
      const value = next[take(streams[0])]();
      alone.push(values.length);
      values.push(value);
    }
    return values.at(-1);
  };
  const files = {};
  const data = new Uint8Array(await (await unpack("packed-data")).arrayBuffer());
  for (const [name, kind, content] of valueOf(data)) {
    files[name] = { kind, content };
  }
  const encoded = {
    json: (content) => base64(JSON.stringify(content)),
    text: (content) => base64(String(content)),
    bytes: (content) => content,
  };
  window.allureReportData = new Proxy(files, {
    get: (_, name) => Object.hasOwn(files, name) ? encoded[files[name].kind](files[name].content) : undefined,
  });
  window.allureReportDataReady = true;
  const index = files["touchstone/index.json"].content;
  const find = () => {
    const id = index[decodeURIComponent(location.hash.slice(1))];
    if (id) location.replace("#" + id);
  };
  addEventListener("hashchange", find);
  find();
  const program = document.createElement("script");
  const text = await (await unpack("packed-program")).text();
  program.src = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  document.body.append(program);
})().catch((error) => {
  document.body.textContent = `This report cannot be shown: ${error}. It needs a browser of 2023 or later.`;
});
"""


class UnknownPage(Exception):
    """Allure wrote another kind of page than the version that is pinned does."""


def pack(page: str) -> str:
    """Pack Allure's page. UnknownPage if it is not as expected."""
    found, data = _PROGRAM.search(page), _DATA.search(page)
    if found is None or data is None:
        raise UnknownPage("there is no program or no data in it")
    program = base64.b64decode(found[1])
    files = {name: file for name, file in _files(data[0]) if _is_read(name, program)}
    if not files:
        raise UnknownPage("there are no files in its data")
    short = _short(files)
    short[INDEX] = (JSON, _index(short))
    values = [[name, *file] for name, file in short.items()]
    fontless = _FONT.sub(b'"data:,"', program)
    scripts = (
        f'<script type="application/gzip" id="packed-program">{_gzip(fontless)}</script>'
        f'<script type="application/gzip" id="packed-data">{_gzip(pooled(values))}</script>'
        f"<script>{UNPACK}</script>"
    )
    body = page.rindex("</body>")
    rest = f"{page[:body]}{scripts}{page[body:]}"
    return rest.replace(found[0], "", 1).replace(data[0], "", 1)


def fragment(check: str, target: str, subject: str) -> str:
    """What behind the ``#`` of a packed page's address shows a check."""
    return quote(_place(check, target, subject), safe="")


def _place(check: str, target: str, subject: str) -> str:
    return f"{check}@{target}@{subject}"


def _index(files: Mapping[str, File]) -> dict[str, str]:
    """Check, target and subject to Allure's identity of the result; of several attempts, the last one's."""
    found = {}
    for name, (_, result) in files.items():
        if name.startswith(_RESULTS):
            said = {one["name"]: one["value"] for one in result.get("parameters", ())}
            if "target" in said and not result.get("isRetry"):
                place = _place(result["fullName"], said["target"], said.get("subject", ""))
                found[place] = name.removeprefix(_RESULTS).removesuffix(".json")
    return found


def _files(script: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Name, and kind and text of each file; JSON is not parsed yet."""
    for found in _FILE.finditer(script):
        name, encoded = json.loads(f'"{found[1]}"'), found[2]
        try:
            text = base64.b64decode(encoded).decode()
        except (UnicodeDecodeError, binascii.Error):
            yield name, (BYTES, encoded)
            continue
        is_json = name.endswith(".json") and not name.startswith(_ATTACHMENTS)
        yield name, (JSON if is_json else TEXT, text)


def _is_read(name: str, program: bytes) -> bool:
    """Whether Allure's program reads a file: it names widgets, and those of an environment by a template."""
    if not name.startswith("widgets/"):
        return not name.startswith("data/history/")
    folder, _, last = name.rpartition("/")
    named = re.escape(f'"{name}"') if folder == "widgets" else rf"`widgets/\$\{{\w+\}}/{re.escape(last)}`"
    return re.search(named.encode(), program) is not None


def _short(files: Mapping[str, tuple[str, str]]) -> dict[str, File]:
    """The same with a short name for each identity, in an order in which what is alike is together.

    Results come first, those of the same check one behind the other, so that their names are in order.
    """
    names: dict[str, str] = {}

    def short(found: re.Match[str]) -> str:
        return names.setdefault(found[0], f"i{len(names):x}")

    found: dict[str, File] = {}
    for name, (kind, text) in sorted(files.items(), key=lambda one: _alike(*one)):
        content: Any = _ID.sub(short, text) if kind != BYTES else text
        if kind == JSON:
            content = json.loads(content)
        if name.startswith(_RESULTS):
            _leave_out_unseen(content)
        found[_ID.sub(short, name)] = (kind, content)
    return found


def _leave_out_unseen(result: dict[str, Any]) -> None:
    for key in _UNSEEN:
        result.pop(key, None)
    if "history" in result:
        result["history"] = [
            {key: one[key] for key in _OF_HISTORY if one.get(key)} for one in result["history"]
        ]


def _alike(name: str, file: tuple[str, str]) -> tuple[str, ...]:
    if name.startswith(_RESULTS):
        found = re.search(r'"fullName":"([^"]*)"', file[1])
        return "0", found[1] if found else "", name
    return "1", *reversed(name.split("/"))


def _gzip(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()
