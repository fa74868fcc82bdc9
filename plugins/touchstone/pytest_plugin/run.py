"""The state of one pytest run: inventory, subject, targets, plan, sessions. Made with the first suite."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from touchstone.config.expectations import ending_soon
from touchstone.config.inventory import Inventory, Target, read_inventory, select
from touchstone.config.logs import log_directory
from touchstone.config.matrix import Matrix, read_matrix
from touchstone.config.references import without_check
from touchstone.config.sick import Sick, mark, sick_boxes
from touchstone.config.subjects import Subject, find_subject
from touchstone.config.tomlfile import TomlError
from touchstone.engine.ahead import Ahead
from touchstone.engine.facts import static_facts
from touchstone.engine.outcomes import Unavailable
from touchstone.engine.plan import Plan
from touchstone.engine.progress import StageProgress
from touchstone.engine.records import CheckOnTarget
from touchstone.engine.session import TargetSession
from touchstone.engine.turns import Turns
from touchstone.machine.driver import Driver, HostError
from touchstone.machine.settings import TargetSettings
from touchstone.pytest_plugin.journal_place import plan_by
from touchstone.pytest_plugin.options import Options, find_in_home, home, read_options, show_path
from touchstone.pytest_plugin.progress import progress_writer
from touchstone.reporting.causes import Causes
from touchstone.reporting.commands import command
from touchstone.shipped import build_directory
from touchstone.suite.kept_codes import KeptCodes
from touchstone.suite.model import Check
from touchstone.suite.problems import SuiteErrors
from touchstone.suite.statements import known_statements
from touchstone.words import HERE

if TYPE_CHECKING:
    from touchstone.drivers.emulated.uefi import ProvideProgram
    from touchstone.drivers.ssh.deployable import Deployable

USUAL_CPUS = 16
"""Of an emulated machine: with more, what they do together takes longer than timeouts reckon with."""
CPUS = len(os.sched_getaffinity(0))
"""Of this host: so many emulators run at the same time, if nobody asks for more."""


class Run:
    """What the checks of a run have in common. No target is contacted before a check runs."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.options: Options = read_options(config)
        self._defined_at: dict[str, str] = {}
        """Check id to file and line; an id is unique over all suites."""
        self.ahead = Ahead()
        self.causes = Causes(show_all=config.get_verbosity() > 1)
        self._sessions: dict[str, TargetSession] = {}
        self._about: dict[str, str] = {}
        self._facts: dict[str, dict[str, str]] = {}
        """Of targets without a session, by name."""
        self.note_retry: Callable[[CheckOnTarget, str], None] = lambda one, reason: None
        """Takes a check that is judged once more, and why."""

    @cached_property
    def inventory(self) -> Inventory:
        """The inventory. UsageError with everything that is wrong in it."""
        try:
            return read_inventory(self.options.inventory, self.options.shown_inventory, self._validate)
        except TomlError as error:
            raise pytest.UsageError(str(error)) from None

    @cached_property
    def targets(self) -> Sequence[Target]:
        """The targets that were asked for, in the order of the inventory. UsageError if there is none."""
        try:
            if self.options.hypervisor == HERE:
                return [_this_machine(ring0=self.options.ring0)]
            if self.matrix is None:
                return self.inventory.select(self.options.targets)
            return self._cells(self.matrix)
        except LookupError as error:
            raise pytest.UsageError(error.args[0]) from None

    @cached_property
    def matrix(self) -> Matrix | None:
        """The matrix that was asked for. UsageError with everything that is wrong in its file."""
        if self.options.matrix is None:
            return None
        beside = self.options.inventory.with_name("matrix.toml")
        path = beside if beside.is_file() else find_in_home(self.config, "targets", "matrix.toml")
        shown = show_path(self.config, path)
        try:
            return read_matrix(path, self.options.matrix, self.inventory, shown, self._validate)
        except TomlError as error:
            raise pytest.UsageError(str(error)) from None

    def _cells(self, matrix: Matrix) -> Sequence[Target]:
        found = {target.name: target for target in matrix.targets(self.options.hypervisor)}
        if not found:
            raise pytest.UsageError(
                f"the matrix {matrix.name} judges {', '.join(matrix.subjects)}, and not "
                f"{self.options.hypervisor}: name one of them with --hypervisor"
            )
        return select(found, self.options.targets, f"the matrix {matrix.name}")

    @property
    def workers(self) -> int:
        """How many workers are of use: one per machine, and of emulators not more than there are CPUs."""
        counts = {True: 0, False: 0}
        for target in self.targets:
            counts[is_emulated(target)] += target.instances
        return counts[False] + min(counts[True], CPUS)

    @cached_property
    def requirements(self) -> Collection[str]:
        """Ids that ``proves`` may name: Touchstone's, and those of the project's own requirements."""
        own = home(self.config) / "conformance"
        try:
            return frozenset(known_statements(own, lambda path: show_path(self.config, path)))
        except SuiteErrors as error:
            raise pytest.UsageError(str(error)) from None

    @cached_property
    def subject(self) -> Subject:
        """The hypervisor under test. UsageError with everything that is wrong in its file."""
        name, config = self.options.hypervisor, self.config
        directory = find_in_home(config, "hypervisor", f"{name}.toml").parent
        try:
            return find_subject(name, directory, config.invocation_params.dir)
        except TomlError as error:
            raise pytest.UsageError(str(error)) from None

    @cached_property
    def built(self) -> Path:
        """Where what is built is kept. UsageError if there is no such place."""
        try:
            return build_directory()
        except FileNotFoundError as error:
            raise pytest.UsageError(str(error)) from None

    @cached_property
    def plan(self) -> Plan:
        """What runs on which target."""
        return Plan(KeptCodes(self.built / "suites" / "assembled"))

    def check(self) -> None:
        """UsageError for whatever is wrong with what the command line names."""
        assert self.targets
        assert self.subject
        assert self.built

    def header(self) -> str:
        """What is judged where."""
        names = ", ".join(target.name for target in self.targets)
        return f"touchstone: {self.subject.title} on {names}"

    def session(self, target: Target) -> TargetSession:
        """The one session of a target in this run."""
        found = self._sessions.get(target.name)
        if found is None:
            self.stop_all()  # a process drives one target at a time
            found = self._sessions[target.name] = TargetSession(
                target,
                self.subject.on(target.settings),
                self._driver_maker(target),
                self.plan.of_target(target.name),
                static_facts(target, self.subject),
                StageProgress(progress_writer(self.config)),
                self.ahead,
            )
            if (sick := self.sick.get(target.inventory_name)) is not None:
                found.skip(f"{sick}; touchstone sick --clear {sick.name} takes it back into use")
        return found

    @cached_property
    def sick(self) -> Mapping[str, Sick]:
        """Boxes that an earlier run could not use, by the name of their entry."""
        return sick_boxes(home(self.config))

    def after_check(self, target: Target, *, judged: bool) -> None:
        """A check of a target is over; a box that the lab cannot provide is marked, for runs to come."""
        session = self._sessions.get(target.name)
        if session is None:
            return
        if judged:
            session.worked()
        elif session.sickness:
            with contextlib.suppress(OSError):
                mark(home(self.config), target.inventory_name, session.sickness)

    def take_turn(self, target: Target) -> None:
        """Wait until a target may have its machine, where other runs share the host."""
        if self.turns is None or target.name in self._sessions:
            return
        self.stop_all()
        emulated = is_emulated(target)
        kind, places = ("cpu", CPUS) if emulated else (f"box-{target.inventory_name}", target.instances)
        progress = StageProgress(progress_writer(self.config))
        with progress.stage(target.name):
            progress("waiting for its turn")
            self.turns.take(kind, places, self._seconds.get(target.name, 0.0))

    @cached_property
    def turns(self) -> Turns | None:
        """None: no other run shares this host."""
        return None if self.options.share_host is None else Turns(self.options.share_host)

    @cached_property
    def _seconds(self) -> Mapping[str, float]:
        """How long targets took in earlier runs about this subject."""
        names = [target.name for target in self.targets]
        before = plan_by(self.config, self.subject.name, names)
        return {} if before is None else before.seconds

    def reaching(self, target: str) -> float:
        """Seconds that went by so far until a target was where its checks need it."""
        session = self._sessions.get(target)
        return 0.0 if session is None else session.reaching

    def stop_all(self) -> None:
        """Stop every target. Safe to repeat."""
        while self._sessions:
            _, session = self._sessions.popitem()
            session.stop()
        if self.turns is not None:
            self.turns.leave()

    def register(self, check: Check) -> None:
        """Note a check's id. ValueError when another check has it, and where."""
        where = str(check.source)
        before = self._defined_at.setdefault(check.id, where)
        if before != where:
            raise ValueError(f"{where}: the id {check.id!r} is already used at {before}")

    def entries_without_check(self) -> list[str]:
        """Known deviations that are about no check, if all checks of the project were collected."""
        left_out = any(self.config.getoption(name) for name in ("ignore", "ignore_glob"))
        some = self.config.args_source is not pytest.Config.ArgsSource.TESTPATHS or left_out
        if some or not self._defined_at:
            return []
        return list(without_check(self.targets, self.subject, self._defined_at))

    def entries_ending_soon(self) -> list[str]:
        """Known deviations of this run's targets and subject that end within two weeks."""
        of_targets = [one for target in self.targets for one in target.known_deviations]
        return list(ending_soon((*self.subject.known_deviations, *of_targets), datetime.date.today()))

    def about(self, target: Target) -> str | None:
        """The line that says what a target is; None as long as it has not been reached."""
        session = self._sessions.get(target.name)
        if session is not None and session.known.cpu is not None:
            return session.describe()
        return self._about.get(target.name)

    def facts(self, target: Target) -> dict[str, str]:
        """What is known of a target that was reached."""
        session = self._sessions.get(target.name)
        return self._facts.get(target.name, {}) if session is None else session.facts()

    def note_facts(self, target: Target, facts: dict[str, str]) -> None:
        """What is known of a target that had machines without a session: of payloads."""
        self._facts[target.name] = facts
        cpus = f"{facts['cpus']} CPU{'s' if facts['cpus'] != '1' else ''}"
        words = [facts.get("cpu", facts["vendor"]), cpus, facts["emulator"]]
        self._about[target.name] = f"{', '.join(words)}; payloads under {self.subject.title}"

    def lines_about_results(self) -> list[str]:
        """Lines that say where results are."""
        directory = self.config.getoption("allure_report_dir", None)
        if not directory:
            return []
        shown = show_path(self.config, Path(directory).absolute())
        report = command(self.config, ["touchstone", "report", shown])
        return [f"results: {shown}; make a report of them with:", f"    {report}"]

    def _validate(self, settings: TargetSettings) -> None:
        self.config.hook.pytest_touchstone_validate_target(settings=settings)

    def settings_of(self, target: Target) -> TargetSettings:
        """What the inventory says of a target, with timeouts for this run and for so many CPUs."""
        factor = target.settings.timeout_factor * self.options.timeout_factor
        if is_emulated(target):  # its CPUs share those of this host
            factor *= max(1.0, target.settings.cpus / USUAL_CPUS)
        return replace(target.settings, timeout_factor=factor)

    def _driver_maker(self, target: Target) -> Callable[[], Driver]:
        settings = self.settings_of(target)

        def make() -> Driver:
            driver: Driver | None = self.config.hook.pytest_touchstone_make_driver(
                config=self.config, settings=settings, subject=self.subject
            )
            assert driver is not None, "the registry makes one, or says why not"
            return driver

        return make


_KEY = pytest.StashKey[Run]()


def run_of(config: pytest.Config) -> Run:
    """The run's state, made at its first use."""
    run = config.stash.get(_KEY, None)
    if run is None:
        run = config.stash[_KEY] = Run(config)
        config.hook.pytest_touchstone_run_begins(config=config, run=run)
    return run


def existing_run(config: pytest.Config) -> Run | None:
    """The run's state if there is a suite or a target in this run."""
    return config.stash.get(_KEY, None)


def list_targets(config: pytest.Config) -> int:
    """Print the inventory: ``--list-targets``."""
    run = Run(config)
    targets = run.inventory.targets if run.matrix is None else {one.name: one for one in run.targets}
    if run.matrix is None:
        with contextlib.suppress(pytest.UsageError):
            targets = {**targets, HERE: _this_machine()}
    width = max(len(name) for name in targets)
    for name, target in targets.items():
        settings = target.settings
        about = f"{settings.driver:<5}  {settings.vendor:<5}  {settings.cpus:>2} CPUs  {target.title}"
        print(f"{name:<{width}}  {about}")
    return pytest.ExitCode.OK


def _this_machine(*, ring0: bool = False) -> Target:
    """The built-in target. UsageError if this machine cannot be one."""
    from touchstone.drivers.here import machine  # noqa: PLC0415

    try:
        settings = machine.this_machine(ring0=ring0)
    except machine.NotThisMachine as error:
        raise pytest.UsageError(f"--target={HERE}: {error}") from None
    return Target(settings, "the machine that pytest runs on", "built in")


def make_driver(config: pytest.Config, settings: TargetSettings, subject: Subject) -> Driver:
    """A driver that comes with Touchstone. Unavailable where the host lacks what the target needs."""
    from touchstone.drivers import registry  # noqa: PLC0415

    if settings.driver == HERE:
        return registry.make_here_driver(settings, log_directory(home(config)))
    reason = registry.unavailable(settings)
    if reason:
        raise Unavailable(f"this host cannot run {settings.name}: {reason}")
    if settings.driver == "ssh" and subject.hosted and subject.path is not None:
        from touchstone.drivers.hosted.deploy import a_guest  # noqa: PLC0415

        table = subject.options["hosted"]
        program = a_guest(subject.name, subject.title, subject.path, table, settings.cpus)
        return registry.make_hosted_driver(settings, program, log_directory(home(config)))
    if settings.driver == "ssh":
        part = _for_linux(subject, settings)
        return registry.make_box_driver(settings, part, log_directory(home(config)))
    if settings.uefi:
        loaded = _for_uefi(subject, settings)
        return registry.make_driver(settings, None, log_directory(home(config)), loaded)
    if not subject.absent and subject.bare is None:
        raise HostError(
            f"{subject.path} has no [deploy.bare], so {subject.title} cannot be put on {settings.name}"
        )
    return registry.make_driver(settings, subject.bare, log_directory(home(config)))


def _for_linux(subject: Subject, settings: TargetSettings) -> Deployable | None:
    """How a subject gets into a running Linux. HostError if its file does not say."""
    from touchstone.drivers.ssh.deployable import a_subject  # noqa: PLC0415

    if subject.absent:
        return None
    path, table = _deploy(subject, settings, "linux", " and no [deploy.hosted]")
    return a_subject(subject.name, subject.title, path, table)


def _for_uefi(subject: Subject, settings: TargetSettings) -> ProvideProgram | None:
    """The program that a firmware loads. HostError if the subject's file names none."""
    from touchstone.drivers.emulated.uefi import UefiProgram  # noqa: PLC0415

    if subject.absent:
        return None
    path, table = _deploy(subject, settings, "uefi")
    sources = (path.parent / table["sources"]).resolve() if "sources" in table else None
    build = table.get("build", "")
    return UefiProgram(subject.name, subject.title, table["file"], path.parent, sources, build).provide


def is_emulated(target: Target) -> bool:
    """Whether a target keeps a CPU of this host busy, be it reached over SSH or not."""
    return target.settings.driver in ("qemu", "bochs") or "image" in target.settings.options


def _deploy(
    subject: Subject, settings: TargetSettings, way: str, nor: str = ""
) -> tuple[Path, Mapping[str, str]]:
    """The subject's file, and what it says of a way in. HostError if it says nothing."""
    if subject.path is None or way not in subject.options:
        raise HostError(
            f"{subject.path} has no [deploy.{way}]{nor}, so {subject.title} cannot be put on {settings.name}"
        )
    return subject.path, subject.options[way]
