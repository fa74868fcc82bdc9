"""Every command of the documentation is run, in a copy of the checkout, and prints what the page says."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.checkout import ROOT
from tests.support.copied_checkout import Copy, sample_options
from tests.support.docs_blocks import PAGES, Block, blocks, inline_code
from tests.support.report_tools import needs_allure

NOT_RUN = tomllib.loads((ROOT / "tests" / "docs" / "not_run.toml").read_text(encoding="utf-8"))["command"]
COMMENT = re.compile(r"(?:^|\s+)# .*$")
MAKES_REPORT = re.compile(r"^npm |^docs/nightly/run\b|\btouchstone report\b(?! --help)")


@dataclass(frozen=True)
class Command:
    """One command of a page."""

    text: str
    prints: str | None
    """What it prints, as the page has it; None if the page does not say."""
    status: int

    def listed(self, block: Block) -> dict[str, Any] | None:
        """Its entry in not_run.toml."""
        page = str(block.page.relative_to(ROOT))
        return next((one for one in NOT_RUN if (one["page"], one["command"]) == (page, self.text)), None)

    def instead(self, block: Block) -> str | None:
        """What is run in its place by day: None for a command that is run, "" for nothing."""
        entry = self.listed(block)
        return None if entry is None else entry.get("instead", "")

    def is_for_the_night(self, block: Block) -> bool:
        """Whether it is run as it is, but not by day."""
        entry = self.listed(block)
        return entry is not None and entry.get("night", False)


def commands(block: Block) -> Iterator[Command]:
    """The commands of a block, in order."""
    if block.language == "console":
        parts = re.split(r"^\$ (.*)\n", block.text, flags=re.MULTILINE)
        assert not parts[0].strip(), f"{block}: output without a command"
        pairs = list(zip(parts[1::2], parts[2::2], strict=True))
    else:
        lines = (COMMENT.sub("", line) for line in block.text.replace("\\\n", " ").splitlines())
        pairs = [(line, "") for line in lines if line.strip()]
    for index, (text, prints) in enumerate(pairs):
        last = index == len(pairs) - 1
        yield Command(text.strip(), prints or None, block.status if last else 0)


def with_commands() -> list[Block]:
    fenced = [block for page in PAGES for block in blocks(page) if block.language in ("sh", "console")]
    inline = [block for page in PAGES for block in inline_code(page) if block.text.startswith("./bootstrap ")]
    return [*fenced, *inline]


def pattern(prints: str) -> re.Pattern[str]:
    """Lines that are to be found one after the other; ``...`` is anything in a line, or any lines."""
    lines = []
    for line in prints.rstrip().splitlines():
        words = r".*".join(re.escape(part) for part in line.rstrip().split("..."))
        lines.append(r"(?:.*\n)*?" if line.strip() == "..." else rf"{words}[ ]*\n")
    return re.compile("^" + "".join(lines), re.MULTILINE)


def parameters() -> Iterator[object]:
    """The blocks; those that make a report are skipped where nothing can make one."""
    for block in with_commands():
        makes_report = any(MAKES_REPORT.search(command.text) for command in commands(block))
        yield pytest.param(block, id=str(block), marks=[needs_allure] if makes_report else [])


@pytest.mark.parametrize("block", list(parameters()))
def test_commands_do_what_the_page_says(block: Block, copy: Copy) -> None:
    run(block, copy)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "block",
    [one for one in with_commands() if any(it.is_for_the_night(one) for it in commands(one))],
    ids=str,
)
def test_commands_that_take_long_do_what_the_page_says(block: Block, copy: Copy) -> None:
    run(block, copy, by_night=True)


def run(block: Block, copy: Copy, *, by_night: bool = False) -> None:
    """Run the commands of a block, behind the files of the blocks above it."""
    for earlier in blocks(block.page):
        if earlier.line < block.line and earlier.path is not None:
            copy.apply(earlier)
    for command in commands(block):
        # What a page shows the output of is run as it stands, all else with a few checks.
        instead = None if by_night and command.is_for_the_night(block) else command.instead(block)
        whole = command.prints is not None or instead is not None
        done = copy.shell(
            command.text if instead is None else instead,
            **({} if whole else {"PYTEST_ADDOPTS": sample_options(command.text)}),
        )
        assert done.returncode == command.status, f"$ {command.text}\n{done.stdout}"
        if command.prints is not None and instead is None:
            found = pattern(command.prints).search(done.stdout)
            assert found, (
                f"$ {command.text}\n{done.stdout}\n--- is not what the page says ---\n{command.prints}"
            )


def test_what_is_not_run_is_still_there() -> None:
    there = {
        (str(block.page.relative_to(ROOT)), command.text)
        for block in with_commands()
        for command in commands(block)
    }
    assert [one for one in NOT_RUN if (one["page"], one["command"]) not in there] == []
    assert [one for one in NOT_RUN if not one["reason"]] == []
