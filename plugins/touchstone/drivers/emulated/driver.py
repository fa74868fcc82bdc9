"""Drives the agent on an emulated machine that boots our tiny OS (targets/bare)."""

from __future__ import annotations

import re
import select
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from touchstone.drivers.agent_driver import AgentDriver
from touchstone.drivers.build import BareImage
from touchstone.drivers.emulated.backtrace import parse_registers
from touchstone.drivers.emulated.emulator import Emulator
from touchstone.drivers.emulated.evidence import Evidence
from touchstone.drivers.emulated.loaded_program import find_program
from touchstone.drivers.emulated.machine import EmulatedMachine
from touchstone.drivers.emulated.panic_report import last_panic
from touchstone.drivers.emulated.payload_image import PackedPayload, pack
from touchstone.drivers.emulated.standstill import standstill
from touchstone.drivers.emulated.uefi import SYMBOLS, ProvideProgram, write_disk
from touchstone.machine.agent import AgentClient
from touchstone.machine.channel import SocketChannel
from touchstone.machine.driver import (
    AgentRefused,
    Answer,
    Autopsy,
    InfrastructureError,
    Question,
    Say,
    TargetDied,
    TargetHung,
    TargetInfo,
)
from touchstone.machine.moved_symbols import MovedSymbols, SeveralSymbols
from touchstone.machine.multiboot import read_elf
from touchstone.machine.payload import Payload, PayloadEnd
from touchstone.machine.polling import poll_for
from touchstone.machine.settings import TargetSettings
from touchstone.machine.symbols import Symbols

E = TypeVar("E", bound=Emulator)
STARTS_SUBJECT = "Touchstone: starting the subject"
"""What our UEFI application says on the firmware's console, which is COM1 as well: targets/bare/uefi.c."""
MOST_OUTPUT = 1 << 19
"""Characters that a payload may print."""
LOOK_AGAIN = 0.1
"""Seconds between two looks at what a payload has said."""
_PANIC = re.compile(r"(?P<before>[^\n]*)\n!1 panic [^\n]*\n")
_READY = re.compile(r"^!1 ready ", re.MULTILINE)
_ANSWER = re.compile(r"=1 [0-9a-f]{8} \d+ ")

ImageProvider = Callable[[Say], BareImage]
"""Makes the image when a target is started, not before."""


class EmulatorDriver(EmulatedMachine[E], AgentDriver):
    """A driver whose target is an emulator's process. Subclasses start one."""

    boot_timeout = 20.0
    """Seconds from the start of the process to the agent, stretched by the target's factor."""

    uefi_boot_timeout = 90.0
    """The same where a UEFI firmware boots it."""

    def __init__(
        self,
        settings: TargetSettings,
        provide_image: ImageProvider,
        log_directory: Path,
        provide_program: ProvideProgram | None = None,
        payload: Payload | None = None,
    ) -> None:
        """Starts nothing; the image is made by ``start``.

        ``provide_program``: the subject's program, for a machine with a UEFI firmware; None: no subject.
        ``payload``: what ``run_payload`` hands the machine over to; the image is one for payloads then.
        """
        AgentDriver.__init__(self, settings, log_directory)
        self._provide_program = provide_program
        self._payload = payload
        self._with_program = False
        """Whether the firmware starts the subject's program before our application."""
        self._program: Path | None = None
        """What the firmware has started before our application, in this boot."""
        self._image_symbols = Symbols(None)
        self._program_symbols: dict[tuple[Path, int], Symbols] = {}
        """By file and address: a firmware puts it at the same one in each boot."""
        self.loads_by_reset = settings.uefi
        self._provide_image = provide_image
        self._image: BareImage | None = None
        self._channel: SocketChannel | None = None
        self._switched_on_at = 0
        self.reach_seconds = 0.0
        """Seconds from the start of the process, or the reset, to the answer to ``hello``."""

    def start(self, progress: Say) -> TargetInfo:
        """See Driver."""
        if self._emulator is not None:
            return self.reset(progress)
        if self.settings.uefi and self._provide_program is not None:
            self._provide_program(progress)  # what does not compile is known before anything runs
        image = self._image = self._provide_image(progress)
        self._image_symbols = Symbols(image.symbols)
        return self._boot(image, progress)

    def reset(self, progress: Say) -> TargetInfo:
        """See Driver. With a new process: faster than the reset line, and as cold as a machine can be."""
        if self._image is None:
            return self.start(progress)
        self.stop()
        self._with_program = False
        return self._boot(self._image, progress)

    def ask_many(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """See Driver. Nobody but the probes exits on the bare OS, so that all can be sent ahead."""
        answers = self._ask(lambda client: client.ask_many(questions))
        return (self._ask(lambda _: next(answers)) for _ in questions)

    def load(self, option: str | None = None) -> None:
        """See Driver. A UEFI firmware loads it in a new process, before our application."""
        if self.settings.uefi and not self._with_program:
            if option is not None:
                raise AgentRefused("EINVAL", "a UEFI program is loaded without options")
            if self._image is None:
                raise InfrastructureError(f"{self.name} is not running: start it first")
            self.stop()
            self._with_program = True
            self._boot(self._image, lambda _: None)
        super().load(option)

    def unload(self) -> None:
        """See Driver. What a UEFI firmware has loaded is loaded again by another boot."""
        super().unload()
        self._with_program = False

    def run_payload(self, over: Callable[[str], bool], timeout: float) -> tuple[str, PayloadEnd]:
        """See PayloadMachine."""
        mark, emulator = self.serial_position(), self._running()
        self.request("payload", {})  # behind it, the payload may have ended the machine already
        deadline = time.monotonic() + timeout * self.settings.timeout_factor
        poll = select.poll()
        poll.register(emulator.death_fd, select.POLLIN)
        # QEMU has the port's output in a file, and Bochs stops when nobody takes it.
        while not poll_for(poll, LOOK_AGAIN):
            self._collect()
            said = self._said(mark)
            if over(said):
                return said, PayloadEnd("said", "it said that it had ended")
            if (panic := _PANIC.search(said)) is not None:
                return said, PayloadEnd("died", f"the OS under it panicked: {panic['before']}")
            if _READY.search(said) is not None:
                return said, PayloadEnd("died", "it reset the machine")
            if time.monotonic() > deadline:
                return self._said(mark), PayloadEnd("time", f"it had not ended after {timeout:g} s")
            if len(said) > MOST_OUTPUT:
                what = f"it had printed {MOST_OUTPUT >> 10} KiB, and not ended"
                return said[:MOST_OUTPUT], PayloadEnd("time", what)
        emulator.process.wait(0)
        self._collect()
        return self._said(mark), self._payload_end(emulator)

    def _said(self, mark: int) -> str:
        """What a payload has said, behind the agent's last answer."""
        said = self.serial_since(mark)
        return "".join(line for line in said.splitlines(keepends=True) if not _ANSWER.match(line))

    def _payload_end(self, emulator: E) -> PayloadEnd:
        """How a payload has ended whose machine has."""
        code = self._exit_code(emulator.process.status() or 0)
        if code is not None:
            return PayloadEnd("exit", f"it ended the machine with code {code}")
        if self._switched_off(emulator):
            return PayloadEnd("exit", "it switched the machine off")
        return PayloadEnd("died", emulator.died_with_panic())

    def _exit_code(self, status: int) -> int | None:
        """The code with which the machine was ended, by the exit status of its process; None: it was not."""
        return None

    def _switched_off(self, emulator: E) -> bool:
        """Whether a machine that has ended was switched off by what ran in it."""
        return False

    def _packed(self, image: BareImage) -> PackedPayload:
        assert self._payload is not None
        return pack(self._payload, read_elf(image.elf))

    def inject_nmi(self) -> None:
        """See Driver."""
        self._ask(lambda _: self._running().inject_nmi())

    def autopsy(self) -> Autopsy:
        """See Driver. Stops the machine; ``reset`` brings it back."""
        self._collect()
        found = super().autopsy()
        if self._emulator is not None:
            self._lost = self._lost or InfrastructureError("it was stopped for an autopsy")
        if problem := self._image_symbols.problem:
            found = replace(found, notes=(*found.notes, f"no symbols: {problem}"))
        return found

    def _look_for_code(self, emulator: E) -> None:
        """See EmulatedMachine. The firmware has put the program anywhere, and a CPU may be in it."""
        if self._program is None or emulator.ended:
            return
        file = self._program.with_suffix(SYMBOLS)
        if not file.is_file():
            return
        registers = {cpu: parse_registers(text) for cpu, text in emulator.registers()}
        places = [one["rip"] for one in registers.values() if "rip" in one]
        memories = [partial(emulator.read_memory, cpu=cpu) for cpu in registers]
        elsewhere = [rip for rip in places if not self._symbols.is_code(rip)]
        base = find_program(self._program, elsewhere, memories)
        if base is not None:
            known = self._program_symbols.setdefault((file, base), MovedSymbols(file, base))
            self._symbols = SeveralSymbols([self._image_symbols, known])

    def _with_place(self, reason: str, emulator: E, evidence: Evidence) -> str:
        """See EmulatedMachine. The OS' report has addresses, and its image their names."""
        panic = last_panic(self.serial_since(self._switched_on_at).rpartition("\n!1 ready")[2])
        if panic is None:
            if isinstance(self._lost, TargetHung) and not emulator.died():
                evidence.cause = standstill(evidence.frames, evidence.exits, self._symbols)
            return reason
        if panic.registers is None:
            evidence.cause = re.sub(r" on CPU \d+", "", str(self._lost or ""))
            return reason
        rip = panic.registers["rip"]
        place = f"{rip:x} {self._symbols.describe(rip)}".rstrip()
        where = ", in the hypervisor's own code" if panic.in_subject else ""
        evidence.cause = f"exception {panic.exception} at {place}{where}"
        evidence.interrupted(panic.cpu, panic.registers, emulator, self._symbols)
        return reason.replace(
            f"exception {panic.exception} at {rip:x}", f"exception {panic.exception} at {place}"
        )

    @abstractmethod
    def _image_file(self, image: BareImage) -> Path:
        """The file of the image that the emulator boots."""

    @abstractmethod
    def _start_emulator(self, image: BareImage) -> E:
        """Start the process."""

    def _write_uefi_disk(self, image: BareImage, path: Path) -> None:
        """Write the disk that the firmware boots from."""
        self._program = None
        if self._with_program and self._provide_program is not None:
            self._program = self._provide_program(lambda _: None)
        write_disk(path, image.efi, self._program)

    def _boot(self, image: BareImage, progress: Say) -> TargetInfo:
        file = self._image_file(image)
        self._lost = None
        self._symbols = self._image_symbols
        self._switched_on_at = self.serial_position()

        def boot() -> TargetInfo:
            if not file.is_file():
                raise InfrastructureError(f"the image {file} does not exist")
            progress(f"starting {self.emulator}: {self._description()}, {self._size()}")
            return self._reach(image)

        return self._switch_on(boot)

    def _runs_the_subject(self) -> bool:
        """See EmulatedMachine. Our application says so before it starts the subject's program."""
        self._collect()
        return self._with_program and STARTS_SUBJECT in self.serial_since(self._switched_on_at)

    def _reach(self, image: BareImage) -> TargetInfo:
        """Start the emulator and greet the agent at the other end of its serial port."""
        began = time.monotonic()
        emulator = self._emulator = self._start_emulator(image)
        timeout = self.uefi_boot_timeout if self.settings.uefi else self.boot_timeout
        connection = emulator.connect(began + timeout * self.settings.timeout_factor)
        channel = self._channel = SocketChannel(connection, quick_ack=emulator.quick_ack)

        def on_death() -> None:
            raise TargetDied(emulator.died())

        channel.watch(emulator.death_fd, on_death)
        self._client = AgentClient(channel, self._log, self.settings.timeout_factor)
        info = self._greet(self._client, timeout)
        self.emulator_version = emulator.version()
        self.reach_seconds = time.monotonic() - began
        return info

    def _collect(self) -> None:
        """Take into the log what was said but not read yet."""
        if self._channel is not None:
            self._log.append(self._channel.drain())
        if self._emulator is not None:
            self._log.append(self._emulator.collect())

    def _known_death(self, emulator: E) -> str:
        return emulator.died() or str(self._lost or "")

    def _serial_tail(self, size: int = 8192) -> str:
        self._collect()
        return self._log.tail(size)

    def _take_the_rest(self, emulator: E) -> None:
        self._client = None
        channel, self._channel = self._channel, None
        if channel is not None:
            self._log.append(channel.drain())
        self._log.append(emulator.collect())
        self._log.flush()
