"""Reports of a run whose captures are really encoded and whose messages are really serialised."""

import csv
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from skimage import data

from rinr_flower.bandwidth import (
    AccuracyRecord,
    ControlRecord,
    DeviceRecord,
    Entry,
    ExampleRecord,
    FailureRecord,
    Ledger,
    PayloadRecord,
    RunRecord,
)
from rinr_flower.bandwidth.report import summarise, write_report
from rinr_flower.bandwidth.report.comparison import write_comparison
from rinr_flower.bandwidth.report.units import bytes_text, ratio_text, seconds_text
from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import codecs, decode
from rinr_flower.frames import Clip, Frame, write_jpeg
from rinr_flower.quality import measure

HOSTILE = '<script>alert("x")</script>'
DEVICES = ("north", "south", HOSTILE)
SIZE = (96, 128)


def camera_clip(name, row, column):
    """Four frames of a camera that pans over a photograph, with a box, as JPEG files."""
    frames = []
    for i in range(4):
        window = data.astronaut()[row : row + SIZE[0], column + 3 * i : column + 3 * i + SIZE[1]]
        file = write_jpeg(np.ascontiguousarray(window), 90)
        image = np.asarray(Image.open(__import__("io").BytesIO(file)))
        frames.append(Frame(image, np.array([[40, 20, 80, 70]], np.float32), np.zeros(1, np.int64), file))
    return Clip(name, tuple(frames))


def wrapped(payloads):
    """Bytes of a real Flower message that carries the payloads."""
    from flwr.app import ConfigRecord
    from flwr.common.serde import config_record_to_proto

    return config_record_to_proto(ConfigRecord({"payloads": list(payloads)})).ByteSize()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of three devices over WebP, saved in its folder."""
    folder = tmp_path_factory.mktemp("runs") / "real"
    clips = [camera_clip(f"clip {i}", 60 + 90 * i, 120) for i in range(3)]
    own, plain = codecs.create("webp", quality=30), codecs.create("jpeg")
    uploads, encoded = [plain.encode(c) for c in clips], [own.encode(c) for c in clips]
    payloads, controls, ledger = [], [], Ledger()
    for device, clip, upload, payload in zip(DEVICES, clips, uploads, encoded, strict=True):
        quality = measure(clip, decode(payload))
        payloads.append(
            PayloadRecord(
                1, device, clip.name, "webp", len(clip), clip.width, clip.height, clip.file_bytes(), len(upload),
                len(payload), Payload.from_bytes(payload).bytes_by_part(), 0.1, quality.frame_db,
                quality.background_db, quality.object_db,
            )
        )  # fmt: skip
        rival = codecs.create("jpeg", quality=20).encode(clip)
        quality = measure(clip, decode(rival))
        controls.append(
            ControlRecord(
                "jpeg q20", clip.name, device, 1, len(rival), quality.frame_db, quality.background_db, quality.object_db
            )
        )
        ledger.append_message(1, device, "fog", "upload", [(f"{device}/{clip.name}", len(upload))], wrapped([upload]))
    for to in DEVICES:
        others = [(f"{d}/{c.name}", p) for d, c, p in zip(DEVICES, clips, encoded, strict=True) if d != to]
        ledger.append_message(1, "fog", to, "payload", [(n, len(p)) for n, p in others], wrapped(p for _, p in others))
        ledger.append(Entry(1, "fog", to, "control", 0, 200))
    folder.mkdir()
    for name, clip in (("before.png", clips[0]), ("after.png", decode(encoded[0]))):
        Image.fromarray(clip.frames[1].image).save(folder / name)
    RunRecord(
        scenario={"codec": "webp", "seed": 0, "command": f"flower-simulation --out {HOSTILE}", "note": HOSTILE},
        environment={"python": sys.version.split()[0]},
        devices=tuple(
            DeviceRecord(d, (c.name,), c.file_bytes(), len(c), 0) for d, c in zip(DEVICES, clips, strict=True)
        ),
        payloads=tuple(payloads),
        accuracy=tuple(AccuracyRecord(r, d, 0.0, 0.0) for r in (0, 1) for d in DEVICES),
        failures=(FailureRecord(1, DEVICES[2], "timeout", HOSTILE),),
        controls=tuple(controls),
        examples=(ExampleRecord("clip 0", 1, "before.png", "after.png", (40, 20, 80, 70)),),
        ledger=ledger,
    ).save(folder)
    return folder


@pytest.fixture(scope="module")
def report(run):
    record = RunRecord.load(run)
    write_report(record, run)
    return json.loads((run / "report.json").read_text())


def scheme(report, name):
    return next(s for s in report["schemes"] if s["name"] == name)


def test_predicted_bytes_are_the_measured_ones(report):
    assert [s["name"] for s in report["schemes"][:3]] == ["fog webp", "serverless jpeg", "fog jpeg"]
    for row in report["schemes"]:
        assert row["predicted_bytes"] == row["payload_bytes"], row["name"]
    assert scheme(report, "fog webp")["evidence"] == "sent"
    assert scheme(report, "serverless jpeg")["evidence"] == "metered"


def test_bytes_are_those_of_the_codecs(run, report):
    """Against a count that shares nothing with the report's code."""
    record = RunRecord.load(run)
    up, down = sum(p.upload_bytes for p in record.payloads), 2 * sum(p.payload_bytes for p in record.payloads)
    own = scheme(report, "fog webp")
    assert (own["up_bytes"], own["down_bytes"], own["payload_bytes"]) == (up, down, up + down)
    assert scheme(report, "serverless jpeg")["payload_bytes"] == 2 * up
    assert scheme(report, "fog jpeg")["payload_bytes"] == 3 * up
    rival = 2 * sum(c.bytes for c in record.controls)
    assert scheme(report, "serverless jpeg q20")["payload_bytes"] == rival
    assert scheme(report, "fog jpeg q20")["payload_bytes"] == up + rival
    assert own["gain"] == pytest.approx(2 * up / (up + down))
    assert report["headline"]["gain"] == own["gain"]
    assert own["link_seconds"] == pytest.approx(own["message_bytes"] / 2e6)
    with (run / "ledger.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert sum(int(x["message_bytes"]) for x in lines if x["kind"] != "control") == own["message_bytes"]
    assert next(k for k in report["kinds"] if k["kind"] == "control")["message_bytes"] == 600


def test_overhead_is_on_its_own_line(report):
    own = scheme(report, "fog webp")
    assert own["overhead_bytes"] == own["message_bytes"] - own["payload_bytes"]
    assert 0 < own["overhead_bytes"] < 0.02 * own["payload_bytes"]


def test_quality_rows(run, report):
    row = next(c for c in report["codecs"] if c["own"])
    record = RunRecord.load(run)
    assert row["object_db"] == pytest.approx(np.mean([p.object_db for p in record.payloads]))
    assert row["alpha"] == pytest.approx(
        sum(p.payload_bytes for p in record.payloads) / sum(p.camera_bytes for p in record.payloads)
    )
    assert sum(row["bytes_by_part"].values()) == row["bytes"]


class Page(HTMLParser):
    """Collects what a browser would load or run."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.handlers = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "data") and not value.startswith(("data:image/", "#")):
                self.links.append(value)
            if name.startswith("on"):
                self.handlers.append((tag, name))


def test_the_page_is_self_contained_and_escaped(run, report):
    text = (run / "report.html").read_text()
    page = Page(text)
    assert page.links == []
    assert page.handlers == []
    assert page.tags.count("script") == 1  # the page's own; every hostile name is text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert not re.search(r"url\((?!#)", text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids)) or not [i for i in set(ids) if ids.count(i) > 1 and i.startswith("tip")]


def test_the_answer_is_stated(run, report):
    text = re.sub(r"<[^>]+>", "", (run / "report.html").read_text())
    head = report["headline"]
    assert f"took {bytes_text(head['bytes'])}" in text
    assert ratio_text(head["gain"]) in text
    assert seconds_text(head["baseline_link_seconds"]) in text
    assert "to the byte" in text


def test_figures_are_written(run, report):
    for name in ("bytes_by_scheme", "quality_object", "quality_background", "quality_frame", "accuracy", "crossover"):
        with Image.open(run / f"{name}.png") as picture:
            assert picture.width > 600
            assert len(np.unique(np.asarray(picture.convert("L")))) > 10
        assert (run / f"{name}.svg").read_text().count("<path") > 10


def test_a_report_of_a_ledger_alone(run, tmp_path):
    (tmp_path / "ledger.csv").write_bytes((run / "ledger.csv").read_bytes()[:-20])
    record = RunRecord.load(tmp_path)
    write_report(record, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["schemes"] == []
    assert {k["kind"] for k in report["kinds"]} == {"upload", "payload", "control"}
    text = (tmp_path / "report.html").read_text()
    for part in ("not complete", "run.json is missing", "cut off", "no payload is recorded"):
        assert part in text


def test_missing_examples_and_links_are_reported(run, tmp_path):
    record = RunRecord.load(run)
    record.save(tmp_path)
    values = json.loads((tmp_path / "run.json").read_text())
    values["examples"][0]["original"] = "../outside.png"
    values["scenario"]["link"] = {"rate_bytes_per_s": -1}
    (tmp_path / "run.json").write_text(json.dumps(values))
    record = RunRecord.load(tmp_path)
    write_report(record, tmp_path)
    missing = "\n".join(json.loads((tmp_path / "report.json").read_text())["missing"])
    assert "outside the run" in missing
    assert "link model is not valid" in missing


def test_failed_transfers_show_against_the_prediction(run):
    record = RunRecord.load(run)
    kept = [e for e in record.ledger if not (e.kind == "payload" and e.destination == "north")]
    lost = RunRecord(payloads=record.payloads, devices=record.devices, ledger=Ledger(entries=kept))
    own = summarise(lost)["schemes"][0]
    assert own["payload_bytes"] < own["predicted_bytes"]


def test_controls_of_some_clips_are_extrapolated_and_say_so(run):
    record = RunRecord.load(run)
    some = RunRecord(
        payloads=record.payloads, devices=record.devices, controls=record.controls[:1], ledger=record.ledger
    )
    row = next(s for s in summarise(some)["schemes"] if s["name"] == "serverless jpeg q20")
    first = record.payloads[0]
    assert row["coverage"] == pytest.approx(first.camera_bytes / sum(p.camera_bytes for p in record.payloads))
    alpha = record.controls[0].bytes / first.camera_bytes
    assert row["payload_bytes"] == pytest.approx(2 * alpha * sum(p.camera_bytes for p in record.payloads), abs=6)


def test_comparison(run, tmp_path):
    record = RunRecord.load(run)
    page = write_comparison([record, record], tmp_path)
    values = json.loads((tmp_path / "comparison.json").read_text())
    assert [r["gain"] for r in values["runs"]] == [summarise(record)["headline"]["gain"]] * 2
    assert "<script>alert" not in page.read_text()


def test_command_line(run, tmp_path):
    command = [sys.executable, "-c", "from rinr_flower.bandwidth.cli import main; main()"]
    done = subprocess.run([*command, str(run), "-o", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.html").exists()
    bad = subprocess.run([*command, str(tmp_path / "none")], capture_output=True, text=True, check=False)
    assert bad.returncode == 2
    assert bad.stderr.startswith("bandwidth-report: ")
    assert bad.stderr.count("\n") == 1
