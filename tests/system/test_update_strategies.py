"""Runs on real Ray in which model updates travel: training at the fog, federated averaging, and auto."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_scenario import JPEG, TINY

from rinr_flower.report import RunRecord
from rinr_flower.simulations.runner import run_scenario
from rinr_flower.simulations.scenario import load_scenario

pytestmark = pytest.mark.system


def run(name: str, out: Path, **changes: object) -> RunRecord:
    return run_scenario(load_scenario(name, {**TINY, **changes, "out": str(out)}), lambda what, done: None)


def check(record: RunRecord, scheme: str) -> dict[str, object]:
    """Nothing failed (every answer named the fog's own weights), all devices were evaluated; the report's own row."""
    assert record.failures == ()
    assert len(record.accuracy) == 3 * 3
    assert record.folder is not None
    again = RunRecord.load(record.folder)
    assert again.missing == ()
    assert (again.updates, again.decisions) == (record.updates, record.decisions)
    report = json.loads((record.folder / "report.json").read_text(encoding="utf-8"))
    (row,) = [row for row in report["schemes"] if row["own"]]
    assert row["name"] == scheme
    assert row["evidence"] == "sent"
    names = {other["name"] for other in report["schemes"]}
    assert {"serverless jpeg", "fog jpeg"} <= names
    assert (record.folder / "report.html").stat().st_size > 10_000
    return row


def test_the_fog_trains(tmp_path: Path) -> None:
    record = run("fog_training", tmp_path / "run")
    row = check(record, "training factorised")
    sent = record.ledger.by_kind()
    assert {"upload", "update", "start_model", "control"} == set(sent)
    assert row["payload_bytes"] == sent["upload"][0] + sent["update"][0] == row["predicted_bytes"]
    for kind, numbers in (("start_model", (1,)), ("update", (1, 2))):
        assert sorted((e.round, e.destination) for e in record.ledger if e.kind == kind) == [
            (number, device.name) for number in numbers for device in record.devices
        ], "the start model once, and each round's update"
    assert {a.trained_frames for a in record.accuracy if a.round == 2} == {12}, "the fog trains on everybody's captures"


def test_federated_averaging_with_updates_both_ways(tmp_path: Path) -> None:
    record = run("compressed_fedavg", tmp_path / "run", num_clients=3)
    row = check(record, "federated factorised")
    sent = record.ledger.by_kind()
    assert {"update", "start_model", "control"} == set(sent), "no capture leaves its device"
    up = [e for e in record.ledger if e.kind == "update" and e.destination == "fog"]
    down = [e for e in record.ledger if e.kind == "update" and e.source == "fog"]
    assert (len(up), len(down)) == (6, 6)
    assert row["payload_bytes"] == sent["update"][0]
    assert sent["update"][0] / 12 < sent["start_model"][0] / 3 / 10


def test_auto_says_where_it_trained_and_why(tmp_path: Path) -> None:
    record = run("auto", tmp_path / "run", codec=JPEG, compressor="full")
    check(record, "fog jpeg")
    assert [(d.round, d.choice) for d in record.decisions] == [(1, "edge"), (2, "edge")]
    uploads = sum(p.upload_bytes for p in record.payloads)
    assert sum(d.edge_bytes for d in record.decisions) == uploads + 2 * sum(p.payload_bytes for p in record.payloads)
    log = (tmp_path / "run" / "flower.log").read_text(encoding="utf-8")
    assert record.decisions[0].reason in log
