"""Images of Linux boxes: made of Debian packages when they are first asked for, then kept in build/images."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from touchstone.drivers.linux_image.cpio import RootFileSystem
from touchstone.drivers.linux_image.modules import check_complete, check_libraries, index, module_name
from touchstone.drivers.linux_image.packages import Archive, Package
from touchstone.drivers.linux_image.recipe import Recipe, names, read_recipe
from touchstone.drivers.only_one import only_one
from touchstone.machine.driver import InfrastructureError, Say
from touchstone.shipped import build_directory

LOCK_TIMEOUT = 1800.0
"""Seconds to wait for another run that makes an image."""
ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\nsshd:!:19000::::::\nnobody:*:19000::::::\n",
}
"""``*`` and not ``!``: an account that is locked may not log in with a key either."""
WRAPPERS = {"reboot": "-f", "poweroff": "-f", "halt": "-f"}
"""Programs of busybox, with -f: our init cannot be asked to shut down."""
PROGRAMS = (
    *("usr/bin/dash", "usr/bin/mount", "usr/bin/kmod", "usr/bin/busybox", "usr/bin/ip", "usr/sbin/sshd"),
    *("usr/lib/openssh/sftp-server", "usr/bin/cat", "usr/bin/dmesg", "usr/bin/flock", "usr/bin/sha256sum"),
)
"""What a box must be able to run: its init, and whoever logs in."""


@dataclass(frozen=True)
class LinuxImage:
    """One image: what a machine boots, and what it takes to log in."""

    name: str
    directory: Path
    release: str
    """Of the kernel, as ``uname -r`` says it."""
    host_key: str
    """Fingerprint of its SSH host key: ``SHA256:...``."""

    @property
    def kernel(self) -> Path:
        """For QEMU's -kernel."""
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The root file system, as the kernel unpacks it into memory."""
        return self.directory / "root.cpio"

    @property
    def key(self) -> Path:
        """Private key that logs in as root."""
        return self.directory / "id_ed25519"


def build_image(name: str, progress: Say, *, root: Path | None = None) -> LinuxImage:
    """The image of a recipe: made now, or found; one maker at a time.

    InfrastructureError says what is missing, or what went wrong.
    """
    recipe = read_recipe(name, root)
    cache = (build_directory(root) / "images").resolve()
    directory = cache / f"{name}-{recipe.digest}"
    if (image := _load(name, directory)) is not None:
        return image
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache, progress):
        if (image := _load(name, directory)) is not None:
            return image
        _sweep(cache)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=cache))
        try:
            _make(recipe, Archive(recipe.source, cache / recipe.suite), new, progress)
            new.chmod(0o755)
            shutil.rmtree(directory, ignore_errors=True)
            new.rename(directory)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
    image = _load(name, directory)
    assert image is not None
    return image


def kernel_headers(image: LinuxImage, progress: Say, *, root: Path | None = None) -> Path:
    """Where to build modules for an image's kernel: the KDIR of its make. Fetched when first asked for."""
    cache = (build_directory(root) / "images").resolve()
    directory = cache / f"headers-{image.release}"
    tree = directory / "usr" / "src" / f"linux-headers-{image.release}"
    if tree.is_dir():
        return tree
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache, progress):
        if tree.is_dir():
            return tree
        recipe = read_recipe(image.name, root)
        archive = Archive(recipe.source, cache / recipe.suite)
        # Not the compiler that they depend on: this host's own does.
        found = archive.resolve((f"linux-headers-{image.release}",), (), progress)
        wanted = [p for p in found if re.match(r"linux-headers-\d|linux-kbuild-", p.name)]
        archive.fetch(wanted, progress)
        progress(f"unpacking the headers of {image.release}")
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=cache))
        try:
            for package in wanted:
                _unpack_on_disk(package, new)
            makefile = new / tree.relative_to(directory) / "Makefile"
            makefile.write_text(
                makefile.read_text().replace("include /usr/src/", f"include {directory}/usr/src/")
            )
            shutil.rmtree(directory, ignore_errors=True)
            new.rename(directory)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
    return tree


def _load(name: str, directory: Path) -> LinuxImage | None:
    try:
        said = json.loads((directory / "image.json").read_text())
        root = directory / "root.cpio"
        if root.stat().st_mode & 0o077:  # made before it was made for us alone
            root.chmod(0o600)
    except (OSError, ValueError):
        return None
    return LinuxImage(name, directory, said["release"], said["host_key"])


def _locked(cache: Path, progress: Say) -> contextlib.AbstractContextManager[None]:
    return only_one(cache / ".lock", f"makes an image in {cache}", LOCK_TIMEOUT, progress)


def _sweep(cache: Path) -> None:
    """Remove what interrupted makers left; we hold the lock, so nobody is making anything."""
    for path in cache.glob(".new-*"):
        shutil.rmtree(path, ignore_errors=True)


def _make(recipe: Recipe, archive: Archive, directory: Path, progress: Say) -> None:
    packages = archive.resolve((recipe.kernel, *recipe.packages), recipe.leave_out, progress)
    kernels = [p for p in packages if re.match(r"linux-image-\d", p.name)]
    if len(kernels) != 1:
        raise InfrastructureError(
            f"{recipe.kernel} of {recipe.suite} depends on {len(kernels)} kernels, not on one"
        )
    release = kernels[0].name.removeprefix("linux-image-")
    archive.fetch(packages, progress)
    progress(f"making the image {recipe.name}: {len(packages)} packages, Linux {release}")
    root = RootFileSystem()
    with ThreadPoolExecutor(2) as threads:
        modules = RootFileSystem()
        kernel = threads.submit(_unpack_kernel, modules, kernels[0], set(recipe.modules))
        for package in packages:
            if package is not kernels[0]:
                root.unpack(package.file, lambda path: not any(fnmatchcase(path, p) for p in recipe.drop))
        vmlinuz = kernel.result()
    root.entries.update(
        {path: entry for path, entry in modules.entries.items() if path.startswith("usr/lib/modules")}
    )
    check_complete(root, recipe.modules)
    check_libraries(root, PROGRAMS)
    index(root, release)
    _furnish(root, recipe)
    host_public = _add_keys(root, directory)
    (directory / "vmlinuz").write_bytes(vmlinuz)
    with private_file(directory / "root.cpio").open("wb") as target:  # the box's host key is in it
        root.write(target)
    said = {
        "release": release,
        "host_key": "SHA256:" + base64.b64encode(hashlib.sha256(host_public).digest()).decode().rstrip("="),
    }
    (directory / "image.json").write_text(json.dumps(said, indent=1) + "\n")


def _unpack_kernel(root: RootFileSystem, package: Package, modules: set[str]) -> bytes:
    wanted_modules = {name.replace("-", "_") for name in modules}

    def wanted(path: str) -> bool:
        if path.startswith("boot/vmlinuz-"):
            return True
        index = re.fullmatch(r"usr/lib/modules/[^/]+/modules\.(builtin|builtin\.modinfo|order)", path)
        return bool(index) or module_name(path) in wanted_modules

    root.unpack(package.file, wanted)
    for path, entry in root.entries.items():
        if path.startswith("boot/vmlinuz-"):
            return entry.data
    raise InfrastructureError(f"{package.file}: there is no kernel in it")


def _furnish(root: RootFileSystem, recipe: Recipe) -> None:
    """What packages' scripts and an installer would have made."""
    for path, text in ACCOUNTS.items():
        root.file(path, text.encode(), 0o600 if path == "etc/shadow" else 0o644)
    root.file("init", recipe.read("init"), 0o755)
    root.file("etc/ssh/sshd_config", recipe.read("sshd_config"))
    for name, option in WRAPPERS.items():
        root.file(f"usr/sbin/{name}", f"#!/bin/sh\nexec /usr/bin/busybox {name} {option}\n".encode(), 0o755)
    root.link("usr/bin/sh", "dash")
    root.directory("root", 0o700)
    for path in ("proc", "sys", "dev", "run", "var/tmp", "usr/local/sbin", "usr/local/bin"):
        root.directory(path)
    root.directory("tmp", 0o1777)
    root.character_device("dev/console", 5, 1)
    root.character_device("dev/null", 1, 3, 0o666)


def _add_keys(root: RootFileSystem, directory: Path) -> bytes:
    """Make the box's host key and our key to it; return the host's public one, as fingerprints hash it."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    def pair() -> tuple[bytes, bytes]:
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        return private, public

    private, public = pair()
    private_file(directory / "id_ed25519").write_bytes(private)
    (directory / "id_ed25519.pub").write_bytes(public + b" touchstone\n")
    root.directory("root/.ssh", 0o700)
    root.file("root/.ssh/authorized_keys", public + b" touchstone\n", 0o600)
    private, public = pair()
    root.file("etc/ssh/ssh_host_ed25519_key", private, 0o600)
    root.file("etc/ssh/ssh_host_ed25519_key.pub", public + b"\n")
    return base64.b64decode(public.split()[1])


def private_file(path: Path) -> Path:
    """A new file that only we can read."""
    path.touch(0o600)
    return path


def _unpack_on_disk(package: Package, directory: Path) -> None:
    run = subprocess.run(
        ["dpkg-deb", "--extract", str(package.file), str(directory)], capture_output=True, check=False
    )
    if run.returncode:
        raise InfrastructureError(f"{package.file}: {run.stderr.decode(errors='backslashreplace').strip()}")


def main() -> int:
    """``python -m touchstone.drivers.linux_image.image [NAME...]``: make images ahead of the first run."""
    wanted = sys.argv[1:] or names()
    try:
        for name in wanted:
            image = build_image(name, lambda said: print(said, file=sys.stderr))
            print(json.dumps(asdict(image), default=str))
    except InfrastructureError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
