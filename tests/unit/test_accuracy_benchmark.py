"""The accuracy benchmark: what it sends, shows, measures and remembers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from benchmark_scripts import script

from rinr_flower.codecs import Jpeg, RoiJpeg, codecs, decode
from rinr_flower.datasets import load
from rinr_flower.decoding import FrameStore
from rinr_flower.detection import Yolo
from rinr_flower.detection.batches import input_size, letterboxed
from rinr_flower.errors import ConfigError, DataError

accuracy = script("accuracy")
DATA = "sample:sequences=2,frames=10,width=96,height=64"


def arguments(folder: Path, *more: str) -> list[str]:
    small = ["--data", DATA, "--train", "0:6", "--test", "6:10", "--steps", "2", "--batch", "2", "--size", "64"]
    return [*small, "--work", str(folder / "work"), "--out", str(folder / "accuracy.json"), *more]


def test_route_names_the_download_and_the_upload_codec() -> None:
    route = accuracy.parse_route("jpeg:quality=30@roi_jpeg:quality=5,box_quality=60")
    assert route.download == Jpeg(quality=30)
    assert route.upload == RoiJpeg(quality=5, box_quality=60)
    assert accuracy.parse_route("jpeg").upload is None


@pytest.mark.parametrize("spec", ["jpeg:quality", "jpeg:speed=3", "nothing", "jpeg@", "@jpeg"])
def test_unknown_codecs_and_options_are_refused(spec: str) -> None:
    with pytest.raises(ConfigError):
        accuracy.parse_route(spec)


def test_the_fog_encodes_what_the_upload_codec_left(tmp_path: Path) -> None:
    clip = load(DATA)[0][:3]
    cache = accuracy.PayloadCache(tmp_path, torch.device("cpu"))
    sent = cache.send(accuracy.parse_route("jpeg:quality=60@roi_jpeg"), clip)
    uploaded = codecs.create("roi_jpeg").encode(clip)
    assert sent.upload_bytes == len(uploaded)
    assert sent.payload == Jpeg(quality=60).encode(decode(uploaded))
    plain = cache.send(accuracy.parse_route("jpeg:quality=60"), clip)
    assert plain.upload_bytes == len(Jpeg().encode(clip))
    assert plain.payload == Jpeg(quality=60).encode(clip) != sent.payload


def test_frames_rendered_once_are_those_of_a_store() -> None:
    payloads = [Jpeg(quality=40).encode(clip) for clip in load(DATA)]
    once, store = accuracy.RenderedOnce(payloads, 64), FrameStore(payloads)
    shape = input_size([(96, 64)], 64)
    wanted, found = (letterboxed(s, [3, 11, 3], shape, ("cup",)) for s in (store, once))
    assert (wanted.pictures - found.pictures).abs().max() <= 0.5 / 255 + 1e-6
    for a, b in zip(wanted.boxes, found.boxes, strict=True):
        assert (a == b).all()
    with pytest.raises(ConfigError, match="another view"):
        once.render([0], (32, 64))


def test_map_is_the_detectors_own_over_all_frames_and_over_each_clip() -> None:
    clips = {clip.name: clip for clip in load(DATA)}
    payloads = [Jpeg().encode(clip) for clip in clips.values()]
    store = accuracy.RenderedOnce(payloads, 64)
    detector = Yolo(("cup",))
    detector.fit(store, range(len(store)), steps=40, batch=4, size=64)
    everything, by_clip = accuracy.measure(detector, store, accuracy.frame_ranges(clips), 64)
    assert everything["map50"] > 0
    assert everything["map50_95"] == detector.evaluate(store, range(20), size=64).map50_95
    assert [c["map50_95"] for c in by_clip.values()] == [
        detector.evaluate(store, frames, size=64).map50_95 for frames in (range(10), range(10, 20))
    ]


def test_results_are_kept_and_what_is_there_is_not_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = arguments(tmp_path, "--codecs", "jpeg", "jpeg:quality=10@roi_jpeg")
    assert accuracy.main([*run, "--seeds", "0"]) == 0
    first = json.loads((tmp_path / "accuracy.json").read_text())["rows"]
    assert [(r["codec"], r["seed"]) for r in first] == [("jpeg", 0), ("jpeg:quality=10@roi_jpeg", 0)]
    assert all(set(r["clips"]) == {"sample/devices-00", "sample/devices-01"} for r in first)
    assert all(0 <= r["map50_95"] <= r["map50"] <= 1 for r in first)
    camera, combined = first
    uploads = [len(codecs.create("roi_jpeg").encode(clip[:6])) for clip in load(DATA)]
    assert combined["upload_bytes_per_frame"] == sum(uploads) / 12
    assert combined["camera_bytes_per_frame"] == sum(clip[:6].file_bytes() for clip in load(DATA)) / 12
    assert camera["bytes_per_frame"] == camera["upload_bytes_per_frame"]

    capsys.readouterr()
    assert accuracy.main([*run, "--seeds", "0,1"]) == 0
    content = json.loads((tmp_path / "accuracy.json").read_text())
    assert [r for r in content["rows"] if r["seed"] == 0] == first
    assert "seed 0:" not in capsys.readouterr().out
    assert [(row["codec"], row["seeds"]) for row in content["summary"]] == [
        ("jpeg", [0, 1]),
        ("jpeg:quality=10@roi_jpeg", [0, 1]),
    ]
    assert str(tmp_path) not in json.dumps(content)

    assert accuracy.main([*run, "--seeds", "0", "--batch", "3", "--codecs", "jpeg"]) == 0
    content = json.loads((tmp_path / "accuracy.json").read_text())
    assert len(content["settings"]) == 2
    assert len(content["rows"]) == 5


def test_a_row_of_other_code_holds_again_if_pictures_and_training_are_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = arguments(tmp_path, "--codecs", "jpeg", "--seeds", "0,1")
    assert accuracy.main(run) == 0
    path = tmp_path / "accuracy.json"
    content = json.loads(path.read_text())
    (present,) = content["code"]
    for row in content["rows"]:
        row["code"] = "before"
    content["rows"][1]["training_code"] = "before"
    path.write_text(json.dumps({**content, "code": {"before": content["code"][present]}}))
    capsys.readouterr()
    assert accuracy.main(run) == 0
    assert "seed" not in capsys.readouterr().out.split("trained on")[0]
    assert [row["code"] for row in json.loads(path.read_text())["rows"]] == [present, "before"]


def test_summary_compares_seed_by_seed_and_names_the_worst_clip() -> None:
    def record(codec: str, seed: int, a: float, b: float, size: float) -> dict[str, object]:
        sizes = {"bytes_per_frame": size, "upload_bytes_per_frame": 1000.0, "camera_bytes_per_frame": 1000.0}
        clips = {name: {"map50_95": value, "map50": value, **sizes} for name, value in (("a", a), ("b", b))}
        return {"codec": codec, "seed": seed, "map50_95": (a + b) / 2, "map50": (a + b) / 2, **sizes, "clips": clips}

    camera = [record("jpeg", 0, 0.5, 0.5, 1000), record("jpeg", 1, 0.7, 0.5, 1000)]
    others = [record("scene", 1, 0.8, 0.4, 10)]
    _, row = accuracy.summarise([*camera, *others])
    assert row["map50_95_minus_camera"]["mean"] == pytest.approx(0)
    assert row["map50_95"] == {
        "mean": pytest.approx(0.6),
        "std": None,
        "min": pytest.approx(0.6),
        "max": pytest.approx(0.6),
    }
    assert row["worst_clip"] == {"name": "b", "minus_camera": pytest.approx(-0.1)}
    assert row["ten_devices"]["all"] == pytest.approx(9 / (1 + 9 * 0.01))


def test_clips_too_short_to_test_on_are_named() -> None:
    with pytest.raises(DataError, match=r"devices-00 has 10 frames; those to test on begin at 32"):
        accuracy.load_clips([DATA], slice(0, 32), slice(32, 52))
