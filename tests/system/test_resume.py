"""Runs on real Ray that are stopped and killed, and what comes of resuming them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tiny_scenario import JPEG, TINY

from rinr_flower.report import RunRecord
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.simulations.runner import run_scenario
from rinr_flower.simulations.scenario import load_scenario

pytestmark = pytest.mark.system

LONGER = {**TINY, "codec": JPEG, "rounds": 4, "data": "sample:sequences=3,frames=10,width=128,height=96"}


def command(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [Path(sys.executable).with_name("flower-simulation"), *options],
        env={**os.environ, "COLUMNS": "200", "TERM": "dumb"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def when(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait for a file."""
    for _ in range(4000):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    pytest.fail(f"{path} does not come")


def test_a_run_that_is_stopped_and_then_killed_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    scenario = load_scenario("default", {**LONGER, "out": str(tmp_path / "whole")})
    whole = run_scenario(scenario, lambda what, done: None)
    file, out = tmp_path / "tiny.yaml", tmp_path / "run"
    scenario.save(file)

    stopped = command(f"--config={file}", f"--out={out}")
    when(out / "rounds" / "001.json", stopped)
    stopped.send_signal(signal.SIGTERM)
    said, errors = stopped.communicate(timeout=300)
    assert stopped.returncode == 143, errors
    assert "stopped: SIGTERM in round" in said
    record = RunRecord.load(out)
    assert [failure.kind for failure in record.failures] == ["stopped"]
    assert (out / "report.html").stat().st_size > 10_000
    assert RunFolder(out).whole_rounds() in (1, 2, 3)

    killed = command(f"--resume={out}")
    when(out / "rounds" / f"{RunFolder(out).whole_rounds() + 1:03d}.json", killed)
    killed.kill()
    killed.communicate(timeout=60)

    resumed = command(f"--resume={out}")
    _, errors = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, errors
    record = RunRecord.load(out)
    assert whole.folder is not None
    assert record.failures == whole.failures == ()
    assert record.devices == whole.devices
    assert payload_rows(record) == payload_rows(whole)
    assert accuracy_rows(record) == accuracy_rows(whole)
    for kind in ("captures", "payloads"):
        names = [sorted(path.name for path in (folder / kind).iterdir()) for folder in (out, whole.folder)]
        assert names[0] == names[1]
    keys = [json.loads(line)["key"] for line in (out / "encoded.jsonl").read_bytes().splitlines()]
    assert len(keys) == len(set(keys)) == 3 * LONGER["rounds"], "no clip is encoded twice"
    data = [
        sorted(
            (e.round, e.source, e.destination, e.kind, e.content, e.payload_bytes)
            for e in run.ledger
            if carries(e.kind)
        )
        for run in (record, whole)
    ]
    assert data[0] == data[1]
    assert {e.kind for e in record.ledger} - {e.kind for e in whole.ledger} <= {"repeated"}

    before = (out / "run.json").read_bytes()
    again = command(f"--resume={out}")
    again.communicate(timeout=300)
    assert again.returncode == 0
    assert json.loads(before)["failures"] == json.loads((out / "run.json").read_bytes())["failures"]
    assert RunRecord.load(out).ledger.entries == record.ledger.entries, "nothing is sent by reading a finished run"


def test_ctrl_c_ends_with_a_report_and_twice_at_once(tmp_path: Path) -> None:
    file, out = tmp_path / "long.yaml", tmp_path / "run"
    load_scenario("default", {**LONGER, "steps": 400}).save(file)
    once = command(f"--config={file}", f"--out={out}")
    when(out / "rounds" / "000.json", once)
    when(out / "encoded.jsonl", once)
    os.killpg(once.pid, signal.SIGINT)  # a terminal sends it to all processes of the command
    said, errors = once.communicate(timeout=300)
    assert once.returncode == 130, errors
    assert "stopped: SIGINT in round 1 of 4" in said
    assert (out / "report.html").exists()

    twice = command(f"--resume={out}")
    while (out / "flower.log").read_text(encoding="utf-8").count("Starting FogNode strategy") < 2:
        assert twice.poll() is None, twice.communicate()
        time.sleep(0.05)
    children = psutil.Process(twice.pid).children(recursive=True)
    report = (out / "report.html").stat().st_mtime_ns
    deadline = time.monotonic() + 60
    while twice.poll() is None and time.monotonic() < deadline:
        twice.send_signal(signal.SIGINT)
        time.sleep(0.02)
    twice.communicate(timeout=60)
    assert twice.returncode == 130
    assert (out / "report.html").stat().st_mtime_ns == report
    deadline = time.monotonic() + 60
    while (left := [child for child in children if lives(child)]) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left, "no process is left behind"


def lives(process: psutil.Process) -> bool:
    """Whether it still does anything: where nobody waits for orphans, they stay as zombies."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def carries(kind: str) -> bool:
    """Whether entries of a kind carry data; the others hold Flower's random ids."""
    return kind not in ("control", "repeated")


def payload_rows(record: RunRecord) -> list[tuple[object, ...]]:
    return [(p.round, p.device, p.clip, p.payload_bytes, p.upload_bytes, p.frame_db) for p in record.payloads]


def accuracy_rows(record: RunRecord) -> list[tuple[object, ...]]:
    return [(a.round, a.device, a.map50, a.map50_95, a.trained_frames) for a in record.accuracy]
