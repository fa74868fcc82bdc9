import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.emulators import ends_within, qemu, running
from touchstone.drivers.build import BareImage, build_bare, main, subject_name
from touchstone.machine.driver import InfrastructureError
from touchstone.shipped import source_root

pytestmark = pytest.mark.usefixtures("nothing_left_behind")

MAKEFILE = """\
NAME := $(if $(SUBJECT),mine,none)
all:
\tcp source.c $(BUILD)/bare-$(NAME).elf64
\tcp source.c $(BUILD)/bare-$(NAME).elf
\tcp source.c $(BUILD)/bare-$(NAME).efi
\tcp source.c $(BUILD)/bare-$(NAME).img
describe:
\t@echo $(FLAGS)
\t@echo input source.c $(SUBJECT)
"""
SUBJECT = """\
SUBJECT_NAME := mine
SUBJECT_SOURCES := subject.c
SUBJECT_CFLAGS := -I$(SUBJECT_DIR)
"""
SUBJECT_SOURCE = """\
#include "os.h"
#include "subject.h"
#include "answer.h"

static int query(char *buffer, size_t size)
{
\tos_snprintf(buffer, size, " answer=" ANSWER);
\treturn 0;
}

static const struct subject_ops mine = { .name = "mine", .query = query };

const struct subject_ops *const subject = &mine;
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with nothing in it but a Makefile that keeps the contract."""
    source = tmp_path / "checkout" / "targets" / "bare"
    source.mkdir(parents=True)
    (source / "Makefile").write_text(MAKEFILE)
    (source / "source.c").write_text("int x;\n")
    return tmp_path / "checkout"


def make_subject(directory: Path, answer: str) -> Path:
    """The sources of a small subject for the real ``targets/bare``; its name is always the same."""
    directory.mkdir()
    (directory / "subject.mk").write_text(SUBJECT)
    (directory / "subject.c").write_text(SUBJECT_SOURCE)
    (directory / "answer.h").write_text(f'#define ANSWER "{answer}"\n')
    return directory


def source_of_checkout(checkout: Path) -> Path:
    return checkout / "targets" / "bare" / "source.c"


def test_the_real_image_is_found_up_to_date(image: BareImage) -> None:
    steps: list[str] = []
    assert build_bare(None, steps.append) == image
    assert not any(step.startswith("building") for step in steps), "another run may be waited for"
    assert image.elf.name == "bare-none.elf"


def test_two_subjects_of_one_name_are_built_and_run_at_once(tmp_path: Path) -> None:
    """A copy of a subject's directory is the natural way to try a change."""
    subjects = [make_subject(tmp_path / answer, answer) for answer in ("before", "after")]

    def ask(subject: Path) -> tuple[str, Mapping[str, str]]:
        image = build_bare(subject, directory=tmp_path / "build")
        both.wait(600)  # whoever starts a machine finds what the other one has built since
        with running(qemu(cpus=1), image, tmp_path / f"logs-{subject.name}") as (driver, info):
            both.wait(600)
            return info.subject, driver.query()

    both = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(ask, subjects))
    assert answers == [("mine", {"answer": "before"}), ("mine", {"answer": "after"})]


def test_switching_between_subjects_of_one_name_builds_nothing_again(tmp_path: Path, checkout: Path) -> None:
    subjects = [make_subject(tmp_path / answer, answer) for answer in ("before", "after")]
    steps: list[str] = []
    images = [build_bare(subject, steps.append, root=checkout) for subject in [*subjects, *subjects, None]]
    assert images[:2] == images[2:4]
    assert images[0] != images[1]
    assert steps == ["building the bare image of mine"] * 2 + ["building the bare image of none"]


def test_asking_the_real_makefile_changes_nothing(tmp_path: Path) -> None:
    """``make -q`` with another subject or other flags than those of what was built."""
    bare = source_root() / "targets" / "bare"
    subject = make_subject(tmp_path / "subject", "x")

    def make(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "-C", bare, f"BUILD={tmp_path / 'build'}", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )

    assert make("-q").returncode == 1
    assert list(tmp_path.iterdir()) == [subject]
    assert make("-j2").returncode == 0
    assert make("-q").returncode == 0
    before = files_below(tmp_path / "build")
    other = make("-q", f"SUBJECT={os.path.relpath(subject, bare)}")
    assert other.returncode == 2
    assert f"{tmp_path / 'build'} holds an image of another subject or with other flags" in other.stderr
    assert files_below(tmp_path / "build") == before


def files_below(directory: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*")}


def test_an_image_is_built_once_and_says_so(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    steps: list[str] = []
    image = build_bare(None, steps.append, root=checkout)
    assert image == BareImage.beside(image.elf)
    assert image.elf.parent.parent == checkout / "build" / "bare"
    assert all(path.is_file() for path in image.files)
    assert build_bare(None, steps.append, root=checkout) == image
    assert steps == ["building the bare image of none"]


def test_another_content_is_another_image_whatever_the_dates_of_the_files(checkout: Path) -> None:
    source = source_of_checkout(checkout)
    old = build_bare(None, root=checkout)
    source.write_text("int y;\n")
    os.utime(source, (0, 0))
    new = build_bare(None, root=checkout)
    assert (old.elf.read_text(), new.elf.read_text()) == ("int x;\n", "int y;\n")
    source.write_text("int x;\n")
    assert build_bare(None, root=checkout) == old


def test_other_flags_are_another_image(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = build_bare(None, root=checkout)
    monkeypatch.setenv("FLAGS", "-O3")
    assert build_bare(None, root=checkout) != old


def test_what_a_subject_includes_counts(tmp_path: Path) -> None:
    subject = make_subject(tmp_path / "subject", "before")
    images = [build_bare(subject, directory=tmp_path / "build")]
    (subject / "answer.h").write_text('#define ANSWER "after"\n')
    images.append(build_bare(subject, directory=tmp_path / "build"))
    assert [b"answer=before" in image.elf.read_bytes() for image in images] == [True, False]


def test_headers_of_cpp_in_a_subjects_directory_count_too(tmp_path: Path) -> None:
    subject = make_subject(tmp_path / "subject", "before")
    (subject / "answer.h").rename(subject / "answer.hpp")
    (subject / "answer.h").write_text('#include "answer.hpp"\n')
    images = [build_bare(subject, directory=tmp_path / "build")]
    (subject / "answer.hpp").write_text('#define ANSWER "after"\n')
    images.append(build_bare(subject, directory=tmp_path / "build"))
    assert [b"answer=before" in image.elf.read_bytes() for image in images] == [True, False]


def test_what_a_subject_includes_from_elsewhere_must_be_named(tmp_path: Path) -> None:
    subject = make_subject(tmp_path / "subject", "x")
    (subject / "answer.h").rename(tmp_path / "answer.h")
    (subject / "subject.mk").write_text(SUBJECT + "SUBJECT_CFLAGS += -I$(SUBJECT_DIR)/..\n")
    make = re.escape(str(subject / "subject.mk"))
    said = rf"includes \.\./answer\.h, and .*: name it in SUBJECT_INPUTS of {make}"
    with pytest.raises(InfrastructureError, match=said):
        build_bare(subject, directory=tmp_path / "build")
    with (subject / "subject.mk").open("a") as file:
        file.write("SUBJECT_INPUTS := ../answer.h\n")
    images = [build_bare(subject, directory=tmp_path / "build")]
    (tmp_path / "answer.h").write_text('#define ANSWER "y"\n')
    images.append(build_bare(subject, directory=tmp_path / "build"))
    assert [b"answer=x" in image.elf.read_bytes() for image in images] == [True, False]


def test_an_image_in_use_is_kept_while_many_others_are_built(checkout: Path) -> None:
    images = []
    for number in range(20):
        source_of_checkout(checkout).write_text(f"int x{number};\n")
        images.append(build_bare(None, root=checkout))
    assert all(path.is_file() for image in images for path in image.files)


def test_a_killed_build_is_no_image(checkout: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "half-way")
    makefile = checkout / "targets/bare/Makefile"
    makefile.write_text(
        MAKEFILE.replace(
            "\tcp source.c $(BUILD)/bare-$(NAME).img", f"\techo $$$$ > {tmp_path}/half-way; sleep 600"
        )
    )
    process = building_process(checkout)
    shell = int((tmp_path / "half-way").read_text())
    try:
        process.kill()
        process.communicate()
        makefile.write_text(MAKEFILE)
        steps: list[str] = []
        image = build_bare(None, steps.append, root=checkout)
    finally:
        os.killpg(os.getpgid(shell), signal.SIGKILL)  # make outlives the one that called it
    assert steps == ["building the bare image of none"]
    assert [path.read_text() for path in image.files] == ["int x;\n"] * 4


def test_a_subject_must_have_a_name(checkout: Path, tmp_path: Path) -> None:
    subject = tmp_path / "hypervisor"
    subject.mkdir()
    with pytest.raises(
        InfrastructureError, match=r"subject\.mk: No such file or directory: a subject says there"
    ):
        build_bare(subject, root=checkout)
    (subject / "subject.mk").write_text("# nothing\n")
    with pytest.raises(InfrastructureError, match="does not set SUBJECT_NAME"):
        subject_name(subject)
    (subject / "subject.mk").write_text("SUBJECT_SOURCES := a.c\nSUBJECT_NAME := mine\n")
    assert build_bare(subject, root=checkout).elf.name == "bare-mine.elf"


def test_the_command_builds_and_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.endswith("a subject says there what to build\n")


def test_the_compilers_words_are_passed_on(checkout: Path) -> None:
    (checkout / "targets/bare/Makefile").write_text("all:\n\tgcc -c broken.c -o /dev/null\ndescribe:\n")
    (checkout / "targets/bare/broken.c").write_text("int main(void) { return missing; }\n")
    with pytest.raises(
        InfrastructureError, match=r"(?s)make -C .* failed:.*broken\.c:1:.*error: .missing. undeclared"
    ):
        build_bare(None, root=checkout)


def test_a_makefile_that_makes_nothing_is_caught(checkout: Path) -> None:
    (checkout / "targets/bare/Makefile").write_text("all:\n\t@true\ndescribe:\n\t@true\n")
    with pytest.raises(InfrastructureError, match=r"succeeded, but made no .*bare-none\.elf$"):
        build_bare(None, root=checkout)


def test_without_make_it_says_how_to_get_it(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InfrastructureError, match="apt-get install make gcc"):
        build_bare(None, root=checkout)


def test_ctrl_c_ends_make_and_its_children(checkout: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ready")
    (checkout / "targets/bare/Makefile").write_text(
        f"all:\n\t@echo $$$$ > {tmp_path}/ready; exec sleep 600\ndescribe:\n\t@true\n"
    )
    process = building_process(checkout)
    pid = int(Path(tmp_path / "ready").read_text())
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert b"KeyboardInterrupt" in errors
    assert ends_within(pid, 60)


def building_process(checkout: Path) -> subprocess.Popen[bytes]:
    """A process that builds the image of a checkout."""
    code = f"""
        import sys
        from pathlib import Path
        sys.path[:0] = {sys.path}
        from touchstone.drivers.build import build_bare
        build_bare(None, root=Path({str(checkout)!r}))
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stderr=subprocess.PIPE, start_new_session=True
    )
