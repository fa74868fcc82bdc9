import subprocess
from pathlib import Path

import pytest

from touchstone.machine.symbols import Symbol, Symbols

SOURCE = """\
int counter = 7;
unsigned long words[2];
__attribute__((noinline)) int inner(int x)
{
	return x * counter;
}
int outer(int x)
{
	int y = inner(x);
	return y + 1;
}
void _start(void) { counter = outer(1); }
"""


def found(symbols: Symbols, name: str) -> Symbol:
    symbol = symbols.find(name)
    assert symbol
    return symbol


@pytest.fixture(scope="module", params=["-gdwarf-4", "-gdwarf-5"])
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("elf") / "room"
    source.mkdir()
    (source / "code.c").write_text(SOURCE)
    command = ["gcc", "-O1", request.param, "-static", "-nostdlib", "-no-pie", "-fcf-protection=none", "-o"]
    subprocess.run([*command, str(source / "image"), str(source / "code.c")], check=True)
    return source / "image"


def test_an_address_has_a_name_and_a_line(image: Path) -> None:
    symbols = Symbols(image)
    inner = found(symbols, "inner")
    assert symbols.describe(inner.address).startswith("inner+0x0 (room/code.c:5)")
    assert symbols.describe(inner.address + 1).startswith("inner+0x1 (")
    assert symbols.problem == ""


def test_a_return_address_is_that_of_the_call(image: Path) -> None:
    symbols = Symbols(image)
    outer = found(symbols, "outer")
    code = symbols.code(outer.address, outer.size)
    after_call = outer.address + code.index(b"\xe8") + 5
    assert symbols.describe(after_call, returns=True).endswith("(room/code.c:9)")
    assert symbols.describe(after_call, returns=True).startswith(f"outer+{after_call - outer.address:#x} ")


def test_a_variable_is_read_by_name(image: Path) -> None:
    symbols = Symbols(image)
    asked = []

    def memory(address: int, length: int) -> bytes:
        asked.append((address, length))
        return bytes(range(length))

    assert symbols.read_integer(memory, "counter") == 0x03020100
    assert symbols.read(memory, "words") == bytes(range(16))
    assert asked == [(found(symbols, "counter").address, 4), (found(symbols, "words").address, 16)]
    assert symbols.read(memory, "nothing") is None
    assert symbols.read_integer(memory, "nothing") is None


def test_what_is_not_code_has_no_name(image: Path) -> None:
    symbols = Symbols(image)
    assert symbols.describe(0) == ""
    assert symbols.describe(found(symbols, "counter").address) == ""
    assert symbols.code(0, 4) == b""


@pytest.mark.parametrize("content", [None, b"", b"no ELF", b"\x7fELF" + bytes(60)])
def test_a_missing_or_broken_file_has_no_symbols_and_says_why(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "image.elf64"
    if content is not None:
        path.write_bytes(content)
    symbols = Symbols(path)
    assert symbols.describe(0x100000) == ""
    assert symbols.find("main") is None
    assert str(path) in symbols.problem


def test_a_stripped_file_has_code_but_no_names(image: Path, tmp_path: Path) -> None:
    subprocess.run(["strip", "-o", str(tmp_path / "stripped"), str(image)], check=True)
    symbols = Symbols(tmp_path / "stripped")
    address = found(Symbols(image), "inner").address
    assert symbols.is_code(address)
    assert symbols.describe(address) == ""
