"""``--payload``: an item per payload and target, and one for each line that it has printed.

Which lines there are is not known when items are collected, for that contacts nothing. So a payload's item
runs it, and is judged by how it ends; behind it come the items of its lines, each with a protocol of its own,
as if they had been collected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from touchstone.config.inventory import Target
from touchstone.config.logs import log_directory
from touchstone.config.payloads import Form, PayloadEntry, find_payloads, read_forms
from touchstone.config.tomlfile import TomlError
from touchstone.drivers import registry
from touchstone.engine.facts import static_facts
from touchstone.engine.outcomes import Unavailable, Unsupported
from touchstone.engine.payloads import BothOutputs, Line, Output, judge_end, judge_line, run_payload
from touchstone.engine.progress import StageProgress
from touchstone.engine.records import CheckOnTarget, CheckRecord
from touchstone.machine.payload import PayloadMachine
from touchstone.pytest_plugin.collect import CheckItem, judged_by_touchstone, reason_to_skip
from touchstone.pytest_plugin.marks import CHECK
from touchstone.pytest_plugin.options import find_in_home, home, show_path
from touchstone.pytest_plugin.progress import progress_writer
from touchstone.pytest_plugin.run import Run, run_of
from touchstone.reporting.commands import NAMED_BY
from touchstone.suite import requires
from touchstone.suite.model import Check, Source

if TYPE_CHECKING:
    from touchstone.pytest_plugin.journal import RunJournal

AREA = "payload"
FORMS = "payloads.toml"


class Payloads:
    """What ``--payload`` names. UsageError with everything that is wrong in it."""

    def __init__(self, config: pytest.Config) -> None:
        self.by_file: dict[Path, list[PayloadEntry]] = {}
        """By the file that pytest collects: a program, or a list of them."""
        errors: list[str] = []
        for word in config.getoption("touchstone_payloads"):
            path = (config.invocation_params.dir / Path(word).expanduser()).resolve()
            try:
                for entry in find_payloads(path, show_path(config, path)):
                    self.by_file.setdefault(entry.where[0], []).append(entry)
            except TomlError as error:
                errors += error.errors
            except OSError as error:
                errors.append(f"{word}: {error.strerror or error}")
        file = find_in_home(config, "targets", FORMS)
        self.forms: Sequence[Form] = ()
        try:
            self.forms = read_forms(file, show_path(config, file))
        except TomlError as error:
            errors += error.errors
        if errors:
            raise pytest.UsageError("\n".join(f"--payload: {error}" for error in dict.fromkeys(errors)))


_PAYLOADS = pytest.StashKey[Payloads]()


def payloads_of(config: pytest.Config) -> Payloads:
    """What the command line names, read once."""
    found = config.stash.get(_PAYLOADS, None)
    if found is None:
        found = config.stash[_PAYLOADS] = Payloads(config)
    return found


def collect_payloads_only(config: pytest.Config) -> None:
    """Have pytest collect the payloads, and no suite that the command line does not name."""
    config.addinivalue_line("markers", f"{AREA}: lines of payloads (touchstone)")
    named = [str(path) for path in payloads_of(config).by_file]
    others = config.args if config.args_source is pytest.Config.ArgsSource.ARGS else []
    config.args = [*(one for one in others if one not in named), *named]
    config.args_source = pytest.Config.ArgsSource.ARGS


class PayloadFile(pytest.File):
    """One program, or a list of them."""

    def collect(self) -> Iterator[PayloadItem]:
        """One item per payload and target."""
        run, payloads = run_of(self.config), payloads_of(self.config)
        for target in run.targets:
            for entry in payloads.by_file[self.path]:
                check = self._check(entry)
                try:
                    run.register(check)
                except ValueError as twice:
                    raise self.CollectError(f"{twice}: give a payload another name in a list") from None
                skip = cannot_run(run, target) or reason_to_skip(check, target, facts_for(run, target, entry))
                yield PayloadItem.from_parent(
                    self,
                    name=f"{check.id}[{target.name}]",
                    callobj=judged_by_touchstone,
                    check_on_target=CheckOnTarget(check, target),
                    skip=skip,
                    entry=entry,
                )

    def _check(self, entry: PayloadEntry) -> Check:
        arguments = f" {entry.payload.arguments}" if entry.payload.arguments else ""
        title = f"{entry.payload.program.name}{arguments} ends as on the bare machine"
        return check_about(f"{AREA}.{entry.name}", title, entry, self.config, "")


def facts_for(run: Run, target: Target, entry: PayloadEntry) -> requires.Facts:
    """What inventory and list say of a payload's machine."""
    return {**static_facts(target, run.subject), "cpus": entry.cpus}


def check_about(name: str, title: str, entry: PayloadEntry, config: pytest.Config, text: str) -> Check:
    """The check that an item of a payload stands for."""
    path, line = entry.where
    return Check(
        id=name,
        title=title,
        area=AREA,
        level="must",
        cite=(),
        phase="loaded",
        requires=(),
        cases=(),
        timeout=entry.timeout,
        claims=False,
        tags=(),
        proves=(),
        text=text,
        source=Source(Path(show_path(config, path)), line, 1),
        end_line=line,
    )


def cannot_run(run: Run, target: Target) -> str | None:
    """Why no payload can be run on a target under the run's subject."""
    settings = target.settings
    if settings.driver not in ("qemu", "bochs") or settings.uefi:
        return "payloads are run on machines of QEMU and Bochs that boot the bare image"
    if not run.subject.absent and run.subject.bare is None:
        return f"{run.subject.title} has no [deploy.bare], so it cannot be loaded under a payload"
    return None


class PayloadItem(CheckItem):
    """A payload on one target: it is run, and must end as on the bare machine."""

    def __init__(self, *, entry: PayloadEntry, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.entry = entry
        self.outputs: BothOutputs | None = None
        self.stash[NAMED_BY] = [f"--payload={show_path(self.config, entry.where[0])}"]

    def runtest(self) -> None:
        """Run the payload natively and loaded, and judge its end."""
        self.outputs = None
        run, one = run_of(self.config), self.stash[CHECK]
        record = begin(run, one, None)
        subject = record.subject
        progress = StageProgress(progress_writer(self.config))
        with progress.stage(one.target.name):
            native = self._run("native", None, progress)
            facts = facts_for(run, one.target, self.entry)
            if (reason := one.target.cannot(one.check.id, facts, native.version)) is not None:
                raise Unsupported(reason)
            loaded = native if subject.absent else self._run("loaded", native, progress)
        self.outputs = both = BothOutputs(native, loaded, subject.title)
        run.note_facts(one.target, facts_of(native, one.target, self.entry))
        cover(run, one, record, native.version)
        record.add_serial(f"on the bare machine:\n{native.text}\nunder {subject.title}:\n{loaded.text}")
        if loaded.autopsy is not None:
            record.target_failed(loaded.autopsy)
        judge_end(both)

    def _run(self, phase: str, native: Output | None, progress: Callable[[str], None]) -> Output:
        run, target = run_of(self.config), self.stash[CHECK].target
        reason = registry.unavailable(target.settings)
        if reason:
            raise Unavailable(f"this host cannot run {target.name}: {reason}")
        settings = run.settings_of(target)
        logs = log_directory(home(self.config)) / "payloads" / f"{self.entry.name}-{phase}"

        def make() -> PayloadMachine:
            payload, cpus = self.entry.payload, self.entry.cpus
            return registry.make_payload_machine(settings, run.subject.bare, payload, logs, cpus)

        forms = payloads_of(self.config).forms
        return run_payload(make, self.entry, forms, native=native, progress=progress)

    def lines(self) -> list[LineItem]:
        """An item for each line that the payload has printed."""
        if self.outputs is None:
            return []
        return [self._item_of(line) for line in self.outputs.lines]

    def _item_of(self, line: Line) -> LineItem:
        both, target = self.outputs, self.stash[CHECK].target
        assert both is not None
        facts = facts_for(run_of(self.config), target, self.entry)
        width = max(len("natively"), len(both.subject))
        said = (("natively", line.native), (both.subject, line.loaded))
        text = "\n".join(f"{who:<{width}}  {'-' if one is None else one.line}" for who, one in said)
        name = f"{AREA}.{self.entry.name}.{line.name}"
        check = check_about(name, f"{self.entry.name}: {line.name}", self.entry, self.config, text)
        item: LineItem = LineItem.from_parent(
            self.parent,
            name=f"{check.id}[{target.name}]",
            callobj=judged_by_touchstone,
            check_on_target=CheckOnTarget(check, target),
            skip=target.cannot(check.id, facts, both.native.version),
            both=both,
            line=line,
        )
        item.stash[NAMED_BY] = self.stash[NAMED_BY]
        return item


class LineItem(CheckItem):
    """One line of a payload: it must be as on the bare machine."""

    def __init__(self, *, both: BothOutputs, line: Line, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._both = both
        self._line = line

    def runtest(self) -> None:
        """Judge the line."""
        record = begin(run_of(self.config), self.stash[CHECK], self._both.native.version)
        if self._line.native != self._line.loaded:
            record.add_serial(self._both.around(self._line))
        judge_line(self._both, self._line)


def begin(run: Run, one: CheckOnTarget, version: tuple[int, ...] | None) -> CheckRecord:
    """Start the record of an item. ``version`` of the emulator; None: not known."""
    record = one.begin(run.subject.on(one.target.settings))
    cover(run, one, record, version)
    return record


def cover(run: Run, one: CheckOnTarget, record: CheckRecord, version: tuple[int, ...] | None) -> None:
    """Note what inventory and subject say of an item."""
    facts = static_facts(one.target, run.subject)
    record.is_covered_by(
        one.target.known_deviation(one.check.id, version, facts),
        record.subject.known_deviation(one.check.id, version, facts),
    )


def facts_of(output: Output, target: Target, entry: PayloadEntry) -> dict[str, str]:
    """What is known of the machine that a payload has run on."""
    settings = target.settings
    found = {"driver": settings.driver, "vendor": settings.vendor, "cpus": str(entry.cpus)}
    if settings.cpu_model:
        found["cpu"] = settings.cpu_model
    return found | dict(output.facts)


def judge_lines(item: pytest.Item, nextitem: pytest.Item | None, journal: RunJournal) -> None:
    """Run the protocol of the items of a payload's lines, if the item is a payload that has been run."""
    if not isinstance(item, PayloadItem):
        return
    lines = item.lines()
    journal.also_planned([one.stash[CHECK] for one in lines])
    item.session.testscollected += len(lines)
    followers: list[pytest.Item | None] = [*lines[1:], nextitem]
    for line, following in zip(lines, followers, strict=False):
        with standing_in(item, line):
            item.config.hook.pytest_runtest_protocol(item=line, nextitem=following)


@contextmanager
def standing_in(item: pytest.Item, line: LineItem) -> Iterator[None]:
    """Within it, the line has the payload's place in the session: xdist knows items by their place."""
    items = item.session.items
    at = items.index(item)
    items[at] = line
    try:
        yield
    finally:
        items[at] = item
