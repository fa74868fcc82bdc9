from __future__ import annotations

import json
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Literal

import pytest

from touchstone.config.inventory import read_inventory
from touchstone.config.tomlfile import TomlError
from touchstone.drivers import registry
from touchstone.drivers.emulated.driver import EmulatorDriver
from touchstone.drivers.power import CommandPower, IpmiPower, QmpPower
from touchstone.drivers.ssh.settings import PlaceName, read_settings
from touchstone.machine.driver import AgentRefused, InfrastructureError
from touchstone.machine.settings import SettingsError, TargetSettings

REPOSITORY = Path(__file__).resolve().parents[3]


def box(**options: object) -> TargetSettings:
    named = {key.replace("_", "-"): value for key, value in options.items()}
    return TargetSettings("box", "ssh", "amd", options={"host": "amd-box", **named})


def test_the_inventorys_examples_are_true(tmp_path: Path) -> None:
    lines = (REPOSITORY / "targets" / "inventory.toml").read_text().splitlines()
    start = lines.index("# [targets.amd-box]")
    example = tmp_path / "inventory.toml"
    example.write_text("\n".join(line.removeprefix("#").strip() for line in lines[start:]))
    found = read_inventory(example, validate=registry.validate)
    assert list(found.targets) == ["amd-box", "intel-box"]
    said = read_settings(found.targets["intel-box"].settings)
    assert isinstance(said.power, IpmiPower)
    assert (said.address.port, said.address.jumps) == (2222, ("lab@gate.example",))
    assert read_settings(found.targets["amd-box"].settings).address.keys[0].is_absolute()


@pytest.mark.parametrize(
    ("options", "key", "what"),
    [
        ({"password": "x"}, "password", "password-env"),
        ({"hosst": "x"}, "hosst", "no such option"),
        ({"host": ""}, "host", "missing"),
        ({"port": 0}, "port", "not between 1 and 65535"),
        ({"port": "22"}, "port", "not a int"),
        ({"fingerprint": "MD5:aa"}, "fingerprint", "ssh-keygen -l"),
        ({"power_reset": "x", "qmp": "y"}, "qmp", "one power control"),
        ({"ipmi": "x", "ipmi_user": "u"}, "ipmi_password_env", "needs it"),
        ({"power_nmi": "x", "qmp": "/y"}, "power_nmi", "goes with power-reset"),
        ({"lock_timeout": 0}, "lock_timeout", "not between"),
        ({"labgrid_coordinator": "lab"}, "labgrid_coordinator", "goes with labgrid-place"),
        ({"labgrid_place": "+"}, "labgrid_place", "no pattern, no alias"),
        ({"labgrid_place": "x", "labgrid_coordinator": "http://lab"}, "labgrid_coordinator", "HOST:PORT"),
    ],
)
def test_settings_that_no_box_can_have(options: dict[str, object], key: str, what: str) -> None:
    with pytest.raises(SettingsError, match=what) as caught:
        registry.validate(box(**options))
    assert caught.value.key == key


def test_place_of_labgrid_needs_no_host(tmp_path: Path) -> None:
    settings = TargetSettings("box", "ssh", "amd", options={"labgrid-place": "amd-box", "lock-timeout": 7})
    said = read_settings(settings)
    assert said.place == PlaceName("amd-box")
    assert said.address.host == ""
    registry.make_box_driver(settings, None, tmp_path)


def test_image_that_does_not_exist() -> None:
    settings = TargetSettings("box", "ssh", "amd", options={"image": "debian-3"})
    with pytest.raises(SettingsError, match="none of debian-12"):
        registry.validate(settings)


def test_ipmitool_is_called_and_its_password_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    tool = tmp_path / "ipmitool"
    tool.write_text(
        f'#!/bin/sh\necho "$@" >>{log}\n[ "$IPMI_PASSWORD" = hush ] || exit 9\n'
        f'case "$*" in *status) cat {tmp_path}/power;; *diag) echo "no, hush" >&2; exit 1;; esac\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("IPMI_PW", "hush")
    power = IpmiPower("bmc", "lab", "IPMI_PW")
    for state, action in (("Chassis Power is off", "on"), ("Chassis Power is on", "reset")):
        (tmp_path / "power").write_text(state + "\n")
        log.unlink(missing_ok=True)
        power.reset()
        assert log.read_text().splitlines()[-1] == f"-I lanplus -H bmc -U lab -E chassis power {action}"
    with pytest.raises(InfrastructureError, match=r"status 1.*\nno, \*\*\*"):
        power.inject_nmi()
    monkeypatch.delenv("IPMI_PW")
    with pytest.raises(InfrastructureError, match="IPMI_PW, which is not set"):
        power.reset()


def test_command_that_fails() -> None:
    with pytest.raises(InfrastructureError, match=r"status 3.*\nwhy"):
        CommandPower("echo why >&2; exit 3").reset()
    with pytest.raises(AgentRefused, match="power-nmi"):
        CommandPower("true").inject_nmi()


def test_somebody_elses_qemu_is_reset_through_its_monitor(tmp_path: Path) -> None:
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("no QEMU")
    path = tmp_path / "qmp"
    machine = ["qemu-system-x86_64", "-display", "none", "-nodefaults", "-S", "-m", "16"]
    with socket.socket(socket.AF_UNIX) as listener:  # ours, for one of QEMU's has a name before it listens
        listener.bind(str(path))
        listener.listen()
        monitor = f"socket,id=qmp,fd={listener.fileno()},server=on,wait=off"
        machine += ["-chardev", monitor, "-mon", "chardev=qmp,mode=control"]
        qemu = subprocess.Popen(machine, pass_fds=[listener.fileno()])
    with qemu:
        try:
            assert ask_monitor(path) == "prelaunch"
            power = QmpPower(path)
            power.reset()
            assert ask_monitor(path) == "running"
            power.inject_nmi()
        finally:
            qemu.kill()


def ask_monitor(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(str(path))
        with wire.makefile("rw") as lines:
            for command in ("qmp_capabilities", "query-status"):
                lines.write(json.dumps({"execute": command}) + "\n")
            lines.flush()
            for line in lines:
                if "status" in (said := json.loads(line).get("return", {})):
                    return str(said["status"])
    raise AssertionError("the monitor ended")


def test_monitor_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="qmp"):
        QmpPower(tmp_path / "qmp").reset()


def test_deviates_like_another_target(tmp_path: Path) -> None:
    file = tmp_path / "inventory.toml"
    entry = '[targets.{}]\ndriver = "qemu"\nvendor = "amd"\n{}\n'
    waiver = '[[targets.{0}.unsupported]]\ncheck = "{1}"\nreason = "{0}"\n'
    file.write_text(
        entry.format("b", 'deviates-like = "a"') + waiver.format("b", "x.*") + entry.format("a", "")
        + waiver.format("a", "y")
    )  # fmt: skip
    found = read_inventory(file).targets["b"].unsupported
    assert [(one.check, one.reason) for one in found] == [("x.*", "b"), ("y", "a")]
    file.write_text(entry.format("abc", 'deviates-like = "abd"') + entry.format("abe", ""))
    with pytest.raises(TomlError, match=r":4: there is no target 'abd'; did you mean ab"):
        read_inventory(file)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"emulator": "boches"}, "'boches' is none of qemu, bochs"),
        ({"emulator": "bochs", "accel": "tcg"}, "has no such option; it has .*ignore_bad_msrs"),
        ({"ips": 50_000_000}, "has no such option; it has .*accel"),
        ({"emulator": "bochs", "ips": 1}, "1 is not between"),
        ({"emulator": "bochs", "apic": "x2apic"}, "the Linux of a box chooses it itself"),
    ],
)
def test_what_a_virtual_box_may_be_depends_on_its_emulator(options: dict[str, object], said: str) -> None:
    settings = TargetSettings("box", "ssh", "intel", options={"image": "debian-12", **options})
    with pytest.raises(SettingsError, match=said):
        registry.validate(settings)


@pytest.mark.parametrize(
    ("emulator", "vendor", "model"),
    [("qemu", "amd", "EPYC,+svm,+npt"), ("bochs", "intel", "corei7_skylake_x")],
)
def test_a_virtual_box_has_a_twin_without_linux(
    emulator: str, vendor: Literal["intel", "amd"], model: str, tmp_path: Path
) -> None:
    options = {"image": "debian-12", "emulator": emulator}
    settings = TargetSettings("box", "ssh", vendor, cpus=4, memory_mib=512, cpu_model=model, options=options)
    twin = registry.make_box_driver(settings, None, tmp_path).without_os()
    assert isinstance(twin, EmulatorDriver)
    alike = (twin.settings.driver, twin.settings.vendor, twin.settings.cpu_model, twin.settings.cpus)
    assert alike == (emulator, vendor, model, 1)


def test_a_box_in_a_rack_has_no_twin(tmp_path: Path) -> None:
    assert registry.make_box_driver(box(), None, tmp_path).without_os() is None
