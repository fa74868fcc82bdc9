"""The JSON Schemas of inventories, matrices and subjects' files, made of what their readers check with.

For completion and errors in editors; the readers check more, with better messages. They are renewed by::

    python -m touchstone.config.schemas inventory > targets/inventory.schema.json
    python -m touchstone.config.schemas matrix > targets/matrix.schema.json
    python -m touchstone.config.schemas subject > hypervisor/subject.schema.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping

from touchstone.config import includes, inventory, matrix, subjects
from touchstone.config.waivers import VERSION
from touchstone.drivers import registry
from touchstone.drivers.bochs import config as bochs
from touchstone.drivers.qemu import config as qemu
from touchstone.drivers.ssh import settings as ssh
from touchstone.drivers.ssh import virtual
from touchstone.suite.claims import CLAIMS, OWN

Schema = dict[str, object]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TEXT: Schema = {"type": "string", "minLength": 1}
_OF_TYPE: Mapping[type, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    list: {"type": "array"},
}


def _table(properties: Mapping[str, object], required: Iterable[str] = (), **more: object) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
        **more,
    }


def inventory_schema() -> Schema:
    """Of ``targets/inventory.toml``."""
    name = inventory.NAME.pattern
    return {
        "$schema": DIALECT,
        "title": "Touchstone inventory",
        **_table(
            {
                includes.KEY: {"type": "array", "items": _TEXT},
                "targets": {
                    "type": "object",
                    "minProperties": 1,
                    "propertyNames": {"pattern": f"^(?!all$){name}$"},
                    "additionalProperties": {"anyOf": [*map(_of_ours, _drivers()), _of_others()]},
                },
            },
            anyOf=[{"required": ["targets"]}, {"required": [includes.KEY]}],
        ),
    }


def _drivers() -> list[tuple[str, Mapping[str, type], str]]:
    """Each kind of target: its driver, the options of that, and the one that makes it this kind."""
    boxes = [({**virtual.OPTIONS, **options}, "image") for options in virtual.EMULATORS.values()]
    return [
        ("qemu", qemu.OPTIONS, ""),
        ("bochs", bochs.OPTIONS, ""),
        ("ssh", ssh.OPTIONS, "host"),
        ("ssh", ssh.OPTIONS, "labgrid-place"),
        *(("ssh", options, needed) for options, needed in boxes),
    ]


def _common() -> dict[str, object]:
    low, high = inventory.FACTORS
    found: dict[str, object] = {
        "title": _TEXT,
        "vendor": {"enum": list(inventory.VENDORS)},
        "cpus": _whole(inventory.CPUS),
        "memory-mib": _whole(inventory.MEMORY_MIB),
        "cpu-model": _TEXT,
        "timeout-factor": {"type": "number", "minimum": low, "maximum": high},
        "deviates-like": _TEXT,
        "instances": _whole(inventory.INSTANCES),
    }
    return found | {key: _waivers(keys) for key, keys in inventory.WAIVERS.items()}


def _waivers(keys: Iterable[str]) -> Schema:
    kinds = {
        **dict.fromkeys(keys, _TEXT),
        "check": _one_or_several(_TEXT, minItems=1),
        "until": {"type": "string", "format": "date"},
        "emulator": {"type": "string", "pattern": f"^{VERSION.pattern}$"},
    }
    return {"type": "array", "items": _table({one: kinds[one] for one in keys}, ("check", "reason"))}


def _whole(bounds: tuple[int, int]) -> Schema:
    return {"type": "integer", "minimum": bounds[0], "maximum": bounds[1]}


def _of_ours(kind: tuple[str, Mapping[str, type], str]) -> Schema:
    driver, options, needed = kind
    spelt = {word: _OF_TYPE[of] for name, of in options.items() for word in (name.replace("_", "-"), name)}
    return _table(
        {**_common(), "driver": {"const": driver}, **spelt},
        ("driver", "vendor", *([needed] if needed else [])),
    )


def _of_others() -> Schema:
    """A target of another plugin's driver, with options of its own."""
    return {
        "type": "object",
        "properties": {**_common(), "driver": {**_TEXT, "not": {"enum": list(registry.DRIVERS)}}},
        "required": ["driver", "vendor"],
    }


def subject_schema() -> Schema:
    """Of a subject's file."""
    linux = dict.fromkeys((*subjects.LINUX_NEEDS, *subjects.LINUX_MAY_HAVE), _TEXT)
    hosted = dict.fromkeys((*subjects.HOSTED_NEEDS, *subjects.HOSTED_MAY_HAVE), _TEXT)
    uefi = dict.fromkeys((*subjects.UEFI_NEEDS, *subjects.UEFI_MAY_HAVE), _TEXT)
    deploy = {
        "type": "object",
        "properties": {
            "bare": _table({"directory": _TEXT}, ("directory",)),
            "linux": _table(linux, subjects.LINUX_NEEDS),
            "hosted": _table(hosted, subjects.HOSTED_NEEDS),
            "uefi": _table(uefi, subjects.UEFI_NEEDS),
        },
        "additionalProperties": {"type": "object", "additionalProperties": _TEXT},
    }
    known = {
        "name": {**_TEXT, "not": {"const": subjects.NONE}},
        "title": _TEXT,
        "claims": _claims(),
        "deploy": deploy,
        "known-deviations": _waivers(subjects.WAIVER_KEYS),
    }
    own = {"anyOf": [_CLAIM, {"$ref": "#/$defs/own"}]}
    return {
        "$schema": DIALECT,
        "title": "Touchstone subject",
        **_table({key: known[key] for key in subjects.KEYS}, ("name",)),
        "$defs": {"own": {"type": "object", "additionalProperties": own}},
    }


_CLAIM: Schema = {
    "anyOf": [{"type": ["string", "boolean"]}, _whole((0, subjects.MAX_UNSIGNED))],
}


def _claims() -> Schema:
    """Those that are declared, whose dots are tables, and anybody's own."""
    tree: dict[str, object] = {OWN.rstrip("."): {"$ref": "#/$defs/own"}}
    for name, claim in CLAIMS.items():
        *tables, last = name.split(".")
        below = tree
        for table in tables:
            inner = below.setdefault(table, _table({}))
            assert isinstance(inner, dict)
            below = inner["properties"]
        if isinstance(claim.values, tuple):
            value: Schema = {"enum": list(claim.values)}
        else:
            value = {"type": "boolean"} if claim.values is bool else _whole((0, subjects.MAX_UNSIGNED))
        below[last] = {**value, "description": claim.means}
    return _table(tree)


def matrix_schema() -> Schema:
    """Of ``targets/matrix.toml``."""
    axes = {axis: _one_or_several(_TEXT) for axis in matrix.AXES}
    axes |= {axis: _one_or_several(_whole(bounds)) for axis, bounds in matrix.NUMBERS.items()}
    rules = {
        "include": {"type": "array", "items": _table(axes, ("target",))},
        "exclude": {"type": "array", "items": _table({**axes, "reason": _TEXT}, ("reason",))},
    }
    matrices = {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": f"^{matrix.NAME.pattern}$"},
        "additionalProperties": _table(rules, ("include",)),
    }
    return {"$schema": DIALECT, "title": "Touchstone matrices", **_table({"matrix": matrices}, ("matrix",))}


def _one_or_several(value: Schema, **more: object) -> Schema:
    return {"anyOf": [value, {"type": "array", "items": value, **more}]}


SCHEMAS: Mapping[str, Callable[[], Schema]] = {
    "inventory": inventory_schema,
    "matrix": matrix_schema,
    "subject": subject_schema,
}


def text(kind: str) -> str:
    """A schema as its file holds it."""
    return json.dumps(SCHEMAS[kind](), indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text(sys.argv[1]))
