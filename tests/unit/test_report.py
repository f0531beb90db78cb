"""Reports of a run whose captures are really encoded and whose messages are really serialised."""

import csv
import dataclasses
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from commands import run_here
from PIL import Image
from rich.console import Console

from rinr_flower.bandwidth import Entry, Ledger
from rinr_flower.report import AccuracyRecord, FailureRecord, RivalRecord, RunRecord, UpdateRecord
from rinr_flower.report.comparison import write_comparison
from rinr_flower.report.units import bytes_text, joules_text, ratio_text, seconds_text
from rinr_flower.report.write import summarise, write_report
from rinr_flower.simulations.ending import ending
from rinr_flower.simulations.result_table import show_result


@pytest.fixture
def run(saved_run):
    """The folder of a real run."""
    return saved_run


@pytest.fixture(scope="module")
def report(saved_run):
    record = RunRecord.load(saved_run)
    write_report(record, saved_run)
    return json.loads((saved_run / "report.json").read_text())


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
    rival = 2 * sum(c.bytes for c in record.rivals)
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
    assert len(ids) == len(set(ids))


def test_the_answer_is_stated(run, report):
    text = re.sub(r"<[^>]+>", "", (run / "report.html").read_text())
    head = report["headline"]
    lead = "This run, webp via fog, took the fewest bytes of the 3 ways of no worse quality here: "
    assert f"{lead}{bytes_text(head['bytes'])} of data" in text
    assert ratio_text(head["gain"]) in text
    assert seconds_text(head["baseline_link_seconds"]) in text
    assert "to the byte" in text


def test_figures_are_written(run, report):
    for name in ("bytes_by_scheme", "quality_object", "quality_background", "quality_frame", "accuracy", "crossover"):
        with Image.open(run / f"{name}.png") as picture:
            assert picture.width > 600
            assert len(np.unique(np.asarray(picture.convert("L")))) > 10
        assert (run / f"{name}.svg").read_text().count("<path") > 10


def test_sizes_are_written_in_the_unit_that_they_round_to():
    assert [seconds_text(v) for v in (0.9994, 0.9997, 59.5, 59.98, 3596, 3597.5, 86300)] == [
        "999 ms", "1 s", "59.5 s", "1 min", "59.9 min", "1 h", "1 days",
    ]  # fmt: skip
    assert [joules_text(v) for v in (0.00099994, 0.9997, 999.7)] == ["1 mJ", "1 J", "1 kJ"]
    assert [bytes_text(v) for v in (999, 999_700)] == ["999 B", "1 MB"]


def bare(record, which):
    """The run with one device alone, or with zeros where the protocol accepts them."""
    if which == "one device":
        name = record.devices[0].name
        return dataclasses.replace(
            record,
            devices=record.devices[:1],
            payloads=record.payloads[:1],
            rivals=record.rivals[:1],
            accuracy=tuple(a for a in record.accuracy if a.device == name),
            ledger=Ledger(entries=[e for e in record.ledger if e.source == name]),
        )
    zeros = {"camera bytes": ("camera_bytes",), "frames": ("frames",), "sizes": ("camera_bytes", "upload_bytes")}
    payloads = (dataclasses.replace(p, **dict.fromkeys(zeros[which], 0)) for p in record.payloads)
    return dataclasses.replace(record, payloads=tuple(payloads))


@pytest.mark.parametrize("which", ["one device", "camera bytes", "frames", "sizes"])
def test_a_run_without_anything_to_divide_by_has_a_report(run, tmp_path, which):
    record = bare(RunRecord.load(run), which)
    write_report(record, tmp_path)
    page = re.sub(r"<(style|script)>.*?</\1>", "", (tmp_path / "report.html").read_text(), flags=re.DOTALL)
    text = re.sub(r"<[^>]+>", " ", page)
    assert not re.search(r"\b(nan|inf)\b", text)
    head = json.loads((tmp_path / "report.json").read_text())["headline"]
    compared = which in ("frames", "sizes")  # the ledger has the bytes that these records lack
    assert ("gain" in head) == compared
    assert ("no device receives a JPEG byte from another" in text) != compared
    shown = io.StringIO()
    show_result(record, Console(file=shown, width=80))
    assert "webp via fog" in shown.getvalue()
    assert len(ending(record)) == 3
    assert write_comparison([record, record], tmp_path).exists()


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
    kept = [e for e in record.ledger if not (e.kind == "payload" and e.destination == record.devices[0].name)]
    lost = RunRecord(payloads=record.payloads, devices=record.devices, ledger=Ledger(entries=kept))
    own = summarise(lost)["schemes"][0]
    assert own["payload_bytes"] < own["predicted_bytes"]


def test_failures_are_counted_by_kind(run, tmp_path):
    record = RunRecord.load(run)
    rows = [
        FailureRecord(1, "a", "timeout", "x"),
        FailureRecord(2, "a", "forged", "y"),
        FailureRecord(2, "b", "forged", "z"),
    ]
    write_report(dataclasses.replace(record, failures=tuple(rows)), tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Left out: 2 forged, 1 timeout." in page
    assert "Nothing failed." not in page


def test_rivals_of_some_clips_are_extrapolated_and_say_so(run):
    record = RunRecord.load(run)
    some = RunRecord(payloads=record.payloads, devices=record.devices, rivals=record.rivals[:1], ledger=record.ledger)
    row = next(s for s in summarise(some)["schemes"] if s["name"] == "serverless jpeg q20")
    first = record.payloads[0]
    assert row["coverage"] == pytest.approx(first.camera_bytes / sum(p.camera_bytes for p in record.payloads))
    alpha = record.rivals[0].bytes / first.camera_bytes
    assert row["payload_bytes"] == pytest.approx(2 * alpha * sum(p.camera_bytes for p in record.payloads), abs=6)


def rival(record, name, share, better_db):
    """A rival of every clip: a share of the run's bytes, so many dB better."""
    return tuple(
        RivalRecord(
            name, p.clip, p.device, p.round, round(share * p.payload_bytes), p.frame_db + better_db,
            p.background_db + better_db, p.object_db + better_db, 0.2, 0.1,
        )
        for p in record.payloads
    )  # fmt: skip


def test_a_rival_that_wins_is_in_the_first_sentence(run, tmp_path):
    record = RunRecord.load(run)
    write_report(dataclasses.replace(record, rivals=rival(record, "avif", 0.5, -0.5)), tmp_path)
    head = json.loads((tmp_path / "report.json").read_text())["headline"]
    bytes_of = 2 * sum(round(0.5 * p.payload_bytes) for p in record.payloads)
    assert (head["winner"]["name"], head["winner"]["bytes"]) == ("serverless avif", bytes_of)
    text = re.sub(r"<[^>]+>", "", (tmp_path / "report.html").read_text())
    assert f"avif device to device would take the fewest bytes at no worse quality: {bytes_text(bytes_of)}" in text


def test_a_rival_with_a_worse_frame_does_not_win(run):
    record = RunRecord.load(run)
    worse = tuple(dataclasses.replace(c, frame_db=c.frame_db - 2) for c in rival(record, "avif", 0.1, 3))
    head = summarise(dataclasses.replace(record, rivals=worse))["headline"]
    assert head["winner"]["name"] == "serverless avif"
    worse = tuple(dataclasses.replace(c, frame_db=c.frame_db - 5) for c in rival(record, "avif", 0.1, 3))
    head = summarise(dataclasses.replace(record, rivals=worse))["headline"]
    assert head["winner"]["name"] == "fog webp"


def test_all_codecs_are_judged_on_the_same_clips(run):
    record = RunRecord.load(run)
    first, second = rival(record, "avif", 0.5, 0)[:2], rival(record, "jpeg q50", 0.5, 0)[1:]
    summary = summarise(dataclasses.replace(record, rivals=(*first, *second)))
    (only,) = [p for p in record.payloads if p.clip == "clip 1"]
    for row in summary["codecs"]:
        assert (row["clips"], row["object_db"]) == (1, pytest.approx(only.object_db)), row["name"]
    assert summary["captures"] == 3


def test_models_stand_beside_the_data(run, tmp_path):
    record = RunRecord.load(run)
    ledger = Ledger(entries=[*record.ledger])
    for device in record.devices:
        ledger.append(Entry(0, "fog", device.name, "start_model", 1_000_000, 1_000_100))
    write_report(dataclasses.replace(record, ledger=ledger), tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    own, base = scheme(report, "fog webp"), scheme(report, "serverless jpeg")
    assert own["total_bytes"] == ledger.message_bytes
    assert base["total_bytes"] - base["message_bytes"] == own["total_bytes"] - own["message_bytes"] == 600 + 3_000_300
    assert report["headline"]["start_model_bytes"] == 3_000_300
    assert "start model: 3 × 1 MB = 3 MB" in (tmp_path / "report.html").read_text()


def timed(record, encode_seconds):
    """The run with all its times known; devices train for two seconds a round."""
    payloads = tuple(
        dataclasses.replace(p, encode_seconds=encode_seconds, decode_seconds=0.02, camera_decode_seconds=0.01)
        for p in record.payloads
    )
    accuracy = tuple(AccuracyRecord(1, d.name, 0.5, 0.25, 8, 0.03, 2.0) for d in record.devices)
    return dataclasses.replace(record, payloads=payloads, accuracy=accuracy)


def test_the_link_rate_at_which_the_fog_turns_to_win(run):
    record = timed(RunRecord.load(run), 0.01)
    head = summarise(record)["headline"]
    assert head["turning_rate"] > 0

    def totals(rate):
        link = {"link": {"rate_bytes_per_s": rate}}
        found = summarise(dataclasses.replace(record, scenario=link))["headline"]
        return found["total_seconds"], found["baseline_total_seconds"]

    below, above = totals(0.99 * head["turning_rate"]), totals(1.01 * head["turning_rate"])
    assert below[0] < below[1]
    assert above[0] > above[1]
    free = summarise(timed(RunRecord.load(run), -1.0))["headline"]  # as if encoding gave time back
    assert free["turning_rate"] == "inf"


def test_a_device_that_finds_nothing_is_flagged(run, tmp_path):
    record = RunRecord.load(run)
    scores = dict(zip((d.name for d in record.devices), (0.9, 0.003, 0.8), strict=True))
    accuracy = tuple(AccuracyRecord(r, d, s, s / 2) for r in (0, 1) for d, s in scores.items())
    write_report(dataclasses.replace(record, accuracy=accuracy), tmp_path)
    head = json.loads((tmp_path / "report.json").read_text())["headline"]
    assert (head["least_map50"], head["near_zero"]) == (0.003, ["south"])
    page = (tmp_path / "report.html").read_text()
    assert "1 of the devices find next to nothing after the last round: </b>south" in page


def test_update_schemes_are_the_closed_form(run):
    record = RunRecord.load(run)
    with_updates = RunRecord(
        payloads=record.payloads, devices=record.devices, ledger=record.ledger, updates=(UpdateRecord("svd", 1234),)
    )
    summary = summarise(with_updates)
    rows = {s["name"]: s for s in summary["schemes"]}
    up = sum(p.upload_bytes for p in record.payloads)
    assert (rows["training svd"]["up_bytes"], rows["training svd"]["down_bytes"]) == (up, 3 * 1234)
    assert rows["federated svd"]["payload_bytes"] == 6 * 1234 == rows["federated svd"]["predicted_bytes"]
    assert rows["training svd"]["predicted_bytes"] == rows["training svd"]["payload_bytes"]
    frames = summary["crossovers"]["updates"][0]["frames_where_fog_training_pays"]
    down = 2 * sum(p.payload_bytes for p in record.payloads)
    assert frames == pytest.approx(4 * 3 * 1234 / down)


@pytest.mark.parametrize("said", [2**62, 0])
def test_sizes_of_camera_files_that_do_not_fit_the_jpeg_uploads_are_those_of_the_uploads(run, said):
    record = dataclasses.replace(RunRecord.load(run), scenario={"upload": "jpeg"})
    true, first = summarise(record), record.payloads[0]
    lies = tuple(dataclasses.replace(p, camera_bytes=said) if p is first else p for p in record.payloads)
    found = summarise(dataclasses.replace(record, payloads=lies))
    assert found["missing"][len(true["missing"]) :] == [
        f"{first.device} gives sizes of camera files that do not fit its uploads; the uploads' sizes are taken"
    ]
    assert found["headline"]["gain"] == true["headline"]["gain"]
    assert found["schemes"][1]["evidence"] == "metered"
    row = next(d for d in found["devices"] if d["name"] == first.device)
    assert row["camera_bytes"] == sum(p.upload_bytes for p in lies if p.device == first.device)


def test_time_is_added_up_per_scheme(run):
    record = RunRecord.load(run)
    timed = dataclasses.replace(
        record,
        accuracy=tuple(
            AccuracyRecord(r, d, 0.5, 0.25, 8, 0.5 + i, 2.0 + i)
            for r in (1, 2)
            for i, d in enumerate(d.name for d in record.devices)
        ),
    )
    own = summarise(timed)["schemes"][0]
    assert own["encode_seconds"] == pytest.approx(0.3)  # one clip after the other
    for workers, seconds in ((2, 0.15), (8, 0.1)):
        shared = dataclasses.replace(timed, environment={"encoders": workers})
        assert summarise(shared)["schemes"][0]["encode_seconds"] == pytest.approx(seconds)
    assert own["decode_seconds"] == pytest.approx(2 * 2.5)  # the slowest device of both rounds
    assert own["train_seconds"] == pytest.approx(2 * 4.0)
    assert own["total_seconds"] == pytest.approx(own["link_seconds"] + 0.3 + 5 + 8)
    plain = next(s for s in summarise(timed)["schemes"] if s["name"] == "serverless jpeg")
    assert plain["decode_seconds"] is None
    assert plain["total_seconds"] is None, "a sum without a part would flatter the scheme"
    untimed = summarise(dataclasses.replace(timed, accuracy=()))
    assert untimed["schemes"][0]["total_seconds"] is untimed["headline"]["total_seconds"] is None


def test_radios_and_sharing_graphs(run, report):
    rows = {(r["profile"], r["broadcast"], r["scheme"]): r for r in report["profiles"]}
    own = rows["source_2MBps", False, "fog webp"]
    assert own["seconds"] == pytest.approx(scheme(report, "fog webp")["message_bytes"] / 2e6)
    assert own["joules"] is None
    assert rows["lora", False, "fog webp"]["joules"] > rows["wifi", False, "fog webp"]["joules"]
    for key, row in rows.items():
        if key[1]:
            assert row["seconds"] <= rows[key[0], False, key[2]]["seconds"] * 1.001  # overhead is dealt unevenly
    ten = report["scale"][0]
    record = RunRecord.load(run)
    dealt = [record.payloads[i % 3] for i in range(10)]
    assert ten["bytes"] == sum(p.upload_bytes + 2 * p.payload_bytes for p in dealt)
    assert ten["encoder_seconds"] == pytest.approx(10 * 0.1)
    assert ten["fog_nodes_needed"] == 1
    whole = next(g for g in report["graphs"] if g["graph"] == "all to all" and not g["broadcast"])
    assert whole["fog_bytes"] == scheme(report, "fog webp")["payload_bytes"]


def test_comparison(run, tmp_path):
    record = RunRecord.load(run)
    page = write_comparison([record, record], tmp_path)
    values = json.loads((tmp_path / "comparison.json").read_text())
    assert [r["gain"] for r in values["runs"]] == [summarise(record)["headline"]["gain"]] * 2
    assert "<script>alert" not in page.read_text()
    assert page.read_text().count("a tie,") == 2


def test_seeds_are_told_apart_and_put_together(run, tmp_path):
    record = RunRecord.load(run)
    seeds = [
        dataclasses.replace(
            record,
            scenario={**record.scenario, "seed": seed},
            accuracy=tuple(AccuracyRecord(1, d.name, 0.5, map50_95) for d in record.devices),
        )
        for seed, map50_95 in ((0, 0.3), (1, 0.5))
    ]
    text = re.sub(r"<[^>]+>", "", write_comparison(seeds, tmp_path).read_text())
    assert "reached the highest mAP50-95 (0.500)" in text
    assert "0.400 (0.300 to 0.500)" in text
    assert "seed 1: " in text


def test_command_line(run, tmp_path):
    done = run_here("bandwidth-report", run, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.html").exists()
    (tmp_path / "file").touch()
    for arguments, text in (
        ([tmp_path / "none"], "none: no such run folder"),
        ([run, "-o", tmp_path / "file"], "file: cannot make this folder: File exists"),
        ([run, "-o", tmp_path / "no" / "dir"], "there is no folder"),
    ):
        bad = run_here("bandwidth-report", *arguments)
        assert bad.returncode == 2
        assert bad.stderr.startswith("error: ")
        assert text in bad.stderr
        assert bad.stderr.count("\n") == 1
