"""The schemas of inventories, matrices and subjects: current, and never stricter than the readers."""

from __future__ import annotations

import datetime
import json
import random
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkout import ROOT
from tests.support.fuzz.mutations import mutated_text
from touchstone.config.inventory import read_inventory
from touchstone.config.matrix import read_matrix
from touchstone.config.schemas import SCHEMAS, text
from touchstone.config.subjects import read_subject
from touchstone.config.tomlfile import TomlError
from touchstone.drivers import registry

FILES = {
    "inventory": "targets/inventory.schema.json",
    "matrix": "targets/matrix.schema.json",
    "subject": "hypervisor/subject.schema.json",
}
OURS = {
    "inventory": ROOT / "targets" / "inventory.toml",
    "matrix": ROOT / "targets" / "matrix.toml",
    "subject": ROOT / "hypervisor" / "veneer.toml",
}
TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}


def fits(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    """What JSON Schema says, for the keywords that our schemas use; another one is an error."""

    def of(key: str, wanted: Any) -> bool:
        match key:
            case "type":
                words = [wanted] if isinstance(wanted, str) else wanted
                return any(
                    isinstance(value, TYPES[word]) and (word == "boolean" or not isinstance(value, bool))
                    for word in words
                )
            case "enum":
                return value in wanted
            case "const":
                return bool(value == wanted)
            case "not":
                return not fits(value, wanted, root)
            case "anyOf":
                return any(fits(value, one, root) for one in wanted)
            case "$ref":
                return fits(value, root["$defs"][wanted.rpartition("/")[2]], root)
            case "minimum":
                return not isinstance(value, int | float) or value >= wanted
            case "maximum":
                return not isinstance(value, int | float) or value <= wanted
            case "minLength":
                return not isinstance(value, str) or len(value) >= wanted
            case "pattern":
                return not isinstance(value, str) or re.search(wanted, value) is not None
            case "minItems":
                return not isinstance(value, list) or len(value) >= wanted
            case "minProperties":
                return not isinstance(value, dict) or len(value) >= wanted
            case "required":
                return not isinstance(value, dict) or all(one in value for one in wanted)
            case "propertyNames":
                return not isinstance(value, dict) or all(fits(one, wanted, root) for one in value)
            case "items":
                return not isinstance(value, list) or all(fits(one, wanted, root) for one in value)
            case "properties":
                known = [one for one in wanted if isinstance(value, dict) and one in value]
                return all(fits(value[one], wanted[one], root) for one in known)
            case "additionalProperties":
                if not isinstance(value, dict):
                    return True
                others = [value[one] for one in value if one not in schema.get("properties", {})]
                return not others if wanted is False else all(fits(one, wanted, root) for one in others)
            case "format" | "$schema" | "title" | "description" | "$defs":
                return True
        raise AssertionError(f"the keyword {key}")

    return all(of(key, wanted) for key, wanted in schema.items())


def as_json(text: str) -> Any:
    """TOML as JSON has it: dates are texts."""
    return json.loads(json.dumps(tomllib.loads(text), default=_written))


def _written(value: object) -> str:
    assert isinstance(value, datetime.date | datetime.time)
    return value.isoformat()


@pytest.mark.parametrize("kind", FILES)
def test_the_schema_is_current(kind: str) -> None:
    assert (ROOT / FILES[kind]).read_text() == text(kind), (
        f"renew it: python -m touchstone.config.schemas {kind} > {FILES[kind]}"
    )


@pytest.mark.parametrize("kind", FILES)
def test_ours_fit(kind: str) -> None:
    schema = SCHEMAS[kind]()
    others = {path for other, path in OURS.items() if other != kind} | {ROOT / "targets" / "payloads.toml"}
    for path in set(OURS[kind].parent.glob("*.toml")) - others:
        assert fits(as_json(path.read_text()), schema, schema), path


@pytest.mark.parametrize(
    ("kind", "line", "wrong"),
    [
        ("inventory", 'vendor = "amd"', 'vendor = "arm"'),
        ("inventory", "cpus = 4", "cpus = 257"),
        ("inventory", 'driver = "qemu"', 'driver = "qemu"\njournl = 3'),
        ("inventory", 'driver = "qemu"', 'driver = "qemu"\nips = 3'),
        ("inventory", 'driver = "qemu"', ""),
        ("inventory", '\nreason = "', '\nraeson = "'),
        ("inventory", "[targets.qemu-amd]", "[targets.QEMU]"),
        ("matrix", "cpus = [1, 4, 16]", "cpus = [1, 257]"),
        ("matrix", "cpus = [1, 4, 16]", 'cpus = "4"'),
        ("matrix", "cpus = [1, 4, 16]", "cpu = 1"),
        ("matrix", "\nreason = ", "\nraeson = "),
        ("matrix", "[[matrix.nightly.include]]", "[[matrix.Nightly.include]]"),
        ("subject", 'name = "veneer"', 'name = "none"'),
        ("subject", "[claims]", "[claims]\nhalf = 0.5"),
        ("subject", "[claims]", "[clams]"),
        ("subject", 'nested = "hidden"', 'nested = "hiden"'),
        ("subject", 'nested = "hidden"', 'nestd = "hidden"'),
        ("subject", "query = ", "qury = "),
    ],
)
def test_mistakes_do_not_fit(kind: str, line: str, wrong: str) -> None:
    written = OURS[kind].read_text()
    assert line in written
    schema = SCHEMAS[kind]()
    assert not fits(as_json(written.replace(line, wrong, 1)), schema, schema)


def test_own_claims_and_known_deviations_fit() -> None:
    schema = SCHEMAS["subject"]()
    more = '[[known-deviations]]\ncheck = "x"\nreason = "y"\nowner = "z"\nuntil = 2030-01-01\n'
    more += '[[known-deviations]]\ncheck = ["x", "y.*"]\nreason = "y"\n'
    assert fits(as_json(f'name = "x"\n{more}[claims.own]\nmine = 5\ndeep.er = "z"\n'), schema, schema)
    empty = more.replace('["x", "y.*"]', "[]")
    assert not fits(as_json(f'name = "x"\n{empty}'), schema, schema)


@pytest.mark.parametrize("kind", FILES)
def test_what_the_reader_takes_fits(kind: str, tmp_path: Path) -> None:
    """Ours, mutated: an editor never complains of a file that works."""
    written, schema = OURS[kind].read_text(), SCHEMAS[kind]()
    if kind == "inventory":
        head, *targets = written.split("\n[targets.")
        texts = [f"{head}\n[targets.{target}" for target in targets]
    else:
        texts = [written]
    (tmp_path / "subject.mk").touch()
    ours = read_inventory(OURS["inventory"])
    path, taken = tmp_path / "file.toml", 0
    for number in range(300):
        generator = random.Random(number)
        changed = mutated_text(generator, generator.choice(texts), written.split())
        path.write_text(changed, errors="replace")
        try:
            if kind == "inventory":
                read_inventory(path, validate=registry.validate)
            elif kind == "matrix":
                read_matrix(path, "nightly", ours, validate=registry.validate)
            else:
                read_subject(path)
        except TomlError:
            continue
        taken += 1
        assert fits(as_json(path.read_bytes().decode("utf-8-sig")), schema, schema), changed
    assert taken > 30
