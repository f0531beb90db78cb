"""Data sets: the real sequences against their raw annotation files, specifications, and kinds that others add."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from image_folders import write_images

from rinr_flower.datasets import load
from rinr_flower.errors import ConfigError, DataError


@pytest.mark.data
def test_every_real_sequence_loads_with_boxes_in_the_frame(data_root: Path) -> None:
    expected = {
        "otb100": {"Basketball": 100, "Car4": 100, "Crossing": 120, "Jogging": 100},
        "uav123": {"boat1": 55, "person12_1": 60, "wakeboard10": 60},
        "dac_sdc": {"boat1": 60, "images-000": 16, "images-001": 16, "images-002": 16, "images-003": 7, "person12": 60},
    }
    for kind, lengths in expected.items():
        clips = load(f"{kind}:{data_root / kind}")
        assert {clip.name: len(clip) for clip in clips} == lengths
        for clip in clips:
            for frame in clip.frames:
                assert frame.image.shape == (clip.height, clip.width, 3)
                assert len(frame.boxes) == (2 if clip.name == "Jogging" else 1)
                x1, y1, x2, y2 = frame.boxes.T
                assert (x1 >= 0).all()
                assert (y1 >= 0).all()
                assert (x2 <= clip.width).all()
                assert (y2 <= clip.height).all()
                assert (x2 - x1 >= 1).all()
                assert (y2 - y1 >= 1).all()


@pytest.mark.data
@pytest.mark.parametrize(
    ("spec", "frame", "rows"),
    [
        ("otb100:{}/otb100/Crossing", 0, [(205, 151, 17, 50)]),
        ("otb100:{}/otb100/Crossing", 59, [(143, 122, 16, 40)]),
        ("otb100:{}/otb100/Jogging", 74, [(120, 98, 27, 82), (181, 81, 31, 116)]),
        ("otb100:{}/otb100/Car4", 99, [(68, 58, 94, 72)]),
        ("otb100:{}/otb100/Basketball", 49, [(291, 237, 34, 81)]),
        ("uav123:{}/uav123/wakeboard10", 9, [(596, 247, 29, 20)]),
        ("uav123:{}/uav123/boat1", 54, [(616, 250, 80, 149)]),
        ("uav123:{}/uav123/person12_1", 29, [(287, 244, 39, 91)]),
    ],
)
def test_boxes_are_the_annotated_rows_made_0_based(
    data_root: Path, spec: str, frame: int, rows: list[tuple[int, int, int, int]]
) -> None:
    (clip,) = load(spec.format(data_root), frames=slice(frame, frame + 1))
    assert clip.frames[0].boxes.tolist() == [[x - 1, y - 1, x - 1 + w, y - 1 + h] for x, y, w, h in rows]


@pytest.mark.data
def test_dac_sdc_boxes_are_the_corners_in_the_xml(data_root: Path) -> None:
    (clip,) = load(f"dac_sdc:{data_root}/dac_sdc/clips/person12", frames=slice(59, 60))
    assert clip.frames[0].boxes.tolist() == [[214, 71, 233, 116]]
    last = load(f"dac_sdc:{data_root}/dac_sdc/images,clip_length=60")[0].frames[-1]
    assert last.boxes.tolist() == [[294, 131, 314, 175]]
    assert last.file == (data_root / "dac_sdc/images/971.jpg").read_bytes()


@pytest.mark.data
def test_grey_jpegs_become_rgb_and_keep_their_bytes(data_root: Path) -> None:
    (clip,) = load(f"otb100:{data_root}/otb100/Car4", frames=slice(0, 1))
    frame = clip.frames[0]
    assert (frame.image[..., 0] == frame.image[..., 2]).all()
    assert frame.file == (data_root / "otb100/Car4/img/0001.jpg").read_bytes()


@pytest.mark.data
def test_yolo_labels_beside_a_folder_of_png(data_root: Path) -> None:
    (clip,) = load(f"folder:{data_root}/permissive/kit_ais_cc_by_3.0/MOS74_car/img", frames=slice(0, 1))
    frame = clip.frames[0]
    assert len(frame.boxes) == 25
    assert frame.file == b""
    x, y, w, h = 0.3844663742690059, 0.5747257769652651, 0.05390190058479532, 0.05132084095063986
    corners = [(x - w / 2) * 684, (y - h / 2) * 547, (x + w / 2) * 684, (y + h / 2) * 547]
    assert frame.boxes[0].tolist() == pytest.approx(corners, abs=1e-3)


def test_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown data set 'nope'; known: .*dac_sdc, folder, .*otb100, sample"):
        load("nope:somewhere")
    with pytest.raises(DataError, match=r"^nope: no such folder; give .*KIND:PATH \(kinds: .*dac_sdc, folder"):
        load("nope")


def test_specification_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a path: otb100:PATH"):
        load("otb100")
    with pytest.raises(ConfigError, match="no option 'length'; known: clip_length, path"):
        load(f"dac_sdc:{tmp_path},length=3")
    with pytest.raises(DataError, match="missing: no such folder; give a folder of images"):
        load(f"{tmp_path}/missing")


@pytest.mark.parametrize("kind", ["", "yolo:"])
@pytest.mark.parametrize("clip", ["2", "images/b"])
def test_a_clip_is_named_with_and_without_the_kind(kind: str, clip: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_images(tmp_path / "images" / name, ["0.jpg"])
    (tmp_path / "data.yaml").write_text("train: images\nnames: [car]\n")
    assert [c.name for c in load(f"{kind}{tmp_path}/data.yaml#{clip}")] == ["images/b"]


def test_options_need_no_kind(tmp_path: Path) -> None:
    for part in ("images", "more"):
        write_images(tmp_path / part, ["0.jpg"])
    (tmp_path / "data.yaml").write_text("train: images\nval: more\nnames: [car]\n")
    assert [c.name for c in load(f"{tmp_path}/data.yaml,split=all")] == ["images", "more"]
    with pytest.raises(ConfigError, match="no option 'splt'; known"):
        load(f"{tmp_path}/data.yaml,splt=all")


def test_a_path_may_hold_commas_and_equal_signs(tmp_path: Path) -> None:
    write_images(tmp_path / "a,b=c", ["1.jpg"])
    assert load(f"folder:{tmp_path}/a,b=c")[0].name == "a,b=c"


PLUGIN = """
import dataclasses
import numpy as np
from rinr_flower.datasets import Dataset, Source
from rinr_flower.datasets.source import ReadShot
from rinr_flower.frames import Frame

@dataclasses.dataclass(frozen=True)
class Grey(Dataset):
    path: str
    level: int = 7

    def sources(self, *, seed, broken):
        return [Source(self.path, [ReadShot("one", Frame(np.full((8, 8, 3), self.level, np.uint8)))])]
"""


def test_another_distribution_adds_a_kind_by_entry_point(tmp_path: Path) -> None:
    (tmp_path / "grey_frames.py").write_text(PLUGIN)
    info = tmp_path / "grey_frames-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: grey_frames\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rinr_flower.datasets]\ngrey = grey_frames:Grey\n")
    program = (
        "from rinr_flower.datasets import datasets, load; clip = load('grey:anywhere,level=9')[0]; "
        "print(clip.name, clip.images().max(), datasets.get('grey').name, 'torch' in __import__('sys').modules)"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["anywhere", "9", "grey", "False"]
