from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.ssh.lab import Lab, probe
from touchstone.machine.driver import AgentRefused, InfrastructureError


def test_deploys_runs_and_cleans_up(lab: Lab) -> None:
    driver = lab.driver(subject=lab.subject())
    info = driver.start(lab.progress)
    assert (info.os, info.cpus, info.vendor, info.agent) == ("linux", 2, "amd", "fake")
    assert driver.run(probe())[0].vector is None
    assert driver.nmi_counts() == [7, 7]
    assert driver.query() == {"loaded": "0", "name": "mine"}
    driver.load()
    assert driver.query()["version"] == "3"
    assert driver.exits(1) == {"cpuid": 3, "rdmsr": 1}
    assert driver.trace(0, 2) == ["72 rip=0xffffffff81000000 info=0x1", "7c rip=0x10 info=0xc0000080"]
    driver.unload()
    assert driver.query()["loaded"] == "0"
    driver.load()
    assert any(name.startswith("touchstone.") for name in lab.leftovers())
    driver.stop()
    assert lab.leftovers() == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("ok loaded1", "'loaded1' is not key=value"),
        ("ok loaded=1 loaded=0", "loaded occurs twice"),
        (r"ok loaded=1 name=b\303\266se", "bytes outside of printable ASCII"),
    ],
)
def test_what_a_subject_answers_is_its_own(lab: Lab, answer: str, why: str) -> None:
    command = f"printf '{answer}\\n'"
    driver = lab.driver(subject=lab.subject(query=command, exits="echo ok cpuid=many", trace=command))
    driver.start(lab.progress)
    driver.load()
    for ask in (driver.query, lambda: driver.trace(0, 1)):
        with pytest.raises(AgentRefused, match=f"EPROTO: what the subject answers is malformed: {why}"):
            ask()
    with pytest.raises(AgentRefused, match="EPROTO: an exit counter of CPU 1: "):
        driver.exits(1)


def test_unchanged_files_are_left_out(lab: Lab) -> None:
    driver = lab.driver(subject=lab.subject())
    driver.start(lab.progress)
    assert driver._visit is not None
    installation = driver._visit.installation
    assert set(installation.sent) == {"undo", "agent.ko", "touchstone-agent", "mine.ko"}
    installation.sent.clear()  # type: ignore[attr-defined]
    where = Path(installation.directory).name
    (lab.box.run / where / "mine.ko").write_text("damaged")
    driver.reset(lab.progress)
    assert installation.sent == ["mine.ko"]
    driver.load()
    assert (lab.box.modules / "mine").read_text() == "int mine;\n"
    assert not list(lab.box.run.glob("*/*.part"))


def test_an_upload_that_takes_its_time_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("touchstone.drivers.ssh.upload.TOLD_EVERY", 0.0)
    subject = lab.subject()
    (subject.sources / "mine.c").write_bytes(os.urandom(1_500_000))
    lab.driver(subject=subject).start(lab.progress)
    assert "uploading mine.ko: 1.4 MiB of 1.4 MiB" in lab.said


def test_built_once_for_these_sources_and_this_kernel(lab: Lab) -> None:
    def built() -> int:
        lab.said.clear()
        driver = lab.driver(subject=lab.subject())
        driver.start(lab.progress)
        driver.stop()
        return sum(said.startswith("building") for said in lab.said)

    assert [built(), built()] == [2, 0]
    (lab.agent.sources / "README").write_text("changed")
    assert built() == 1
    lab.box.tool("uname", "echo 9.9.9-other\n")
    assert built() == 2


def test_build_that_fails_shows_the_compilers_words(lab: Lab) -> None:
    from dataclasses import replace

    broken = replace(lab.subject(), build="echo 'mine.c:7: no such thing' >&2; exit 2")
    with pytest.raises(
        InfrastructureError, match=r"(?s)building Mine for Linux .* failed.*mine\.c:7: no such"
    ):
        lab.driver(subject=broken).start(lab.progress)
    assert lab.leftovers() == []
    foreign = replace(lab.subject(), build="gcc-0 -c mine.c")  # the compiler of another Debian's kernel
    with pytest.raises(InfrastructureError, match=r"failed: gcc-0 is missing here \(apt-get install gcc-0\)"):
        lab.driver(subject=foreign).start(lab.progress)
    nothing = replace(lab.subject(), build="true")
    with pytest.raises(InfrastructureError, match=r"'true' made no mine\.ko"):
        lab.driver(subject=nothing).start(lab.progress)


def test_built_on_the_box_where_only_that_has_headers(lab: Lab) -> None:
    lab.box.tool("uname", "echo 9.9.9-box\n")
    headers = lab.box.lib_modules / "9.9.9-box" / "build"
    with pytest.raises(InfrastructureError, match=r"neither here nor there.*linux-headers-9\.9\.9-box"):
        lab.driver(headers=False).start(lab.progress)
    headers.mkdir(parents=True)
    (headers / "Module.symvers").touch()
    driver = lab.driver(subject=lab.subject(), headers=False)
    driver.start(lab.progress)
    assert "building Mine on 127.0.0.1, for Linux 9.9.9-box" in lab.said
    assert (lab.box.modules / "touchstone_agent").read_text() == "/lib/modules/9.9.9-box/build 9.9.9-box\n"
    driver.load()
    driver.stop()
    assert lab.leftovers() == []
    lab.said.clear()
    lab.driver(subject=lab.subject(), headers=False).start(lab.progress)  # fetched, and kept here
    assert not any(said.startswith("building") for said in lab.said)
