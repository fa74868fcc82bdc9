import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.emulators import ends_within
from touchstone.drivers.tool import run_tool, tail_of

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


def test_status_and_all_that_it_printed(tmp_path: Path) -> None:
    status, output = run_tool(["sh", "-c", "pwd; echo oh >&2; exit 3"], tmp_path)
    assert (status, output.decode()) == (3, f"{tmp_path}\noh\n")


def test_ctrl_c_during_the_start_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            (tmp_path / "pid").write_text(str(self.pid))
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_tool([sys.executable, "-c", "import time; time.sleep(600)"])
    assert ends_within(int(Path(tmp_path / "pid").read_text()), 60)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_of_long_output_the_end_is_shown() -> None:
    assert tail_of(b"".join(b"%d\n" % i for i in range(100)), 2) == "...\n98\n99"
