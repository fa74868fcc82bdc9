"""The port of this host that leads to a box in Bochs."""

from __future__ import annotations

import socket
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
