"""A lab of labgrid with one place: its own programs on loopback, or a double of its client.

Both are used in the same way, and the same tests run against both: against the programs at night only, since
labgrid comes with sixty megabytes of packages.
"""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tests.support.checkout import ROOT
from tests.support.ssh.sshd import PATIENCE, hold_a_port

PLACE = "amd-box"


class Lab(Protocol):
    """What tests ask of it."""

    programs: Path
    """The directory that has ``labgrid-client``."""
    coordinator: str

    def holder(self) -> str:
        """``HOST/USER`` who has the place; nothing if it is free."""

    def client(self, *words: str, user: str = "alice") -> None:
        """Run labgrid's client as somebody of the host ``desk``."""

    def cycles(self) -> int:
        """How often the place was switched off."""

    def close(self) -> None:
        """End it."""


class _WithClient:
    """What both have in common."""

    programs: Path
    coordinator: str

    def run(self, *words: str, user: str = "alice") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.programs / "labgrid-client"), "-x", self.coordinator, "-p", PLACE, *words],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LG_USERNAME": user, "LG_HOSTNAME": "desk"},
        )

    def client(self, *words: str, user: str = "alice") -> None:
        """See Lab."""
        done = self.run(*words, user=user)
        assert done.returncode == 0, done.stderr


# What labgrid-client 26.0.1 prints, and its exit statuses. `mkdir` is the coordinator's exclusion.
_CLIENT = """#!/bin/sh
me=$LG_HOSTNAME/$LG_USERNAME coordinator=
[ "$1" != -x ] || { coordinator=$2; shift 2; }
place=$2 words="$3 $4"
die() { echo "labgrid-client: Error: $*" >&2; exit 1; }
[ "$coordinator" = "@COORDINATOR@" ] || {
    echo "ERROR root: coordinator is unavailable: failed to connect to all addresses" >&2
    echo "Server error: Error: Could not connect to coordinator" >&2
    exit 1
}
case @PLACE@ in
*$place*) ;;
*) die "place pattern $place matches nothing" ;;
esac
cd "@STATE@" || exit 2
holder=$(cat acquired/by 2>/dev/null)
case $words in
"show ")
    printf "Place '@PLACE@':\\n  matches:\\n    lab/@PLACE@/*\\n  acquired: %s\\n" "${holder:-None}"
    printf '  acquired resources:\\n  created: 2026-11-29 16:27:35.353461\\n'
    printf '  changed: 2026-11-29 16:27:40.340813\\n' ;;
"acquire ")
    [ -z "$holder" ] || die "Place @PLACE@ is already acquired by $holder. To work simultaneously, ask"
    [ ! -e broken ] || die "Match lab/@PLACE@/* has no matching remote resource"
    mkdir acquired && echo "$me" >acquired/new && mv acquired/new acquired/by
    echo "acquired place @PLACE@" ;;
"env ")
    [ "$holder" = "$me" ] || die "place @PLACE@ is not acquired by your user"
    cat env.yaml ;;
"power cycle")
    [ "$holder" = "$me" ] || die "place @PLACE@ is not acquired by your user"
    echo off >>power ;;
release-from*)
    [ -n "$holder" ] || die "place @PLACE@ is not acquired"
    [ "$holder" != "$4" ] || rm -r acquired
    echo "$4 has released place @PLACE@" ;;
*) die "$words" ;;
esac
"""
_RESOURCES = """
NetworkPowerPort: {{model: rest, host: "http://127.0.0.1:{power}/{{index}}", index: 1}}
NetworkService: {{address: 127.0.0.1, port: {port}, username: root}}
"""


class Double(_WithClient):
    """A client that keeps its lab in files.

    Args:
        port: Of the box's sshd.
    """

    def __init__(self, home: Path, port: int) -> None:
        self.programs, self.coordinator, self._state = home / "bin", "lab:20408", home / "state"
        for directory in (self.programs, self._state):
            directory.mkdir(parents=True)
        text = _CLIENT
        for key, value in {
            "PLACE": PLACE,
            "COORDINATOR": self.coordinator,
            "STATE": str(self._state),
        }.items():
            text = text.replace(f"@{key}@", value)
        (self.programs / "labgrid-client").write_text(text)
        (self.programs / "labgrid-client").chmod(0o755)
        listed = _RESOURCES.format(power=9, port=port).strip().splitlines()
        lines = "".join(f"    - {line}\n" for line in listed)
        (self._state / "env.yaml").write_text(f"targets:\n  {PLACE}:\n    resources:\n{lines}\n")

    def holder(self) -> str:
        """See Lab."""
        path = self._state / "acquired" / "by"
        return path.read_text().strip() if path.exists() else ""

    def cycles(self) -> int:
        """See Lab."""
        path = self._state / "power"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def close(self) -> None:
        """See Lab."""


class _PowerStrip(http.server.BaseHTTPRequestHandler):
    """Takes what labgrid's model ``rest`` says."""

    said: list[bytes]

    def do_PUT(self) -> None:
        self.said.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


class Real(_WithClient):
    """labgrid's coordinator and exporter, on loopback.

    Args:
        programs: The directory with labgrid's programs.
        port: Of the box's sshd.
    """

    def __init__(self, programs: Path, home: Path, port: int) -> None:
        self.programs = programs
        self._said: list[bytes] = []
        handler = type("Strip", (_PowerStrip,), {"said": self._said})
        self._strip = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._strip.serve_forever, daemon=True).start()
        resources = home / "exporter.yaml"
        text = _RESOURCES.format(power=self._strip.server_port, port=port).strip()
        resources.write_text(f"{PLACE}:\n" + "".join(f"  {line}\n" for line in text.splitlines()))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._home = home
        self._port_holder, number = hold_a_port()
        self.coordinator = f"127.0.0.1:{number}"
        self._start("labgrid-coordinator", "-l", self.coordinator)
        self._until(lambda: self.run("places").returncode == 0)
        self._start("labgrid-exporter", "-c", self.coordinator, "-n", "lab", str(resources))
        self._until(lambda: "NetworkService" in self.run("resources").stdout)
        self.client("create")
        self.client("add-match", f"lab/{PLACE}/*")

    def _start(self, program: str, *words: str) -> None:
        with (self._home / f"{program}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(self.programs / program), *words], cwd=self._home, stdout=log, stderr=log
            )
        self._processes.append(process)

    def _until(self, what: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not what():
            ended = any(process.poll() is not None for process in self._processes)
            if ended or time.monotonic() > end:
                raise AssertionError([path.read_text() for path in self._home.glob("labgrid-*.log")])

    def holder(self) -> str:
        """See Lab."""
        (line,) = (one for one in self.run("show").stdout.splitlines() if one.startswith("  acquired: "))
        who = line.removeprefix("  acquired: ")
        return "" if who == "None" else who

    def cycles(self) -> int:
        """See Lab."""
        return sum(said == b"0" for said in self._said)

    def close(self) -> None:
        """See Lab."""
        for process in reversed(self._processes):
            process.terminate()
            process.wait()
        self._strip.shutdown()
        self._strip.server_close()
        self._port_holder.close()


def pinned() -> str:
    """The requirement that the extra has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (found,) = project["optional-dependencies"]["labgrid"]
    return str(found)


def install(into: Path) -> Path:
    """labgrid, as the extra pins it, in an environment of its own. The directory of its programs."""
    subprocess.run([sys.executable, "-m", "venv", str(into)], check=True)
    subprocess.run([str(into / "bin" / "python"), "-m", "pip", "install", "--quiet", pinned()], check=True)
    return into / "bin"
