"""``touchstone report``: from generated Allure results to one HTML file, by the Allure that is installed."""

import base64
import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.support.journals import judged_line, planned_lines, run_line, write_journal
from tests.support.packed_pages import files_of, pool_of
from tests.support.report_tools import needs_allure, write_results
from touchstone import cli
from touchstone.journal.lines import Key
from touchstone.journal.nights import add_night, night_of
from touchstone.journal.read import read_journal
from touchstone.reporting import html
from touchstone.reporting.packed_page import INDEX, UnknownPage, fragment, pack
from touchstone.words import Verdict


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_results(
        tmp_path / "allure [results] {1}",
        {
            ("exits.one", "qemu-amd"): "conformant",
            ("exits.one", "bochs-intel"): "deviation",
            ("exits.two", "qemu-amd"): "crash",
            ("exits.two", "bochs-intel"): "conformant",
        },
    )


def parts(page: str) -> dict[str, object]:
    """The data that a page carries, by name."""
    if "packed-data" in page:
        return {name: json.loads(data) for name, data in files_of(page).items() if name.endswith(".json")}
    found = re.findall(r'd\("([^"]+)",\s*"([A-Za-z0-9+/=]*)"\)', page)
    return {name: json.loads(base64.b64decode(data)) for name, data in found if name.endswith(".json")}


@needs_allure
def test_one_file_with_an_environment_per_target_and_categories_by_verdict(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out" / "report.html"
    assert cli.main(["report", str(results), "-o", str(output)]) == 0
    page = output.read_text()
    assert sorted(path.name for path in output.parent.iterdir()) == [
        "history.jsonl",
        "history.jsonl.lock",
        "report.html",
    ]
    data = parts(page)
    environments = data["widgets/environments.json"]
    assert environments == [{"id": name, "name": name} for name in ("bochs-intel", "qemu-amd")]
    hidden = re.search(r"<style>([^<]*) { display: none }</style></head>", page)
    assert hidden is not None
    assert re.findall(r"nav-tab-(\w+)", hidden[1]) == ["qualityGate", "globalAttachments", "globalErrors"]
    charts = json.dumps([value for name, value in data.items() if "charts" in name])
    assert "durations" in charts
    assert "currentStatus" not in charts, "a second ring, with another percentage than that of the head"
    assert "problemsDistribution" not in charts, "an area with one failure of a hundred is green in it"
    categories = json.dumps([value for name, value in data.items() if "categories" in name])
    assert "Crash: the target died" in categories
    assert "Deviation: " in categories
    said = capsys.readouterr().err
    assert "2 conformant, 1 crash, 1 deviation" in said
    assert str(output) in said


def page_with(globals_: object) -> str:
    files = {
        "widgets/environments.json": [{"id": "default", "name": "default"}, {"id": "a", "name": "a"}],
        "widgets/quality-gate.json": {},
        "widgets/globals.json": globals_,
    }
    data = "".join(
        f'd("{name}","{base64.b64encode(json.dumps(value).encode()).decode()}")'
        for name, value in files.items()
    )
    return f"<html><head></head><body><script>{data}</script></body></html>"


def test_only_what_is_empty_is_hidden() -> None:
    page = html.without_empty(page_with({"errors": [{"message": "no power"}], "attachments": []}), True)
    assert "nav-tab-globalAttachments" in page
    assert "nav-tab-globalErrors" not in page
    assert "default" in json.dumps(parts(page)["widgets/environments.json"]), "of tests that are no checks"
    page = html.without_empty(page_with({"errors": [], "attachments": []}), False)
    assert "nav-tab-globalErrors" in page
    assert parts(page)["widgets/environments.json"] == [{"id": "a", "name": "a"}]


def test_page_of_another_allure_is_refused() -> None:
    with pytest.raises(html.ReportError, match=r"a page without widgets/quality-gate\.json"):
        html.without_empty("<html><head></head></html>", True)


PROGRAM = b"""open("widgets/nav.json", `widgets/${e}/tree.json`, "data:font/woff2;base64,d09GMg==")"""


def allure_page(files: dict[str, bytes]) -> str:
    """A page as Allure writes it."""
    calls = ",".join(f'd("{name}","{base64.b64encode(data).decode()}")' for name, data in files.items())
    program = base64.b64encode(PROGRAM).decode()
    return (
        f'<html><head><script   src="data:text/javascript;base64,{program}"></script></head><body>'
        f"<div id=app></div><script defer>\n Promise.allSettled([{calls}]).then(function(){{}})</script>"
        "</body></html>"
    )


def test_packed_page_has_what_is_read_and_short_names() -> None:
    one, two = "0123456789abcdef" * 2, "f" * 32
    files = {
        f"data/test-results/{one}.json": b'{"id":"%b","fullName":"exits.a","note":"\xc3\xa4 </script>",'
        b'"parameters":[{"name":"target","value":"qemu-amd"},{"name":"subject","value":"veneer"}],'
        b'"retryHash":"%b","history":[{"id":"%b","status":"passed","start":7,"stop":7,"url":"","name":"a"}]}'
        % (one.encode(), one.encode(), two.encode()),
        f"data/attachments/{two}.txt": b"\0\xff",
        "data/attachments/own.json": b"[ 1.50, broken",
        "data/history/1.json": b"{}",
        "widgets/nav.json": b'["%b","%b", "%b0"]' % (one.encode(), two.encode(), two.encode()),
        "widgets/tree.json": b"{}",
        "widgets/qemu-amd/tree.json": b'{"b":1,"a":[null,true,-1.5,12345678901234]}',
        "widgets/qemu-amd/nav.json": b"{}",
    }
    page = allure_page(files)
    packed = pack(page)
    assert packed == pack(page)
    found = dict(files_of(packed))
    assert found == {
        "data/test-results/i0.json": b'{"id":"i0","fullName":"exits.a","note":"\xc3\xa4 </script>",'
        b'"parameters":[{"name":"target","value":"qemu-amd"},{"name":"subject","value":"veneer"}],'
        b'"history":[{"status":"passed","start":7,"stop":7}]}',
        "data/attachments/i1.txt": b"\0\xff",
        "data/attachments/own.json": b"[ 1.50, broken",
        "widgets/nav.json": b'["i0","i1","%b0"]' % two.encode(),
        "widgets/qemu-amd/tree.json": b'{"b":1,"a":[null,true,-1.5,12345678901234]}',
        INDEX: b'{"exits.a@qemu-amd@veneer":"i0"}',
    }
    program = re.search(r'id="packed-program">([^<]*)<', packed)
    assert program
    assert gzip.decompress(base64.b64decode(program[1])).endswith(b'tree.json`, "data:,")'), "without fonts"
    assert fragment("exits.a", "qemu-amd", "veneer") == "exits.a%40qemu-amd%40veneer"
    for text in (page.replace("javascript;", ""), page.replace("Promise", "Promises"), allure_page({})):
        with pytest.raises(UnknownPage):
            pack(text)


def test_what_results_have_in_common_is_in_a_packed_page_once() -> None:
    texts = [f"a text of usual length, number {number}" for number in range(50)]
    files = {
        f"data/test-results/{number}.json": json.dumps(
            {"fullName": f"c{number}", "text": texts[number % 50] + "\n" + texts[number // 2], "e": "\1\2"},
            separators=(",", ":"),
        ).encode()
        for number in range(100)
    }
    files["data/attachments/serial.txt"] = texts[0].encode() + b"\1\2\0\n" + texts[7].encode()
    packed = pack(allure_page(files))
    found = dict(files_of(packed))
    assert found.pop(INDEX) == b"{}"
    assert found == files
    assert pool_of(packed).count(texts[7].encode()) == 1


@needs_allure
def test_the_page_contacts_nothing(results: Path, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    assert cli.main(["report", str(results), "-o", str(output), "--no-history"]) == 0
    page = output.read_text()
    assert "googletagmanager" not in page
    assert "Content-Security-Policy" in page
    assert not (tmp_path / "history.jsonl").exists()


@needs_allure
def test_history_grows_by_runs_and_not_by_reports(results: Path, tmp_path: Path) -> None:
    output, history = tmp_path / "report.html", tmp_path / "runs" / "history.jsonl"
    command = ["report", "-o", str(output), "--history", str(history)]
    assert cli.main([*command, str(results)]) == 0
    assert cli.main([*command, str(results)]) == 0
    assert history.read_text().count("\n") == 1
    other = write_results(tmp_path / "next", {("exits.one", "qemu-amd"): "deviation"})
    assert cli.main([*command, str(other)]) == 0
    assert history.read_text().count("\n") == 2


@needs_allure
def test_history_is_made_of_nights(tmp_path: Path) -> None:
    """Allure finds the earlier verdicts of a check by the identity that we reckon, and no other."""
    key = Key("exits.one", "qemu-amd", "veneer")
    history = tmp_path / "nights.jsonl"
    for at, verdict in ((0.1, Verdict.CONFORMANT), (0.9, Verdict.DEVIATION), (2.0, Verdict.CRASH)):
        path = tmp_path / f"{at}.jsonl"
        write_journal(path, run_line(at=at), *planned_lines([key]), judged_line(key, verdict, at=at))
        add_night(history, night_of([read_journal(path)]))
    results = write_results(tmp_path / "results", {("exits.one", "qemu-amd"): "crash"}, subject="veneer")
    output = tmp_path / "r.html"
    assert cli.main(["report", str(results), "-o", str(output), "--nights", str(history)]) == 0
    found = [value for name, value in parts(output.read_text()).items() if "test-results/" in name]
    (one,) = (value for value in found if isinstance(value, dict))
    assert [(item["status"], item["start"]) for item in one["history"]] == [("failed", 900), ("passed", 100)]
    cause = "deviation: no cause known (veneer aaaaaaaaaaaa)"
    assert [item.get("error", {}).get("message") for item in one["history"]] == [cause, None]
    charts = json.dumps([value for name, value in parts(output.read_text()).items() if "charts" in name])
    assert "Run by run" in charts
    assert "Duration, run by run" not in charts, "nights keep verdicts, and no durations"
    assert "What changed" not in charts
    assert not (tmp_path / "history.jsonl").exists()


@needs_allure
def test_two_directories_are_one_report(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_results(tmp_path / "other", {("exits.one", "linux-amd"): "conformant"})
    assert cli.main(["report", str(results), str(other), "-o", str(tmp_path / "r.html"), "--no-history"]) == 0
    assert "5 results from 3 target(s)" in capsys.readouterr().err


@needs_allure
def test_a_failed_report_leaves_the_old_one(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "report.html"
    output.write_text("old")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("package.json", "node_modules"):
        (tools / name).symlink_to(cli.report_tools() / name)
    (tools / "allurerc.mjs").write_text("export default { nonsense: 1 };")
    monkeypatch.setattr(cli, "report_tools", lambda: tools)
    assert cli.main(["report", str(results), "-o", str(output)]) == 2
    assert output.read_text() == "old"
    assert not (tmp_path / "history.jsonl").exists()
    assert "Allure failed" in capsys.readouterr().err


def test_results_are_counted_by_verdict(results: Path) -> None:
    found = html.read_results([results])
    assert found.count == 4
    assert found.targets == ("bochs-intel", "qemu-amd")
    assert found.verdicts == Counter(conformant=2, deviation=1, crash=1)


def test_missing_results_say_how_to_make_some(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(tmp_path / "none")]) == 2
    assert f"pytest --alluredir={tmp_path}/none" in capsys.readouterr().err
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "no Allure results in it" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{", "[]", '{"labels": 3}', '{"labels": []}'])
def test_a_damaged_result_is_named(results: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (results / "bad-result.json").write_text(text)
    assert cli.main(["report", str(results)]) == 2
    assert "bad-result.json: not an Allure result" in capsys.readouterr().err


def test_a_damaged_history_is_named_with_its_line(results: Path, tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    history.write_text('{"testResults": {}}\nnonsense\n')
    with pytest.raises(html.ReportError, match=rf"{re.escape(str(history))}:2: not a line"):
        html._history_without(history, html.read_results([results]))


def tools_with(directory: Path, installed: str | None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A report/ where this Allure is installed, or none, and a node that says what version it is."""
    directory.mkdir()
    (directory / "package.json").write_text('{"dependencies": {"allure": "3.18.0"}}')
    if installed:
        (directory / "node_modules" / "allure").mkdir(parents=True)
        (directory / "node_modules" / "allure" / "package.json").write_text(f'{{"version": "{installed}"}}')
    node = directory / "bin" / "node"
    node.parent.mkdir()
    node.write_text("#!/bin/sh\necho ${NODE_IS:-v20.1.0}\n")
    node.chmod(0o755)
    monkeypatch.setenv("PATH", f"{node.parent}:/usr/bin:/bin")
    return directory


def test_allure_that_is_not_installed_says_how_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tools_with(tmp_path / "report", None, monkeypatch)
    with pytest.raises(
        html.ReportError, match=re.escape(f"run npm ci --ignore-scripts --prefix {tools}, once")
    ):
        html.find_allure(tools)


def test_another_allure_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tools_with(tmp_path / "report", "3.17.0", monkeypatch)
    with pytest.raises(html.ReportError, match=r"Allure 3\.17\.0 is installed, 3\.18\.0 is wanted"):
        html.find_allure(tools)


def test_an_old_node_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tools_with(tmp_path / "report", "3.18.0", monkeypatch)
    monkeypatch.setenv("NODE_IS", "v16.20.0")
    with pytest.raises(html.ReportError, match=r"v16\.20\.0: version 18 or newer"):
        html.find_allure(tools)


def test_without_node_it_says_which_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tools_with(tmp_path / "report", "3.18.0", monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(html.ReportError, match="apt-get install nodejs npm"):
        html.find_allure(tools)


def test_a_page_that_would_load_something_is_not_written() -> None:
    with pytest.raises(html.ReportError, match=r"cdn\.example"):
        html.seal('<html><head></head><script src="https://cdn.example/x.js"></script></html>')


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    assert "report" in capsys.readouterr().out
