"""The agent's controller: requests out, answers in, over any channel."""

from __future__ import annotations

import contextlib
import math
import re
import secrets
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NoReturn

from touchstone.machine import protocol
from touchstone.machine.channel import Channel
from touchstone.machine.driver import (
    AgentRefused,
    ConnectionEnded,
    InfrastructureError,
    TargetDied,
    TargetHung,
    TargetInfo,
)
from touchstone.machine.probe import (
    CALL_GPRS,
    GPRS,
    LEGACY_GPRS,
    STACK_END,
    HandlerKind,
    Operand,
    Place,
    ProbeEvent,
    ProbeRequest,
    ProbeResult,
    address_mask,
)
from touchstone.machine.serial_log import SerialLog, readable

MASK64 = 2**64 - 1
DR7_RESET = 0x400
"""DR7 without a breakpoint (SDM 3A 9.1.1), with which a probe starts."""
START_RSP = STACK_END - 0x100
"""Offset in the slot of the RSP that a probe starts with."""
REPLY_TIMEOUT = 5.0
"""Seconds for requests that run no probe."""
LAST_WORDS = 0.5
"""Seconds of silence after which a target that panics has said everything."""
SEE_BEFORE = "see the line before"
"""``text`` of a panic whose reason is the log line in front of it."""
AHEAD = 8
"""Probes that are sent before the first one's answer has come. They wait in the line's buffers."""
LOAD_TIMEOUT = 20.0
"""Seconds for loading and unloading a subject on all CPUs."""


_SEEDED = tuple(name for name in GPRS if name != "rsp")
_Sent = tuple[ProbeRequest, int | AgentRefused]
"""A probe, and the number of its request or why it could not be one."""
_HEX, _DECIMAL = re.compile("[0-9a-f]{1,16}").fullmatch, re.compile("[0-9]{1,20}").fullmatch


@lru_cache(maxsize=4096)
def splitmix64(seed: int, count: int) -> tuple[int, ...]:
    """The first outputs of Vigna's splitmix64 started with ``seed``."""
    values = []
    for index in range(1, count + 1):
        z = (seed + index * 0x9E3779B97F4A7C15) & MASK64
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & MASK64
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK64
        values.append(z ^ z >> 31)
    return tuple(values)


def cpu_mask(cpus: Iterable[int]) -> int:
    """CPU numbers as the bit mask that the protocol speaks of. ValueError outside of 0 to 63."""
    mask = 0
    for cpu in cpus:
        if not 0 <= cpu < 64:
            raise ValueError(f"CPU {cpu} is not between 0 and 63")
        mask |= 1 << cpu
    return mask


def encode_operand(operand: Operand, at: int = 0) -> str:
    """An operand as the protocol writes it."""
    if operand.base == "number":
        # `c10` would be start + 0x10: a number never begins with c.
        text = f"{operand.offset & MASK64:x}"
        return "0" + text if text[0] == "c" else text
    letter = {"scratch": "s", "start": "c", "stack": "t"}[operand.base]
    sign = "-" if operand.offset < 0 else ""
    return f"{letter}{sign}{abs(operand.offset):x}"


def _encode_place(place: Place) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    if place.mode != "long":
        pairs.append(("mode", place.mode))
    if place.linear is not None:
        pairs.append(("linear", f"{place.linear:x}"))
    if place.base is not None:
        pairs.append(("base", f"{place.base:x}"))
    for page in place.pages:
        alias = f":{encode_operand(page.alias)}" if page.alias else ""
        pairs.append(("page", f"{encode_operand(page.address)}:{page.set:x}:{page.clear:x}{alias}"))
    return pairs


def encode_probe(probe: ProbeRequest) -> list[tuple[str, str]]:
    """The pairs of a ``run`` request. ValueError for what cannot be said in the protocol."""
    if not probe.code:
        raise ValueError("a probe needs code")
    pairs = [("code", probe.code.hex())]
    if probe.cpl:
        pairs.append(("cpl", str(probe.cpl)))
    if probe.code_bits != 64:
        pairs.append(("bits", str(probe.code_bits)))
    pairs += _encode_place(probe.place)
    if (mask := cpu_mask(probe.cpus)) != 1:
        pairs.append(("on", f"{mask:x}"))
    if probe.together:
        pairs.append(("once", "1"))
    if probe.at:
        pairs.append(("at", f"{probe.at:x}"))
    if probe.seed is not None:
        pairs.append(("seed", f"{probe.seed & MASK64:x}"))
    for name, operand in probe.registers.items():
        if name not in GPRS:
            raise ValueError(f"{name!r} is not a general-purpose register ({', '.join(GPRS)})")
        pairs.append((name, encode_operand(operand)))
    if probe.rflags != 2:
        pairs.append(("rflags", f"{probe.rflags:x}"))
    for name, (to_set, to_clear) in probe.bits.items():
        pairs.append((name, f"{to_set:x}:{to_clear:x}"))
    pairs += [(name, encode_operand(operand)) for name, operand in probe.debug.items()]
    pairs += [("mem", f"{offset:x}:{data.hex()}") for offset, data in probe.memory]
    if probe.read is not None:
        pairs.append(("read", f"{probe.read[0]:x}:{probe.read[1]:x}"))
    if probe.keep:
        pairs.append(("keep", ",".join(f"{msr:x}" for msr in probe.keep)))
    if probe.handlers:
        handlers = (f"{vector:x}:{_encode_handler(to)}" for vector, to in probe.handlers.items())
        pairs.append(("handle", ",".join(handlers)))
    flags = {"leave": probe.leave, "undo": probe.undo, "tables": probe.tables}
    pairs += [(name, "1") for name, wanted in flags.items() if wanted]
    for msr, start in probe.msrs.items():
        text = f"{start[0]:x}:{start[1]:x}" if isinstance(start, tuple) else encode_operand(start)
        pairs.append(("msr", f"{msr:x}:{text}"))
    return pairs


_HANDLER_LETTERS = {"return": "r", "no-gate": "x", "not-present": "p"}


def _encode_handler(handler: int | HandlerKind) -> str:
    return f"{handler:x}" if isinstance(handler, int) else _HANDLER_LETTERS[handler]


def _read_events(text: str) -> tuple[ProbeEvent, ...]:
    """``VECTOR:RIP,VECTOR:RIP:DR6``. ValueError for anything else."""
    events = []
    for entry in filter(None, text.split(",")):
        vector, rip, *dr6 = (int(number, 16) for number in entry.split(":"))
        events.append(ProbeEvent(vector, rip, *dr6[:1]))
    return tuple(events)


_TABLES = ("idtr.base", "idtr.limit", "gdtr.base", "gdtr.limit", "ldtr", "tr")
_CALL = tuple(f"returned.{name}" for name in ("rflags", *CALL_GPRS))


def _read_more(fields: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """The registers that an answer has at their start and at their end. ValueError if it cannot be read."""
    found: dict[str, tuple[int, int]] = {}
    for names, start, end in ((_TABLES, "tables-start", "tables"), (_CALL, "called", "returned")):
        if start not in fields and end not in fields:
            continue
        values = [fields.get(key, "").split(":") for key in (start, end)]
        whole = all(len(part) == len(names) for part in values)
        if not whole or not all(_HEX(one) for part in values for one in part):
            raise ValueError(f"{start}={fields.get(start)} {end}={fields.get(end)}")
        pairs = zip(*([int(one, 16) for one in part] for part in values), strict=True)
        found |= dict(zip(names, pairs, strict=True))
    return found


def given_registers(probe: ProbeRequest, slot: int, start: int) -> dict[str, int]:
    """All GPRS as they are when the probe starts at ``start`` on the CPU whose slot is at ``slot``."""
    registers = dict.fromkeys(GPRS, 0)
    if probe.seed is not None:
        registers |= zip(_SEEDED, splitmix64(probe.seed, len(_SEEDED)), strict=True)
    registers["rsp"] = slot + START_RSP
    for name, operand in probe.registers.items():
        registers[name] = operand.resolve(slot, start - slot)
        if operand.base == "start":
            registers[name] &= address_mask(probe.code_bits)
    if probe.place.mode != "long":
        return {name: registers[name] & 0xFFFF_FFFF if name in LEGACY_GPRS else 0 for name in GPRS}
    return registers


def read_trace(text: str) -> list[str]:
    """Exits as a subject tells them (``REASON:RIP:INFO,...``), readable: ``cpuid rip=0x100abc info=0x0``."""
    lines = []
    for entry in filter(None, text.split(",")):
        reason, *numbers = entry.split(":")
        words = [f"{what}=0x{number}" for what, number in zip(("rip", "info"), numbers, strict=False)]
        lines.append(" ".join([reason, *words]))
    return lines


class AgentClient:
    """Speaks to one agent. Every byte that it reads goes to the log first.

    TargetHung: no answer in time. TargetDied: the channel ended, or the machine was reset behind our back.
    AgentRefused: the agent said no. InfrastructureError: somebody breaks the protocol.
    """

    def __init__(self, channel: Channel, log: SerialLog, timeout_factor: float = 1.0) -> None:
        """``timeout_factor`` stretches every timeout: an emulator is slower than a box."""
        self._channel = channel
        self._log = log
        self._factor = timeout_factor
        self._splitter = protocol.LineSplitter()
        self._waiting: list[protocol.Line] = []
        self._nonce = ""
        self._number = 0
        self._boot = log.mark()
        """Where the log of this boot begins, or that of an earlier one."""
        self.info: TargetInfo | None = None

    def wait_ready(self, timeout: float) -> protocol.Event:
        """Wait until the agent of a booting machine says ``ready``; ``timeout`` in seconds, not stretched."""
        deadline = time.monotonic() + timeout
        while True:
            line = self._next_line(deadline, f"the agent was not ready after {timeout:g} s")
            if isinstance(line, protocol.Event) and line.word == "panic":
                self._panicked(line)
            if isinstance(line, protocol.Event) and line.word == "ready":
                return line

    def hello(self) -> TargetInfo:
        """Greet the agent with a fresh nonce."""
        self._nonce, nonce = "-", secrets.token_hex(4)
        deadline = time.monotonic() + REPLY_TIMEOUT * self._factor
        number = self._send("hello", [("nonce", nonce)], deadline)
        self._nonce = nonce
        try:
            fields = self._answer(number, "hello", deadline, []).fields
        except AgentRefused as refusal:
            raise InfrastructureError(f"the agent refused to be greeted: {refusal}") from None
        try:
            self.info = TargetInfo(
                vendor=fields["vendor"],
                cpus=self._number_in(fields, "cpus", "hello", 10),
                os=fields["os"],
                subject=fields["subject"],
                agent=fields["agent"],
                slot=self._number_in(fields, "slot", "hello", 16),
                uslot=self._number_in(fields, "uslot", "hello", 16),
                stride=self._number_in(fields, "stride", "hello", 16),
            )
        except KeyError as error:
            self._violated("hello", f"{error!r} in {dict(fields)}")
        if self.info.vendor not in ("intel", "amd") or not 1 <= self.info.cpus <= 64:
            self._violated("hello", f"vendor={self.info.vendor} cpus={self.info.cpus}")
        return self.info

    def run(self, probe: ProbeRequest) -> list[ProbeResult]:
        """Run a probe; one result per CPU, in the order of ``probe.cpus``."""
        self._reached()
        return self._results(probe, self._send("run", encode_probe(probe), self._deadline(probe.timeout)))

    def run_many(self, probes: Iterable[ProbeRequest]) -> Iterator[list[ProbeResult] | AgentRefused]:
        """See Driver. AHEAD probes are sent when this returns: the target need not wait for the next."""
        self._reached()
        left, sent = deque(probes), deque[_Sent]()
        while left and len(sent) < AHEAD:
            sent.append(self._send_probe(left.popleft()))
        return self._outcomes(sent, left)

    def send_nmis(self, cpus: Iterable[int], count: int) -> None:
        """Send ``count`` NMIs to each CPU from inside."""
        self._ask("nmi", [("on", f"{cpu_mask(cpus):x}"), ("n", str(count))], REPLY_TIMEOUT + count * 1e-3)

    def nmi_counts(self) -> list[int]:
        """NMIs taken since boot, per CPU."""
        cpus = range(self._reached().cpus)
        deadline = self._deadline(REPLY_TIMEOUT)
        number = self._send("counts", [("on", f"{cpu_mask(cpus):x}")], deadline)
        answers = self._gather("counts", number, set(cpus), deadline)
        return [self._number_in(answers[cpu].fields, "nmi", "counts", 10) for cpu in cpus]

    def load(self, option: str | None = None) -> None:
        """Load the subject."""
        self._ask("subject", [("do", "load"), *([("opt", option)] if option else [])], LOAD_TIMEOUT)

    def unload(self) -> None:
        """Unload the subject."""
        self._ask("subject", [("do", "unload")], LOAD_TIMEOUT)

    def query(self) -> dict[str, str]:
        """What the subject says of itself."""
        return dict(self._ask("subject", [("do", "query")], REPLY_TIMEOUT).fields)

    def exits(self, cpu: int) -> dict[str, int]:
        """Exit counters of a CPU."""
        fields = self._ask("subject", [("do", "exits"), ("cpu", str(cpu))], REPLY_TIMEOUT).fields
        return {name: self._number_in(fields, name, "subject do=exits", 10) for name in fields}

    def trace(self, cpu: int, count: int) -> list[str]:
        """The last exits of a CPU, newest last."""
        pairs = [("do", "trace"), ("cpu", str(cpu)), ("n", str(count))]
        return read_trace(self._ask("subject", pairs, REPLY_TIMEOUT).fields.get("exits", ""))

    def request(
        self,
        verb: str,
        pairs: Mapping[str, str],
        timeout: float = REPLY_TIMEOUT,
        limit: float | None = None,
    ) -> dict[str, str]:
        """See Driver."""
        sent = list(pairs.items())
        if limit is not None:
            sent.append(("limit", str(math.ceil(limit * self._factor))))
            timeout += limit
        return dict(self._ask(verb, sent, timeout).fields)

    def _reached(self) -> TargetInfo:
        if self.info is None or not self._nonce:
            raise InfrastructureError("the agent has not been greeted")
        return self.info

    def _deadline(self, timeout: float) -> float:
        return time.monotonic() + timeout * self._factor

    def _send_probe(self, probe: ProbeRequest) -> _Sent:
        try:
            return probe, self._send("run", encode_probe(probe), self._deadline(probe.timeout))
        except AgentRefused as too_long:
            return probe, too_long

    def _outcomes(
        self, sent: deque[_Sent], left: deque[ProbeRequest]
    ) -> Iterator[list[ProbeResult] | AgentRefused]:
        """The answers to probes, or their refusals, while more are sent."""
        while sent:
            probe, number = sent.popleft()
            outcome: list[ProbeResult] | AgentRefused
            if isinstance(number, AgentRefused):
                outcome = number
            else:
                try:
                    outcome = self._results(probe, number)
                except AgentRefused as refusal:
                    outcome = refusal
            if left:
                sent.append(self._send_probe(left.popleft()))
            yield outcome

    def _results(self, probe: ProbeRequest, number: int) -> list[ProbeResult]:
        """The answers to a probe that was sent as request ``number``. Its timeout begins now."""
        info = self._reached()
        answers = self._gather("run", number, set(probe.cpus), self._deadline(probe.timeout))
        base = info.uslot if probe.cpl else info.slot
        return [self._result(probe, cpu, base + cpu * info.stride, answers[cpu].fields) for cpu in probe.cpus]

    def _result(self, probe: ProbeRequest, cpu: int, slot: int, fields: Mapping[str, str]) -> ProbeResult:
        def number(key: str, base: int = 16) -> int | None:
            return self._number_in(fields, key, "run", base) if key in fields else None

        def required(key: str) -> int:
            return self._number_in(fields, key, "run", 16)

        end = fields.get("end")
        if end not in ("done", "exc"):
            self._violated("run", f"end={end}")
        slot = required("slot") if "slot" in fields else slot
        start = required("start") if "start" in fields else slot + probe.at
        given = given_registers(probe, slot, start)
        dr7 = probe.debug["dr7"].resolve(slot, start - slot) if "dr7" in probe.debug else DR7_RESET
        changed = {name: required(name) for name in fields if name in given}
        try:
            memory = bytes.fromhex(fields.get("mem", ""))
        except ValueError:
            self._violated("run", f"mem={fields['mem']}")
        if len(memory) != (probe.read[1] if probe.read else 0):
            self._violated("run", f"{len(memory)} bytes of memory came back, {probe.read} was asked for")
        try:
            pairs = [pair.split(":") for pair in fields.get("msrs", "").split(",") if pair]
            if not all(_HEX(one) for pair in pairs for one in pair):
                raise ValueError
            msrs = {int(msr, 16): int(value, 16) for msr, value in pairs}
        except ValueError:
            self._violated("run", f"msrs={fields['msrs']}")
        try:
            events = _read_events(fields.get("events", ""))
        except ValueError:
            self._violated("run", f"events={fields['events']}")
        try:
            more = _read_more(fields)
        except ValueError as error:
            self._violated("run", str(error))
        return ProbeResult(
            cpu=cpu,
            vector=required("vec") if end == "exc" else None,
            error_code=number("ec"),
            registers=given | changed,
            given=given,
            rip=required("rip"),
            rflags=required("rflags"),
            start=start,
            slot=slot,
            cr2=number("cr2"),
            dr6=number("dr6"),
            dr7=number("dr7") if "dr7" in fields else dr7,
            memory=memory,
            msrs=msrs,
            nmis=number("nmi", 10) or 0,
            events=events,
            noted=number("noted", 10) or len(events),
            more=more,
            code_bits=probe.code_bits,
        )

    def _ask(self, verb: str, pairs: list[tuple[str, str]], timeout: float) -> protocol.Answer:
        """One request, one answer."""
        self._reached()
        deadline = self._deadline(timeout)
        number = self._send(verb, pairs, deadline)
        return self._answer(number, verb, deadline, [])

    def _gather(self, verb: str, number: int, cpus: set[int], deadline: float) -> dict[int, protocol.Answer]:
        """One answer per CPU to a request. All are read, so that the next request finds none of them."""
        answers: dict[int, protocol.Answer] = {}
        damaged: list[str] = []
        while len(answers) < len(cpus):
            answer = self._answer(number, verb, deadline, damaged, per_cpu=True)
            cpu = self._number_in(answer.fields, "cpu", verb, 10)
            of = self._number_in(answer.fields, "of", verb, 10)
            if cpu not in cpus or of != len(cpus):
                self._violated(verb, f"cpu={cpu} of={of}, asked for {sorted(cpus)}")
            if answers.setdefault(cpu, answer) != answer:
                self._violated(verb, f"two different answers of CPU {cpu}")
        for cpu, answer in sorted(answers.items()):
            if not answer.ok:
                raise AgentRefused(answer.code, f"CPU {cpu}: {answer.text}".rstrip(": "))
        return answers

    def _send(self, verb: str, pairs: list[tuple[str, str]], deadline: float) -> int:
        self._number += 1
        request = protocol.format_request(self._nonce, self._number, verb, pairs)
        if len(request) > protocol.MAX_REQUEST:
            raise AgentRefused("too-long", f"{len(request)} bytes; {protocol.MAX_REQUEST} at most")
        try:
            self._channel.send(request, deadline)
        except TimeoutError:
            raise TargetHung(f"the target did not take the request {verb}") from None
        return self._number

    def _answer(
        self, number: int, verb: str, deadline: float, damaged: list[str], *, per_cpu: bool = False
    ) -> protocol.Answer:
        """The next answer to request ``number``; stale ones are passed over, one CPU's refusals returned."""
        limit = f"no answer to {verb}"
        while True:
            try:
                line = self._next_line(deadline, limit)
            except TargetHung:
                if damaged:
                    raise InfrastructureError(
                        f"the answer to {verb} came damaged ({damaged[-1]}); see the serial log"
                    ) from None
                raise
            if isinstance(line, protocol.Damaged):
                damaged.append(f"{line.why}: {line.text!r}")
            elif isinstance(line, protocol.Event):
                if line.word == "ready":
                    self._rebooted(f"its agent said ready while it was asked to {verb}")
                if line.word == "panic":
                    self._panicked(line)
            elif line.nonce == "-" and line.number == 0 and not line.ok:
                self._violated(verb, f"the agent could not read the request ({line.code}: {line.text})")
            elif line.number == number and (line.nonce == self._nonce or (verb == "hello" and not line.ok)):
                if line.ok or (per_cpu and "cpu" in line.fields):
                    return line
                if line.code == "nonce":
                    self._rebooted(f"its agent does not know this session ({verb})")
                raise AgentRefused(line.code, line.text)

    def _next_line(self, deadline: float, limit: str) -> protocol.Line:
        while not self._waiting:
            try:
                data = self._channel.receive(deadline)
            except TimeoutError:
                raise TargetHung(f"{limit}{self._progress()}") from None
            if not data:
                raise ConnectionEnded("the connection to the agent ended")
            self._log.append(data)
            self._waiting += self._splitter.feed(data)
        return self._waiting.pop(0)

    def _progress(self) -> str:
        rest = self._splitter.rest
        return f"; the last it said was {readable(rest[-80:])!r}, without a line's end" if rest else ""

    def _rebooted(self, how: str) -> NoReturn:
        self._nonce = ""
        raise TargetDied(f"the machine was reset behind our back: {how}")

    def _panicked(self, event: protocol.Event) -> NoReturn:
        """The OS of the target panicked: read its report, until LAST_WORDS seconds pass without a byte."""
        # Of this boot: one before it may have ended in the same way.
        said = self._log.since(self._boot).rpartition("!1 ready")[2]
        before = said.partition("!1 panic")[0].splitlines()
        with contextlib.suppress(TimeoutError, TargetDied):
            while data := self._channel.receive(time.monotonic() + LAST_WORDS * self._factor):
                self._log.append(data)
        self._nonce = ""
        why = event.fields.get("text", "")
        if why == SEE_BEFORE and before:
            why = before[-1]
        elif "vec" in event.fields:
            why = f"exception {event.fields['vec']} at {event.fields.get('rip', '?')}"
        raise TargetDied(f"the target's OS panicked on CPU {event.fields.get('cpu', '?')}: {why}")

    def _number_in(self, fields: Mapping[str, str], key: str, verb: str, base: int) -> int:
        text = fields.get(key, "")
        if not (_HEX if base == 16 else _DECIMAL)(text):
            self._violated(
                verb, f"{key}={text[:80]!r} is not a number" if key in fields else f"{key} is missing"
            )
        return int(text, base)

    def _violated(self, verb: str, what: str) -> NoReturn:
        raise InfrastructureError(f"the agent's answer to {verb} breaks the protocol: {what}")
