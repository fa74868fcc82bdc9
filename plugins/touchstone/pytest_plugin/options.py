"""The command line: which options there are, and what was asked for."""

from __future__ import annotations

import argparse
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from touchstone.shipped import source_root
from touchstone.words import DEFAULT_HYPERVISOR, HERE

if TYPE_CHECKING:
    from touchstone.pytest_plugin.shards import Shard

DEFAULT_TARGET = "qemu-amd"
SHIPPED_SUITES = "touchstone_shipped_suites"
OF_A_PROJECT = ("conformance", "targets/inventory.toml")
"""What a project has that has suites of its own."""
NO_TARGET_OPTION = "TOUCHSTONE_NO_TARGET_OPTION"
RIVALS = ("pytest_embedded",)
"""Modules of other plugins that register ``--target``. Where there is one, we have ``--hv-target`` only."""


_owner: list[str] = []


@dataclass(frozen=True)
class Options:
    """What the command line says, not yet compared with the inventory."""

    targets: tuple[str, ...]
    """Names, globs and ``all`` as they were given."""
    explicit: bool
    """Targets were named on the command line."""
    hypervisor: str
    inventory: Path
    shown_inventory: str
    timeout_factor: float
    matrix: str | None
    """Name of the matrix whose cells are the targets."""
    shard: Shard | None
    ring0: bool
    """Probes run at CPL 0 on the machine that pytest runs on, too."""
    share_host: Path | None
    """By this directory, the runs know each other that share the host."""


def add_options(parser: pytest.Parser) -> None:
    """Register all options; ``--target`` only where no other plugin has it."""
    group = parser.getgroup("touchstone", "touchstone: conformance checks for hypervisors")
    target_help = (
        "run the checks on this target of targets/inventory.toml; may be repeated, may be a comma-separated "
        f"list, a glob such as 'bochs-*', or 'all' (default: {DEFAULT_TARGET}); '{HERE}' is the machine that "
        "pytest runs on, under whatever it runs under"
    )
    group.addoption(
        "--hv-target",
        action="append",
        dest="touchstone_targets",
        metavar="NAME",
        help="the same as --target, for environments where another plugin owns that option",
    )
    owner = _owner_of_target()
    if owner is None:
        try:
            group.addoption(
                "--target", action="append", dest="touchstone_targets", metavar="NAME", help=target_help
            )
        except (ValueError, argparse.ArgumentError):
            owner = "another plugin"
    group.addoption(
        "--hypervisor",
        dest="touchstone_hypervisor",
        metavar="NAME|FILE",
        help="the hypervisor under test: a name under hypervisor/ of the rootdir or of Touchstone, a TOML "
        f"file, or 'none' for the bare machine (default: {DEFAULT_HYPERVISOR})",
    )
    group.addoption(
        "--ring0",
        action="store_true",
        dest="touchstone_ring0",
        help=f"with --target={HERE}, as root: insert the agent's kernel module into this machine, so that "
        "probes run at CPL 0 as well; one that goes wrong takes the machine with it "
        "(docs/judging-this-machine.md)",
    )
    group.addoption(
        "--list-targets",
        action="store_true",
        dest="touchstone_list_targets",
        help="list the targets of the inventory and exit",
    )
    group.addoption(
        "--require-targets",
        action="store_true",
        dest="touchstone_require_targets",
        help="end with status 11 if nothing was judged on a target, or nothing of an area on it, or if a "
        "known deviation names a check that does not exist",
    )
    group.addoption(
        "--require-conformant",
        dest="touchstone_require_conformant",
        metavar="N",
        type=_count,
        default=0,
        help="end with status 11 if fewer checks than this are conformant on a target",
    )
    group.addoption(
        "--touchstone-timeout-factor",
        dest="touchstone_timeout_factor",
        metavar="FACTOR",
        type=_factor,
        default=1.0,
        help="multiply every timeout by this, for slow machines (default: 1)",
    )
    group.addoption(
        "--touchstone-inventory",
        dest="touchstone_inventory",
        metavar="FILE",
        help="the inventory of targets (default: targets/inventory.toml under the rootdir, or "
        "Touchstone's own)",
    )
    group.addoption(
        "--fuzz-seconds",
        type=_seconds,
        default=None,
        metavar="N",
        help="also run random probes for so long on each target, native against loaded; what differs is made "
        "as small as it goes, and printed as a check (docs/random-probes.md)",
    )
    group.addoption(
        "--fuzz-seed",
        type=_seed,
        default=1,
        metavar="SEED",
        help="seed of the first thousand of these probes; the next thousand have the next seed (default: 1)",
    )
    group.addoption(
        "--payload",
        action="append",
        dest="touchstone_payloads",
        metavar="DIR|FILE",
        help="run a Multiboot program that prints PASS and FAIL lines, all of a directory, or those of a "
        "list (FILE.toml), on the bare machine and under the hypervisor, instead of the suites; may be "
        "repeated (docs/payloads.md)",
    )
    group.addoption(
        "--matrix",
        dest="touchstone_matrix",
        metavar="NAME",
        help="run on the cells of this matrix of targets/matrix.toml; --target picks some of them",
    )
    group.addoption(
        "--shard",
        dest="touchstone_shard",
        metavar="I/N",
        type=_shard,
        help="judge one of N parts of the checks: the parts together are the whole, and no check is in two",
    )
    group.addoption(
        "--plan",
        dest="touchstone_plan",
        metavar="JOURNAL",
        nargs="?",
        const="",
        help="print what would be judged where, what not and why, and how long it took in this journal "
        "(default: those in build/journals), and judge nothing; suites are named before it, since what "
        "is behind it is the journal",
    )
    group.addoption(
        "--journal",
        dest="touchstone_journal",
        metavar="FILE",
        help="write down what is planned, started and judged in this file, as it happens (default: a new one "
        "in build/journals)",
    )
    group.addoption(
        "--resume",
        dest="touchstone_resume",
        metavar="FILE",
        nargs="?",
        const="",
        help="go on with the run that wrote this journal and was broken off: judge what has no verdict, or "
        "could not be judged (default: the newest in build/journals); suites are named before it, as with "
        "--plan",
    )
    group.addoption(
        "--share-host",
        dest="touchstone_share_host",
        metavar="DIR",
        help="hand CPUs and boxes on to other runs at the same time that name the same directory: no more "
        "emulators than this host has CPUs, and first the target that took longest the last time",
    )
    parser.addini(
        SHIPPED_SUITES,
        type="bool",
        default=None,
        help="run Touchstone's own suites when --target is given and no file is named (default: if the "
        "project has neither conformance/ nor targets/inventory.toml)",
    )
    _owner[:] = [owner] if owner else []


def _owner_of_target() -> str | None:
    if os.environ.get(NO_TARGET_OPTION):
        return f"nobody, because {NO_TARGET_OPTION} is set,"
    return next((name for name in RIVALS if importlib.util.find_spec(name) is not None), None)


def _shard(text: str) -> Shard:
    from touchstone.pytest_plugin.shards import parse_shard  # noqa: PLC0415 - not of every pytest run

    return parse_shard(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:9]) <= 10**6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of checks, 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    if not text.isdecimal() or not 1 <= int(text[:9]) <= 10**6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 1 or more")
    return float(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text[:12]) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a seed, a number below 2**32")
    return int(text)


def _factor(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.01 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a factor from 0.01 to 1000")
    return value


def home(config: pytest.Config) -> Path:
    """The directory that has ``targets/``: the rootdir, or the one that pytest was started in.

    pytest finds another rootdir if everything that is run lies elsewhere, such as a suite in ``/tmp``.
    """
    for directory in (config.rootpath, config.invocation_params.dir):
        if (directory / "targets" / "inventory.toml").is_file():
            return directory
    return config.rootpath


def find_in_home(config: pytest.Config, *parts: str) -> Path:
    """A file of the project that is judged, or the one that comes with Touchstone where it has none."""
    path = home(config).joinpath(*parts)
    return path if path.exists() else source_root().joinpath(*parts)


def use_shipped_suites(config: pytest.Config) -> None:
    """Run Touchstone's suites too, if the command line names none and the project wants them.

    ``testpaths``, or the working directory, are collected as ever: a project's own suites.
    """
    wanted = config.getini(SHIPPED_SUITES)
    if wanted is None:
        wanted = not any((home(config) / name).exists() for name in OF_A_PROJECT)
    if wanted and config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args.append(str(source_root() / "conformance"))


def why_nothing_is_collected(config: pytest.Config) -> str:
    """What a project without suites of its own has to do to get Touchstone's; empty if that is not why."""
    ours = str(source_root() / "conformance")
    if config.args_source is pytest.Config.ArgsSource.ARGS or ours in config.args:
        return ""
    wanted = config.getini(SHIPPED_SUITES)
    found = [name for name in OF_A_PROJECT if (home(config) / name).exists()]
    why = f"{SHIPPED_SUITES} is off" if wanted is False else f"the project has {' and '.join(found)}"
    return (
        f"no check was found, and Touchstone's own suites are not run since {why}: "
        f"set {SHIPPED_SUITES} = true in the project's pyproject.toml, or name suites, such as {ours}"
    )


def read_options(config: pytest.Config) -> Options:
    """What was asked for, with the defaults."""
    given = config.getoption("touchstone_targets") or []
    names = tuple(name for word in given for part in word.split(",") if (name := part.strip()))
    if given and not names:
        raise pytest.UsageError("--target names no target: give a name, a list of names, a glob, or 'all'")
    if _owner and not names and (taken := getattr(config.option, "target", None)):
        raise pytest.UsageError(
            f"--target={taken} belongs to {_owner[0]} here: name Touchstone's targets with --hv-target"
        )
    named = config.getoption("touchstone_inventory")
    if named:
        path = Path(os.path.expanduser(named))
        path = path if path.is_absolute() else config.invocation_params.dir / path
    else:
        path = find_in_home(config, "targets", "inventory.toml")
    matrix, ring0 = config.getoption("touchstone_matrix"), bool(config.getoption("touchstone_ring0"))
    shared = config.getoption("touchstone_share_host")
    if ring0 and HERE not in names:
        raise pytest.UsageError(
            f"--ring0 is about the machine that pytest runs on: it goes with --target={HERE}"
        )
    return Options(
        targets=names or (("all",) if matrix else (DEFAULT_TARGET,)),
        explicit=bool(names),
        hypervisor=_hypervisor(config.getoption("touchstone_hypervisor"), names),
        inventory=path,
        shown_inventory=show_path(config, path),
        timeout_factor=float(config.getoption("touchstone_timeout_factor")),
        matrix=matrix,
        shard=config.getoption("touchstone_shard"),
        ring0=ring0,
        share_host=None if shared is None else config.invocation_params.dir / shared,
    )


def _hypervisor(given: str | None, targets: tuple[str, ...]) -> str:
    """The subject's name. UsageError where it does not go with the targets."""
    if HERE not in targets:
        if given == HERE:
            raise pytest.UsageError(
                f"--hypervisor={HERE} is what this machine runs under: it goes with --target={HERE}"
            )
        return given or DEFAULT_HYPERVISOR
    if set(targets) != {HERE}:
        others = ", ".join(name for name in targets if name != HERE)
        raise pytest.UsageError(
            f"--target={HERE} is judged in a run of its own, because it has a hypervisor of its own:"
            f" judge {others} in another"
        )
    if given not in (None, HERE):
        raise pytest.UsageError(
            f"--target={HERE} is judged under what it runs under, and nothing is loaded there:"
            f" leave out --hypervisor={given}"
        )
    return HERE


def show_path(config: pytest.Config, path: Path) -> str:
    """A path as messages name it: relative to where pytest was started, where that is shorter."""
    relative = os.path.relpath(path, config.invocation_params.dir)
    return relative if not relative.startswith("..") else str(path)
