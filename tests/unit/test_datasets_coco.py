"""COCO files: frames and boxes as pycocotools reads them, and errors that name what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from image_folders import picture
from pycocotools.coco import COCO

from rinr_flower.datasets import Broken, load, sources
from rinr_flower.errors import DataError


def coco_set(folder: Path, file: str = "annotations/instances_val2017.json", images: str = "val2017") -> Path:
    """The published layout: ids with gaps, crowds, images without objects, several sizes."""
    (folder / images).mkdir(parents=True, exist_ok=True)
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {
        "info": {"year": 2017},
        "licenses": [],
        "categories": [
            {"id": 18, "name": "dog", "supercategory": "animal"},
            {"id": 1, "name": "person", "supercategory": "person"},
            {"id": 3, "name": "car", "supercategory": "vehicle"},
        ],
        "images": [],
        "annotations": [],
    }
    for i in range(7):
        width, height = (64, 48) if i % 2 else (40, 56)
        picture(width, height, seed=i).save(folder / images / f"{i:012d}.jpg")
        content["images"].append({"id": 1000 - i, "file_name": f"{i:012d}.jpg", "width": width, "height": height})
        for k in range(i % 4):
            content["annotations"].append(
                {
                    "id": 10 * i + k, "image_id": 1000 - i, "category_id": (1, 3, 18)[k % 3], "iscrowd": int(k == 2),
                    "bbox": [2.5 + k, 3.25, 20.5, 30 - k], "area": 600, "segmentation": [],
                }
            )  # fmt: skip
    (folder / file).write_text(json.dumps(content))
    return folder / file


LAYOUTS = [
    ("annotations/instances_val2017.json", "val2017"),
    ("annotations/instances_val2017.json", "images/val2017"),
    ("train/_annotations.coco.json", "train"),
    ("annotations.json", "images"),
    ("annotations/person_keypoints.json", "images"),
    ("result.json", "."),
]


@pytest.mark.parametrize(("file", "images"), LAYOUTS)
def test_coco_is_read_as_pycocotools_reads_it(file: str, images: str, tmp_path: Path) -> None:
    path = coco_set(tmp_path, file, images)
    (source,) = sources(str(path))
    assert source.class_names == ("person", "car", "dog"), "in the order of their ids"
    assert not source.is_sequence
    reference = COCO(str(path))
    assert len(source) == len(reference.imgs) == 7
    total = 0
    for shot in source.shots:
        frame, _ = shot.frame()
        entry = next(i for i in reference.imgs.values() if i["file_name"] == Path(shot.name).name)
        assert (frame.width, frame.height) == (entry["width"], entry["height"])
        rows = reference.loadAnns(reference.getAnnIds(imgIds=entry["id"], iscrowd=False))
        total += len(rows)
        assert frame.boxes.tolist() == [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in rows)]
        names = [source.class_names[c] for c in frame.classes]
        assert names == [reference.cats[a["category_id"]]["name"] for a in rows]
    assert total == len(reference.getAnnIds(iscrowd=False)) > 5


def test_videos_are_sequences(tmp_path: Path) -> None:
    path = coco_set(tmp_path)
    content = json.loads(path.read_text())
    content["videos"] = [{"id": 4, "name": "street"}, {"id": 5, "name": "yard"}]
    for place, image in enumerate(content["images"]):
        image |= {"video_id": 4 + place % 2, "frame_id": 10 - place}
    path.write_text(json.dumps(content))
    found = sources(f"coco:{path}")
    assert [(s.name, len(s), s.is_sequence) for s in found] == [("street", 4, True), ("yard", 3, True)]
    assert [Path(shot.name).stem[-1] for shot in found[0].shots] == ["6", "4", "2", "0"]
    assert [clip.name for clip in load(f"coco:{path}#yard")] == ["yard"]


@pytest.mark.parametrize("value", [None, "x", [1], {"a": 1}, float("nan")])
def test_the_place_of_an_image_in_its_video_is_a_number(value: Any, tmp_path: Path) -> None:
    path = coco_set(tmp_path)
    content = json.loads(path.read_text()) | {"videos": None}
    for place, image in enumerate(content["images"]):
        image |= {"video_id": 4, "frame_id": place}
    path.write_text(json.dumps(content))
    assert [source.name for source in sources(f"coco:{path}")] == ["4"]
    content["images"][1]["frame_id"] = value
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"frame_id of the images of video 4 are \[0, .*expected numbers"):
        load(f"coco:{path}")


def test_images_may_lie_anywhere_that_the_user_says(tmp_path: Path) -> None:
    path = coco_set(tmp_path / "a", images="far/away")
    with pytest.raises(DataError, match=r"no 000000000000\.jpg in .*images=FOLDER"):
        load(f"coco:{path}")
    assert len(sources(f"coco:{path},images={tmp_path}/a/far/away")[0]) == 7
    with pytest.raises(DataError, match=r"a/far: no such folder; expected the images of instances_val2017\.json"):
        load(f"coco:{path},images=a/far")


def change(path: Path, **values: Any) -> None:
    content = json.loads(path.read_text())
    for key, value in values.items():
        if isinstance(value, dict):
            content[key][0] |= value
        else:
            content[key] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"annotations": {"bbox": [1, 2, 3]}}, r"annotation 10 of image 999: bbox is \[1, 2, 3\]; expected \[x, y"),
        ({"annotations": {"bbox": "none"}}, "annotation 10 of image 999: bbox is none"),
        ({"annotations": {"category_id": 99}}, "annotation 10 of image 999: category_id 99 is not in categories"),
        ({"annotations": {"image_id": 5}}, r"1 images have annotations but are not listed: \[5\]"),
        ({"annotations": None}, "no list annotations; expected COCO annotations"),
        ({"images": []}, "it lists no images"),
        ({"images": {"file_name": 3}}, "images: each has an id and a file_name"),
        ({"images": {"file_name": "../val2017/../../secret.jpg"}}, "image 1000 is .*leads out of the images' folder"),
        ({"images": {"file_name": "/etc/secret.jpg"}}, "image 1000 is /etc/secret.jpg, which leads out"),
        ({"categories": [{"id": 1}]}, "categories: each has an id and a name"),
        ({"categories": {"id": float("inf")}}, "categories: each has an id and a name"),
        ({"images": {"id": [1]}}, "images: each has an id and a file_name"),
        ({"images": {"file_name": "x" * 5000}}, "cannot be read: File name too long"),
        ({"images": {"video_id": [1]}}, r"image 1000: video_id is \[1\]; expected a number or a text"),
        ({"annotations": {"image_id": [1]}}, "an annotation whose image_id is missing or no number or text"),
        ({"annotations": {"category_id": [1]}}, r"annotation 10 of image 999: category_id \[1\] is not in categories"),
        ({"annotations": {"bbox": [10**400, 1, 1, 1]}}, "annotation 10 of image 999: bbox is"),
        ({"images": {"id": 999}}, r"image id 999 is listed twice \(0+\.jpg, 0+1\.jpg\); number the images anew"),
        ({"images": {"file_name": "000000000001.jpg"}}, r"0+1\.jpg is listed as image 1000 and as image 999; list it"),
        ({"categories": {"id": 1}}, r"category id 1 is listed twice \(dog, person\)"),
        ({"annotations": {"bbox": [], "segmentation": {"counts": ""}}}, "bbox is None; .*or polygons in segmentation"),
        ({"videos": 3}, "videos is 3; expected a list of objects"),
        ({"videos": [3]}, r"videos is \[3\]; expected a list of objects"),
        ({"videos": [{"id": [1]}]}, "expected a list of objects, each with an id and a name"),
    ],
)
def test_errors_name_the_annotation(values: dict[str, Any], text: str, tmp_path: Path) -> None:
    path = coco_set(tmp_path)
    change(path, **values)
    with pytest.raises(DataError, match=text) as caught:
        load(f"coco:{path}")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        ((128, 96), r"0+1\.jpg: it has 64x48 pixels, .*\.json \(image 999\) says 128x96: .* of another size; export"),
        ((48, 64), "says 48x64: the boxes were drawn on the picture before its EXIF rotation"),
        ((0, 96), ""),
        ((None, 96), ""),
        (("wide", 96), ""),
    ],
)
def test_boxes_of_a_picture_of_another_size_are_refused(size: tuple[Any, Any], text: str, tmp_path: Path) -> None:
    path = coco_set(tmp_path)
    content = json.loads(path.read_text())
    content["images"][1] |= {"width": size[0], "height": size[1]}
    path.write_text(json.dumps(content))
    broken = Broken(skip=True)
    assert len(sources(f"coco:{path}", broken=broken)[0]) == (6 if text else 7)
    if text:
        with pytest.raises(DataError, match=text):
            load(f"coco:{path}")
    content["annotations"] = [item for item in content["annotations"] if item["image_id"] != content["images"][1]["id"]]
    path.write_text(json.dumps(content))
    assert len(sources(f"coco:{path}")[0]) == 7, "a picture without boxes"


def test_what_other_tools_write_is_read_too(tmp_path: Path) -> None:
    path = coco_set(tmp_path)
    before = load(f"coco:{path}")
    content = json.loads(path.read_text())
    for category in content["categories"]:
        category["id"] = str(category["id"])
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation |= {"bbox": [], "segmentation": [[x, y, x + width, y, x, y + height]]}
    for image in content["images"]:
        image["file_name"] = f"val2017\\{image['file_name']}"
    path.write_text(json.dumps(content))
    for clip, other in zip(load(f"coco:{path}"), before, strict=True):
        assert [f.boxes.tolist() for f in clip.frames] == [f.boxes.tolist() for f in other.frames]
        assert [f.classes.tolist() for f in clip.frames] == [f.classes.tolist() for f in other.frames]
    for annotation in content["annotations"]:
        annotation["category_id"] = str(annotation["category_id"])
    path.write_text(json.dumps(content))
    assert len(load(f"coco:{path}")) == len(before)


def test_the_folder_of_the_split_comes_before_images(tmp_path: Path) -> None:
    path = coco_set(tmp_path, "annotations/instances_val.json", "val")
    (tmp_path / "images").mkdir()
    picture(64, 48, seed=9).save(tmp_path / "images/000000000001.jpg")
    picture(40, 56, seed=9).save(tmp_path / "images/000000000000.jpg")
    assert {Path(shot.name).parent for shot in sources(f"coco:{path}")[0].shots} == {tmp_path / "val"}


def test_images_that_all_lead_out_are_told_with_the_reason(tmp_path: Path) -> None:
    path = coco_set(tmp_path)
    content = json.loads(path.read_text())
    content["images"] = [image | {"file_name": f"../val2017/{image['file_name']}"} for image in content["images"]]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"7 errors[^$]*leads out of .*; write file_name relative .*images=FOLDER"):
        load(f"coco:{path}")


def test_what_is_no_json_is_named(tmp_path: Path) -> None:
    for text in ("{", "[" * 100_000, "[1]", "\x00"):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(DataError, match=r"a\.json: (not readable as JSON|no list images)"):
            load(f"coco:{tmp_path}/a.json")
    with pytest.raises(DataError, match=r"b\.json: no such file; expected COCO annotations"):
        load(f"coco:{tmp_path}/b.json")
