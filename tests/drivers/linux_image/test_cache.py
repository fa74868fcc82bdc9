"""The cache of images: half of one is none, and makers do not meet."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from touchstone.drivers.linux_image import image as linux_image
from touchstone.drivers.linux_image.packages import Package
from touchstone.machine.driver import InfrastructureError
from touchstone.shipped import source_root


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "images").symlink_to(source_root() / "targets" / "images")
    return tmp_path


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Directories that images were made in, by a maker that writes an image's least."""
    directories: list[Path] = []

    def make(recipe: object, archive: object, directory: Path, progress: object) -> None:
        directories.append(directory)
        (directory / "image.json").write_text('{"release": "6.1", "host_key": "SHA256:x"}')
        (directory / "root.cpio").write_bytes(b"the host's private key")
        (directory / "root.cpio").chmod(0o644)

    monkeypatch.setattr(linux_image, "_make", make)
    return directories


def test_an_image_is_made_once(checkout: Path, made: list[Path]) -> None:
    first = linux_image.build_image("debian-12", lambda said: None, root=checkout)
    assert linux_image.build_image("debian-12", lambda said: None, root=checkout) == first
    assert len(made) == 1
    assert first.release == "6.1"


def test_an_interrupted_maker_leaves_nothing_that_counts(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, made: list[Path]
) -> None:
    make = linux_image._make

    def interrupted(recipe: object, archive: object, directory: Path, progress: object) -> None:
        (directory / "vmlinuz").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(linux_image, "_make", interrupted)
    with pytest.raises(KeyboardInterrupt):
        linux_image.build_image("debian-12", lambda said: None, root=checkout)
    cache = checkout / "build" / "images"
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []

    # One that was killed could not even clean up.
    (cache / ".new-dead").mkdir()
    monkeypatch.setattr(linux_image, "_make", make)
    linux_image.build_image("debian-12", lambda said: None, root=checkout)
    assert not (cache / ".new-dead").exists()


def test_a_second_maker_waits_and_says_so(checkout: Path, made: list[Path]) -> None:
    cache = checkout / "build" / "images"
    cache.mkdir(parents=True)
    said: list[str] = []
    waiting = threading.Event()

    def progress(sentence: str) -> None:
        said.append(sentence)
        waiting.set()

    with FileLock(cache / ".lock"):
        thread = threading.Thread(
            target=linux_image.build_image, args=("debian-12", progress), kwargs={"root": checkout}
        )
        thread.start()
        assert waiting.wait(60)
        assert made == []
    thread.join(60)
    assert len(made) == 1
    assert said[0].startswith("waiting for another run that makes an image")


def test_a_lock_that_stays_is_an_error(
    checkout: Path, made: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linux_image, "LOCK_TIMEOUT", 0.05)
    cache = checkout / "build" / "images"
    cache.mkdir(parents=True)
    with (
        FileLock(cache / ".lock"),
        pytest.raises(InfrastructureError, match="for another run that makes"),
    ):
        linux_image.build_image("debian-12", lambda said: None, root=checkout)


def test_a_package_is_fetched_only_if_it_is_whole(tmp_path: Path) -> None:
    content = b"package"
    file = tmp_path / "p.deb"
    package = Package("p", file, len(content), "SHA256:" + hashlib.sha256(content).hexdigest())
    assert not package.fetched()
    file.write_bytes(content[:-1])
    assert not package.fetched()
    file.write_bytes(b"pacKage")
    assert not package.fetched()
    file.write_bytes(content)
    assert package.fetched()


def test_nobody_else_reads_the_hosts_key(checkout: Path, made: list[Path]) -> None:
    """Also of an image that an earlier version made, with a file that everybody could read."""
    image = linux_image.build_image("debian-12", lambda said: None, root=checkout)
    assert image.initrd.stat().st_mode & 0o777 == 0o600
    path = checkout / "new"
    assert linux_image.private_file(path) == path
    assert path.stat().st_mode & 0o777 == 0o600
