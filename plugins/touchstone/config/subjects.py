"""Subjects: the hypervisor under test, as its TOML file describes it. ``none`` is built in: the bare machine.

::

    name = "veneer"
    title = "Veneer"

    [claims]                  # what checks may require as subject.KEY; tables nest with dots
    nested = "hidden"

    [deploy.bare]             # for targets that boot the bare OS: the directory that holds subject.mk
    directory = "."

    [deploy.linux]            # for targets that run Linux: docs/adding-a-subject.md
    sources = "."
    build = "make KDIR={headers} BUILD={build}"
    files = "veneer.ko"
    load = "..."              # and other shell commands

    [deploy.hosted]           # or: a program on Linux that has machines as guests: docs/hosted.md
    run = "exec qemu-system-x86_64 ... -kernel {image} -smp {cpus} -serial stdio"

    [deploy.uefi]             # for targets with a UEFI firmware: the program that it loads
    file = "mine.efi"
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from touchstone.config.tomlfile import TomlError, TomlFile, describe, did_you_mean
from touchstone.config.waivers import Waiver, read_waivers
from touchstone.machine.settings import TargetSettings
from touchstone.suite import requires
from touchstone.suite.claims import CLAIMS, problem_with
from touchstone.words import HERE

Claim = str | int | bool

KEYS = ("name", "title", "claims", "deploy", "known-deviations")
WAIVER_KEYS = ("check", "reason", "owner", "link", "until", "when", "emulator")
MAX_UNSIGNED = 2**64 - 1
LINUX_NEEDS = ("sources", "build", "files", "present", "insert", "remove", "load", "unload", "query")
LINUX_MAY_HAVE = ("exits", "trace")
HOSTED_NEEDS = ("run",)
HOSTED_MAY_HAVE = (
    "sources",
    "build",
    "files",
    "needs",
    "prepare",
    "restore",
    "up",
    "version",
    "report",
    "processes",
    "end",
)
PROGRAM = ("sources", "build", "files")
"""Keys of ``[deploy.hosted]`` for a program that has to be built: all of them, or none."""
UEFI_NEEDS = ("file",)
UEFI_MAY_HAVE = ("sources", "build", "not-claimed")


@dataclass(frozen=True)
class Subject:
    """A hypervisor, and what it claims."""

    name: str
    title: str
    path: Path | None = None
    """Its TOML file; None for ``none``."""
    claims: Mapping[str, Claim] = field(default_factory=dict)
    """Flat: ``cpuid-signature.ebx``. What a requirement names ``subject.KEY``."""
    bare: Path | None = None
    """Directory with ``subject.mk``, to link the subject into the bare OS's image."""
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The ``[deploy.KIND]`` tables as they are, for drivers of our own and of others."""
    known_deviations: tuple[Waiver, ...] = ()
    """What it is known to do wrong itself."""

    def known_deviation(
        self, check_id: str, version: tuple[int, ...] | None, facts: requires.Facts
    ) -> Waiver | None:
        """What its file says of a check on a target with these facts, on an emulator of this version."""
        return next((one for one in self.known_deviations if one.applies(check_id, version, facts)), None)

    def on(self, settings: TargetSettings) -> Subject:
        """The subject as it is on a target: without what it does not claim where it is loaded in that way."""
        names = self.options.get("uefi", {}).get("not-claimed", "").split() if settings.uefi else []
        claims = {name: value for name, value in self.claims.items() if not _among(name, names)}
        return replace(self, claims=claims) if names else self

    @property
    def hosted(self) -> bool:
        """On a box with Linux, the machine that is judged is its guest."""
        return "hosted" in self.options

    @property
    def absent(self) -> bool:
        """There is no hypervisor: the bare machine is judged."""
        return self.name == NONE


def _among(claim: str, names: Iterable[str]) -> bool:
    """Whether it is one of these claims, or in one of these tables of claims."""
    return any(claim == name or claim.startswith(f"{name}.") for name in names)


NONE = "none"
BARE_MACHINE = Subject(NONE, "the bare machine, without a hypervisor")
AS_FOUND = Subject(HERE, "what this machine runs under")
"""Its claims are what CPUID says once it was asked."""
BUILT_IN = {NONE: BARE_MACHINE, HERE: AS_FOUND}


def find_subject(name: str, directory: Path, relative_to: Path, shown: str = "hypervisor") -> Subject:
    """The subject of ``--hypervisor``: ``none``, a TOML file's path, or a name under ``directory``.

    Raises:
        TomlError: There is no such subject, or its file is wrong.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    if name.endswith(".toml") or "/" in name:
        path = Path(name).expanduser()
        path = path if path.is_absolute() else relative_to / path
        return read_subject(path, name)
    path = directory / f"{name}.toml"
    if not _is_file(path):
        known = [NONE, *sorted(found.stem for found in directory.glob("*.toml"))]
        raise TomlError(
            [
                f"no hypervisor {name!r} in {shown}/{did_you_mean(name, known)}"
                " A TOML file's path can be given instead."
            ]
        )
    return read_subject(path, f"{shown}/{path.name}")


def read_subject(path: Path, shown: str | None = None) -> Subject:
    """Read a subject's file. TomlError with everything that is wrong in it."""
    file = TomlFile.read(path, shown)
    file.known(file.data, (), KEYS)
    name = file.text(file.data, "name", ())
    if name in BUILT_IN:
        text = f"the name {name!r} means {BUILT_IN[name].title}; give the hypervisor another one"
        file.error(("name",), text)
    title = file.text(file.data, "title", (), name)
    claims: dict[str, Claim] = {}
    _flatten(file, file.table(file.data.get("claims", {}), ("claims",)), ("claims",), claims)
    bare, options = _deploy(file)
    known = read_waivers(file, file.data, (), "known-deviations", WAIVER_KEYS)
    file.check()
    return Subject(name, title, path, claims, bare, options, known)


def _flatten(
    file: TomlFile, table: Mapping[str, Any], key_path: tuple[str, ...], claims: dict[str, Claim]
) -> None:
    for key, value in table.items():
        here = (*key_path, key)
        name = ".".join(here[1:])
        if isinstance(value, dict):
            _flatten(file, value, here, claims)
            continue
        if not isinstance(value, str | bool) and not (isinstance(value, int) and 0 <= value <= MAX_UNSIGNED):
            wanted = "a text, true or false, or a number from 0 to 2**64-1"
            file.error(here, f"a claim is {wanted}, not {describe(value)}")
            continue
        claims[name] = value
        if (problem := problem_with(name)) is not None:
            file.error(here, problem)
        elif name in CLAIMS and (wrong := CLAIMS[name].wrong(value)) is not None:
            file.error(here, f"{name} {wrong}, not {describe(value)}")


def _deploy(file: TomlFile) -> tuple[Path | None, dict[str, dict[str, str]]]:
    bare: Path | None = None
    options: dict[str, dict[str, str]] = {}
    for kind, value in file.table(file.data.get("deploy", {}), ("deploy",)).items():
        key_path = ("deploy", kind)
        table = file.table(value, key_path)
        options[kind] = {key: file.text(table, key, key_path) for key in table}
        if kind == "linux":
            _check_linux(file, table, key_path)
        if kind == "hosted":
            _check_hosted(file, table, key_path)
        if kind == "uefi":
            _check_uefi(file, table, key_path)
        if kind != "bare":
            continue
        file.known(table, key_path, ("directory",))
        directory = file.text(table, "directory", key_path)
        bare = (file.path.parent / directory).resolve()
        if directory and not _is_file(bare / "subject.mk"):
            text = f"there is no subject.mk in {bare}, so it cannot be linked into the bare OS"
            file.error((*key_path, "directory"), text)
    if "linux" in options and "hosted" in options:
        text = "[deploy.linux] is there too: on a box with Linux, a subject has one of the two ways in"
        file.error(("deploy", "hosted"), text)
    return bare, options


def _check_linux(file: TomlFile, table: Mapping[str, Any], key_path: tuple[str, ...]) -> None:
    file.known(table, key_path, LINUX_NEEDS + LINUX_MAY_HAVE)
    for key in LINUX_NEEDS:
        if key not in table:
            file.text(table, key, key_path)
    sources = table.get("sources")
    if isinstance(sources, str) and sources and not _is_directory(file.path.parent / sources):
        file.error((*key_path, "sources"), f"there is no directory {(file.path.parent / sources).resolve()}")


def _check_hosted(file: TomlFile, table: Mapping[str, Any], key_path: tuple[str, ...]) -> None:
    file.known(table, key_path, HOSTED_NEEDS + HOSTED_MAY_HAVE)
    for key in HOSTED_NEEDS:
        if key not in table:
            file.text(table, key, key_path)
    given = [key for key in PROGRAM if key in table]
    for key in PROGRAM if given else ():
        if key not in table:
            file.error(key_path, f"{key} is missing: a program that is built needs {', '.join(PROGRAM)}")
    sources = table.get("sources")
    if isinstance(sources, str) and sources and not _is_directory(file.path.parent / sources):
        file.error((*key_path, "sources"), f"there is no directory {(file.path.parent / sources).resolve()}")
    run = table.get("run")
    if isinstance(run, str) and run and not run.lstrip().startswith("exec "):
        text = "run must begin with `exec`: whoever ends its process must end the guest"
        file.error((*key_path, "run"), text)
    if isinstance(run, str) and "{image}" not in run:
        file.error((*key_path, "run"), "run must have {image}, which is what the guest boots")
    try:
        re.compile(str(table.get("end", "")))
    except re.error as error:
        file.error((*key_path, "end"), f"end is no regular expression: {error}")


def _check_uefi(file: TomlFile, table: Mapping[str, Any], key_path: tuple[str, ...]) -> None:
    file.known(table, key_path, UEFI_NEEDS + UEFI_MAY_HAVE)
    if "file" not in table:
        file.text(table, "file", key_path)
    sources, build, name = (table.get(key) for key in ("sources", "build", "file"))
    if (sources is None) != (build is None):
        missing = "build" if build is None else "sources"
        file.error(
            key_path,
            f"{missing} is missing: sources and build go together; a file that is there needs neither",
        )
    if isinstance(sources, str) and sources and not _is_directory(file.path.parent / sources):
        file.error((*key_path, "sources"), f"there is no directory {(file.path.parent / sources).resolve()}")
    if sources is None and isinstance(name, str) and name and not _is_file(file.path.parent / name):
        file.error((*key_path, "file"), f"there is no file {(file.path.parent / name).resolve()}")
    claims = [name for name in CLAIMS if not name.startswith("own.")]
    for word in str(table.get("not-claimed", "")).split():
        if not any(_among(name, (word,)) for name in claims):
            hint = did_you_mean(word, claims)
            file.error((*key_path, "not-claimed"), f"there is no claim {word!r}{hint}")


def _is_file(path: Path) -> bool:
    """Whether there is a file; a name that no file can have (ENAMETOOLONG) is not an error of its own."""
    try:
        return path.is_file()
    except OSError:
        return False


def _is_directory(path: Path) -> bool:
    """The same of a directory."""
    try:
        return path.is_dir()
    except OSError:
        return False
