"""TensorBoard, MLflow and Weights & Biases through their own clients, read back by their own readers."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rinr_flower.bandwidth import Ledger
from rinr_flower.errors import ConfigError
from rinr_flower.report import AccuracyRecord, RunRecord
from rinr_flower.simulations.scenario import load_scenario
from rinr_flower.trackers import Tracking, round_metrics, trackers

SETTINGS = {"codec": {"name": "webp", "quality": 30}, "rounds": 1, "classes": ["a", "b"]}


@pytest.fixture
def record(saved_run: Path) -> RunRecord:
    record = RunRecord.load(saved_run)
    scores = tuple(AccuracyRecord(1, p.device, 0.5, 0.25, 8, 0.1, 0.2) for p in record.payloads)
    return dataclasses.replace(record, accuracy=scores)


def without_psnr(record: RunRecord) -> RunRecord:
    """What is known while the run goes on."""
    unknown = {"frame_db": math.nan, "background_db": math.nan, "object_db": math.nan}
    return dataclasses.replace(record, payloads=tuple(dataclasses.replace(p, **unknown) for p in record.payloads))


def test_metrics_are_the_ledgers_sums_and_the_records_means(record: RunRecord) -> None:
    metrics = round_metrics(record)[1]
    for kind in ("upload", "payload", "control"):
        assert metrics[f"bytes/{kind}"] == sum(e.message_bytes for e in record.ledger if e.kind == kind)
    assert metrics["bytes/all"] == record.ledger.message_bytes
    assert (metrics["map50"], metrics["map50-95"], metrics["failures"]) == (0.5, 0.25, 1)
    assert metrics["psnr/object"] == pytest.approx(sum(p.object_db for p in record.payloads) / 3)
    assert metrics["seconds/encode"] == pytest.approx(0.3)
    jpeg = sum(p.upload_bytes for p in record.payloads) * 2  # every capture to the two others
    sent = sum(e.payload_bytes for e in record.ledger if e.kind in ("upload", "payload"))
    assert metrics["gain"] == pytest.approx(jpeg / sent)
    assert not any(name.startswith("psnr") for name in round_metrics(without_psnr(record))[1])


def told(spec: dict[str, str], record: RunRecord, folder: Path) -> None:
    """A run in two processes' worth of calls: begun, broken off after its round, gone on with, and ended."""
    report = folder / "report.html"
    report.write_text("<p>report</p>")
    begun = Tracking([spec])
    begun.open(folder, "0123456789abcdef", SETTINGS, RunRecord(ledger=Ledger()))
    begun.tell(without_psnr(record))
    resumed = Tracking([spec])
    resumed.open(folder, "0123456789abcdef", SETTINGS, without_psnr(record))
    resumed.close(record, [report, *(folder / "figures").glob("*.png")])


def test_tensorboard(record: RunRecord, saved_run: Path, tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/bytes.png").write_bytes((saved_run / "before.png").read_bytes())
    told({"name": "tensorboard"}, record, tmp_path)
    read = events.EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    expected = round_metrics(record)[1]
    assert set(read.Tags()["scalars"]) == set(expected)
    for name, value in expected.items():
        (point,) = read.Scalars(name)
        assert (point.step, point.value) == (1, pytest.approx(value, rel=1e-6))
    assert read.Tags()["images"] == ["bytes"]


def test_mlflow(record: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow.tracking import MlflowClient

    uri = (tmp_path / "store").as_uri()
    told({"name": "mlflow", "uri": uri}, record, tmp_path)
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("rinr_flower").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params == {"codec.name": "webp", "codec.quality": "30", "rounds": "1", "classes": "['a', 'b']"}
    for name, value in round_metrics(record)[1].items():
        (point,) = client.get_metric_history(run.info.run_id, name)
        assert (point.step, point.value) == (1, pytest.approx(value))
    assert [f.path for f in client.list_artifacts(run.info.run_id, "report")] == ["report/report.html"]


WANDB = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
import test_trackers
from rinr_flower.report import RunRecord
test_trackers.told({{"name": "wandb", "mode": "offline"}}, RunRecord.load(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def wandb_records(data: bytes) -> Iterator[Any]:
    """The records of an offline run: in blocks of 32 KiB, pieces with checksum, length and kind (whole, first, ...)."""
    from wandb.proto.wandb_internal_pb2 import Record

    at, parts = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts = (b"" if kind in (1, 2) else parts) + data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield Record.FromString(parts)


def test_wandb_offline(record: RunRecord, saved_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    program = WANDB.format(path=[str(Path(__file__).parent)])
    command = [sys.executable, "-c", program, str(saved_run), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = {}
    files = []
    for file in tmp_path.rglob("*.wandb"):
        for written in wandb_records(file.read_bytes()):
            row = {item.nested_key[0]: json.loads(item.value_json) for item in written.history.item}
            found |= row if row.get("round") == 1 else {}
            files += [entry.path for entry in written.artifact.manifest.contents]
    for name, value in round_metrics(RunRecord.load(saved_run))[1].items():
        assert found[name] == pytest.approx(value)
    assert files == ["report.html"]


class Failing:
    """A client whose server has gone."""

    name = "failing"

    def log(self, number: int, metrics: dict[str, float]) -> None:
        raise ConnectionError("no\nserver")


def test_a_tracker_that_fails_does_not_cost_the_run(
    record: RunRecord, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracking = Tracking([])
    tracking._trackers.append(Failing())
    with caplog.at_level(logging.WARNING, "flwr.rinr_flower"):
        tracking.tell(record)
        tracking.close(record, [])
    assert caplog.text.count("tracker failing is left out from now on: no server") == 1


def test_wrong_trackers_are_named_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trackers.names() == ["mlflow", "tensorboard", "wandb"]
    with pytest.raises(ConfigError, match="unknown tracker 'tensorbord'; known: mlflow, tensorboard, wandb"):
        load_scenario("quick", {"log": ["tensorbord"]})
    with pytest.raises(ConfigError, match="it is a list of trackers"):
        load_scenario("quick", {"log": "tensorboard"})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"log: wandb needs wandb: pip install 'rinr_flower\[wandb\]'"):
        Tracking(["wandb"])


def test_the_page_names_every_tracker_metric_and_option() -> None:
    page = (Path(__file__).parents[2] / "docs/tracking.md").read_text()
    for name in trackers.names():
        assert f"| `{name}` | `pip install 'rinr_flower[{name}]'`" in page
        options = [field.name for field in dataclasses.fields(trackers.get(name)) if field.init]
        assert all(f"`{option}` (" in page for option in options)
