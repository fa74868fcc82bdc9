"""tests/support/compiler/gcc.c: an object is compiled once, and again when what it is made of has changed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import objects
from tests.support.objects import wrapper

GCC = """#!/bin/sh
echo "$@" >>'{log}'
exec '{gcc}' "$@"
"""


class Checkout:
    """targets/bare and a subject in it, with a header each, and a compiler that notes how it is called."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bare = path / "targets" / "bare"
        self.bare.mkdir(parents=True)
        self.subject("hypervisor")
        (self.bare / "os.h").write_text("#define OS 1\n")
        (self.bare / "main.c").write_text('#include "os.h"\nint main_os = OS;\n')
        (path / "targets" / "agent").mkdir()
        real = os.environ.get("TESTS_GCC") or shutil.which("gcc")
        assert real is not None
        self.wrapper = wrapper(real)
        self.log = path / "log"
        gcc = path / "real-gcc"
        gcc.write_text(GCC.format(log=self.log, gcc=real))
        gcc.chmod(0o755)
        (path / "objects").mkdir()
        self.environment = {**os.environ, "TESTS_GCC": str(gcc), "TESTS_OBJECTS": str(path / "objects")}

    def subject(self, name: str) -> Path:
        folder = self.path / name
        (folder / "core").mkdir(parents=True)
        (folder / "subject.mk").write_text("")
        (folder / "core" / "x.h").write_text("#define X 7\n")
        (folder / "core" / "x.c").write_text('#include "core/x.h"\n#include "os.h"\nint x = X + OS;\n')
        return folder

    def gcc(self, source: str, *flags: str, folder: Path | None = None) -> tuple[bytes, str]:
        """What a compilation makes: the object and the list of what it depends on."""
        output = self.path / "x.o"
        command = [str(self.wrapper), *flags, "-MMD", "-MP", "-c", "-o", str(output), source]
        subprocess.run(command, cwd=folder or self.bare, env=self.environment, check=True)
        return output.read_bytes(), (self.path / "x.d").read_text()

    def compile(self, name: str, *flags: str) -> tuple[bytes, str]:
        """A file of a subject, as targets/bare/Makefile does it."""
        return self.gcc(f"../../{name}/core/x.c", *flags, "-I.", f"-I../../{name}")

    @property
    def compiled(self) -> int:
        """How often the real compiler was called."""
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    return Checkout(tmp_path / "some & place")


@pytest.fixture
def plain(tmp_path: Path) -> Checkout:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    return Checkout(tmp_path / "checkout")


def test_a_copy_takes_the_object_and_keeps_its_own_dependencies(plain: Checkout) -> None:
    made, depends = plain.compile("hypervisor")
    assert "../../hypervisor/core/x.h" in depends
    assert plain.compile("hypervisor") == (made, depends)
    plain.subject("mine/copy")
    (plain.path / "mine" / "copy" / "core" / "y.c").write_text("int y;\n")  # nothing includes it
    copied, its = plain.compile("mine/copy")
    assert copied == made
    assert its == depends.replace("../../hypervisor/", "../../mine/copy/")
    assert plain.compiled == 1
    of_os, depends = plain.gcc("main.c")
    assert plain.gcc("main.c") == (of_os, depends)
    assert plain.compiled == 2


@pytest.mark.parametrize(
    "change",
    ["hypervisor/core/x.c", "hypervisor/core/x.h", "targets/bare/os.h", "hypervisor/svm/new.h", "flag"],
)
def test_what_an_object_is_made_of_decides(change: str, plain: Checkout) -> None:
    made, _ = plain.compile("hypervisor")
    if change == "flag":
        other, _ = plain.compile("hypervisor", "-DX=9", "-Wno-error", "-w")
    else:
        file = plain.path / change
        file.parent.mkdir(exist_ok=True)
        file.write_text((file.read_text() if file.exists() else "") + "\n#undef X\n#define X 9\nchar y[X];\n")
        other, _ = plain.compile("hypervisor")
    assert plain.compiled == 2
    if change not in ("flag", "hypervisor/svm/new.h"):
        assert other != made


def test_what_includes_other_folders_is_compiled_every_time(plain: Checkout) -> None:
    (plain.path / "elsewhere").mkdir()
    other = plain.path / "elsewhere" / "z.h"
    (plain.path / "hypervisor" / "core" / "x.c").write_text('#include "../../elsewhere/z.h"\nint x = Z;\n')
    objects = []
    for value in (1, 2):
        other.write_text(f"#define Z {value}\n")
        objects.append(plain.compile("hypervisor")[0])
    assert objects[0] != objects[1]
    # A folder of -I counts.
    (plain.path / "hypervisor" / "core" / "x.c").write_text('#include "z.h"\nint x = Z;\n')
    for value in (1, 2, 2):
        other.write_text(f"#define Z {value}\n")
        objects.append(plain.compile("hypervisor", "-I../../elsewhere")[0])
    assert objects[2] != objects[3] == objects[4]
    assert plain.compiled == 4


@pytest.mark.parametrize(("header", "of_path"), [("core/y.h", "../core/y.h"), ("", "../formats/f.h")])
def test_headers_beside_the_source_are_compared(header: str, of_path: str, plain: Checkout) -> None:
    """A folder of the subject, by a path that leads out of another one; a folder of targets."""
    (plain.path / "targets" / "formats").mkdir()
    found = plain.path / "hypervisor" / header if header else plain.bare / of_path
    found.write_text("#define Y 1\n")
    (plain.path / "hypervisor" / "core" / "x.c").write_text(f'#include "{of_path}"\nint x = Y;\n')
    objects = [plain.compile("hypervisor") for _ in range(2)]
    found.write_text("#define Y 2\n")
    objects += [plain.compile("hypervisor") for _ in range(2)]
    assert objects[0] == objects[1] != objects[2] == objects[3]
    assert plain.compiled == 2


def test_a_subject_is_found_from_a_folder_in_it(plain: Checkout) -> None:
    """hypervisor/hosts/linux/Makefile compiles what is above it."""
    linux = plain.path / "hypervisor" / "hosts" / "linux"
    linux.mkdir(parents=True)
    (plain.path / "hypervisor" / "core" / "y.c").write_text('#include "core/x.h"\nint y = X;\n')
    objects = [plain.gcc("../../core/y.c", "-I../..", folder=linux)[0] for _ in range(2)]
    assert plain.compiled == 1
    (plain.path / "hypervisor" / "core" / "x.h").write_text("#define X 9\n")
    objects.append(plain.gcc("../../core/y.c", "-I../..", folder=linux)[0])
    assert objects[0] == objects[1] != objects[2]


def test_a_path_that_make_would_quote_is_compiled_as_ever(checkout: Checkout) -> None:
    assert checkout.compile("hypervisor") == checkout.compile("hypervisor")
    assert checkout.compiled == 2


def test_a_mistake_is_told_each_time(plain: Checkout) -> None:
    (plain.bare / "main.c").write_text("int main_os = nothing;\n")
    for _ in range(2):
        with pytest.raises(subprocess.CalledProcessError):
            plain.gcc("main.c")
    assert plain.compiled == 2


def test_other_work_is_the_real_compilers(plain: Checkout) -> None:
    command = [str(plain.wrapper), "--version"]
    said = subprocess.run(command, env=plain.environment, capture_output=True, check=True)
    assert b"gcc" in said.stdout.lower()
    assert plain.compiled == 1


def test_a_run_in_a_new_checkout_keeps_objects(
    plain: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "OBJECTS", tmp_path / "build" / "objects")
    # All is as it was behind the test. In front is the real one, as for a person.
    real = os.environ["TESTS_GCC"]
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(real).parent), os.environ["PATH"]]))
    monkeypatch.setenv("TESTS_OBJECTS", "")
    monkeypatch.delenv("TESTS_GCC")
    objects.share()
    assert os.environ["TESTS_GCC"] == real
    command = ["gcc", "-MMD", "-c", "-o", "main.o", "main.c"]
    subprocess.run(command, cwd=plain.bare, check=True)
    assert sorted(file.suffix for file in (tmp_path / "build" / "objects").glob("*/*")) == [".d", ".o"]


class Modules:
    """Folders of a module for Linux, which the kernel's build compiles in the folder of the kernel."""

    def __init__(self, checkout: Checkout) -> None:
        self._checkout = checkout
        self.path = checkout.path
        self.kernel = self.path / "kernel"
        (self.kernel / "include" / "generated").mkdir(parents=True)
        (self.kernel / "include" / "kernel.h").write_text("#define KERNEL 1\n")
        (self.kernel / "include" / "generated" / "autoconf.h").write_text("#define CONFIG 1\n")
        (self.kernel / "Module.symvers").write_text("")
        bin_directory = self.path / "bin"
        bin_directory.mkdir()
        self._gcc = bin_directory / "gcc-99"
        self._gcc.symlink_to(checkout.wrapper)
        environment = checkout.environment
        self._environment = {**environment, "TESTS_GCC_99": environment["TESTS_GCC"]}
        del self._environment["TESTS_GCC"]

    def make(self, name: str) -> Path:
        folder = self.path / name / "module"
        (folder / "linux").mkdir(parents=True)
        (folder.parent / "headers" / "core").mkdir(parents=True)
        (folder / "Kbuild").write_text("")
        (folder / "x.h").write_text("#define X 1\n")
        (folder.parent / "headers" / "core" / "core.h").write_text("#define CORE 1\n")
        (folder / "linux" / "x.c").write_text(
            '#include <kernel.h>\n#include "../x.h"\n#include "core/core.h"\n'
            "int x = KERNEL + X + CORE + CONFIG;\n"
        )
        return folder

    def compile(self, folder: Path) -> tuple[bytes, str]:
        """What a compilation makes: the object and the list of what it depends on."""
        output, depends = folder / "linux" / "x.o", folder / "linux" / ".x.o.d"
        command = [str(self._gcc), f"-Wp,-MMD,{depends}", "-nostdinc", "-I./include"]
        command += ["-include", "./include/generated/autoconf.h", f"-I{folder}/../headers"]
        command += [
            f"-DKBUILD_MODFILE='\"{folder}/x\"'",
            "-c",
            "-o",
            str(output),
            str(folder / "linux" / "x.c"),
        ]
        subprocess.run(command, cwd=self.kernel, env=self._environment, check=True)
        return output.read_bytes(), depends.read_text()

    @property
    def compiled(self) -> int:
        return self._checkout.compiled


@pytest.fixture
def modules(plain: Checkout) -> Modules:
    return Modules(plain)


def test_a_module_for_linux_is_compiled_once_wherever_it_lies(modules: Modules) -> None:
    one, other = modules.make("one"), modules.make("elsewhere/other")
    made, depends = modules.compile(one)
    assert f"{one}/linux/../x.h" in depends
    assert modules.compile(other) == (made, depends.replace(str(one), str(other)))
    assert modules.compiled == 1


@pytest.mark.parametrize(
    "change",
    [
        "one/module/linux/x.c",
        "one/module/x.h",
        "one/headers/core/core.h",
        "kernel/include/generated/autoconf.h",
        "kernel/Module.symvers",
    ],
)
def test_what_a_module_for_linux_is_made_of_decides(change: str, modules: Modules) -> None:
    folder = modules.make("one")
    modules.compile(folder)
    with (modules.path / change).open("a") as file:
        file.write("#undef CONFIG\n#define CONFIG 7\n")
    modules.compile(folder)
    assert modules.compiled == 2


def test_a_module_for_linux_that_includes_other_folders_is_compiled_every_time(modules: Modules) -> None:
    folder = modules.make("one")
    (modules.path / "other.h").write_text("#define OTHER 1\n")
    with (folder / "linux" / "x.c").open("a") as file:
        file.write('#include "../../../other.h"\n')
    modules.compile(folder)
    modules.compile(folder)
    assert modules.compiled == 2


def test_no_module_is_told_from_another_by_a_folder_without_kbuild(modules: Modules) -> None:
    folder = modules.make("one")
    (folder / "Kbuild").unlink()
    modules.compile(folder)
    modules.compile(folder)
    assert modules.compiled == 2
