"""The kernel's modules in an image: what they depend on, and the index that modprobe reads."""

from __future__ import annotations

import lzma
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from touchstone.drivers.linux_image.cpio import RootFileSystem
from touchstone.machine.driver import InfrastructureError

LIBRARIES = "usr/lib/x86_64-linux-gnu"


def module_name(path: str) -> str:
    """``kvm_amd`` for ``.../kvm-amd.ko.xz``; nothing for a path that is no module's."""
    name = PurePosixPath(path).name
    stem, dot, _ = name.partition(".ko")
    return stem.replace("-", "_") if dot else ""


def depends(data: bytes, path: str) -> list[str]:
    """The modules that one needs, by what its .modinfo says."""
    try:
        if path.endswith(".xz"):
            data = lzma.decompress(data)
        section = ELFFile(BytesIO(data)).get_section_by_name(".modinfo")
    except (ELFError, lzma.LZMAError) as error:
        raise InfrastructureError(f"{path}: {error}") from None
    if section is None:
        return []
    for line in bytes(section.data()).split(b"\0"):
        key, _, value = line.partition(b"=")
        if key == b"depends":
            return [name.replace("-", "_") for name in value.decode().split(",") if name]
    return []


def check_complete(root: RootFileSystem, wanted: Iterable[str]) -> None:
    """InfrastructureError unless all wanted modules are there, and all that they need."""
    found: Mapping[str, str] = {module_name(path): path for path in root.entries if module_name(path)}
    builtin = {
        module_name(line)
        for path, entry in root.entries.items()
        if path.endswith("/modules.builtin")
        for line in entry.data.decode().splitlines()
    }
    for name in wanted:
        if name.replace("-", "_") not in found and name.replace("-", "_") not in builtin:
            raise InfrastructureError(f"the kernel has no module {name} (modules in the recipe)")
    for name, path in found.items():
        for other in depends(root.entries[path].data, path):
            if other not in found and other not in builtin:
                raise InfrastructureError(f"module {name} needs {other}: add it to modules in the recipe")


def check_libraries(root: RootFileSystem, programs: Iterable[str]) -> None:
    """InfrastructureError unless the programs are there, with the libraries that they and those need."""
    seen: set[str] = set()
    waiting = list(programs)
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        entry = root.entries.get(path)
        if entry is None:
            raise InfrastructureError(f"the image has no {path}: which package of the recipe has it?")
        if stat.S_ISLNK(entry.mode):
            waiting.append(str(PurePosixPath(path).parent / entry.data.decode()))
            continue
        dynamic = ELFFile(BytesIO(entry.data)).get_section_by_name(".dynamic")
        if not isinstance(dynamic, DynamicSection):
            continue
        for tag in dynamic.iter_tags("DT_NEEDED"):
            name = vars(tag)["needed"]  # pyelftools sets it there, by the kind of the tag
            library = f"{LIBRARIES}/{name}"
            if library not in root.entries:
                raise InfrastructureError(f"{path} needs {name}, which leave-out in the recipe leaves out")
            waiting.append(library)


def index(root: RootFileSystem, release: str) -> None:
    """Add the files that depmod makes, with the depmod of the image: this host may have none."""
    with tempfile.TemporaryDirectory(prefix="touchstone-image-") as name:
        directory = Path(name)
        needed = ("usr/lib/modules/", "usr/lib/x86_64-linux-gnu/l", "usr/lib64/", "usr/bin/kmod")
        for path, entry in root.entries.items():
            if path.startswith(needed) and entry.mode & 0o170000 in (0o100000, 0o120000):
                target = directory / path
                target.parent.mkdir(parents=True, exist_ok=True)
                if entry.mode & 0o170000 == 0o120000:
                    target.symlink_to(entry.data.decode())
                else:
                    target.write_bytes(entry.data)
                    target.chmod(0o755)
        (directory / "lib").symlink_to("usr/lib")
        loader = next(directory.glob("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"), None)
        if loader is None:
            raise InfrastructureError("the image has no dynamic loader: is libc6 among its packages?")
        run = subprocess.run(
            [
                *(
                    str(loader),
                    "--argv0",
                    "depmod",
                    "--library-path",
                    str(directory / "usr/lib/x86_64-linux-gnu"),
                ),
                *(str(directory / "usr/bin/kmod"), "-b", str(directory), release),
            ],
            capture_output=True,
            check=False,
        )
        if run.returncode:
            raise InfrastructureError(
                f"depmod failed: {run.stderr.decode(errors='backslashreplace').strip()}"
            )
        for made in sorted((directory / f"usr/lib/modules/{release}").glob("modules.*")):
            root.file(str(made.relative_to(directory)), made.read_bytes())
