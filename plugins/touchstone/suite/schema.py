"""The JSON Schema of a suite, for completion in editors. The loader checks more, with better messages.

``python -m touchstone.suite.schema > conformance/suite.schema.json`` renews it.
"""

from __future__ import annotations

import json
import re
import sys

from touchstone.machine.probe import CALL_GPRS, GPRS
from touchstone.suite import more_registers
from touchstone.suite.cases import PREPARED_ON
from touchstone.suite.citations import CITE_KEYS
from touchstone.suite.each import ON, ROWS
from touchstone.suite.given import CONTROL, DEBUG
from touchstone.suite.load import CHECK_KEYS, SUITE_KEYS
from touchstone.suite.model import CODE_BITS
from touchstone.suite.place import MODES, PAGE_WORDS
from touchstone.suite.registers import TABLES
from touchstone.suite.run import VENDORS
from touchstone.suite.steps import AT, STEP_KEYS, TRANSITIONS
from touchstone.suite.sweep import INPUTS, RESULTS
from touchstone.words import AREAS, LEVELS, PHASES

WIDTH = 140
"""Columns of a line in ``conformance/``."""
_INNERMOST = re.compile(r"[\[{][^\[\]{}]*[\]}]")
Schema = dict[str, object]
_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": ["integer", "string"]}
_VALUE: Schema = {"type": ["integer", "string", "object"]}
"""Of what is expected: a number, a word, ``{in: [...]}``."""
_SCALAR: Schema = {"type": ["integer", "string", "number", "boolean"]}


def _listed(item: Schema) -> Schema:
    return {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}


def _object(properties: dict[str, Schema], required: tuple[str, ...] = (), **more: object) -> Schema:
    found: Schema = {"type": "object", "properties": properties, "additionalProperties": False, **more}
    if required:
        found["required"] = list(required)
    return found


def _bits(name: str) -> Schema:
    return {"type": "object", "propertyNames": {"enum": list(TABLES[name])}, "additionalProperties": _NUMBER}


def _each() -> Schema:
    fixed: dict[str, Schema] = {
        "cpl": {"enum": [0, 3]},
        "on": {"enum": list(ON)},
        "bits": {"enum": list(CODE_BITS)},
        "mode": {"enum": list(MODES)},
    }
    row: Schema = {"type": "object", "properties": fixed, "additionalProperties": _SCALAR}
    listed = {name: _listed(value) for name, value in fixed.items()}
    return {
        "type": "object",
        "properties": {**listed, ROWS: _listed(row)},
        "additionalProperties": _listed(_SCALAR),
    }


def _sweep() -> Schema:
    bits: Schema = {
        "type": "object",
        "propertyNames": {"enum": list(RESULTS)},
        "additionalProperties": _listed(_NUMBER),
    }
    inputs = {name: _listed(_NUMBER) for name in INPUTS}
    allowed = _object({**inputs, "bits": bits, "refused": {"const": True}, "why": _TEXT}, ("why",))
    results = _listed({"enum": list(RESULTS)})
    return _object({**inputs, "results": results, "differs": _listed(allowed)}, ("results",))


def _defined(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _prepared() -> Schema:
    return _given(on={"enum": list(PREPARED_ON)}, run=_TEXT)


def _given(**more: Schema) -> Schema:
    properties: dict[str, Schema] = {"gprs": {"enum": ["random", "zero"]}}
    properties["rflags"] = {"anyOf": [_NUMBER, _bits("rflags")]}
    properties |= {name: _bits(name) for name in CONTROL}
    properties |= {name: {"anyOf": [_NUMBER, _bits(name)]} if name in TABLES else _NUMBER for name in DEBUG}
    properties["memory"] = {"type": "object"}
    properties["at"] = {
        "anyOf": [_NUMBER, {"type": "object", "maxProperties": 1, "additionalProperties": _NUMBER}]
    }
    properties["cs-base"] = _NUMBER
    words = _listed({"enum": list(PAGE_WORDS)})
    page = {"anyOf": [words, _object({"same-as": _NUMBER, "is": words})]}
    properties["pages"] = {"type": "object", "additionalProperties": page, "minProperties": 1}
    properties["keep"] = _listed(_NUMBER)
    properties["msrs"] = {"type": "object", "additionalProperties": {"type": ["integer", "string", "object"]}}
    return _object(properties | more, patternProperties={f"^({'|'.join(GPRS)})$": _NUMBER})


def _table(*parts: str) -> Schema:
    return (
        {"anyOf": [_NUMBER, _object({name: _VALUE for name in parts}, minProperties=1)]} if parts else _VALUE
    )


def _returned() -> Schema:
    named: dict[str, Schema] = {
        "rflags": {"anyOf": [_VALUE, _bits("rflags")]},
        "gprs": {"enum": ["unchanged"]},
        **{name: _VALUE for name in (*CALL_GPRS, "ss")},
    }
    return {"anyOf": [_NUMBER, _object(named, minProperties=1)]}


def _run() -> Schema:
    return _listed({"anyOf": [_TEXT, _object({vendor: _TEXT for vendor in VENDORS})]})


def _expect() -> Schema:
    named: dict[str, Schema] = {
        "native": {"type": "boolean"},
        "exception": {"anyOf": [_TEXT, _object({"in": _listed(_TEXT)}, ("in",))]},
        "rip": {"type": ["integer", "string", "object"]},
        "gprs": {"enum": ["unchanged"]},
        "memory": {"type": "object"},
        "exits": {"type": "object", "additionalProperties": _NUMBER},
        **{name: _table(*parts) for name, parts in more_registers.TABLES.items()},
        more_registers.RETURNED: _returned(),
        "events": {"anyOf": [{"const": "native"}, {"type": "array"}, {"type": "object"}]},
        "msrs": {"type": "object", "additionalProperties": {"type": ["integer", "string", "object"]}},
    }
    registers = r"^(r|e|[a-d][xlh]$|[sd]i|[sb]p|cr2$|dr[67]|[ig]dtr\.|returned\.)"
    return {
        "anyOf": [{"const": "native"}, _object(named, patternProperties={registers: {}}, minProperties=1)]
    }


def schema() -> Schema:
    """The schema as a value that ``json`` can write (JSON Schema draft 2020-12)."""
    cite = _listed(_object({name: _SCALAR for name in CITE_KEYS}, ("doc", "title", "says")))
    common: dict[str, Schema] = {
        "requires": {
            "type": "string",
            "description": "cpus >= 2, subject.CLAIM, cpuid.FEATURE, cpuid.7.ebx[3], msr.0x140[0]",
        },
        "phase": {"enum": list(PHASES)},
        "cite": cite,
    }
    run = "GNU as, Intel syntax; docs/writing-a-check.md lists the directives"
    body: dict[str, Schema] = {
        "given": _defined("given"),
        "handle": {"type": "object", "additionalProperties": _TEXT, "minProperties": 1},
        "run": {**_defined("run"), "description": run},
        "expect": _defined("expect"),
    }
    assert set(body) == set(STEP_KEYS)
    check: dict[str, Schema] = {
        **common,
        "id": {"type": "string", "pattern": rf"^({'|'.join(AREAS)})\.[a-z0-9]+([.-][a-z0-9]+)*$"},
        "title": _TEXT,
        "level": {"enum": list(LEVELS)},
        "proves": _listed(_TEXT),
        "claims": {"type": "boolean"},
        "each": _each(),
        "mode": {"enum": list(MODES)},
        "bits": {"enum": list(CODE_BITS)},
        **body,
        "sweep": _sweep(),
        "random": _object({"seed": _NUMBER, "probes": _NUMBER}, ("seed", "probes")),
        **{name: _defined("prepared") for name in AT},
        "then": _listed({"anyOf": [{"enum": list(TRANSITIONS)}, _object(body, ("run",))]}),
        "timeout": {"type": "number", "exclusiveMinimum": 0, "maximum": 3600},
        "tags": _listed(_TEXT),
    }
    assert set(check) == set(CHECK_KEYS)
    checks = {
        "type": "array",
        "minItems": 1,
        "items": _object(check, ("id", "title"), anyOf=[{"required": ["run"]}, {"required": ["random"]}]),
    }
    suite: dict[str, Schema] = {**common, "suite": _TEXT, "area": {"enum": list(AREAS)}, "checks": checks}
    assert set(suite) == set(SUITE_KEYS)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Touchstone suite",
        "$defs": {"given": _given(), "run": _run(), "expect": _expect(), "prepared": _prepared()},
        **_object(suite, ("suite", "area", "checks")),
    }


def text() -> str:
    """The schema as the file holds it: the innermost lists and objects in one line each where they fit."""
    long = json.dumps(schema(), indent=1, ensure_ascii=False)
    return _INNERMOST.sub(_joined, long) + "\n"


def _joined(found: re.Match[str]) -> str:
    line = " ".join(found[0].split())
    before = found.start() - found.string.rfind("\n", 0, found.start()) - 1
    return line if before + len(line) < WIDTH else found[0]


if __name__ == "__main__":
    sys.stdout.write(text())
