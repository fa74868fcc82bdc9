"""The pool that a packed page's data is: everything comes back, by Python and by the page's own script."""

from __future__ import annotations

import base64
import gzip
import json
import random
import re
import shutil
import subprocess
from typing import Any

import pytest

from tests.support.packed_pages import value_of
from touchstone.reporting.packed_page import INDEX, UNPACK
from touchstone.reporting.pool import MOST_COLUMNS, pooled

NODE = shutil.which("node")
PAGE = """
const parts = %s;
globalThis.window = globalThis;
globalThis.location = { hash: "", replace() {} };
globalThis.addEventListener = () => {};
globalThis.document = {
  getElementById: (id) => ({ textContent: parts[id] }),
  createElement: () => ({}),
  body: {
    set textContent(text) { console.log(text); process.exit(1); },
    append() {
      const found = Object.keys(allureReportData).map((name) => [name, allureReportData[name]]);
      console.log(JSON.stringify(Object.fromEntries(found)));
    },
  },
};
"""


def some_value(chance: random.Random, depth: int) -> Any:
    """Few of each kind, so that most come again."""
    kind = chance.randrange(9 if depth else 6)
    if kind < 6:
        number = chance.randrange(5)
        few = (
            None,
            bool(number % 2),
            number / 4,
            chance.randrange(-5, 10**14),
            f"x\n{number}\n",
            f"ä{number}",
        )
        return few[kind]
    if kind < 8:
        return [some_value(chance, depth - 1) for _ in range(chance.choice([0, 1, 3, MOST_COLUMNS + 4]))]
    return {chance.choice("abcd"): some_value(chance, depth - 1) for _ in range(4)}


@pytest.mark.parametrize("seed", range(8))
def test_values_come_back(seed: int) -> None:
    chance = random.Random(seed)
    for value in [some_value(chance, 4) for _ in range(100)]:
        assert json.dumps(value_of(pooled(value))) == json.dumps(value), "in the same order"


def test_what_is_alike_costs_a_byte_or_two() -> None:
    """Of a thousand results that differ in a number, and are in two lists."""
    results = [
        {"name": "a check", "labels": [{"name": "area", "value": "exits"}], "start": 10**12 + 7 * number}
        for number in range(1000)
    ]
    size = len(pooled([results, [{"of": one} for one in results]]))
    assert size < 12_000, "kind, name, labels, number; kind, reference; two items"
    assert len(gzip.compress(pooled([results, results]))) < 400


@pytest.mark.skipif(NODE is None, reason="Node.js is not installed: apt-get install nodejs")
def test_script_of_the_page_reads_the_same() -> None:
    assert NODE is not None
    chance = random.Random(7)
    files: dict[str, Any] = {f"widgets/{n}.json": some_value(chance, 5) for n in range(200)}
    values = [[name, "json", value] for name, value in files.items()]
    values += [
        ["a.txt", "text", "ä\n\nb\n"],
        ["b.txt", "text", "c"],
        ["b", "bytes", "AP8="],
        [INDEX, "json", {}],
    ]
    parts = {
        "packed-data": base64.b64encode(gzip.compress(pooled(values))).decode(),
        "packed-program": base64.b64encode(gzip.compress(b"")).decode(),
    }
    script = PAGE % json.dumps(parts) + UNPACK
    done = subprocess.run([NODE, "-"], input=script, capture_output=True, text=True, check=True)
    found = {name: base64.b64decode(content) for name, content in json.loads(done.stdout).items()}
    assert {name: found.pop(name) for name in ("a.txt", "b.txt", "b", INDEX)} == {
        "a.txt": "ä\n\nb\n".encode(),
        "b.txt": b"c",
        "b": b"\0\xff",
        INDEX: b"{}",
    }
    assert {name: plain(json.loads(content)) for name, content in found.items()} == {
        name: plain(value) for name, value in files.items()
    }


def plain(value: object) -> str:
    """1.0 is 1 to a script."""
    return re.sub(r"(?<=\d)\.0(?!\d)", "", json.dumps(value))
