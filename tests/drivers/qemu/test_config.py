import pytest

from tests.support.emulators import qemu
from touchstone.drivers.qemu.config import read_settings
from touchstone.machine.settings import SettingsError


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("pc", "pc,vmport=off"),
        ("q35,smm=off", "q35,smm=off,vmport=off"),
        ("pc,vmport=on", "pc,vmport=on"),
        ("microvm", "microvm"),  # has no such port, and refuses the option
    ],
)
def test_port_of_vmware_is_off_unless_asked_for(asked: str, given: str) -> None:
    assert read_settings(qemu(machine=asked)).machine == given


def test_a_uefi_firmware_needs_memory() -> None:
    with pytest.raises(SettingsError, match="memory-mib: 64 is too little for UEFI; give it 128"):
        read_settings(qemu(uefi=True))
