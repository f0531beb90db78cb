"""Repeating the source's experiments: profiles, variants, the journal, tables, and the command's errors."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from commands import run_here
from PIL import Image

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import RapidInr, Residual, codecs, decode
from rinr_flower.codecs.nerv import Nerv
from rinr_flower.codecs.object_sizes import PAPER_SIZES
from rinr_flower.codecs.presets import VARIANTS, Encoded, encode_variants, paper_variants
from rinr_flower.datasets import load
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.frames import Clip
from rinr_flower.inr.siren import SirenShape
from rinr_flower.report import reproduction
from rinr_flower.report.experiment import PROFILES, SOURCE, _scaled, profile
from rinr_flower.report.reproduction import Journal, _encode_one, _measure, reproduce
from rinr_flower.report.reproduction_tables import (
    LINE,
    accuracy_table,
    claims_table,
    quality_table,
    transmission_table,
)

EXPERIMENT = profile("quick", data=["sample"], clips=1, frames=2, held_back=1)
TINY = {"steps": 2, "batch_points": 64}


@pytest.fixture(scope="module")
def clip():
    return load("sample", frames=slice(0, 2))[0]


@pytest.fixture(scope="module")
def results(clip):
    """Two codecs really measured on a clip of the sample; made-up training."""
    rows = []
    for label, options in (("JPEG", {}), ("JPEG q20", {"quality": 20})):
        encoded = _encode_one(label, codecs.create("jpeg", **options), clip, 0)[label]
        rows.append({"row": label, **_measure(clip, encoded)})
    return {
        "experiment": {"devices": 10, "frames": 2},
        "clips": rows,
        "accuracy": [{"row": "JPEG", "seed": s, "map50": 0.5, "map50_95": 0.2 + 0.1 * s} for s in range(3)],
        "updates": [{"name": "full", "bytes": 12_000_000, "map50": None, "map50_95": None}],
        "detector_bytes": 100_000_000,
    }


def test_published_settings_are_the_sources():
    published = profile("published")
    assert (published.steps, published.learning_rate, published.w0) == (10_000, 2e-4, 30)
    assert published.batch_points is None
    assert published.deviations() == []
    rapid, nerv = (published.variants(b) for b in ("Rapid-INR", "NeRV"))
    assert list(rapid) == [f"Rapid-INR {v}" for v in VARIANTS]
    for codec in rapid.values():
        for part in (codec, codec.background) if isinstance(codec, Residual) else (codec,):
            fitted = (part.steps, part.learning_rate, part.w0, part.batch_points)
            assert fitted == (10_000, 2e-4, 30, None), "background and objects alike"
    assert nerv["NeRV BS"].shape(640, 360).parameters == 1_391_155
    assert nerv["NeRV BS"].steps == 300 * published.frames
    assert rapid["Rapid-INR DE"].mode == "direct"
    assert [c.sizes for c in (*rapid.values(), *nerv.values()) if isinstance(c, Residual)] == [PAPER_SIZES] * 6


def test_networks_have_the_bytes_that_the_talk_prints():
    large, small = (paper_variants("rapid_inr")[v] for v in ("BS", "BE"))
    assert large.bits == 16
    assert large.shape.parameters * 2 == pytest.approx(SOURCE["bytes_of_one_network"], rel=0.05)
    assert small.shape.parameters * 4 == pytest.approx(SOURCE["bytes_of_background"], rel=0.05)
    objects = [SirenShape(hidden, layers).parameters * 4 for _, hidden, layers in PAPER_SIZES]
    assert objects[2] == pytest.approx(SOURCE["bytes_of_object"], rel=0.15)


def test_clips_without_boxes_are_left_out_before_anything_is_fitted(tmp_path: Path) -> None:
    for name, label in (("empty", ""), ("boxed", "0 0.5 0.5 0.2 0.2\n")):
        folder = tmp_path / name
        folder.mkdir()
        for number in range(4):
            Image.new("RGB", (64, 48), (number, 90, 120)).save(folder / f"{number}.jpg")
            (folder / f"{number}.txt").write_text(label)
    experiment = profile("quick", data=[f"folder:{tmp_path / 'empty'}"], clips=1, frames=2, held_back=1)
    with pytest.raises(DataError, match="a box in one of the first 2"):
        experiment.clips_of_data()
    shared, _ = dataclasses.replace(experiment, data=(f"folder:{tmp_path / 'boxed'}",)).clips_of_data()
    assert [len(clip) for clip in shared] == [2]


def test_data_is_a_list_or_one_specification():
    assert profile("quick", data="sample:sequences=1,frames=3").data == ("sample:sequences=1,frames=3",)
    assert profile("quick", data=["a", "b"]).data == ("a", "b")


def test_every_deviation_is_named():
    for name in PROFILES:
        profile(name)
    named = {d["setting"]: (d["published"], d["here"]) for d in profile("published", steps="7", seeds="3").deviations()}
    assert named == {"steps": (10_000, 7), "seeds": ((0, 1, 2), (3,))}
    assert {"steps", "nerv_epochs", "detector", "batch_points"} <= {d["setting"] for d in EXPERIMENT.deviations()}


@pytest.mark.parametrize("background", ["rapid_inr", "nerv"])
def test_variants_share_one_fit_and_are_what_the_codecs_write(background, clip):
    options = {"steps": 2, **({"batch_points": 64} if background == "rapid_inr" else {"stem": 4, "channels": 2})}
    variants = paper_variants(background, options, options, TINY)
    encoded = encode_variants(variants, clip, seed=1)
    assert list(encoded) == list(VARIANTS)
    for name in ("BE", "DE", "RE"):
        assert encoded[name].data == variants[name].encode(clip, seed=1), "float32: fitted once, the same bytes"
    if background == "rapid_inr":
        assert encoded["BS"].data == variants["BS"].encode(clip, seed=1), "16 bits are rounded at the end"
    assert len(encoded["QRE"].data) < 0.5 * len(encoded["RE"].data)
    for value in encoded.values():
        assert len(decode(value.data)) == len(clip)


@pytest.mark.parametrize("codec", [RapidInr(hidden=6, layers=2, **TINY), Nerv(stem=4, channels=2, width=4, steps=2)])
def test_requantised_weights_are_the_float_ones_rounded(codec, clip):
    from dataclasses import replace

    exact = codecs.create(codec.name, **{**vars(codec), "bits": 32})
    parts = Payload.from_bytes(exact.encode(clip)).parts
    fine = replace(codec, bits=16).requantised(parts, clip)
    a, b = (decode(Payload.of_clip(codec.name, clip, p).to_bytes()).images().astype(int) for p in (parts, fine))
    assert np.abs(a - b).max() <= 2
    assert len(fine["background"]) < 0.7 * len(parts["background"])


def test_wide_frames_are_scaled_with_their_boxes(clip):
    small = _scaled(clip, clip.width // 2)
    assert small.width == clip.width // 2
    np.testing.assert_allclose(small.frames[0].boxes, clip.frames[0].boxes / 2, rtol=0.02)
    assert isinstance(small, Clip)
    assert len(small.frames[0].file) > 100
    assert _scaled(clip, clip.width) is clip


def test_tables(results, clip):
    small = next(r for r in quality_table(results) if r["row"] == "JPEG q20")
    assert small["bytes_per_frame"] == results["clips"][1]["payload_bytes"] / 2
    rows = {r["row"]: r for r in transmission_table(results)}
    camera = clip.file_bytes()
    assert rows["JPEG, device to device"]["bytes"] == pytest.approx(10 * 9 * camera, abs=1)
    expected = 10 * camera + 90 * results["clips"][1]["payload_bytes"]
    way = rows["JPEG q20, via fog"]
    assert way["bytes"] == pytest.approx(expected, abs=1)
    assert way["link_seconds"] == pytest.approx(expected / 2e6)
    assert way["latency_seconds"] == way["link_seconds"] + way["decode_cpu_seconds"]
    assert rows["trained at the fog, full update"]["bytes"] == pytest.approx(10 * camera + 10 * 12_000_000, abs=1)
    assert rows[LINE]["bytes"] == pytest.approx(10 * camera + 10 * 100_000_000, abs=1)
    assert accuracy_table(results)["JPEG"] == pytest.approx(
        {"seeds": 3, "map50": 0.5, "map50_least": 0.5, "map50_most": 0.5,
         "map50_95": 0.3, "map50_95_least": 0.2, "map50_95_most": 0.4}
    )  # fmt: skip


def test_claims_are_differences_clip_by_clip():
    levels = {"BS": (30, 31), "BE": (20, 20), "DE": (33, 36), "RE": (34, 35), "QRE": (33.5, 34)}
    rows = [
        {"row": f"Rapid-INR {v}", "clip": str(i), "object_db": db, "payload_bytes": 100 if v == "BS" else 50}
        for v, values in levels.items()
        for i, db in enumerate(values)
    ]
    first, second, third = claims_table({"clips": rows})
    assert (first["median_db"], first["worst_db"], first["holds"], first["bytes_ratio"]) == (4, 4, "2 of 2", 0.5)
    assert (second["median_db"], second["worst_db"], second["holds"]) == (0, -1, "1 of 2")
    assert third["median_db"] == -0.75


def test_the_journal_goes_on_where_it_was(tmp_path):
    journal = Journal(tmp_path, EXPERIMENT)
    assert journal.get(("a", "1"), lambda: {"x": float("inf")}) == {"x": "inf"}
    journal.get(("b", "2"), lambda: {"x": 2})
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"key": ["c", "3"], "val')
    again = Journal(tmp_path, EXPERIMENT)
    never = pytest.fail
    assert again.get(("a", "1"), lambda: never("computed again")) == {"x": "inf"}
    assert again.get(("c", "3"), lambda: {"x": 3}) == {"x": 3}
    assert list(Journal(tmp_path, EXPERIMENT).results) == [("a", "1"), ("b", "2"), ("c", "3")]
    with pytest.raises(ConfigError, match="other settings"):
        Journal(tmp_path, profile("quick", frames=3))


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        ({"data": ["folder:nowhere"]}, DataError, "nowhere"),
        ({"detector": "yolov8z9"}, ConfigError, "detector model 'yolov8z9'"),
    ],
)
def test_a_mistyped_setting_ends_it_before_anything_is_fitted_and_leaves_the_folder_free(tmp_path, wrong, error, text):
    told = []
    with pytest.raises(error, match=text):
        reproduce(dataclasses.replace(EXPERIMENT, **wrong), tmp_path, lambda what, done: told.append(what))
    assert told == []
    Journal(tmp_path, EXPERIMENT).get(("a",), dict)
    with pytest.raises(ConfigError, match="other settings"):
        Journal(tmp_path, dataclasses.replace(EXPERIMENT, **wrong))


def test_networks_are_fitted_with_the_first_seed_and_a_detector_is_trained_with_each(tmp_path, monkeypatch):
    """Everything but fitting and training: each payload is the clip as JPEG. tests/system runs the experiments."""
    camera = codecs.create("jpeg")
    fitted, trained, sent = set(), [], []

    def encode_all(variants, clip, *, seed):
        fitted.add(seed)
        return {row: Encoded(camera.encode(clip), 0.5) for row in variants}

    def encode_one(row, codec, clip, seed):
        return encode_all([row], clip, seed=seed)

    def train(experiment, start, files, held_back, kept, seed):
        trained.append((kept, seed))
        assert [len(decode(file.read_bytes())) for file in files] == [2]
        return {"map50": 0.5, "map50_95": 0.1 * seed, "train_cpu_seconds": 1.0}

    def send(name, experiment, start, trained_file, held_back):
        sent.append((name, trained_file.name))
        return {"bytes": 7, "map50": 0.5, "map50_95": 0.1}

    for name, stand_in in (("encode_variants", encode_all), ("_encode_one", encode_one), ("_train", train)):
        monkeypatch.setattr(reproduction, name, stand_in)
    monkeypatch.setattr(reproduction, "_start", lambda experiment, clips, file: {})
    monkeypatch.setattr(reproduction, "_update", send)
    monkeypatch.setattr(reproduction, "_detector_size", lambda clips: {"bytes": 9})
    experiment = dataclasses.replace(EXPERIMENT, seeds=(4, 5), updates=("quantised",))
    results = reproduce(experiment, tmp_path, lambda what, done: None)
    assert fitted == {4}
    pairs = [(row, seed) for seed in (4, 5) for row in experiment.trained()]
    assert trained == [(reproduction._trained_file(tmp_path, row, seed), seed) for row, seed in pairs]
    assert [(r["row"], r["seed"]) for r in results["accuracy"]] == pairs
    assert sent == [("quantised", "JPEG-4.npz")], "the update is that of the first seed"
    score = accuracy_table(results)["JPEG"]
    assert (score["seeds"], score["map50_95_least"], score["map50_95_most"]) == (2, pytest.approx(0.4), 0.5)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--reproduce", "--set", "speed=1"], "no option 'speed'"),
        (["--reproduce", "--set", "name=x"], "no option 'name'"),
        (["--reproduce", "--set", "data=a", "--data", "b"], "both name the data"),
        (["--reproduce", "--set", "frames=0"], "frames is 0"),
        (["--reproduce", "--set", "seeds=a"], "not whole numbers"),
        (["--reproduce", "--set", "updates=full,zip"], "unknown update compressor 'zip'"),
        (["--reproduce", "--set", "image_size=100"], "image_size is 100; it must be a multiple of 32"),
        (["--reproduce", "--set", "image_size=0"], "image_size is 0"),
        (["--reproduce", "--profile", "slow"], "known: published, quick"),
        (["--reproduce", "run"], "takes no run folders"),
        (["--data", "sample"], "belong to --reproduce"),
        ([], "give the folder of a run"),
    ],
)
def test_bad_commands_are_one_line(arguments, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_here("bandwidth-report", *arguments)
    assert done.returncode == 2
    assert text in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
