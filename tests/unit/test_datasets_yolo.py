"""Ultralytics' YAML files and folders of images with label files beside them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from image_folders import picture, write_images
from PIL import Image

from rinr_flower.datasets import load
from rinr_flower.errors import ConfigError, DataError


def yolo(root: Path, extra: str = "", names: str = "names: {0: cup, 1: hat}") -> Path:
    for split in ("train", "val"):
        write_images(root / "data/images" / split, ["1.jpg", "2.png"])
        (root / "data/labels" / split).mkdir(parents=True, exist_ok=True)
        (root / "data/labels" / split / "1.txt").write_text("1 0.5 0.5 0.25 0.5\n0 0.25 0.375 0.5 0.75\n")
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
    assert [(c.name, len(c)) for c in load(f"yolo:{file}")] == [("images/train", 1), ("images/val", 1)]


def test_an_image_that_is_listed_twice_is_read_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = yolo(tmp_path)
    (tmp_path / "data/a.txt").write_text("images/train/1.jpg\nimages/train/1.jpg\n")
    file.write_text(file.read_text().replace("[images/val]", "[images, a.txt]"))
    assert [(c.name, len(c)) for c in load(f"yolo:{file},split=all")] == [("images/train", 2), ("images/val", 2)]
    assert "set.yaml: 4 images are listed more than once" in caplog.text


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


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_texts_that_are_not_utf_8_are_refused_by_line_and_byte(tmp_path: Path, mark: bytes, end: str) -> None:
    file = yolo(tmp_path)
    text = file.read_text().replace("cup", "tasse à café")
    line = text[: text.index("à")].count("\n") + 1
    file.write_bytes(mark + text.replace("\n", end).encode("latin-1"))
    with pytest.raises(DataError, match=rf"{file.name}:{line}: not UTF-8 \(byte 0xe0\); save the file as UTF-8"):
        load(f"yolo:{file}")


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("0 0.5 0.5 0.1", "4 numbers; expected class x y width height"),
        ("0 0.5 0.5 0.1 0.1 0.9", "6 numbers; expected class x y width height"),
        ("0 0.5 nan 0.1 0.1", "nan is not a fraction"),
        ("0 -0.02 0.5 0.1 0.1", "-0.02 is not a fraction"),
        ("0 0.5 0.5 -0.1 0.1", "-0.1 is not a fraction"),
        ("0 0 0 0.5 0 0.5 0.5", "1: a box in a file of polygons"),
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
    with pytest.raises(DataError, match=rf"1\.txt:{text}" if text[0] == "1" else rf"1\.txt:2: .*{text}"):
        load(f"folder:{tmp_path}/a")


def test_folder_skips_and_counts_empty_boxes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path / "a", ["1.jpg"])
    (tmp_path / "a/1.txt").write_text("0 0.5 0.5 0.1 0.1\n0 0.5 0.5 0 0.1\n0 1.005 0.5 0.01 0.1\n")
    (clip,) = load(f"folder:{tmp_path}/a")
    assert len(clip.frames[0].boxes) == 1
    assert "a: skipped 2 boxes" in caplog.text


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
    (tmp_path / "classes.txt").write_text("cup\nhat\n \ncar\n")
    with pytest.raises(DataError, match=r"classes\.txt:3: a blank line; the lines are the names of the classes 0, 1"):
        load(f"folder:{tmp_path}")
    (tmp_path / "classes.txt").write_text("cup\nhat\ncar\n\n \n")
    assert load(f"folder:{tmp_path}")[0].class_names == ("cup", "hat", "car")


def test_folder_takes_no_labels_of_another_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def lay(labels: str, label: int) -> None:
        (tmp_path / labels).mkdir()
        (tmp_path / labels / "1.txt").write_text(f"{label} 0.5 0.5 0.5 0.5\n")

    def classes(folder: str) -> list[int]:
        return [c for frame in load(f"folder:{tmp_path}/{folder}")[0].frames for c in frame.classes.tolist()]

    for folder in ("train", "val"):
        write_images(tmp_path / folder, ["1.jpg", "2.jpg"])
    lay("train_labels", 1)
    assert classes("val") == []
    assert "no label file" in caplog.text
    (tmp_path / "train_labels").rename(tmp_path / "yolo_labels")
    assert classes("val") == [1], "the only one there"
    lay("val_labels", 2)
    (tmp_path / "yolo_labels/2.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    assert classes("val") == [2], "one place for all images"
    assert classes("train") == []
    lay("labels", 3)
    assert classes("val") == [3]


def test_folder_takes_the_labels_that_are_named_as_its_images(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "val")):
        write_images(tmp_path / f"{part}_images", ["1.jpg"])
        (tmp_path / f"{part}_labels").mkdir()
        (tmp_path / f"{part}_labels" / "1.txt").write_text(f"{number} 0.5 0.5 0.5 0.5\n")
    for number, part in enumerate(("train", "val")):
        assert load(f"folder:{tmp_path}/{part}_images")[0].frames[0].classes.tolist() == [number]
    shutil.rmtree(tmp_path / "val_labels")
    assert load(f"folder:{tmp_path}/val_images")[0].frames[0].classes.tolist() == [], "not those of train_images"


def test_folder_tells_of_images_in_subfolders(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for camera in range(4):
        write_images(tmp_path / f"cam{camera}", ["1.jpg"])
    with pytest.raises(
        DataError, match=r"4 images in subfolders .*: give .*cam0 or .*cam1 or .*cam2 \(and 1 more\); exp"
    ):
        load(f"folder:{tmp_path}")
    write_images(tmp_path, ["1.jpg"])
    assert len(load(f"folder:{tmp_path}")[0]) == 1
    assert "4 images in subfolders are not read: give" in caplog.text


@pytest.mark.parametrize("file", ["data.yaml", "train/_annotations.coco.json"])
def test_folder_names_the_file_that_describes_it(file: str, tmp_path: Path) -> None:
    write_images(tmp_path / "train", ["1.jpg"])
    (tmp_path / file).write_text("")
    with pytest.raises(DataError, match=f"give (yolo|coco):{tmp_path}/{file};"):
        load(f"folder:{tmp_path}")


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


def test_mixed_sizes_are_a_collection_in_groups_of_one_size(tmp_path: Path) -> None:
    write_images(tmp_path / "a", ["1.png", "10.png", "2.png"])
    write_images(tmp_path / "a", ["3.png"], width=32)
    clips = load(f"folder:{tmp_path}/a")
    assert [(c.name, len(c), c.width) for c in clips] == [("a-000", 3, 64), ("a-001", 1, 32)]
    assert np.array_equal(clips[0].frames[2].image, np.asarray(picture(seed=1))), "10.png comes after 2.png"


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1"])
def test_every_image_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    suffix = "jpg" if mode == "CMYK" else "png"
    write_images(tmp_path / "a", [f"1.{suffix}"], mode=mode)
    assert load(f"folder:{tmp_path}/a")[0].images().shape == (1, 48, 64, 3)
