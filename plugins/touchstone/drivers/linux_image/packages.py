"""Debian packages for an image: found and fetched by apt in a directory of our own."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from touchstone.machine.driver import InfrastructureError, Say

INDEX_AGE = 24 * 3600.0
"""Seconds after which the archive's index is fetched anew."""
TIMEOUT = 900.0

_LINE = re.compile(r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) (?P<hash>\S*)$")


@dataclass(frozen=True)
class Source:
    """Where packages come from."""

    suite: str
    mirror: str
    security: str
    """Mirror of the security updates, or nothing."""
    keyring: Path


@dataclass(frozen=True)
class Package:
    """One package, as the archive's index describes it."""

    name: str
    file: Path
    """Where it is, once it has been fetched."""
    size: int
    """In bytes."""
    digest: str
    """``SHA256:...``, from the signed index."""

    def fetched(self) -> bool:
        """Whether the file is there, whole."""
        try:
            if self.file.stat().st_size != self.size:
                return False
            kind, _, value = self.digest.partition(":")
            with self.file.open("rb") as data:
                return hashlib.file_digest(data, kind.lower()).hexdigest() == value
        except (OSError, ValueError):
            return False


class Archive:
    """apt, with nothing of this host's: its own index and its own packages below a directory."""

    def __init__(self, source: Source, directory: Path) -> None:
        """Touches nothing yet."""
        self._source = source
        self._directory = directory.resolve()  # apt takes a relative one for something below its own
        self._packages = self._directory / "packages"
        self._fresh = False

    def resolve(self, names: Sequence[str], leave_out: Sequence[str], progress: Say) -> list[Package]:
        """The packages and what they depend on, without those that match a pattern of ``leave_out``."""
        self._prepare(progress)
        text = self._apt("install", "--print-uris", "--no-install-recommends", "-qq", "-y", *names)
        packages = []
        for line in text.splitlines():
            if (match := _LINE.match(line)) is None:
                continue
            name = match["file"].split("_", 1)[0]
            if not any(fnmatchcase(name, pattern) for pattern in leave_out):
                file = self._packages / match["file"]
                packages.append(Package(name, file, int(match["size"]), match["hash"]))
        return packages

    def fetch(self, packages: Sequence[Package], progress: Say) -> None:
        """Have all of them in their files."""
        missing = [package for package in packages if not package.fetched()]
        if not missing:
            return
        size = sum(package.size for package in missing) / 1e6
        progress(f"fetching {len(missing)} Debian packages ({size:.0f} MB) of {self._source.suite}")
        self._apt("download", "-qq", *(package.name for package in missing))
        for package in missing:
            if not package.fetched():
                raise InfrastructureError(
                    f"apt-get download did not bring {package.file}; see {self._directory}"
                )

    def _prepare(self, progress: Say) -> None:
        if self._fresh:
            return
        for program, owner in (("apt-get", "apt"), ("dpkg-deb", "dpkg")):
            if shutil.which(program) is None:
                raise InfrastructureError(
                    f"{program} is missing: images are made on Debian (package {owner})"
                )
        if not self._source.keyring.is_file():
            raise InfrastructureError(
                f"{self._source.keyring} is missing (apt-get install debian-archive-keyring)"
            )
        for part in ("lists/partial", "archives/partial", "packages", "apt.conf.d", "preferences.d"):
            (self._directory / part).mkdir(parents=True, exist_ok=True)
        status = self._directory / "status"
        if not status.exists():  # apt reads the whole index anew if this is newer than what it made of it
            status.touch()
        source = self._source
        lines = [f"deb [signed-by={source.keyring}] {source.mirror} {source.suite} main"]
        if source.security:
            lines.append(f"deb [signed-by={source.keyring}] {source.security} {source.suite}-security main")
        text = "\n".join(lines) + "\n"
        sources = self._directory / "sources.list"
        stamp = self._directory / "updated"
        same = sources.is_file() and sources.read_text() == text
        if not same or not stamp.is_file() or time.time() - stamp.stat().st_mtime > INDEX_AGE:
            progress(f"fetching the index of Debian {source.suite}")
            stamp.unlink(missing_ok=True)  # of the index before, if this one does not come
            sources.write_text(text)
            self._apt("update", "-qq", "-o", "APT::Update::Error-Mode=any")
            stamp.touch()
        self._fresh = True

    def _apt(self, *words: str) -> str:
        own = self._directory
        settings = {
            "Dir": own,
            "Dir::State": own,
            "Dir::State::lists": own / "lists",
            "Dir::State::status": own / "status",
            "Dir::Cache": own,
            "Dir::Cache::archives": own / "archives",
            # Debian's container images keep little here, and apt decompresses the index for each question.
            "Dir::Cache::pkgcache": own / "pkgcache.bin",
            "Acquire::GzipIndexes": "false",
            "Dir::Etc": own,
            "Dir::Etc::sourcelist": own / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::Etc::parts": own / "apt.conf.d",
            "Dir::Etc::preferencesparts": own / "preferences.d",
            "Dir::Log": own,
            "APT::Architecture": "amd64",
            "APT::Architectures::": "amd64",
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
            "Acquire::ForceHash": "SHA256",
            "Acquire::Retries": "3",
            "Debug::NoLocking": "true",
        }
        command = [
            "apt-get",
            *(word for key, value in settings.items() for word in ("-o", f"{key}={value}")),
            *words,
        ]
        try:
            run = subprocess.run(
                command,
                cwd=self._packages,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise InfrastructureError(f"apt-get {words[0]} took more than {TIMEOUT:g} s") from None
        if run.returncode:
            said = run.stderr.decode(errors="backslashreplace").strip()
            raise InfrastructureError(f"apt-get {' '.join(words)} failed ({self._source.mirror}):\n{said}")
        return run.stdout.decode(errors="backslashreplace")
