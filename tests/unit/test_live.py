"""The live page of a run: what its folder tells at any time, over loopback only, in a real browser."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from browser import BROWSER, Browser
from kept_runs import Device, fog, go, wire_of

from rinr_flower.errors import ConfigError, DataError
from rinr_flower.files import read_record, write_file, write_record
from rinr_flower.report import RunRecord
from rinr_flower.report.record import AccuracyRecord
from rinr_flower.report.write import write_report
from rinr_flower.simulations.activity import noted
from rinr_flower.simulations.live_page import live_content
from rinr_flower.simulations.live_server import LiveServer, address, served
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.simulations.so_far import read_so_far


@pytest.fixture
def run(tmp_path: Path, task_identity: None) -> Path:
    """A run of three devices after two of three rounds."""
    folder = RunFolder.create(str(tmp_path / "run"))
    folder.devices.mkdir()
    folder.scenario.write_text("rounds: 3\nnum_clients: 4\ncodec: {name: jpeg, quality: 30}\n")
    go(fog(folder), wire_of([Device(i) for i in range(3)]), rounds=2)
    noted(folder.path, lambda what, done: None)("round 3: devices upload", 1 / 3)
    return folder.path


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_the_page_shows_what_the_folder_knows_and_changes_nothing(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    so_far = read_so_far(run)
    assert (so_far.rounds, so_far.finished) == (2, False)
    ledger = so_far.record.ledger
    text = text_of(live_content(run))
    assert "2 of 3 rounds are done. Now round 3: devices upload: 33%" in text
    assert "3 of 4 devices have answered so far" in text
    uploaded = sum(e.payload_bytes for e in ledger if e.source == "device-1" and e.kind == "upload")
    assert uploaded > 0
    row = re.search(r"<tr><td[^>]*>device-1</td>.*?</tr>", live_content(run))
    assert row is not None
    assert f'data-value="{float(uploaded)}"' in row[0]
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_report_without_run_json_is_of_the_whole_rounds(run: Path, tmp_path: Path) -> None:
    record, so_far = RunRecord.load(run), read_so_far(run).record
    assert [(p.round, p.device, p.payload_bytes) for p in record.payloads] == [
        (p.round, p.device, p.payload_bytes) for p in so_far.payloads
    ]
    assert all(p.codec == "jpeg" and p.frames and p.width for p in record.payloads)
    assert [str(row) for row in record.accuracy] == [str(row) for row in so_far.accuracy]
    assert [d.name for d in record.devices] == ["device-0", "device-1", "device-2"]
    assert record.scenario == {"rounds": 3, "num_clients": 4, "codec": {"name": "jpeg", "quality": 30}}
    assert f"'flower-simulation --resume {run}' goes on" in record.missing[0]
    write_report(record, tmp_path / "report")
    report = json.loads((tmp_path / "report/report.json").read_text())
    assert report["codecs"][0]["bytes"] == sum(p.payload_bytes for p in record.payloads)
    assert not any("no payload" in text for text in report["missing"])
    write_record(run / "rounds/002.json", {"shared": [{}]})
    assert "not a fog node's: KeyError" in RunRecord.load(run).missing[1]
    (run / "devices").rmdir()
    resume = f"""flwr run examples/deployment fog --run-config 'resume="{run}"'"""
    assert f"{resume} goes on" in RunRecord.load(run).missing[0], "real devices took part"


def test_an_odd_metric_costs_its_own_cell_alone(run: Path) -> None:
    state = read_record(run / "rounds/002.json")
    trained, evaluated = ({item["device"]: item for item in state[kind]} for kind in ("trained", "evaluated"))
    evaluated["device-0"]["metrics"] = {"map50": [0.5, 0.6], "map50-95": 0.25}
    trained["device-0"]["metrics"] = {"num-examples": 3, "train-seconds": [1.0]}
    evaluated["device-1"]["metrics"] = {"map50": 0.5}
    trained["device-1"]["metrics"] = {"num-examples": 0.5, "train-seconds": 1.0}
    write_record(run / "rounds/002.json", state)
    nan = math.nan
    for record in (RunRecord.load(run), read_so_far(run).record):
        rows = {a.device: a for a in record.accuracy if a.round == 2}
        assert repr(rows["device-0"]) == repr(AccuracyRecord(2, "device-0", nan, 0.25, 3, nan, nan))
        assert repr(rows["device-1"]) == repr(AccuracyRecord(2, "device-1", 0.5, nan, None, nan, 1.0))
    write_report(RunRecord.load(run), run / "report")
    rows = json.loads((run / "report/report.json").read_text())["accuracy"]
    assert [row["trained_frames"] for row in rows] == [3, None]


def test_a_torn_round_is_one_that_goes_on(run: Path) -> None:
    (run / "rounds/002.json").write_bytes((run / "rounds/002.json").read_bytes()[:-9])
    assert read_so_far(run).rounds == 1
    (run / "ledger.csv").unlink()
    (run / "activity.json").write_text("{")
    assert "1 of 3 rounds are done. Now it has not begun" in text_of(live_content(run))
    with pytest.raises(DataError, match="cannot be taken up again"):
        read_so_far(run.parent)


def get(url: str, host: str | None = None) -> tuple[int, str]:
    request = urllib.request.Request(url, headers={} if host is None else {"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_it_is_served_on_loopback_and_serves_nothing_else(run: Path) -> None:
    with served(run) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert get(f"{server.url}now")[0] == 200
        assert "connect-src &#x27;self&#x27;" in get(server.url)[1]
        for path in ("run.json", "scenario.yaml", "../job.json", "%2e%2e/job.json", "now?x", "report.html"):
            assert get(f"{server.url}{path}")[0] == 404
        assert get(f"{server.url}now", host="attacker.example")[0] == 403
        assert get(f"{server.url}now", host="localhost:80")[0] == 200
        with pytest.raises(ConfigError, match="choose another port"):
            LiveServer(run, port=server.server_address[1])


def test_the_command_serves_until_it_is_interrupted(run: Path) -> None:
    # tests that run in the background ignore SIGINT, and so would the command
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from rinr_flower.cli import main; sys.argv[0] = 'rinr'; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "watch", run, "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as watching:
        try:
            assert watching.stdout is not None
            url, _, said = watching.stdout.readline().partition(" ")
            assert said == f"shows {run}; Ctrl-C ends it\n"
            assert get(f"{url}now")[0] == 200
            watching.send_signal(signal.SIGINT)
            assert watching.wait(timeout=60) == 0
        finally:
            watching.kill()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080", ("127.0.0.1", 8080)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("yes", ("127.0.0.1", 0)),
        (":9", ("127.0.0.1", 9)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert address(text) == expected


@pytest.mark.parametrize("text", ["localhost", "80:x", "70000", "-1"])
def test_wrong_addresses(text: str) -> None:
    with pytest.raises(ConfigError, match="not PORT or HOST:PORT"):
        address(text)


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_a_browser_sees_rounds_go_by(run: Path, saved_run: Path, tmp_path: Path) -> None:
    browser = Browser(tmp_path / "profile")
    try:
        with served(run) as server:
            browser.open(server.url, 1000)
            assert "2 of 3 rounds" in browser.js("document.getElementById('state').textContent")
            devices = "[...document.querySelectorAll('#live tr td:first-child')].map(c => c.textContent).slice(0, 3)"
            before = browser.js(devices)
            button = "[...document.querySelectorAll('th button')].find(b => b.textContent == 'device')"
            browser.js(f"{button}.click(), {button}.click()")
            assert browser.js(devices) == before[::-1] != before

            go(fog(RunFolder(run)), wire_of([Device(i) for i in range(3)]), rounds=3)
            assert wait_for(browser, "document.getElementById('state')?.textContent ?? ''", "3 of 3 rounds")
            assert browser.js(devices) == before[::-1], "new tables are sorted as the user chose"
            browser.js(f"{button}.click()")
            assert browser.js(devices) == before, "and sort anew"

            write_file(run / "run.json", (saved_run / "run.json").read_bytes())
            (run / "report.html").write_text("<title>the report</title>")
            assert wait_for(browser, "document.getElementById('state')?.textContent ?? ''", "Finished after")
            errors, _ = browser.complaints()
            assert errors == []
        assert wait_for(browser, "document.getElementById('gone')?.textContent ?? ''", "process has ended")
        assert browser.js("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    finally:
        browser.close()


def wait_for(browser: Browser, expression: str, text: str, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if text in browser.js(expression):
            return True
        time.sleep(0.2)
    return False


def test_progress_reaches_the_file_at_once_when_the_work_changes(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    report = noted(tmp_path, lambda what, done: told.append((what, done)))
    report("data", 0.0)
    report("data", 0.5)
    assert json.loads((tmp_path / "activity.json").read_text()) == {"what": "data", "done": 0.0}, "once a second"
    report("start model", 0.25)
    assert json.loads((tmp_path / "activity.json").read_text()) == {"what": "start model", "done": 0.25}
    assert told == [("data", 0.0), ("data", 0.5), ("start model", 0.25)]
    noted(tmp_path / "gone", lambda what, done: None)("data", 1.0)
