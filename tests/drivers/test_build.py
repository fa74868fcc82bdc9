import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support.emulators import ends_within
from touchstone.drivers.build import BareImage, build_bare, repository_root, subject_name
from touchstone.machine.driver import InfrastructureError

MAKEFILE = """\
NAME := $(if $(SUBJECT),mine,none)
$(BUILD)/bare-$(NAME).img: $(SUBJECT)
\tcp source.c $(BUILD)/bare-$(NAME).elf64
\tcp source.c $(BUILD)/bare-$(NAME).elf
\tcp source.c $@
"""


@pytest.fixture
def checkout(tmp_path):
    """A checkout with nothing in it but a Makefile that keeps the contract."""
    source = tmp_path / "checkout" / "targets" / "bare"
    source.mkdir(parents=True)
    (source / "Makefile").write_text(MAKEFILE)
    (source / "source.c").write_text("int x;\n")
    return tmp_path / "checkout"


def test_the_real_image_is_found_up_to_date(image):
    steps = []
    assert build_bare(None, steps.append) == image
    assert not any(step.startswith("building") for step in steps), "another run may be waited for"
    assert image.elf.name == "bare-none.elf"


def test_the_root_is_found_from_the_package_not_from_the_working_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert (repository_root() / "targets" / "bare" / "os.h").is_file()
    with pytest.raises(InfrastructureError, match="no checkout of Touchstone around"):
        repository_root(tmp_path)


def test_an_image_is_built_once_and_says_so(checkout, monkeypatch):
    monkeypatch.chdir("/")
    steps = []
    image = build_bare(None, steps.append, root=checkout)
    assert image == BareImage.named("none", checkout / "build")
    assert all(path.is_file() for path in (image.elf, image.symbols, image.disk))
    build_bare(None, steps.append, root=checkout)
    assert steps == ["building the bare image of none"]


def test_a_subject_has_a_name_of_its_own(checkout, tmp_path):
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


def test_the_compilers_words_are_passed_on(checkout):
    (checkout / "targets/bare/Makefile").write_text("all:\n\tgcc -c broken.c -o /dev/null\n")
    (checkout / "targets/bare/broken.c").write_text("int main(void) { return missing; }\n")
    with pytest.raises(
        InfrastructureError, match=r"(?s)make -C .* failed:.*broken\.c:1:.*error: .missing. undeclared"
    ):
        build_bare(None, root=checkout)


def test_a_makefile_that_makes_nothing_is_caught(checkout):
    (checkout / "targets/bare/Makefile").write_text("all:\n\t@true\n")
    with pytest.raises(InfrastructureError, match=r"succeeded, but made no .*bare-none\.elf$"):
        build_bare(None, root=checkout)


def test_without_make_it_says_how_to_get_it(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InfrastructureError, match="apt-get install make gcc"):
        build_bare(None, root=checkout)


def test_a_second_run_waits_and_says_so(checkout):
    (checkout / "build").mkdir()
    lock = FileLock(checkout / "build" / ".lock", thread_local=False)
    waiting = threading.Event()
    steps, images = [], []

    def progress(step):
        steps.append(step)
        waiting.set()

    with lock:
        thread = threading.Thread(target=lambda: images.append(build_bare(None, progress, root=checkout)))
        thread.start()
        assert waiting.wait(60)
        assert images == []
    thread.join(60)
    assert steps == [
        f"waiting for another run that builds in {checkout / 'build'}",
        "building the bare image of none",
    ]
    assert len(images) == 1


def test_ctrl_c_ends_make_and_its_children(checkout, tmp_path):
    os.mkfifo(tmp_path / "ready")
    (checkout / "targets/bare/Makefile").write_text(
        f"all:\n\t@echo $$$$ > {tmp_path}/ready; exec sleep 600\n"
    )
    code = f"""
        import sys
        from pathlib import Path
        sys.path[:0] = {sys.path}
        from touchstone.drivers.build import build_bare
        build_bare(None, root=Path({str(checkout)!r}))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stderr=subprocess.PIPE, start_new_session=True
    )
    pid = int(Path(tmp_path / "ready").read_text())
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert b"KeyboardInterrupt" in errors
    assert ends_within(pid, 60)
