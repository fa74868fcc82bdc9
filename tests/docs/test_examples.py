"""Every file that the documentation tells to write or to extend is written, read, and run on its targets."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.copied_checkout import Copy
from tests.support.docs_blocks import PAGES, Block, blocks
from touchstone.suite import requires
from touchstone.suite.statements import load_statements

FILES = [block for page in PAGES for block in blocks(page) if block.path is not None]
CHECK_ID = re.compile(r"^\s*(?:- )?id(?:: *|=\")([a-z0-9.-]+)", re.MULTILINE)

TARGET = re.compile(r"^\[targets\.([\w.-]+)\]$", re.MULTILINE)


def checks(block: Block) -> list[str]:
    """Ids of the checks that a block defines."""
    if block.language not in ("yaml", "python") or "broken" in block.words or is_requirements(block):
        return []
    return CHECK_ID.findall(block.text)


def is_requirements(block: Block) -> bool:
    """Whether it is of a file of requirements, which no target is asked about."""
    return "/requirements" in (block.path or "")


def node_ids(block: Block) -> list[str]:
    """What pytest is told to run of a block: of a suite, which may have many other checks, only these."""
    path = str(block.path)
    return [f"{path}::{check}" for check in checks(block)] if block.language == "yaml" else [path]


def claims(block: Block) -> bool:
    """Whether its checks can only hold with a hypervisor."""
    return bool(checks(block)) and "exits: {" in block.text


class Pages:
    """Runs of all checks of a page, in a copy where all its files are: one for each subject."""

    def __init__(self, directory: Callable[[str], Path]) -> None:
        self._directory = directory
        self._copies: dict[Path, Copy] = {}
        self._runs: dict[tuple[Path, str], tuple[dict[tuple[str, str], str], str]] = {}

    def run(self, page: Path, subject: str) -> tuple[dict[tuple[str, str], str], str]:
        """Verdicts by check and target, and what the run printed: on each target that the page names."""
        if (page, subject) not in self._runs:
            mine = [
                block
                for block in FILES
                if block.page == page and (claims if subject == "none" else checks)(block)
            ]
            targets = sorted({target for block in mine for target in block.targets})
            nodes = sorted({node for block in mine for node in node_ids(block)})
            self._runs[page, subject] = self._copy(page).verdicts(targets, f"--hypervisor={subject}", *nodes)
        return self._runs[page, subject]

    def _copy(self, page: Path) -> Copy:
        if page not in self._copies:
            self._copies[page] = copy = Copy(self._directory(page.stem))
            for block in FILES:
                if block.page == page:
                    copy.apply(block)
        return self._copies[page]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    return Pages(tmp_path_factory.mktemp)


@pytest.mark.parametrize("block", [block for block in FILES if checks(block)], ids=str)
def test_checks_hold_on_the_targets_that_the_page_names(block: Block, pages: Pages) -> None:
    assert block.targets, f"{block}: on=TARGET,... says where the checks are run"
    found, printed = pages.run(block.page, "veneer")
    for check in checks(block):
        mine = {found.get((check, target), "no verdict") for target in block.targets}
        assert mine == {"conformant"}, f"{check}: {printed}"


@pytest.mark.parametrize("block", [block for block in FILES if claims(block)], ids=str)
def test_checks_that_claim_a_hypervisor_fail_without_one(block: Block, pages: Pages) -> None:
    found, printed = pages.run(block.page, "none")
    assert {found.get((check, target)) for check in checks(block) for target in block.targets} == {
        "deviation"
    }, printed


def is_for_others(block: Block) -> bool:
    """Whether it belongs to tests/breakages, which reads its files itself, or is a list of payloads."""
    return (block.path or "").startswith("tests/breakages/") or "[[payload]]" in block.text


@pytest.mark.parametrize(
    "page",
    sorted({block.page for block in FILES if block.language == "toml" and not is_for_others(block)}),
    ids=lambda page: page.name,
)
def test_inventory_and_subjects_are_read(page: Path, copy: Copy) -> None:
    mine = [block for block in FILES if block.page == page]
    for block in mine:
        copy.apply(block)
    words = "PYTHONPATH=. ./bootstrap pytest"
    for block in mine:
        if block.language == "python" and block.path and "/" not in block.path:
            words += f" -p {Path(block.path).stem}"
    inventories = {block.path for block in mine if TARGET.search(block.text)} or {"targets/inventory.toml"}
    for inventory in inventories:
        names = {name for block in mine if block.path == inventory for name in TARGET.findall(block.text)}
        listed = copy.shell(f"{words} --touchstone-inventory={inventory} --list-targets")
        assert names <= {line.split()[0] for line in listed.stdout.splitlines()}, listed.stdout
    for block in mine:
        if block.language == "toml" and block.value("file") and block.path not in inventories:
            words += f" --hypervisor={block.path}"
    read = copy.shell(f"{words} --collect-only --target=qemu-amd,linux-amd conformance/exits/cpuid.yaml")
    assert read.returncode == 0, read.stdout


@pytest.mark.parametrize("block", [block for block in FILES if is_requirements(block)], ids=str)
def test_requirements_are_read(block: Block) -> None:
    assert load_statements(Path(str(block.path)), block.text)


@pytest.mark.parametrize(
    "block", [block for page in PAGES for block in blocks(page) if block.words == ("requires",)], ids=str
)
def test_expressions_of_requires_are_read(block: Block) -> None:
    assert requires.parse(block.text.strip())
