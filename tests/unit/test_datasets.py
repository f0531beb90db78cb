"""Readers of real data sets: values against the raw annotation files, layouts, and errors that say what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rinr_flower.datasets import load
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.frames import Clip


def picture(width: int = 64, height: int = 48, mode: str = "RGB", seed: int = 0) -> Image.Image:
    smooth = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(smooth).resize((width, height)).convert(mode)


def write_images(folder: Path, names: Sequence[str], *, width: int = 64, mode: str = "RGB") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        picture(width, mode=mode, seed=seed).save(folder / name)


def otb(folder: Path, rows: str, frames: int = 3) -> Path:
    write_images(folder / "img", [f"{i:04d}.jpg" for i in range(1, frames + 1)])
    (folder / "groundtruth_rect.txt").write_text(rows)
    return folder


# The real sequences.


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


# OTB100.


@pytest.mark.parametrize("separator", [",", "\t", " ", ", "])
def test_otb_separators(tmp_path: Path, separator: str) -> None:
    rows = "\n".join(separator.join(map(str, row)) for row in [(1, 1, 10, 20), (5.5, 6, 7, 8), (60, 40, 30, 30)])
    (clip,) = load(f"otb100:{otb(tmp_path / 'Seq', rows + chr(10))}")
    assert [f.boxes.tolist() for f in clip.frames] == [[[0, 0, 10, 20]], [[4.5, 5, 11.5, 13]], [[59, 39, 64, 48]]]


def test_otb_absent_objects_are_silent_and_bad_boxes_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = "NaN,NaN,NaN,NaN\n0,0,0,0\n1,1,5,5\n500,1,5,5\n1,1,0,5\n1,NaN,5,5\n1,1,inf,5\n"
    (clip,) = load(f"otb100:{otb(tmp_path / 'Seq', rows, 7)}")
    assert [len(f.boxes) for f in clip.frames] == [0, 0, 1, 0, 0, 0, 0]
    assert [r.getMessage() for r in caplog.records] == [
        "Seq: skipped 4 boxes that are not finite, empty or outside the image"
    ]


def test_otb_two_rectangle_files_are_two_objects(tmp_path: Path) -> None:
    folder = otb(tmp_path / "Jogging", "")
    (folder / "groundtruth_rect.txt").unlink()
    (folder / "groundtruth_rect.1.txt").write_text("1,1,5,5\n1,1,5,5\nNaN,NaN,NaN,NaN\n")
    (folder / "groundtruth_rect.2.txt").write_text("11,1,5,5\n11,1,5,5\n11,1,5,5\n")
    (clip,) = load(f"otb100:{tmp_path}")
    assert [f.boxes[:, 0].tolist() for f in clip.frames] == [[0, 10], [0, 10], [10]]


def test_otb_sequence_annotated_in_part(tmp_path: Path) -> None:
    rows = "".join(f"1,1,{i},5\n" for i in range(1, 75))
    (clip,) = load(f"otb100:{otb(tmp_path / 'Football1', rows, 80)}", frames=slice(60, 64))
    assert [f.boxes[0, 2] for f in clip.frames] == [61, 62, 63, 64]


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ("1,1,5,5\n1,1,5,5\n", r"groundtruth_rect\.txt: 2 rows for the 3 images in Seq/img"),
        ("1,1,5,5\n1,x,5,5\n1,1,5,5\n", r"groundtruth_rect\.txt:2: '1,x,5,5' is not four numbers"),
        ("1,1,5,5\n1,1,5\n1,1,5,5\n", r"groundtruth_rect\.txt:2: '1,1,5' is not four numbers"),
    ],
)
def test_otb_bad_annotations_name_file_and_line(tmp_path: Path, rows: str, text: str) -> None:
    with pytest.raises(DataError, match=text):
        load(f"otb100:{otb(tmp_path / 'Seq', rows)}")


def test_otb_layout_errors_say_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder; expected .*img/ and groundtruth_rect\*\.txt"):
        load(f"otb100:{tmp_path}/nowhere")
    with pytest.raises(DataError, match=r"no sequence here; expected .*img/ and groundtruth_rect\*\.txt"):
        load(f"otb100:{tmp_path}")
    write_images(tmp_path / "Seq/img", ["0001.jpg"])
    with pytest.raises(DataError, match=r"Seq: no groundtruth_rect\*\.txt"):
        load(f"otb100:{tmp_path}")
    (tmp_path / "plain").write_text("")
    with pytest.raises(DataError, match="a file, not a folder"):
        load(f"otb100:{tmp_path}/plain")


# Images.


def test_corrupt_image_is_named(tmp_path: Path) -> None:
    folder = otb(tmp_path / "Seq", "1,1,5,5\n" * 3)
    whole = (folder / "img/0002.jpg").read_bytes()
    (folder / "img/0002.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"0002\.jpg: not a readable image"):
        load(f"otb100:{folder}")
    assert len(load(f"otb100:{folder}", frames=slice(0, 1))[0]) == 1, "files outside the chosen frames are not read"


def test_rotated_jpeg_is_turned_and_its_file_dropped(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    tmp_path.joinpath("photos").mkdir()
    picture(64, 48).save(tmp_path / "photos/a.jpg", exif=exif)
    exif[0x0112] = 1
    picture(48, 64).save(tmp_path / "photos/b.jpg", exif=exif)
    (clip,) = load(f"folder:{tmp_path}/photos")
    assert (clip.width, clip.height) == (48, 64)
    assert [bool(f.file) for f in clip.frames] == [False, True]


def test_mixed_sizes_become_clips_of_one_size(tmp_path: Path) -> None:
    write_images(tmp_path / "a", ["1.png", "10.png", "2.png"])
    write_images(tmp_path / "a", ["3.png"], width=32)
    clips = load(f"folder:{tmp_path}/a")
    assert [(c.name, len(c), c.width) for c in clips] == [("a 64x48", 3, 64), ("a 32x48", 1, 32)]
    assert np.array_equal(clips[0].frames[2].image, np.asarray(picture(seed=1))), "10.png comes after 2.png"


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1"])
def test_every_image_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    suffix = "jpg" if mode == "CMYK" else "png"
    write_images(tmp_path / "a", [f"1.{suffix}"], mode=mode)
    assert load(f"folder:{tmp_path}/a")[0].images().shape == (1, 48, 64, 3)


# UAV123.


def uav(root: Path, *, frames: range, rows: int, name: str = "car1_2", folder: str = "car1") -> Path:
    write_images(root / "data_seq/UAV123" / folder, [f"{i:06d}.jpg" for i in frames])
    (root / "anno/UAV123").mkdir(parents=True, exist_ok=True)
    lines = ["NaN,NaN,NaN,NaN" if i == 3 else f"{i + 1},1,5,5" for i in range(rows)]
    (root / f"anno/UAV123/{name}.txt").write_text("\n".join(lines) + "\n")
    return root


def subset(root: Path, **values: int | str) -> None:
    entry = {"name": "car1_2", "path": "data_seq/UAV123/car1", "startFrame": 5, "endFrame": 8, **values}
    (root / "subset.json").write_text(json.dumps([entry]))


def lefts(clip: Clip) -> list[list[float]]:
    return [f.boxes[:, 0].tolist() for f in clip.frames]


def test_uav_rows_of_the_stretch(tmp_path: Path) -> None:
    uav(tmp_path, frames=range(1, 12), rows=4)
    subset(tmp_path)
    (clip,) = load(f"uav123:{tmp_path}")
    assert clip.name == "car1_2"
    assert lefts(clip) == [[0], [1], [2], []]
    assert clip.frames[0].file == (tmp_path / "data_seq/UAV123/car1/000005.jpg").read_bytes()


def test_uav_rows_of_the_whole_original_sequence(tmp_path: Path) -> None:
    uav(tmp_path, frames=range(5, 9), rows=9)
    subset(tmp_path, original_startFrame=2, original_endFrame=10)
    assert lefts(load(f"uav123:{tmp_path}/car1_2")[0]) == [[], [4], [5], [6]]


def test_uav_stretches_from_the_benchmarks_own_list(tmp_path: Path) -> None:
    uav(tmp_path, frames=range(1, 12), rows=4)
    (tmp_path / "configSeqs.m").write_text(
        "seqUAV123={struct('name','car1_2','path','D:\\data_seq\\UAV123\\car1\\','startFrame',5,'endFrame',8,'nz',6),...\n"
        "seqUAV20L={struct('name','car1_2','path','D:\\data_seq\\UAV20L\\car1\\','startFrame',1,'endFrame',9,'nz',6)};"
    )
    (clip,) = load(f"uav123:{tmp_path}")
    assert clip.frames[0].file == (tmp_path / "data_seq/UAV123/car1/000005.jpg").read_bytes()
    assert len(clip) == 4


def test_uav_without_a_list_takes_the_whole_folder(tmp_path: Path) -> None:
    uav(tmp_path, frames=range(1, 6), rows=5)
    assert len(load(f"uav123:{tmp_path}")[0]) == 5


def test_uav_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data_seq/ and anno/ here"):
        load(f"uav123:{tmp_path}")
    uav(tmp_path, frames=range(1, 6), rows=4)
    with pytest.raises(DataError, match=r"car1_2\.txt: 4 rows for the 5 frames of car1_2"):
        load(f"uav123:{tmp_path}")
    with pytest.raises(DataError, match=r"no sequence 'boat9'; anno/UAV123 has car1_2"):
        load(f"uav123:{tmp_path}/boat9")
    subset(tmp_path)
    with pytest.raises(DataError, match=r"3 of the frames 5\.\.8 are missing, the first is 000006"):
        load(f"uav123:{tmp_path}")
    (tmp_path / "subset.json").write_text('[{"name": "car1_2"}]')
    with pytest.raises(DataError, match=r"subset\.json: not a list of sequences"):
        load(f"uav123:{tmp_path}")
    shutil.copytree(tmp_path / "anno/UAV123", tmp_path / "anno/UAV123_10fps")
    (tmp_path / "data_seq/UAV123_10fps").mkdir()
    with pytest.raises(ConfigError, match=r"holds UAV123 and UAV123_10fps; choose with .*variant=UAV123"):
        load(f"uav123:{tmp_path}")
    with pytest.raises(ConfigError, match="no variant 'x'"):
        load(f"uav123:{tmp_path},variant=x")


# DAC-SDC.

XML = "<annotation><object><name>0</name><bndbox>{}</bndbox></object></annotation>"
CORNERS = "<xmax>31</xmax><xmin>5</xmin><ymax>17</ymax><ymin>7</ymin>"


def test_dac_groups_unrelated_images_and_keeps_sequences(tmp_path: Path) -> None:
    for folder, count in (("images", 5), ("clips/boat", 3)):
        write_images(tmp_path / folder, [f"{i}.jpg" for i in range(count)])
        for i in range(count):
            (tmp_path / folder / f"{i}.xml").write_text(XML.format(CORNERS))
    clips = load(f"dac_sdc:{tmp_path},clip_length=2")
    assert [(c.name, len(c)) for c in clips] == [("boat", 3), ("images-000", 2), ("images-001", 2), ("images-002", 1)]
    assert clips[0].frames[0].boxes.tolist() == [[5, 7, 31, 17]]


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        (XML.format("<xmin>5</xmin>"), "object 1 has no bndbox with xmin, ymin, xmax, ymax"),
        (XML.format(CORNERS.replace("31", "wide")), "'wide'.*not four numbers"),
        ("<annotation>", "not readable as XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "declares a document type"),
        (None, r"0\.jpg: no annotation 0\.xml beside it"),
    ],
)
def test_dac_bad_annotations(tmp_path: Path, xml: str | None, text: str) -> None:
    write_images(tmp_path / "boat", ["0.jpg"])
    if xml is not None:
        (tmp_path / "boat/0.xml").write_text(xml)
    with pytest.raises(DataError, match=text):
        load(f"dac_sdc:{tmp_path}")


# Ultralytics YAML.


def yolo(root: Path, extra: str = "", names: str = "names: {0: cup, 1: hat}") -> Path:
    for split in ("train", "val"):
        write_images(root / "data/images" / split, ["1.jpg", "2.png"])
        (root / "data/labels" / split).mkdir(parents=True, exist_ok=True)
        (root / "data/labels" / split / "1.txt").write_text("1 0.5 0.5 0.25 0.5\n0 0 0 0.5 0 0.5 0.5 0.25 0.75\n")
    (root / "set.yaml").write_text(f"path: data\ntrain: images/train\nval: [images/val]\n{names}\n{extra}")
    return root / "set.yaml"


def test_yolo_yaml(tmp_path: Path) -> None:
    (clip,) = load(f"yolo:{yolo(tmp_path)}")
    assert (clip.name, clip.class_names) == ("images/train", ("cup", "hat"))
    assert clip.frames[0].boxes.tolist() == [[24, 12, 40, 36], [0, 0, 32, 36]]
    assert clip.frames[0].classes.tolist() == [1, 0]
    assert len(clip.frames[1].boxes) == 0
    assert [c.name for c in load(f"yolo:{yolo(tmp_path)},split=all")] == ["images/train", "images/val"]
    assert load(str(yolo(tmp_path)))[0].name == "images/train"


def test_yolo_lists_of_images(tmp_path: Path) -> None:
    file = yolo(tmp_path, names="names: [cup, hat]")
    (tmp_path / "data/lists").mkdir()
    (tmp_path / "data/lists/a.txt").write_text("./../images/val/1.jpg\nimages/train/2.png\n\n")
    file.write_text(file.read_text().replace("train: images/train", "train: lists/a.txt"))
    assert [(c.name, len(c)) for c in load(f"yolo:{file}")] == [("images/val", 1), ("images/train", 1)]


def test_yolo_download_is_never_run(tmp_path: Path) -> None:
    file = yolo(tmp_path, f"download: |\n  open({str(tmp_path / 'ran')!r}, 'w')\n")
    load(f"yolo:{file}")
    assert not (tmp_path / "ran").exists()
    file.write_text("train: !!python/object/apply:os.mkdir [x]\n")
    with pytest.raises(DataError, match="not readable as YAML"):
        load(f"yolo:{file}")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("train: images/train", "train: images/none", "train: .*none is neither a folder of images"),
        ("train: images/train", "train: labels", "train: no images in"),
        ("train: images/train", "test: images/train", "no 'train' part; it has val, test"),
        ("{0: cup, 1: hat}", "{0: cup, 2: hat}", r"names: has the numbers \[0, 2\]; expected 0\.\.1"),
        ("{0: cup, 1: hat}", "[cup]", r"1\.txt:1: class 1 is not a whole number below 1"),
        ("names: {0: cup, 1: hat}", "names: []", r"names: is \[\]; expected a list"),
        ("names: {0: cup, 1: hat}", "names: [a, b]\nnc: 3", "nc: 3 but names: has 2 entries"),
        ("path: data", "- path", "not readable as YAML"),
    ],
)
def test_yolo_yaml_errors(tmp_path: Path, old: str, new: str, text: str) -> None:
    file = yolo(tmp_path)
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises((DataError, ConfigError), match=text):
        load(f"yolo:{file}")


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("0 0.5 0.5 0.1", "4 numbers; expected class x y width height"),
        ("0 a 0.5 0.1 0.1", "is not numbers"),
        ("0 320 200 40 50", "320 is not a fraction of the image's size; divide"),
        ("0.5 0.5 0.5 0.1 0.1", "class 0.5 is not a whole number"),
        ("-1 0.5 0.5 0.1 0.1", "class -1 is not a whole number"),
        ("nan 0.5 0.5 0.1 0.1", "class nan is not a whole number"),
    ],
)
def test_label_file_errors_name_file_and_line(tmp_path: Path, row: str, text: str) -> None:
    write_images(tmp_path / "a", ["1.jpg"])
    (tmp_path / "a/1.txt").write_text(f"0 0.5 0.5 0.1 0.1\n{row}\n")
    with pytest.raises(DataError, match=rf"1\.txt:2: .*{text}"):
        load(f"folder:{tmp_path}/a")


def test_folder_skips_and_counts_nan_and_empty_boxes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path / "a", ["1.jpg"])
    (tmp_path / "a/1.txt").write_text("0 0.5 0.5 0.1 0.1\n0 nan 0.5 0.1 0.1\n0 0.5 0.5 0 0.1\n0 1.5 0.5 0.1 0.1\n")
    (clip,) = load(f"folder:{tmp_path}/a")
    assert len(clip.frames[0].boxes) == 1
    assert "a: skipped 3 boxes" in caplog.text


def test_folder_without_labels_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path / "a", ["1.jpg"])
    assert len(load(str(tmp_path / "a"))[0].frames[0].boxes) == 0
    assert "no label file" in caplog.text
    with pytest.raises(DataError, match="no images"):
        load(f"folder:{tmp_path}")


def test_folder_class_names(tmp_path: Path) -> None:
    write_images(tmp_path / "images", ["1.jpg"])
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/1.txt").write_text("2 0.5 0.5 0.5 0.5\n")
    assert load(f"folder:{tmp_path}")[0].class_names == ("class 0", "class 1", "class 2")
    (tmp_path / "classes.txt").write_text("cup\nhat\ncar\n")
    assert load(f"folder:{tmp_path}/images")[0].class_names == ("cup", "hat", "car")


# Specifications.


@pytest.mark.parametrize("spec", ["nope:somewhere", "nope"])
def test_unknown_kind_lists_the_known_ones(spec: str) -> None:
    with pytest.raises(
        ConfigError, match="unknown data set 'nope'; known: dac_sdc, folder, otb100, sample, uav123, yolo"
    ):
        load(spec)


def test_specification_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a path: otb100:PATH"):
        load("otb100")
    with pytest.raises(ConfigError, match="no option 'length'; known: clip_length, path"):
        load(f"dac_sdc:{tmp_path},length=3")
    with pytest.raises(DataError, match="no such folder; give a folder of images, or KIND:PATH"):
        load(f"{tmp_path}/missing")


def test_a_path_may_hold_commas_and_equal_signs(tmp_path: Path) -> None:
    write_images(tmp_path / "a,b=c", ["1.jpg"])
    assert load(f"folder:{tmp_path}/a,b=c")[0].name == "a,b=c"


PLUGIN = """
import dataclasses
import numpy as np
from rinr_flower.datasets import Dataset
from rinr_flower.frames import Clip, Frame

@dataclasses.dataclass(frozen=True)
class Grey(Dataset):
    path: str
    level: int = 7

    def clips(self, *, frames, seed, progress):
        return [Clip(self.path, (Frame(np.full((8, 8, 3), self.level, np.uint8)),))]
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
