import os
from pathlib import Path

from touchstone.machine.serial_log import SerialLog, readable


def test_text_shows_what_cannot_be_decoded() -> None:
    assert readable(b"a\xff\x1b[2J\tb\r\nc\xc3\xa4\x00") == "a\\xff\\x1b[2J\tb\ncä\\x00"


def test_marks_ask_for_what_came_after(tmp_path: Path) -> None:
    log = SerialLog(tmp_path / "logs" / "serial.log")
    log.append(b"before\n")
    mark = log.mark()
    log.append(b"after\n")
    assert log.since(mark) == "after\n"
    assert (tmp_path / "logs" / "serial.log").read_bytes() == b"before\nafter\n"
    log.close()


def test_bytes_no_longer_in_memory_are_read_from_the_file(tmp_path: Path) -> None:
    log = SerialLog(tmp_path / "serial.log", keep=10)
    lines = [b"line %d\n" % number for number in range(20)]
    for line in lines:
        log.append(line)
    assert log.bytes_since(0) == b"".join(lines)
    assert log.bytes_since(len(lines[0])) == b"".join(lines[1:])
    assert log.tail(8) == "line 19\n"
    log.close()


def test_the_file_gets_whole_lines_and_the_rest_at_last(tmp_path: Path) -> None:
    path = tmp_path / "serial.log"
    log = SerialLog(path)
    for byte in b"a line\nthe rest":
        log.append(bytes([byte]))
    assert path.read_bytes() == b"a line\n"
    assert log.since(0) == "a line\nthe rest"
    log.flush()
    assert path.read_bytes() == b"a line\nthe rest"
    log.append(b", and more")
    log.close()
    assert path.read_bytes() == b"a line\nthe rest, and more"


def test_without_a_file_a_gap_says_how_much_is_missing() -> None:
    log = SerialLog(keep=4)
    log.append(b"0123456789")
    assert log.since(0) == "[6 bytes are no longer kept]\n6789"
    assert log.since(8) == "89"


def test_an_earlier_log_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "serial.log"
    path.write_bytes(b"old\n")
    log = SerialLog(path, keep=1)
    assert log.mark() == 0
    log.append(b"new\nnewer\n")
    assert log.since(0) == "new\nnewer\n"
    assert path.read_bytes() == b"old\nnew\nnewer\n"
    log.close()


def test_a_file_that_cannot_be_written_costs_no_evidence(tmp_path: Path) -> None:
    log = SerialLog(tmp_path / "serial.log")
    full = os.open("/dev/full", os.O_RDWR)
    assert log._fd is not None
    os.dup2(full, log._fd)
    os.close(full)
    log.append(b"kept\n")
    assert log.since(0) == "kept\n"
