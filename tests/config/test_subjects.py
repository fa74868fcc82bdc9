"""[deploy.linux] of a subject: Veneer's is complete, and all errors of a wrong one are reported."""

from pathlib import Path

import pytest

from touchstone.config.subjects import read_subject
from touchstone.config.tomlfile import TomlError
from touchstone.drivers.ssh.deployable import COMMANDS, a_subject

ROOT = Path(__file__).parents[2]


def test_veneer_has_every_command() -> None:
    path = ROOT / "hypervisor" / "veneer.toml"
    subject = read_subject(path)
    deployable = a_subject(subject.name, subject.title, path, subject.options["linux"])
    assert set(deployable.commands) == set(COMMANDS)
    assert (deployable.sources / "hosts/linux/Makefile").is_file()
    assert deployable.file_names("6.1.0-1-amd64") == ["veneer.ko"]
    assert "1 exits 3 " in deployable.command("exits", cpu="3")


def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\n[deploy.linux]\nsources = "nowhere"\nbuild = "make"\nfiles = 7\nlaod = "x"\n'
        'present = "true"\ninsert = "true"\nremove = "true"\nunload = "true"\n'
    )
    with pytest.raises(TomlError) as refused:
        read_subject(path)
    said = str(refused.value)
    for part in (
        "unknown key 'laod'",
        "load is missing",
        "query is missing",
        "no directory",
        "files must be a text",
    ):
        assert part in said
