"""The reader of OTB100: separators, absent objects, several objects, and errors that name file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_folders import write_images

from rinr_flower.datasets import load
from rinr_flower.errors import DataError


def otb(folder: Path, rows: str, frames: int = 3) -> Path:
    write_images(folder / "img", [f"{i:04d}.jpg" for i in range(1, frames + 1)])
    (folder / "groundtruth_rect.txt").write_text(rows)
    return folder


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


def test_corrupt_image_is_named(tmp_path: Path) -> None:
    folder = otb(tmp_path / "Seq", "1,1,5,5\n" * 3)
    whole = (folder / "img/0002.jpg").read_bytes()
    (folder / "img/0002.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"0002\.jpg: not a readable image"):
        load(f"otb100:{folder}")
    assert len(load(f"otb100:{folder}", frames=slice(0, 1))[0]) == 1, "files outside the chosen frames are not read"
