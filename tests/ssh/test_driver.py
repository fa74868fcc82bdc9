from __future__ import annotations

from lab import Lab, probe


def test_goes_all_the_way_and_leaves_nothing(lab: Lab) -> None:
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
