"""A subject on a box, controlled by the shell commands of its ``[deploy.linux]``."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping

from touchstone.drivers.ssh.deployable import Deployable
from touchstone.drivers.ssh.visit import Visit
from touchstone.machine.agent import LOAD_TIMEOUT, MALFORMED, REPLY_TIMEOUT, read_trace
from touchstone.machine.driver import AgentRefused
from touchstone.machine.protocol import decimal, parse_fields

_ERROR = re.compile(r"error -([0-9]{1,9}) ?(.*)")


class SubjectOnBox:
    """What a driver does with a subject: see ``touchstone.machine.driver.Driver``."""

    def __init__(self, visit: Visit, subject: Deployable) -> None:
        self._visit = visit
        self._subject = subject

    def load(self, option: str | None) -> None:
        """Insert its module and load it."""
        subject = self._subject
        if option and "{option}" not in subject.commands.get("load", ""):
            raise AgentRefused("EINVAL", f"{subject.title} on Linux takes no option, {option!r} was given")
        self._visit.installation.insert(subject)
        self._command("load", LOAD_TIMEOUT, option=option or "")

    def unload(self) -> None:
        """Unload it; its module stays."""
        self._command("unload", LOAD_TIMEOUT)

    def query(self) -> Mapping[str, str]:
        """What it says of itself."""
        if self._subject.name not in self._visit.installation.inserted:
            return {"loaded": "0", "name": self._subject.name}
        return self._ask("query")

    def exits(self, cpu: int) -> Mapping[str, int]:
        """Exit counters of a CPU."""
        said = self._ask("exits", cpu=str(cpu))
        try:
            return {name: decimal(value) for name, value in said.items()}
        except ValueError as error:
            raise AgentRefused(MALFORMED, f"an exit counter of CPU {cpu}: {error}") from None

    def trace(self, cpu: int, count: int) -> list[str]:
        """The last exits of a CPU."""
        said = self._ask("trace", cpu=str(cpu), count=str(count))
        return read_trace(said.get("exits", ""))

    def _ask(self, name: str, **values: str) -> Mapping[str, str]:
        """The pairs that it answers to one of its commands. AgentRefused if they are none."""
        line = self._command(name, REPLY_TIMEOUT, **values)
        words = line.split()
        fields = parse_fields(words[1:] if words[:1] == ["ok"] else words)
        if not (line.isascii() and line.isprintable()):
            fields = f"bytes outside of printable ASCII in {line[:200]!r}"
        if isinstance(fields, str):
            raise AgentRefused(MALFORMED, f"what the subject answers is malformed: {fields}")
        return fields

    def _command(self, name: str, timeout: float, **values: str) -> str:
        """Run one of its commands on the box; it answers ``ok key=value ...`` or ``error -ERRNO text``."""
        subject = self._subject
        if name not in subject.commands:
            raise AgentRefused("ENOSYS", f"[deploy.linux] of {subject.title} names no command {name!r}")
        script = self._visit.installation.command(subject, name, **values)
        done = self._visit.root.run(script, timeout=timeout)
        first = done.text.partition("\n")[0]
        if refused := _ERROR.match(first):
            code = errno.errorcode.get(int(refused[1]), refused[1])
            raise AgentRefused(code, refused[2])
        if done.status:
            raise AgentRefused("EIO", f"{name}: status {done.status}: {done.complaint}")
        # Byte by byte: what is no ASCII is to be seen as such.
        return done.out.decode("latin-1").strip().partition("\n")[0]
