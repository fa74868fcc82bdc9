"""Pages in a browser without a screen: Debian's chromium-headless-shell, which only nightly tests need."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest

PROGRAM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
needs_browser = pytest.mark.skipif(
    PROGRAM is None, reason="no browser is installed: apt-get install chromium-headless-shell"
)
MEASURES = """<!DOCTYPE html><meta charset="utf-8">
<style>body {{ margin: 0 }} iframe {{ border: 0; width: {width}px; height: 2000px }}</style>
<iframe src="{page}"></iframe><pre id="found"></pre>
<script>
onload = () => setTimeout(() => {{
  const page = document.querySelector("iframe").contentDocument;
  const measured = Array.from(page.querySelectorAll({selector}), (one) => {{
    const style = page.defaultView.getComputedStyle(one), box = one.getBoundingClientRect();
    return {{ text: one.innerText, size: parseFloat(style.fontSize), top: box.top, right: box.right,
              color: style.color, background: style.backgroundColor }};
  }});
  document.getElementById("found").textContent = JSON.stringify({{
    width: page.documentElement.clientWidth, needed: page.documentElement.scrollWidth, measured,
  }});
}}, {after});
</script>
"""


@dataclass(frozen=True)
class Shown:
    """What came of a page."""

    dom: str
    """Once its scripts have run."""
    requests: list[str]
    """Addresses that it asked for on a network."""


def show(page: Path, fragment: str = "") -> Shown:
    """Open a page from its file, and let it run for ten seconds of its own time."""
    assert PROGRAM is not None
    log = page.with_suffix(".net.json")
    done = subprocess.run(
        [
            PROGRAM,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
            *("--allow-file-access-from-files", "--virtual-time-budget=10000", f"--log-net-log={log}"),
            *("--dump-dom", f"{page.as_uri()}{fragment}"),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    found = re.findall(
        r'"url":"((?:https?|wss?)://[^"]*)"', log.read_text(encoding="utf-8", errors="replace")
    )
    return Shown(done.stdout, found)


def measure(page: Path, width: int, selector: str, fragment: str | None = None) -> dict[str, Any]:
    """The sizes of elements of a page in a window of a width, in pixels.

    ``fragment``: of a page with scripts, which have eight of the ten seconds to run first.
    """
    frame = page.with_suffix(f".{width}.html")
    frame.write_text(
        MEASURES.format(
            width=width,
            page=page.name if fragment is None else f"{page.name}#{fragment}",
            selector=json.dumps(selector),
            after=0 if fragment is None else 8000,
        )
    )
    dom = show(frame).dom
    found = re.search(r'<pre id="found">(.*?)</pre>', dom, re.DOTALL)
    assert found, dom
    measured: dict[str, Any] = json.loads(unescape(found[1]))
    return measured
