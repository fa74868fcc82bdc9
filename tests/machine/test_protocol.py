import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from touchstone.machine.protocol import (
    MAX_LINE,
    Answer,
    Damaged,
    Event,
    LineSplitter,
    crc,
    format_request,
    parse_line,
    seal,
)

KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,7}", fullmatch=True).filter(lambda key: key != "text")
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)
ANSWERS = st.builds(
    Answer,
    st.from_regex(r"[0-9a-f]{8}", fullmatch=True),
    st.integers(0, 2**63),
    st.just(True),
    st.dictionaries(KEYS, VALUES, max_size=5),
)


def written(answer: Answer) -> bytes:
    status = "ok" if answer.ok else "err"
    pairs = [f"{key}={value}" for key, value in answer.fields.items()]
    return seal(" ".join(["=1", answer.nonce, str(answer.number), status, *pairs]))


def test_crc_is_ccitt_false() -> None:
    assert crc(b"123456789") == 0x29B1


def test_a_request_as_a_person_would_type_it() -> None:
    line = format_request("0123abcd", 7, "run", [("code", "0fa2"), ("on", "f")])
    assert line == b"@1 0123abcd 7 run code=0fa2 on=f #%04x\n" % crc(b"@1 0123abcd 7 run code=0fa2 on=f")


@pytest.mark.parametrize("value", ["", "a b", "ü", "a\nb"])
def test_a_request_cannot_hold_what_would_break_the_line(value: str) -> None:
    with pytest.raises(ValueError, match=r"must not be empty|not printable"):
        format_request("-", 1, "hello", [("nonce", value)])


def test_the_text_of_a_refusal_runs_to_the_end_with_all_its_spaces() -> None:
    line = seal("=1 0123abcd 3 err code=EBUSY text=VMX is in use  by a=b, CPU 3")
    answer = parse_line(line.rstrip(b"\n"))
    assert isinstance(answer, Answer)
    assert (answer.ok, answer.code, answer.text) == (False, "EBUSY", "VMX is in use  by a=b, CPU 3")


def test_an_event_with_a_carriage_return() -> None:
    assert parse_line(seal("!1 ready os=bare cpus=4").rstrip(b"\n") + b"\r") == Event(
        "ready", {"os": "bare", "cpus": "4"}
    )


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"=1 0123abcd 1 ok #0000", "wrong checksum"),
        (b"=1 0123abcd 1 ok", "no checksum"),
        (seal("=2 0123abcd 1 ok")[:-1], "protocol version 2"),
        (seal("=1 0123abcg 1 ok")[:-1], "nonce '0123abcg'"),
        (seal("=1 0123abcd x ok")[:-1], "id 'x'"),
        (seal("=1 0123abcd 1 yes")[:-1], "'yes' is neither ok nor err"),
        (seal("=1 0123abcd 1 err")[:-1], "err without a code"),
        (seal("=1 0123abcd 1 ok rax")[:-1], "'rax' is not key=value"),
        (seal("=1 0123abcd 1 ok rax=1 rax=2")[:-1], "rax occurs twice"),
        (seal("=1 0123abcd 1")[:-1], "too few words"),
        (seal("!1 ")[:-1], "no event word"),
        (b"=1 \xff ok #%04x" % crc(b"=1 \xff ok"), "outside of printable ASCII"),
    ],
)
def test_a_line_that_only_begins_well_is_damaged_and_says_why(line: bytes, why: str) -> None:
    parsed = parse_line(line)
    assert isinstance(parsed, Damaged)
    assert why in parsed.why


@pytest.mark.parametrize(
    "line", [b"", b"Booting...", b"@1 - 1 hello nonce=01234567 #-", b"a=1 b", b"== 1 ok #1234"]
)
def test_log_text_is_no_line_of_the_protocol(line: bytes) -> None:
    assert parse_line(line) is None


@settings(deadline=None)
@given(ANSWERS, st.binary(max_size=60).filter(lambda text: b"\n" not in text))
@example(Answer("01234567", 1, True, {}), b"CPU 3: =1 01234567 1 ok #")
def test_an_answer_behind_half_a_line_of_somebody_else_is_found(answer: Answer, before: bytes) -> None:
    assert parse_line(before + written(answer).rstrip(b"\n")) == answer


@settings(deadline=None)
@given(ANSWERS, st.data())
def test_one_changed_byte_is_never_an_answer_of_ours(answer: Answer, data: st.DataObject) -> None:
    line = bytearray(written(answer).rstrip(b"\n"))
    position = data.draw(st.integers(0, len(line) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != line[position]))
    line[position] = byte
    parsed = parse_line(bytes(line))
    assert not isinstance(parsed, Answer | Event)


@settings(deadline=None)
@given(
    st.lists(st.one_of(ANSWERS, st.binary(max_size=50).filter(lambda text: b"=1 " not in text)), max_size=8),
    st.data(),
)
def test_lines_are_found_however_the_stream_is_cut(parts: list[Answer | bytes], data: st.DataObject) -> None:
    stream = b"".join(written(part) if isinstance(part, Answer) else part + b"\n" for part in parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    splitter, found = LineSplitter(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += splitter.feed(stream[begin:end])
    assert [line for line in found if isinstance(line, Answer)] == [p for p in parts if isinstance(p, Answer)]
    assert splitter.rest == b""


def test_a_flood_without_a_line_end_is_bounded_and_the_next_line_is_found() -> None:
    splitter = LineSplitter()
    for _ in range(100):
        assert splitter.feed(b"=1 " * 1000) == []
        assert len(splitter.rest) <= MAX_LINE
    assert splitter.feed(b"\n" + seal("!1 ready os=bare cpus=1"))[-1] == Event(
        "ready", {"os": "bare", "cpus": "1"}
    )
