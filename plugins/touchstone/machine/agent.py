"""The agent's controller: requests out, answers in, over any channel."""

from __future__ import annotations

import contextlib
import math
import secrets
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import NoReturn, cast

from touchstone.machine import protocol
from touchstone.machine.channel import Channel
from touchstone.machine.driver import (
    AgentRefused,
    Answer,
    ConnectionEnded,
    CountsOf,
    InfrastructureError,
    Question,
    TargetDied,
    TargetHung,
    TargetInfo,
)
from touchstone.machine.patience import Patience
from touchstone.machine.probe import ProbeRequest, ProbeResult
from touchstone.machine.probe_lines import MOST_CPUS, cpu_mask, encode_probe, number_in, read_result
from touchstone.machine.serial_log import SerialLog, readable

REPLY_TIMEOUT = 5.0
"""Seconds for requests that run no probe."""
MOST_NOISE = 1 << 24
"""Bytes that are no line of the agent's, while one is waited for: who prints them does so for ever."""
LAST_WORDS = 0.5
"""Seconds of silence after which a target that panics has said everything."""
SEE_BEFORE = "see the line before"
"""``text`` of a panic whose reason is the log line in front of it."""
SUBJECT = "subject"
"""The verb whose answers have pairs of the subject's own, as it wrote them."""
MALFORMED = "EPROTO"
"""Code of the refusal that stands for an answer of the subject's that is not the protocol's key=value."""
AHEAD = 8
"""Questions that are sent before the answer to the first one. They wait in the line's buffers. Half of them
go out at a time: to be woken for each costs an emulator as much as the probe.
"""
LOAD_TIMEOUT = 20.0
"""Seconds for loading and unloading a subject on all CPUs."""

_Sent = tuple[Question, int | AgentRefused]
"""A question, and the number of its request or why it could not be one."""


def _encoded(question: Question) -> tuple[str, list[tuple[str, str]], float]:
    """A question's verb and pairs, and the seconds that its answer may take."""
    if isinstance(question, CountsOf):
        return SUBJECT, [("do", "exits"), ("cpu", str(question.cpu))], REPLY_TIMEOUT
    return "run", encode_probe(question), question.timeout


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

    def __init__(
        self,
        channel: Channel,
        log: SerialLog,
        timeout_factor: float = 1.0,
        patience: Patience | None = None,
    ) -> None:
        """``timeout_factor`` stretches every timeout: an emulator is slower than a box.

        ``patience``: what can tell before the end of a timeout that no answer will come.
        """
        self._channel = channel
        self._log = log
        self._factor = timeout_factor
        self._patience = patience
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
            line = self._next_line(deadline, "the agent was not ready", f" after {timeout:g} s")
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
        if self.info.vendor not in ("intel", "amd") or not 1 <= self.info.cpus <= MOST_CPUS:
            self._violated("hello", f"vendor={self.info.vendor} cpus={self.info.cpus}")
        return self.info

    def run(self, probe: ProbeRequest) -> list[ProbeResult]:
        """Run a probe; one result per CPU, in the order of ``probe.cpus``."""
        self._reached()
        verb, pairs, timeout = _encoded(probe)
        return self._results(probe, self._send(verb, pairs, self._deadline(timeout)))

    def run_many(self, probes: Iterable[ProbeRequest]) -> Iterator[list[ProbeResult] | AgentRefused]:
        """See Driver. AHEAD probes are sent when this returns: the target need not wait for the next."""
        return cast("Iterator[list[ProbeResult] | AgentRefused]", self.ask_many(probes))

    def ask_many(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """See Driver. AHEAD questions are sent when this returns."""
        self._reached()
        left, sent = deque(questions), deque[_Sent]()
        self._send_ahead(sent, left)
        return self._answers(sent, left)

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
        self._ask(SUBJECT, [("do", "load"), *([("opt", option)] if option else [])], LOAD_TIMEOUT)

    def unload(self) -> None:
        """Unload the subject."""
        self._ask(SUBJECT, [("do", "unload")], LOAD_TIMEOUT)

    def query(self) -> dict[str, str]:
        """What the subject says of itself."""
        return dict(self._ask(SUBJECT, [("do", "query")], REPLY_TIMEOUT).fields)

    def exits(self, cpu: int) -> dict[str, int]:
        """Exit counters of a CPU."""
        self._reached()
        verb, pairs, timeout = _encoded(CountsOf(cpu))
        return self._counts(self._send(verb, pairs, self._deadline(timeout)))

    def trace(self, cpu: int, count: int) -> list[str]:
        """The last exits of a CPU, newest last."""
        pairs = [("do", "trace"), ("cpu", str(cpu)), ("n", str(count))]
        return read_trace(self._ask(SUBJECT, pairs, REPLY_TIMEOUT).fields.get("exits", ""))

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

    def _counts(self, number: int) -> dict[str, int]:
        """The exit counters that were asked for as request ``number``. Their timeout begins now."""
        fields = self._answer(number, SUBJECT, self._deadline(REPLY_TIMEOUT), []).fields
        try:
            return {name: number_in(fields, name, 10) for name in fields}
        except ValueError as error:
            raise AgentRefused(MALFORMED, f"an exit counter of the subject's: {error}") from None

    def _send_ahead(self, sent: deque[_Sent], left: deque[Question]) -> None:
        """Send of the questions that are left what may be sent ahead, all at once: see AHEAD."""
        requests, patience = b"", 0.0
        while left and len(sent) < AHEAD:
            question = left.popleft()
            verb, pairs, timeout = _encoded(question)
            try:
                requests += self._request(verb, pairs)
            except AgentRefused as too_long:
                sent.append((question, too_long))
            else:
                sent.append((question, self._number))
                patience += timeout
        if requests:
            self._transmit(verb, requests, self._deadline(patience))

    def _answers(self, sent: deque[_Sent], left: deque[Question]) -> Iterator[Answer]:
        """The answers to questions, or their refusals, while more are sent."""
        while sent:
            question, number = sent.popleft()
            answer: Answer
            try:
                if isinstance(number, AgentRefused):
                    answer = number
                elif isinstance(question, CountsOf):
                    answer = self._counts(number)
                else:
                    answer = self._results(question, number)
            except AgentRefused as refusal:
                answer = refusal
            if len(sent) <= AHEAD // 2:
                self._send_ahead(sent, left)
            yield answer

    def _results(self, probe: ProbeRequest, number: int) -> list[ProbeResult]:
        """The answers to a probe that was sent as request ``number``. Its timeout begins now."""
        info = self._reached()
        answers = self._gather("run", number, set(probe.cpus), self._deadline(probe.timeout))
        base = info.uslot if probe.cpl else info.slot
        try:
            return [
                read_result(probe, cpu, base + cpu * info.stride, answers[cpu].fields) for cpu in probe.cpus
            ]
        except ValueError as error:
            self._violated("run", str(error))

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
        self._transmit(verb, self._request(verb, pairs), deadline)
        return self._number

    def _request(self, verb: str, pairs: list[tuple[str, str]]) -> bytes:
        """The next request. AgentRefused if it is too long."""
        self._number += 1
        request = protocol.format_request(self._nonce, self._number, verb, pairs)
        if len(request) > protocol.MAX_REQUEST:
            raise AgentRefused("too-long", f"{len(request)} bytes; {protocol.MAX_REQUEST} at most")
        return request

    def _transmit(self, verb: str, requests: bytes, deadline: float) -> None:
        """Send requests; ``verb`` is that of the last one."""
        try:
            self._channel.send(requests, deadline)
        except TimeoutError:
            raise TargetHung(f"the target did not take the request {verb}") from None

    def _answer(
        self, number: int, verb: str, deadline: float, damaged: list[str], *, per_cpu: bool = False
    ) -> protocol.Answer:
        """The next answer to request ``number``; stale ones are passed over, one CPU's refusals returned."""
        missing = f"no answer to {verb}"
        while True:
            try:
                line = self._next_line(deadline, missing)
            except TargetHung:
                if damaged:
                    raise InfrastructureError(
                        f"the answer to {verb} came damaged ({damaged[-1]}); see the serial log"
                    ) from None
                raise
            if isinstance(line, protocol.Malformed) and verb == SUBJECT and self._is_for(number, line):
                raise AgentRefused(MALFORMED, f"what the subject answers is malformed: {line.why}")
            if isinstance(line, protocol.Damaged):
                damaged.append(f"{line.why}: {line.text!r}")
            elif isinstance(line, protocol.Event):
                if line.word == "ready":
                    self._rebooted(f"its agent said ready while it was asked to {verb}")
                if line.word == "panic":
                    self._panicked(line)
            elif line.nonce == "-" and line.number == 0 and not line.ok:
                self._violated(verb, f"the agent could not read the request ({line.code}: {line.text})")
            elif self._is_for(number, line) or (line.number == number and verb == "hello" and not line.ok):
                if line.ok or (per_cpu and "cpu" in line.fields):
                    return line
                if line.code == "nonce":
                    self._rebooted(f"its agent does not know this session ({verb})")
                raise AgentRefused(line.code, line.text)

    def _is_for(self, number: int, line: protocol.Answer | protocol.Malformed) -> bool:
        return line.number == number and line.nonce == self._nonce

    def _next_line(self, deadline: float, missing: str, after: str = "") -> protocol.Line:
        noise = 0
        while not self._waiting:
            if noise > MOST_NOISE:
                raise TargetHung(f"{missing}, and {MOST_NOISE >> 20} MiB were printed in its place")
            data = self._receive(deadline, missing, after)
            if not data:
                raise ConnectionEnded("the connection to the agent ended")
            noise += len(data)
            self._log.append(data)
            self._waiting += self._splitter.feed(data)
        return self._waiting.pop(0)

    def _receive(self, deadline: float, missing: str, after: str) -> bytes:
        """The next bytes. TargetHung at the deadline, or when it is known that there will be none."""
        silence = None if self._patience is None else self._patience.begin(missing, deadline)
        while True:
            until = deadline if silence is None else silence.next_look
            try:
                data = self._channel.receive(until)
            except TimeoutError:
                if silence is None or until >= deadline:
                    raise TargetHung(f"{missing}{after}{self._progress()}") from None
                if why := silence.look():
                    self._log.append(f"\n{silence.evidence()}\n".encode())
                    raise TargetHung(f"{missing}{self._progress()}: {why}") from None
            else:
                if silence is not None and data:
                    silence.ended()
                return data

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
            if event.fields.get("in") == "subject":
                why += ", in the hypervisor's own code"
        raise TargetDied(f"the target's OS panicked on CPU {event.fields.get('cpu', '?')}: {why}")

    def _number_in(self, fields: Mapping[str, str], key: str, verb: str, base: int) -> int:
        try:
            return number_in(fields, key, base)
        except ValueError as error:
            self._violated(verb, str(error))

    def _violated(self, verb: str, what: str) -> NoReturn:
        raise InfrastructureError(f"the agent's answer to {verb} breaks the protocol: {what}")
