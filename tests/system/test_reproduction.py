"""The source's experiments in profile ``quick``, as docs/tutorials/reproduce.md prints the command."""

from __future__ import annotations

import json
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import run_here
from pages import ROOT
from PIL import Image

from rinr_flower.codecs import decode
from rinr_flower.report.experiment import SOURCE, profile
from rinr_flower.report.reproduction import payload_file
from rinr_flower.report.units import NONE, number

pytestmark = pytest.mark.system

COMMAND = "bandwidth-report --reproduce --profile quick --out reproduction"
FIGURES = ("variants_rapid_inr", "variants_nerv", "one_against_two", "accuracy_by_bytes", "latency")
VARIANTS = [f"{background} {v}" for background in ("Rapid-INR", "NeRV") for v in ("BS", "BE", "DE", "RE", "QRE")]
STILLS = ["JPEG", "JPEG q50", "JPEG q20", "AVIF q30", "ROI-JPEG", "ROI-AVIF"]
CODECS = [*VARIANTS, *STILLS, "H.264", "AV1", "ROI-AV1", "residual (ours)", "scene (ours)"]
TRAINED = [
    "Rapid-INR BS", "Rapid-INR QRE", "NeRV BS", "NeRV QRE", "JPEG", "JPEG q20", "ROI-AV1", "residual (ours)",
    "scene (ours)",
]  # fmt: skip
UPDATES = ["full", "quantised", "stc", "svd"]
WHOLE = "trained at the fog, YOLOv8m whole"
WITHOUT_FOG = [f"{codec}, device to device" for codec in ("JPEG", "JPEG q50", "JPEG q20", "H.264", "AV1", "ROI-AV1")]
AT_THE_FOG = [f"trained at the fog, {name} update" for name in UPDATES]
WAYS = [*(f"{codec}, via fog" for codec in CODECS), *WITHOUT_FOG, *AT_THE_FOG, WHOLE]
PRINTED = "Residual-INR, as printed (best case)"
CLIPS, FRAMES = 2, 2


class Tables(HTMLParser):
    """The tables of a page, in order: each a list of rows, the head first, a row a list of texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[list[list[str]]] = []
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.found.append([])
        elif tag == "tr":
            self.found[-1].append([])
        elif tag in ("td", "th"):
            self.found[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.found[-1][-1][-1] += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command leaves behind: run once in a process of its own, with nothing changed."""
    assert f"\n{COMMAND}\n" in (ROOT / "docs" / "tutorials" / "reproduce.md").read_text(encoding="utf-8")
    where = tmp_path_factory.mktemp("quick")
    words = shlex.split(COMMAND)
    words[0] = str(Path(sys.executable).with_name(words[0]))
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=where, env=one_thread, capture_output=True, text=True, timeout=570, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["reproduction/reproduction.html"]
    return where / "reproduction"


@pytest.fixture(scope="module")
def values(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "reproduction.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "reproduction.html").read_text(encoding="utf-8")


def _nulls(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where no number stands in a JSON value. A row of a table is named by its ``row``, ``clip`` or ``setting``."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _nulls(item, (*path, key))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            names = [item[key] for key in ("row", "clip", "setting") if key in item] if isinstance(item, dict) else []
            yield from _nulls(item, (*path, names[0] if names else at))
    elif value is None:
        yield path


def _written(setting: Any) -> str:
    return str(list(setting) if isinstance(setting, tuple) else setting)


def test_every_figure_of_the_source_is_drawn(folder: Path, page: str) -> None:
    for name in FIGURES:
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.width > 600
            assert len(np.unique(np.asarray(picture.convert("L")))) > 10
        drawn = (folder / f"{name}.svg").read_text(encoding="utf-8")
        assert drawn.lstrip().startswith("<?xml")
        assert drawn.count("<path") > 10
    assert page.count("<figure") == len(FIGURES)


def test_every_codec_is_measured_on_every_clip(folder: Path, values: dict[str, Any]) -> None:
    measured = {(r["row"], r["clip"]): r for r in values["clips"]}
    clips = list(dict.fromkeys(clip for _, clip in measured))
    assert len(clips) == CLIPS
    assert list(dict.fromkeys(row for row, _ in measured)) == CODECS
    assert len(measured) == len(values["clips"]) == len(CODECS) * CLIPS
    for (name, clip), row in measured.items():
        data = payload_file(folder, name, clips.index(clip)).read_bytes()
        assert row["payload_bytes"] == len(data)
        assert len(decode(data)) == row["frames"] == FRAMES
        for key in ("object_db", "background_db", "frame_db"):
            exact = name == "JPEG"  # the camera's own files
            assert number(row[key]) == math.inf if exact else 10 < row[key] < 60, (name, clip, key)
        assert row["encode_cpu_seconds"] > 0
        assert row["decode_cpu_seconds"] > 0


def test_networks_have_learned_what_they_can_in_so_few_steps(values: dict[str, Any]) -> None:
    of = {(r["row"], r["clip"]): r for r in values["clips"]}
    for background in ("Rapid-INR", "NeRV"):
        for clip in {clip for _, clip in of}:
            alone, direct, residual, quantised = (of[f"{background} {v}", clip] for v in ("BE", "DE", "RE", "QRE"))
            assert residual["object_db"] > alone["object_db"] + 2
            assert direct["object_db"] > 15
            assert abs(quantised["object_db"] - residual["object_db"]) < 2
            assert quantised["payload_bytes"] < 0.5 * residual["payload_bytes"]
            assert residual["payload_bytes"] > alone["payload_bytes"]
    sizes = {r["row"]: r["bytes_per_frame"] for r in values["quality"]}
    assert sizes["Rapid-INR BS"] == pytest.approx(SOURCE["bytes_of_one_network"], rel=0.05)
    assert sizes["Rapid-INR BE"] == pytest.approx(SOURCE["bytes_of_background"], rel=0.05)


def test_accuracy_and_updates_are_measured(values: dict[str, Any]) -> None:
    assert [(r["row"], r["seed"]) for r in values["accuracy"]] == [(row, 0) for row in TRAINED]
    assert [r["name"] for r in values["updates"]] == UPDATES
    for row in (*values["accuracy"], *values["updates"]):
        assert 0 <= row["map50_95"] <= row["map50"] <= 1
    assert max(r["map50"] for r in values["accuracy"]) > 0, "not one detector finds anything"
    by_name = {r["name"]: r for r in values["updates"]}
    of_camera = next(r for r in values["accuracy"] if r["row"] == "JPEG")
    assert by_name["full"]["map50_95"] == pytest.approx(of_camera["map50_95"]), "it carries every weight"
    assert all(0 < by_name[name]["bytes"] < 0.1 * by_name["full"]["bytes"] for name in UPDATES[1:])
    assert values["detector_bytes"] == pytest.approx(SOURCE["detector_bytes"] * 1.049, rel=0.01), "98.8 MiB of float32"


def test_every_way_of_sharing_has_bytes_and_latency(values: dict[str, Any]) -> None:
    ways = {r["row"]: r for r in values["transmission"]}
    assert sorted(ways) == sorted(WAYS)
    assert len(values["transmission"]) == len(WAYS)
    for name, way in ways.items():
        assert way["bytes"] > 0
        assert way["gain"] > 0
        assert way["link_seconds"] == pytest.approx(way["bytes"] / 2e6)
        assert way["latency_seconds"] == pytest.approx(way["link_seconds"] + way["decode_cpu_seconds"])
        assert (way["decode_cpu_seconds"] > 0) == bool(way["codec"])
        learned = name in AT_THE_FOG or way["codec"] in TRAINED
        assert (way.get("map50_95") is not None) == learned


def test_no_number_is_missing_where_one_is_promised(values: dict[str, Any]) -> None:
    """Only a training at the fog has no frames, and only what no detector is trained on has no accuracy."""
    untrained = {r["row"] for r in values["transmission"] if r["row"] not in AT_THE_FOG and r["codec"] not in TRAINED}
    allowed = {("deviations", "batch_points", "published")}  # all pixels
    allowed |= {("summary", row, key) for row in (*AT_THE_FOG, WHOLE) for key in ("bytes_per_frame", "object_db")}
    allowed |= {("summary", row, "map50_95") for row in untrained}
    assert set(_nulls(values)) <= allowed
    assert len(values["claims"]) == 6
    assert len(values["networks"]) == 1 + CLIPS
    assert list(values["scores"]) == TRAINED


def test_the_page_names_every_deviation_from_the_published_settings(page: str, values: dict[str, Any]) -> None:
    quick, published = profile("quick"), profile("published")
    differ = [name for name in vars(quick) if name != "data" and getattr(quick, name) != getattr(published, name)]
    assert {"clips", "frames", "steps", "nerv_epochs", "detector", "train_steps", "image_size"} <= set(differ)
    assert [d["setting"] for d in values["deviations"]] == differ
    (settings,) = (table for table in Tables(page).found if table[0] == ["setting", "published", "here"])
    assert [row[0] for row in settings[1:]] == differ
    for name, original, here in settings[1:]:
        assert original.split(" (ours")[0] == _written(getattr(published, name))
        assert here == _written(getattr(quick, name))


def test_the_tables_of_the_page_have_every_row_and_the_page_opens_offline(page: str, values: dict[str, Any]) -> None:
    summary, quality, claims, sharing, updates, _ = Tables(page).found
    named = [row[0] for row in summary[1:]]
    assert {"JPEG, device to device", "JPEG q20, device to device", "residual (ours), via fog"} <= set(named)
    assert {"Rapid-INR BS, via fog", "Rapid-INR QRE, via fog", "NeRV QRE, via fog", *AT_THE_FOG, WHOLE} <= set(named)
    assert named == [r["row"] for r in values["summary"]]
    assert summary[-1][0] == PRINTED
    assert [row[0] for row in quality[1:]] == CODECS
    assert [row[0] for row in claims[1:]] == [r["claim"] for r in values["claims"]]
    assert sorted(row[0] for row in sharing[1:]) == sorted(WAYS)
    assert [row[0] for row in updates[1:]] == UPDATES
    for row in (*quality, *claims, *updates, *(row[:-2] for row in sharing)):
        assert all(text and text != NONE and "nan" not in text.lower() for text in row), row
    assert COMMAND.removesuffix(" --out reproduction") in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_the_same_command_again_does_nothing_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [folder / "results.jsonl", folder / "start.npz", *(folder / "payloads").iterdir()]
    before = [(file.read_bytes(), file.stat().st_mtime_ns) for file in kept]
    monkeypatch.chdir(folder.parent)
    name, *arguments = shlex.split(COMMAND)
    done = run_here(name, *arguments)
    assert done.returncode == 0, done.stderr
    assert [(file.read_bytes(), file.stat().st_mtime_ns) for file in kept] == before
