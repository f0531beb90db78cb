"""Whole runs on real Ray, in-process and under ``flwr run``."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from tiny_scenario import JPEG, TINY, options_of

from rinr_flower.bandwidth import Ledger
from rinr_flower.codecs import decode
from rinr_flower.report import RunRecord
from rinr_flower.simulations.fleet import equip, shares_of
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.simulations.runner import run_equipped
from rinr_flower.simulations.scenario import Scenario, load_scenario

pytestmark = pytest.mark.system


def tiny(out: Path, **changes: object) -> Scenario:
    return load_scenario("default", {**TINY, "codec": JPEG, **changes, "out": str(out)})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """A run of two rounds in which one device cannot read its second capture."""
    scenario = tiny(tmp_path_factory.mktemp("run") / "out")
    folder = RunFolder.create(scenario.out)
    devices = equip(shares_of(scenario), folder.devices)
    (devices[1].path / "round-002-0.rinr").unlink()
    return run_equipped(scenario, folder, devices, lambda what, done: None)


def test_a_failing_device_costs_its_own_data_of_that_round(run: RunRecord) -> None:
    (failure,) = run.failures
    assert (failure.round, failure.device, failure.kind) == (2, run.devices[1].name, "error")
    assert "cannot be read" in failure.reason
    shared = [(p.round, p.device) for p in run.payloads]
    names = [device.name for device in run.devices]
    assert shared == [(1, names[0]), (1, names[1]), (1, names[2]), (2, names[0]), (2, names[2])]
    assert {(a.round, a.device) for a in run.accuracy} == {
        *((number, name) for number in (0, 1, 2) for name in names)
    } - {(2, names[1])}


def test_devices_keep_what_they_received_between_rounds(run: RunRecord) -> None:
    trained = {(a.round, a.device): a.trained_frames for a in run.accuracy}
    first, _, third = (device.name for device in run.devices)
    assert trained[1, first] == 2 + 2 * 2  # own frames and those of two others
    assert trained[2, first] == trained[2, third] == 2 * 2 + 2 * 2 + 2  # the failing device shares no second clip


def test_devices_keep_their_model_between_rounds(run: RunRecord) -> None:
    sent = [e for e in run.ledger if e.kind == "start_model"]
    assert [(e.round, e.source) for e in sent] == [(1, "fog")] * 3
    assert not [e for e in run.ledger if e.kind == "model"]


def test_the_ledger_agrees_with_the_files_of_the_run(run: RunRecord) -> None:
    assert run.folder is not None
    ledger = Ledger.read(run.folder / "ledger.csv")
    assert ledger.entries == run.ledger.entries
    sizes = {p.stem: p.stat().st_size for p in (run.folder / "payloads").glob("*.rinr")}
    for path in (run.folder / "payloads").glob("*.rinr"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
        assert len(decode(path.read_bytes())) == 2
    assert sorted(sizes.values()) == sorted(p.payload_bytes for p in run.payloads)
    received = [e for e in ledger if e.kind == "payload"]
    assert sum(e.payload_bytes for e in received if e.round == 1) == 2 * sum(
        p.payload_bytes for p in run.payloads if p.round == 1
    )
    assert len([e for e in received if e.round == 2]) == 2, "each of the two others receives the other's clip"
    assert all(e.message_bytes >= e.payload_bytes for e in ledger)


def test_quality_is_measured_and_the_report_is_there(run: RunRecord) -> None:
    assert run.folder is not None
    assert all(20 < p.frame_db < 60 and math.isfinite(p.object_db) for p in run.payloads)
    assert all(sum(p.bytes_by_part.values()) == p.payload_bytes for p in run.payloads)
    report = json.loads((run.folder / "report.json").read_text(encoding="utf-8"))
    assert {"fog jpeg", "serverless jpeg"} <= {row["name"] for row in report["schemes"]}
    assert (run.folder / "report.html").stat().st_size > 10_000
    assert len(list((run.folder / "examples").glob("*.png"))) == 2 * len(run.examples)
    again = RunRecord.load(run.folder)
    assert (again.payloads, again.failures) == (run.payloads, run.failures)


def test_the_command_shows_life_and_ends_with_three_lines(tmp_path: Path) -> None:
    settings = options_of({key: value for key, value in TINY.items() if key != "rounds"})
    command = subprocess.Popen(
        [Path(sys.executable).with_name("flower-simulation"), "--rounds=1", "--codec=jpeg", "--out=run", *settings],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "100", "TERM": "dumb"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert command.stderr is not None
    first = command.stderr.readline()
    assert command.poll() is None, "the first line comes at the start"
    lines = [line.rstrip() for line in (first, *command.stderr)]
    stdout, _ = command.communicate(timeout=60)
    assert command.returncode == 0, lines
    stages = ["loading", "data", "writing", "starting Ray", "start model", "devices upload", "encoding"]
    stages += ["devices train", "devices evaluate", "quality", "accuracy of the start model", "report"]
    assert [stage for stage in stages if not any(stage in line for line in lines)] == []
    assert not any("arning" in line or "Traceback" in line for line in lines)
    said = stdout.splitlines()
    assert said[0].startswith("Shared in ")
    assert said[1].startswith("mAP50-95 on frames that were held back: ")
    assert said[2] == f"Report: {tmp_path / 'run'}/report.html"
    assert "jpeg direct" in stdout
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "nothing is written outside the run's folder"


def test_flwr_run_gives_the_same_payloads_as_the_command(
    superlink: dict[str, str], run: RunRecord, tmp_path: Path
) -> None:
    file = tmp_path / "tiny.yaml"
    tiny(tmp_path / "unused").save(file)
    app = Path(load_scenario.__code__.co_filename).parent / "app"
    config = f'scenario="{file}" out="{tmp_path / "out"}" num-server-rounds=1'
    federation = "num-supernodes=3 client-resources-num-cpus=1"
    done = subprocess.run(
        ["flwr", "run", str(app), "here", "--stream", f"--run-config={config}", f"--federation-config={federation}"],
        env=superlink,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    other = RunRecord.load(tmp_path / "out")
    assert not other.failures
    assert run.folder is not None
    first_round = partial(_payload_rows, round=1)
    assert first_round(other) == first_round(run)
    names = {path.name for path in (run.folder / "payloads").iterdir()}
    assert {path.name for path in (tmp_path / "out" / "payloads").iterdir()} <= names
    assert len(other.payloads) == 3


def _payload_rows(record: RunRecord, round: int) -> list[tuple[str, str, str, int]]:
    rows = [e for e in record.ledger if e.kind in ("upload", "payload") and e.round == round]
    return sorted((e.source, e.destination, e.content, e.payload_bytes) for e in rows)
