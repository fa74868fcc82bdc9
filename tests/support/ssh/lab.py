"""Drivers for a box of ours, with an agent and a subject that need no kernel."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.ssh.sshd import PATIENCE, Sshd
from touchstone.drivers.power import Power
from touchstone.drivers.ssh.address import Address
from touchstone.drivers.ssh.boxes import RackBox
from touchstone.drivers.ssh.build import ModuleCache
from touchstone.drivers.ssh.deployable import Deployable
from touchstone.drivers.ssh.driver import SshDriver
from touchstone.drivers.ssh.labgrid import Place, PlaceBox
from touchstone.drivers.ssh.visit import VisitSettings
from touchstone.machine.probe import ProbeRequest
from touchstone.machine.settings import TargetSettings

HERE = Path(__file__).parent
HANG, EXIT, NOP = b"hang", b"exit", b"\x90"
SLOW = 10.0
"""Stretches the timeouts of drivers and links: none is to end on a machine that is busy elsewhere."""


def probe(code: bytes = NOP, timeout: float = 6.0) -> ProbeRequest:
    return ProbeRequest(code=code, timeout=timeout)


def hurry(driver: SshDriver, factor: float) -> None:
    """Nothing is to be heard of the box any more: let what waits for it wait for a short time only."""
    assert driver._visit is not None
    assert driver._client is not None
    driver._visit.link.factor = driver._client._factor = factor


def wait_for(happened: Callable[[], bool]) -> None:
    """Until it has happened."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def meanwhile(happened: Callable[[], bool], act: Callable[[], None]) -> Iterator[None]:
    """While the block waits for something, act as soon as ``happened`` says so."""

    def watch() -> None:
        wait_for(happened)
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def the_fake_agent(box: Sshd, source: Path) -> Deployable:
    """Its module is a file in ``box.modules``; building it takes the same way as a real one."""
    source.mkdir(exist_ok=True)
    program = (HERE / "box_agent.py").read_text().replace("@HOME@", str(box.home))
    (source / "agent.py").write_text(program)
    module = f"{box.modules}/touchstone_agent"
    return Deployable(
        name="agent",
        title="the agent",
        sources=source,
        build="cp agent.py {build}/touchstone-agent && echo {headers} {release} >{build}/agent.ko",
        files=("agent.ko", "touchstone-agent"),
        commands={
            "present": f"test -e {module}",
            "insert": f"! test -e {module} && cp {{directory}}/agent.ko {module}",
            "remove": f"rm {module}",
            "run": "exec {directory}/touchstone-agent",
        },
    )


def a_fake_subject(box: Sshd, source: Path, **commands: str) -> Deployable:
    source.mkdir(exist_ok=True)
    (source / "mine.c").write_text("int mine;\n")
    module, loaded = f"{box.modules}/mine", f"{box.modules}/mine.loaded"
    standard = {
        "present": f"test -e {module}",
        "insert": f"cp {{directory}}/mine.ko {module}",
        "remove": f"! test -e {loaded} && rm {module}",
        "load": f"touch {loaded}; echo ok",
        "unload": f"rm {loaded} && echo ok",
        "query": f"test -e {loaded} && echo ok loaded=1 name=mine version=3 || echo ok loaded=0 name=mine",
        "exits": "echo ok cpuid=3 rdmsr={cpu}",
        "trace": "echo ok exits=72:ffffffff81000000:1,7c:10:c0000080",
    }
    return Deployable(
        name="mine",
        title="Mine",
        sources=source,
        build="cp mine.c {build}/mine.ko",
        files=("mine.ko",),
        commands=standard | commands,
    )


class Lab:
    """Makes drivers, and sees to it that none is left."""

    def __init__(self, box: Sshd, directory: Path) -> None:
        self.box = box
        self.directory = directory
        self.said: list[str] = []
        self.agent = the_fake_agent(box, directory / "agent-src")
        self.headers = directory / "headers"
        self.headers.mkdir(exist_ok=True)
        self.address = Address(
            "127.0.0.1",
            box.port,
            "root",
            keys=(box.key,),
            fingerprints=(box.host_key.fingerprint,),
            config=None,
        )
        self._drivers: list[SshDriver] = []

    def progress(self, sentence: str) -> None:
        self.said.append(sentence)

    def driver(
        self,
        *,
        address: Address | None = None,
        subject: Deployable | None = None,
        power: Power | None = None,
        visit: Mapping[str, Any] | None = None,
        cpus: int = 2,
        factor: float = SLOW,
        console: str = "",
        name: str = "box",
        headers: bool = True,
        place: Place | None = None,
    ) -> SshDriver:
        settings = TargetSettings(name, "ssh", "amd", cpus=cpus, timeout_factor=factor)
        said = (address or self.address, power, console, self.headers if headers else None)
        rack = RackBox(*said) if place is None else PlaceBox(*said, place)
        made = SshDriver(
            settings,
            rack,
            self.agent,
            subject,
            ModuleCache(self.directory / "cache"),
            self.directory / f"logs-{os.getpid()}",
            replace(VisitSettings(bases=("/run",), lock_timeout=120, boot_timeout=20), **(visit or {})),
        )
        self._drivers.append(made)
        return made

    def subject(self, **commands: str) -> Deployable:
        return a_fake_subject(self.box, self.directory / "subject-src", **commands)

    def hanging(self) -> bool:
        """Whether the agent has begun to hang, as it was told."""
        return (self.box.home / "hanging").exists()

    def leftovers(self) -> list[str]:
        """What a run left on the box: directories, modules."""
        return sorted(
            str(path.name) for path in [*self.box.run.glob("touchstone.*"), *self.box.modules.iterdir()]
        )

    def close(self) -> None:
        for driver in self._drivers:
            driver.stop()
