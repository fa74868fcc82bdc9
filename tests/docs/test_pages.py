"""What every page must keep to: its blocks say what they are, its links and names exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.docs_blocks import PAGES, blocks, has_home, inline_code, links

MADE = ("build/", "allure-report/", "allure-results/")
"""Folders that come into being by a command."""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def known_options() -> set[str]:
    """The long options of pytest, with Touchstone's, and of the commands that docs/ name."""
    texts = []
    for module, *words in (
        ("pytest",),
        ("touchstone.cli",),
        ("touchstone.cli", "new"),
        ("touchstone.cli", "report"),
        ("touchstone.cli", "diff"),
        ("touchstone.cli", "expect"),
        ("touchstone.cli", "night"),
        ("touchstone.cli", "requirements"),
        ("touchstone.cli", "sick"),
        ("touchstone.cli", "summary"),
        ("touchstone.cli", "costs"),
    ):
        run = f"import sys; from {module} import main; sys.exit(main(sys.argv[1:]))"
        done = subprocess.run(
            [sys.executable, "-c", run, *words, "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        texts.append(done.stdout)
    for folder in ("coverage", "breakages"):
        texts += [path.read_text(encoding="utf-8") for path in (ROOT / "tests" / folder).glob("*.py")]
    return set(re.findall(r"--[\w-]+", " ".join(texts)))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_says_what_it_is(page: Path) -> None:
    assert [
        f"{block}: {block.language} {' '.join(block.words)}" for block in blocks(page) if not has_home(block)
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_pytest_is_started_by_bootstrap(page: Path) -> None:
    """Nothing else has the right packages on PATH."""
    bare = re.compile(r"^(?:\$ )?(?:pytest|touchstone) +\S", re.MULTILINE)
    found = [*blocks(page), *inline_code(page)]
    assert [f"{block}: {block.text}" for block in found if bare.search(block.text)] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    wrong = []
    for line, link in links(page):
        path, _, anchor = link.partition("#")
        if path.startswith("https:"):
            continue
        to = (page.parent / path).resolve() if path else page
        if not to.exists() or (anchor and anchor not in anchors(to)):
            wrong.append(f"{name(page)}:{line}: {link}")
    assert wrong == []


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_that_are_named_exist(page: Path) -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()}
    made = {block.path for block in blocks(page)}
    wrong = []
    for code in inline_code(page):
        path = code.text
        if path.split("/")[0] not in folders or "/" not in path or path.startswith(MADE):
            continue
        if (
            not re.fullmatch(r"[\w./-]+", path)
            or path in made
            or path.rstrip("/") in {str(Path(m).parent) for m in made if m}
        ):
            continue
        if not (ROOT / path).exists():
            wrong.append(f"{code}: {path}")
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_options_that_are_named_exist(page: Path, known_options: set[str]) -> None:
    named = [(code, re.match(r"--[\w-]+", code.text)) for code in inline_code(page)]
    assert [
        f"{code}: {code.text}" for code, option in named if option and option[0] not in known_options
    ] == []
