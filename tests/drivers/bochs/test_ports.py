"""Ports of this host between us and a Bochs: which are free, and who comes."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from touchstone.drivers.bochs import ports as bochs_ports
from touchstone.machine.driver import InfrastructureError


@pytest.mark.parametrize("given", ["10001\t65535\n", "10000 65534\n"])
def test_the_port_is_outside_the_ephemeral_range(given: str, tmp_path: Path) -> None:
    ports = tmp_path / "ip_local_port_range"
    ports.write_text(given)
    first, last = map(int, given.split())
    try:
        port = bochs_ports.free_port(ports)
    except InfrastructureError:
        pytest.skip("another program has the only port that is left")
    assert not first <= port <= last


def test_the_port_is_free() -> None:
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    port = bochs_ports.free_port()
    assert not first <= port <= last
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))


def test_any_port_will_do_if_all_are_ephemeral(tmp_path: Path) -> None:
    ports = tmp_path / "ip_local_port_range"
    ports.write_text("1024 65535\n")
    assert 10000 <= bochs_ports.free_port(ports) < 65536


CONNECT = """
import socket, sys
connections = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(2)]
connections[0].close()
print("both were made, and the first is over", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_only_the_emulator_may_connect(listener: socket.socket) -> None:
    """We ourselves are as much a stranger as other users are; a script may have started the emulator."""
    port = listener.getsockname()[1]
    script = ["sh", "-c", f"\"$0\" -c '{CONNECT}' {port}; true", sys.executable]
    with (
        socket.create_connection(("127.0.0.1", port)),
        subprocess.Popen(
            script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        ) as emulator,
        contextlib.ExitStack() as connections,
    ):
        assert emulator.stdin is not None
        assert emulator.stdout is not None
        assert emulator.stdout.readline().startswith(b"both")
        came = []

        def accept() -> socket.socket:
            came.append(connections.enter_context(listener.accept()[0]))
            return came[-1]

        ours = bochs_ports.accept_ours(accept, emulator.pid)
        assert len(came) == 3, "the stranger came first, then a connection that is over"
        assert not bochs_ports.is_of(ours, emulator.pid + 1_000_000)
        emulator.stdin.close()
        emulator.wait()
        assert not bochs_ports.is_of(ours, emulator.pid)


class Connection:
    """One between the ports 1, which is ours, and 0xa000."""

    def getpeername(self) -> tuple[str, int]:
        return ("127.0.0.1", 0xA000)

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 1)


FOUR, SIX = "0100007F", "0000000000000000FFFF00000100007F"


@pytest.mark.parametrize(("table", "address"), [("tcp", FOUR), ("tcp6", SIX)])
@pytest.mark.parametrize("owner", [7, 8])
def test_a_peer_is_looked_for_in_both_tables(table: str, address: str, owner: int, tmp_path: Path) -> None:
    row = "   {}: {}:A000 {}:{:04X} {} 00000000:00000000 00:00000000 00000000 1000 0 {} 1\n"
    rows = [(0, FOUR, 2, "01", 5), (1, address, 1, "06", 0), (2, address, 1, "01", 99)]
    net = tmp_path / "net"
    net.mkdir()
    for name in ("tcp", "tcp6"):
        mine = [row.format(n, a, a, p, s, i) for n, a, p, s, i in rows if name == table]
        (net / name).write_text("head\n" + "".join(mine))
    for pid in (7, 8):
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a ) b) S 1 {pid} {pid} 0\n")
    (tmp_path / str(owner) / "fd" / "3").symlink_to("socket:[99]")
    connection = Connection()
    assert bochs_ports.is_of(connection, owner, tmp_path)  # type: ignore[arg-type]
    assert not bochs_ports.is_of(connection, 15 - owner, tmp_path)  # type: ignore[arg-type]


def test_who_is_in_no_table_is_not_ours(tmp_path: Path) -> None:
    assert not bochs_ports.is_of(Connection(), 7, tmp_path)  # type: ignore[arg-type]
