"""What JUnit XML says of a run as a whole."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from tests.support.project import Project, check


@pytest.mark.parametrize("words", [(), ("-n", "1")], ids=["alone", "with a worker"])
def test_suite_says_what_was_tested(project: Project, words: tuple[str, ...]) -> None:
    project.suite(check("good", "nop", "{rax: 0}"))
    project.run("--junitxml=out.xml", *words)
    suite = ET.parse(project.path / "out.xml").getroot().find("testsuite")
    assert suite is not None
    found = {one.attrib["name"]: one.attrib["value"] for one in suite.findall("properties/property")}
    assert found["touchstone.subject"] == "veneer"
    assert len(found["touchstone.subject.content"]) == 16
    assert found["touchstone.touchstone.version"]
    assert found["touchstone.target.fake-amd"].startswith("Fake CPU @ 1.00GHz (amd), 2 CPUs")
    assert found["touchstone.target.fake-amd.vendor"] == "amd"
