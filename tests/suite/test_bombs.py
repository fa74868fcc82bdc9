"""What no reader could take in is an error with its place, in time and in memory: see bounded."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping

import pytest

from tests.support.bounded import MEMORY, Outcome, Work, run_all
from tests.support.suite_texts import HEAD
from touchstone.machine.protocol import seal

DIGITS = "9" * 5000
MANY = "[34]: a number of more than 4300 digits"


def suite(entry: str, head: str = HEAD) -> bytes:
    lines = "".join(f"    {line}\n" for line in entry.splitlines())
    return f"{head}  - id: exits.x\n    title: X\n{lines}".encode()


def requires(expression: str) -> bytes:
    return suite("run: nop\nexpect: native", HEAD.replace("cite:", f"requires: {expression}\ncite:"))


def inventory(lines: str) -> bytes:
    return f'[targets.one]\ndriver = "qemu"\nvendor = "amd"\n{lines}\n'.encode()


LAUGHS = ["l0: &l0 [x, x]", *(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))]
PLAIN = "run: nop\nexpect: {rax: 0}"

SUITES: Mapping[str, tuple[bytes, str]] = {
    "digits": (suite(f"run: nop\nexpect: {{rax: {DIGITS}}}"), "8:19: .*does not fit.*"),
    "digits of a hexadecimal number": (suite(f"run: nop\nexpect: {{rax: 0x{DIGITS}}}"), "8:19: .*"),
    "digits of an index": (
        suite(f'run: nop\nexpect: {{"rax[{DIGITS[:900]}]": 1}}'),
        "8:14: .*a bit range is.*",
    ),
    "digits of an offset": (suite(f"given: {{rdi: scratch+{DIGITS}}}\n{PLAIN}"), "7:18: .*"),
    "digits of an error code": (suite(f"run: nop\nexpect: {{exception: '#GP({DIGITS})'}}"), "8:25: .*"),
    "digits of a timeout": (suite(f"timeout: {DIGITS}\n{PLAIN}"), "7:14: timeout must be seconds.*"),
    "digits of a requirement": (requires(f"cpus >= {DIGITS}"), ""),
    "digits of an MSR": (suite(f"given: {{keep: [{DIGITS}]}}\n{PLAIN}"), "7:20: .* is no MSR.*"),
    "digits in a body": (suite(f"run: mov rax, {DIGITS}\nexpect: native"), ""),
    "alignment": (suite(f"run: |\n  .align {DIGITS}\nexpect: native"), "8:7: .*"),
    "brackets": (suite("given: " + "[" * 100_000 + "]" * 100_000 + "\n" + PLAIN), "7:.*more than 100 times"),
    "braces": (suite("given: " + "{a: " * 100_000), "7:.*nested more than 100 times"),
    "brackets without an end": (("[" * 900_000).encode(), "1:101: .*nested more than 100 times"),
    "compact lists": (("- " * 100_000).encode(), "1:201: .*nested more than 100 times"),
    "complex keys": (("? " * 100_000).encode(), "1:201: .*nested more than 100 times"),
    "indentation": (
        "\n".join(" " * n + "a:" for n in range(1300)).encode(),
        "101:101: .*more than 100 times",
    ),
    "an alias in its anchor": (suite("given: &a {rax: *a}\n" + PLAIN), "7:12: this contains itself.*"),
    "an alias in its list": (f"{HEAD}  &a [*a]\n".encode(), "5:3: this contains itself.*"),
    "aliases of aliases": ("\n".join(LAUGHS).encode(), "7:5: this has more than 200000 values.*"),
    "a variable made of itself": (
        suite(
            f'each: {{x: ["{"{x}" * 20}", "2"]}}\nrun: |\n  mov eax, {"{x}" * 30}\nexpect: {{rax: "{{x}}"}}'
        ),
        "7:16: a value of each cannot be made of others: it has {x} in it",
    ),
    "variables made of each other": (
        suite('each: {x: ["{y}{y}"], y: ["{x}{x}"]}\nrun: mov eax, {x}\nexpect: {rax: "{y}"}'),
        "7:16: .*it has {y} in it\n7:31: .*it has {x} in it",
    ),
    "a long value often": (
        suite(f'each: {{x: ["{"1" * 9999}", "2"]}}\nrun: nop\nexpect: {{rax: "{"{x}" * 9999}"}}'),
        "9:19: with the values of each, this text has more than 65536 characters.*",
    ),
    "not": (requires("not " * 5000 + "cpus"), ""),
    "parentheses": (requires("(" * 5000 + "cpus" + ")" * 5000), "3:61: .*more than 50 parentheses.*"),
    "or": (requires(" or ".join(["cpus >= 2"] * 20_000)), ""),
    "unknown keys": (
        suite("\n".join(f"key{n}: 1" for n in range(60_000))),
        "7:5: .*\n.*nothing else was looked at",
    ),
    "one long line": (b"a: " + b"#UD " * 200_000, ".*"),
    "a large file": (
        HEAD.encode() + b"# comment\n" * 200_000,
        "1:1: cannot be read: it has more than 1048576 bytes",
    ),
    "UTF-16": (codecs.BOM_UTF16_LE + HEAD.encode("utf-16-le"), "1:1: not UTF-8 but UTF-16.*"),
}
TOMLS: Mapping[str, tuple[bytes, str]] = {
    "digits": (inventory(f"cpus = {DIGITS}"), MANY),
    "hexadecimal digits": (inventory(f"cpus = 0x{DIGITS}"), "4: cpus must be .*"),
    "digits of a version": (
        inventory(f'[[targets.one.unsupported]]\ncheck = "x"\nreason = "x"\nemulator = ">= {DIGITS}"'),
        "7: emulator must be versions such as .*",
    ),
    "brackets": (inventory("x = " + "[" * 100_000), "4: lists and tables are nested more than 16 times"),
    "closed brackets": (
        inventory("x = " + "[" * 90 + "]" * 90),
        "4: lists and tables are nested more than 16 times",
    ),
    "braces": (inventory("x = " + "{a = " * 100_000), "4: lists and tables are nested more than 16 times"),
    "a long key": (inventory(".".join("a" * 100_000) + " = 1"), "4: a key has 16 names at most"),
    "a long header": (inventory("[" + ".".join("a" * 100_000) + "]"), "4: a key has 16 names at most"),
    "a long text": (
        inventory(f'cpus = "{"x" * 500_000}"'),
        "4: cpus must be a whole number, 1 to 256, not 'x{199}.*",
    ),
    "a large file": (b"# comment\n" * 200_000, " it has more than 1048576 bytes"),
}
SUBJECTS: Mapping[str, tuple[bytes, str]] = {
    "nested claims": (
        b'name = "x"\n[claims]\nx = ' + b"{a = " * 200 + b"1" + b"}" * 200,
        "3: lists and tables are nested more than 16 times",
    ),
    "digits of a claim": (
        f'name = "x"\n[claims]\nx = {DIGITS}\n'.encode(),
        MANY,
    ),
}
LINES: Mapping[str, tuple[bytes, str]] = {
    "digits of a request's number": (seal(f"=1 0badcafe {DIGITS} ok"), "id '9{40}' is not a number"),
    "no end of a line": (b"=1 " * 1_000_000, ""),
    "many words": (seal("=1 0badcafe 1 ok " + " ".join(f"k{n}=1" for n in range(9000))), ""),
}
ALL = {
    (kind, name): (Work(kind, text), wanted)
    for kind, works in (("suite", SUITES), ("inventory", TOMLS), ("subject", SUBJECTS), ("lines", LINES))
    for name, (text, wanted) in works.items()
}


@pytest.fixture(scope="module")
def outcomes() -> Mapping[tuple[str, str], Outcome]:
    return dict(zip(ALL, run_all([work for work, _ in ALL.values()]), strict=True))


@pytest.mark.parametrize(("kind", "name"), ALL, ids=[": ".join(key) for key in ALL])
def test_it_ends_with_an_error_at_its_place(
    outcomes: Mapping[tuple[str, str], Outcome], kind: str, name: str
) -> None:
    wanted = ALL[kind, name][1]
    found = outcomes[kind, name]
    assert found.ended == ("errors" if wanted else "accepted"), f"{found}, with {MEMORY >> 20} MB"
    assert re.match(wanted, found.text, re.DOTALL), found.text
    assert len(found.text) < 60_000
