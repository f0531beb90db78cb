"""Ultralytics YAMLs: what is read is what ultralytics' own ``check_det_dataset`` and ``YOLODataset`` read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_folders import picture
from PIL import Image

from rinr_flower.datasets import Broken, load, sources
from rinr_flower.errors import DataError

BOX = "0 0.5 0.5 0.4 0.4\n"
Files = dict[str, str | bytes | int]
"""Contents by path: text, bytes, or an image of so many pixels' width; a text that begins with -> is a link."""


def lay(root: Path, files: Files) -> None:
    for number, (name, content) in enumerate(files.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, int):
            picture(content, seed=number).save(path)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        elif content.startswith("->"):
            path.symlink_to(content[2:])
        else:
            path.write_text(content.replace("HERE", str(root)))


def of_ultralytics(file: Path, split: str) -> dict[str, list[list[float]]]:
    """Rows class, x1, y1, x2, y2 in pixels by image, sorted, as ultralytics reads them."""
    from rinr_flower.detection.engine import ultralytics

    check = ultralytics("data.utils").check_det_dataset
    data = check(str(file), autodownload=False)
    made = ultralytics("data.dataset").YOLODataset(data[split], data=data, task="detect", augment=False, imgsz=64)
    found: dict[str, list[list[float]]] = {}
    for label in made.labels:
        height, width = label["shape"]
        x, y, w, h = (label["bboxes"] * [width, height, width, height]).T
        rows = np.stack([label["cls"][:, 0], x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1)
        found[os.path.realpath(label["im_file"])] = sorted(rows.tolist())
    return found


def of_ours(file: Path, split: str, broken: Broken | None = None) -> dict[str, list[list[float]]]:
    found: dict[str, list[list[float]]] = {}
    for source in sources(f"yolo:{file},split={split}", broken=broken):
        for shot in source.shots:
            frame, _ = shot.frame()
            assert frame.image.shape[1::-1] == shot.size
            rows = np.concatenate([frame.classes[:, None], frame.boxes], axis=1)
            found[os.path.realpath(shot.name)] = sorted(rows.astype(float).tolist())
    return found


ROBOFLOW: Files = {
    "data.yaml": "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\nnames: ['a', 'b']\n",
    **{f"{part}/images/im{i}_jpg.rf.0a{i}.jpg": 64 for part in ("train", "valid", "test") for i in range(2)},
    **{f"{part}/labels/im{i}_jpg.rf.0a{i}.txt": BOX for part in ("train", "valid", "test") for i in range(2)},
}
ONE: Files = {"images/a.jpg": 64, "labels/a.txt": BOX}
PARTS = "train: images\nval: images\n"
SETS: dict[str, Files] = {
    "roboflow": ROBOFLOW,
    "roboflow with the folder beside": {
        "set/data.yaml": "train: ../images\nval: ../images\nnames: [a]\n", "images/a.jpg": 64, "labels/a.txt": BOX,
    },
    "absolute paths": {"x/data.yaml": "path: HERE\ntrain: HERE/images\nval: [HERE/images]\nnames: [a]\n", **ONE},
    "elsewhere": {"x/data.yaml": "train: HERE/images\nval: HERE/images\nnames: [a]\n", **ONE},
    "lists of folders": {
        "data.yaml": "train: [images/x, images/y]\nval: images\nnames: [a]\n",
        "images/x/a.jpg": 64, "images/y/b.jpg": 48, "labels/x/a.txt": BOX, "labels/y/b.txt": BOX,
    },
    "lists of images": {
        "data.yaml": "train: [train.txt, more.txt]\nval: train.txt\nnames: [a]\n", **ONE,
        "train.txt": "\ufeff./images/a.jpg\n\nnotes.md\n", "more.txt": "HERE/images/b.png\n", "images/b.png": 32,
    },
    "quoted numbers": {"data.yaml": f"{PARTS}nc: '2'\nnames: {{'0': a, '1': 2}}\n", **ONE},
    "only a number": {"data.yaml": f"{PARTS}nc: 2.0\n", **ONE},
    "validation": {"data.yaml": "train: images\nvalidation: images\nnames: [a]\n", **ONE},
    "byte order mark": {
        "data.yaml": f"{PARTS}names: [a]\n", "images/a.jpg": 64, "labels/a.txt": b"\xef\xbb\xbf" + BOX.encode(),
    },
    "pose of two numbers": {
        "data.yaml": f"{PARTS}kpt_shape: [12, 2]\nnames: [a]\n", "images/a.jpg": 64,
        "labels/a.txt": "0 0.5 0.5 0.8 0.6" + " 0.45 0.48" * 12,
    },
    "pose of three numbers": {
        "data.yaml": f"{PARTS}kpt_shape: [17, 3]\nnames: [a]\n", "images/a.jpg": 64,
        "labels/a.txt": "0 0.5 0.5 0.8 0.6" + " 0.45 0.48 2" * 17,
    },
    "boxes in a pose set": {"data.yaml": f"{PARTS}kpt_shape: [17, 3]\nnames: [a]\n", **ONE},
    "segments": {
        "data.yaml": f"{PARTS}names: [a, b]\n", "images/a.jpg": 64,
        "labels/a.txt": "0 0.1 0.1 0.5 0.1 0.5 0.9\n1 0.2 0.2 0.3 0.2 0.3 0.4 0.2 0.4\n0 0.1 0.1 0.1 0.9 0.5 0.9\n",
    },
    "duplicate rows": {"data.yaml": f"{PARTS}names: [a]\n", "images/a.jpg": 64, "labels/a.txt": BOX * 3},
    "duplicate segments": {
        "data.yaml": f"{PARTS}names: [a]\n", "images/a.jpg": 64, "labels/a.txt": "0 0.1 0.1 0.5 0.1 0.5 0.9\n" * 2,
    },
    "hidden files": {
        "data.yaml": f"{PARTS}names: [a]\n", **ONE, "images/._a.jpg": b"\0\5\x16\7Mac", "images/.thumbs/b.jpg": 64,
    },
    "links": {
        "data.yaml": "train: images/train\nval: images/train\nnames: [a]\n",
        "images/train/a.jpg": 64, "pool/seq2/b.jpg": 64, "pool/d.jpg": 64, "images/train/seq2": "->../../pool/seq2",
        "images/train/c.jpg": "->../../pool/d.jpg",
        **{f"labels/train/{name}.txt": BOX for name in ("a", "c", "seq2/b")},
    },
    "a linked image in a list": {
        "data.yaml": "train: train.txt\nval: train.txt\nnames: [a]\n", "train.txt": "./images/c.jpg\n",
        "pool/d.jpg": 64, "images/c.jpg": "->../pool/d.jpg", "labels/c.txt": BOX,
    },
    "two folders called images": {
        "data.yaml": "train: images/images\nval: images/images\nnames: [a]\n",
        "images/images/a.jpg": 64, "images/labels/a.txt": BOX, "labels/images/a.txt": "0 0.5 0.5 0.1 0.1\n",
    },
    "no folder called images": {"data.yaml": "train: p\nval: p\nnames: [a]\n", "p/a.jpg": 64, "p/a.txt": BOX},
    "several sizes and formats": {
        "data.yaml": f"{PARTS}names: [a]\n", "images/a.jpg": 64, "images/b.avif": 48, "images/c.png": 32,
        "images/d.webp": 80, "images/e.tif": 96, "images/f.bmp": 40, "images/g.jp2": 56,
        **{f"labels/{name}.txt": BOX for name in "abcdefg"},
    },
    "a hundredth outside": {
        "data.yaml": f"{PARTS}names: [a]\n", "images/a.jpg": 64, "labels/a.txt": "0 1.005 0.5 0.2 0.2\n",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_a_data_set_is_read_as_ultralytics_reads_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, SETS[name])
    file = next(tmp_path.rglob("data.yaml"))
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val", "test"):
        if f"\n{split}:" in "\n" + file.read_text().replace("validation:", "val:"):
            expected, found = of_ultralytics(file, split), of_ours(file, split)
            assert found.keys() == expected.keys()
            for image, rows in expected.items():
                limit = [9.0, *Image.open(image).size * 2]
                clipped = np.clip(np.array(rows).reshape(-1, 5), 0, limit)
                np.testing.assert_allclose(np.array(found[image]).reshape(-1, 5), clipped, atol=1e-3)


LABELS = [
    BOX, "", "0 0.5 0.5 0.1", "0 0.5 0.5 0.1 0.1 0.9", "0 a 0.5 0.1 0.1", "0 320 200 40 50", "0.5 0.5 0.5 0.1 0.1",
    "-1 0.5 0.5 0.1 0.1", "9 0.5 0.5 0.1 0.1", "nan 0.5 0.5 0.1 0.1", "0 nan 0.5 0.1 0.1", "0 1.02 0.5 0.1 0.1",
    "0 1.01 0.5 0.1 0.1", "0 -0.01 0.5 0.1 0.1", "0 -0.02 0.5 0.1 0.1", "0 0.5 0.5 -0.005 0.1", "0 0.5 0.5 0 0.1",
    "0 0 0 0.5 0 0.5 0.5\n0 0.5 0.5 0.1 0.1", "0 0 0 0.5 0 0.5", "0 0 0 0.5 0 0.5 0.5 0.3", "0 0.5 0.5 0.1 0.1,",
    "0 0 0 2 0 2 2", "0 -0.005 0 0.5 0 0.5 0.5", "1e0 .5 5e-1 .1 .1", "0 0.5 0.5 inf 0.1",
]  # fmt: skip


def test_a_label_file_is_refused_where_ultralytics_leaves_the_image_out(tmp_path: Path) -> None:
    lay(
        tmp_path,
        {"data.yaml": "train: images\nval: images\nnames: [a, b]\n", "images/ok.jpg": 64, "labels/ok.txt": BOX},
    )
    for number, text in enumerate(LABELS):
        lay(tmp_path, {f"images/{number}.jpg": 64, f"labels/{number}.txt": text})
    broken = Broken(skip=True)
    found, expected = of_ours(tmp_path / "data.yaml", "train", broken), of_ultralytics(tmp_path / "data.yaml", "train")
    stems = {Path(image).stem for image in expected}
    assert {Path(image).stem for image in found} == stems
    assert len(broken.names) == len(LABELS) + 1 - len(stems) > 10
    with pytest.raises(DataError, match=rf"^{len(broken.reasons)} errors; mend these, or leave them out") as caught:
        of_ours(tmp_path / "data.yaml", "train")
    assert all(reason in str(caught.value) for reason in broken.reasons)


REFUSED = {
    "names and nc": "names: [a]\nnc: 2\n",
    "nc is no number": "nc: two\n",
    "nc is a fraction": "nc: 1.5\n",
    "no names": "",
    "numbers with a gap": "names: {0: a, 2: b}\n",
    "names is a word": "names: a\n",
    "no class": "names: []\n",
    "path is a number": "names: [a]\npath: 3\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_ultralytics_refuses_is_refused(name: str, tmp_path: Path) -> None:
    lay(tmp_path, {"data.yaml": f"{PARTS}{REFUSED[name]}", **ONE})
    with pytest.raises(DataError, match=r"data\.yaml: "):
        load(f"yolo:{tmp_path}/data.yaml")
    with pytest.raises((SyntaxError, TypeError, KeyError, FileNotFoundError)):
        of_ultralytics(tmp_path / "data.yaml", "train")


def test_a_relative_path_is_looked_for_where_ultralytics_keeps_its_data_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path, {"kept/coco8/images/a.jpg": 64, "kept/coco8/labels/a.txt": BOX})
    lay(tmp_path, {"x/data.yaml": f"path: coco8\n{PARTS}names: [a]\n"})
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    with pytest.raises(DataError, match=r"path: coco8 is no folder; tried .*x/coco8"):
        load(f"{tmp_path}/x/data.yaml")
    (tmp_path / "settings.json").write_text(f'{{"datasets_dir": "{tmp_path}/kept"}}')
    assert [len(f.boxes) for f in load(f"{tmp_path}/x/data.yaml")[0].frames] == [1]
    monkeypatch.chdir(tmp_path / "kept")
    (tmp_path / "settings.json").write_text("{}")
    assert len(load(f"{tmp_path}/x/data.yaml")) == 1


ONE_CLIP: list[tuple[str, Callable[[Path], str]]] = [
    ("part by path", lambda root: f"yolo:{root}/data.yaml/test"),
    ("part by option", lambda root: f"yolo:{root}/data.yaml,split=test"),
    ("clip by number", lambda root: f"yolo:{root}/data.yaml/all#3"),
    ("clip by name", lambda root: f"yolo:{root}/data.yaml,split=all#test/images"),
    ("the folder", lambda root: f"yolo:{root}/test"),
]


@pytest.mark.parametrize(("what", "spec"), ONE_CLIP)
def test_a_specification_names_one_of_several_clips(what: str, spec: Callable[[Path], Any], tmp_path: Path) -> None:
    lay(tmp_path, ROBOFLOW)
    lay(tmp_path, {"test/data.yaml": "train: images\nnames: [a, b]\n"})
    (clip,) = load(spec(tmp_path))
    assert clip.frames[0].file == (tmp_path / "test/images/im0_jpg.rf.0a0.jpg").read_bytes()
    with pytest.raises(DataError, match=r"has no clip '4'; it has 1 to 3 \(train/images, valid/images, test/images\)"):
        load(f"yolo:{tmp_path}/data.yaml/all#4")


@pytest.mark.parametrize("part", ["", ",split=test", "/test", "/test#1", ",split=all#3", ",split=all#test/images"])
def test_a_folder_may_have_the_sign_of_a_clip_in_its_name(part: str, tmp_path: Path) -> None:
    lay(tmp_path / "h#1", ROBOFLOW)
    assert len(load(f"yolo:{tmp_path}/h#1/data.yaml{part}")) == 1
