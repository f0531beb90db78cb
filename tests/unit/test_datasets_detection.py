"""Pascal VOC, MOTChallenge and VisDrone in their published layouts, against readers written from their descriptions."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path
from xml.dom import minidom

import pytest
from image_folders import picture

from rinr_flower.datasets import Broken, load, sources
from rinr_flower.errors import ConfigError, DataError

OBJECT = (
    "<object><name>{}</name><pose>Left</pose><truncated>1</truncated><difficult>{}</difficult>"
    "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
    "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>"
)


def voc(root: Path, images: str = "JPEGImages", annotations: str = "Annotations", name: str = "dog") -> None:
    for folder in (images, annotations, "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for i in range(6):
        width, height = (64, 48) if i % 2 else (50, 37)
        picture(width, height, seed=i).save(root / images / f"2007_{i:06d}.jpg")
        objects = [OBJECT.format(name if k else "person", int(k == 2), 1 + k, 2, 31 + k, 33) for k in range(i % 4)]
        size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        text = f"<annotation><filename>2007_{i:06d}.jpg</filename>{size}{''.join(objects)}</annotation>"
        (root / annotations / f"2007_{i:06d}.xml").write_text(text)
    (root / "ImageSets/Main/train.txt").write_text("2007_000001\n2007_000003\n")
    (root / "ImageSets/Main/dog_train.txt").write_text("2007_000001 -1\n2007_000003  1\n")


def voc_reference(root: Path) -> dict[str, list[list[float]]]:
    """Boxes by stem with a parser of DOM; VOC's corners are 1-based and inside the box."""
    found = {}
    for path in sorted((root / "Annotations").glob("*.xml")):
        rows = []
        for item in minidom.parse(str(path)).getElementsByTagName("object"):
            if item.getElementsByTagName("difficult")[0].firstChild.data == "1":
                continue
            box = item.getElementsByTagName("bndbox")[0]
            x1, y1, x2, y2 = (
                float(box.getElementsByTagName(k)[0].firstChild.data) for k in ("xmin", "ymin", "xmax", "ymax")
            )
            rows.append([x1 - 1, y1 - 1, x2, y2])
        found[path.stem] = rows
    return found


def test_voc(tmp_path: Path) -> None:
    voc(tmp_path)
    (source,) = sources(f"voc:{tmp_path}")
    expected = voc_reference(tmp_path)
    assert {Path(s.name).stem: s.frame()[0].boxes.tolist() for s in source.shots} == expected
    assert sum(map(len, expected.values())) == 6
    assert not source.is_sequence
    assert [source.class_names[c] for c in source.shots[3].labels.classes] == ["person", "dog"]
    assert len(source.class_names) == 20
    assert sum(len(s.labels.boxes) for s in sources(f"voc:{tmp_path},difficult=true")[0].shots) == 7
    assert len(sources(f"voc:{tmp_path},split=train")[0]) == 2
    with pytest.raises(ConfigError, match="no split 'tests'; ImageSets/Main has train"):
        load(f"voc:{tmp_path},split=tests")
    (tmp_path / "ImageSets/Main/train.txt").write_text("2007_000001\n2007_00000x\n")
    with pytest.raises(DataError, match=r"train\.txt:2: no image 2007_00000x in"):
        load(f"voc:{tmp_path},split=train")


@pytest.mark.parametrize(("images", "annotations"), [("images", "annotations"), (".", "."), ("images", "images")])
def test_folders_of_labelling_tools(images: str, annotations: str, tmp_path: Path) -> None:
    voc(tmp_path, images, annotations, name="otter")
    (source,) = sources(f"voc:{tmp_path}")
    assert source.class_names == ("otter", "person")
    assert sum(len(s.labels.boxes) for s in source.shots) == 6
    if images != annotations:
        (tmp_path / annotations).rename(tmp_path / "xmls")
        (tmp_path / annotations).mkdir()
        (tmp_path / "xmls").rename(tmp_path / annotations / "xmls")
        assert sum(len(s.labels.boxes) for s in sources(f"voc:{tmp_path}")[0].shots) == 6
        (tmp_path / annotations / "old").mkdir()
        (tmp_path / annotations / "old/2007_000001.xml").write_text("<annotation/>")
        with pytest.raises(DataError, match=r"2007_000001\.xml is of the same image; delete one of them"):
            load(f"voc:{tmp_path}")


def test_voc_size_is_compared_with_the_picture(tmp_path: Path) -> None:
    voc(tmp_path)
    for number, width in ((1, "128"), (3, "0"), (5, "wide")):
        path = tmp_path / f"Annotations/2007_{number:06d}.xml"
        path.write_text(path.read_text().replace("<width>64<", f"<width>{width}<"))
    with pytest.raises(
        DataError, match=r"2007_000001\.jpg: it has 64x48 pixels, <size> in 2007_000001\.xml says 128x48"
    ):
        load(f"voc:{tmp_path}")
    assert len(sources(f"voc:{tmp_path}", broken=Broken(skip=True))[0]) == 5


def test_voc_files_of_any_case_and_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    voc(tmp_path)
    for path in (tmp_path / "Annotations").iterdir():
        path.rename(path.with_suffix(".XML"))
    assert sum(len(s.labels.boxes) for s in sources(f"voc:{tmp_path}")[0].shots) == 6
    assert not caplog.records
    for path in (tmp_path / "Annotations").iterdir():
        path.unlink()
    load(f"voc:{tmp_path}")
    assert "no XML file for any image in" in caplog.text


def test_voc_tells_of_images_in_subfolders(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    voc(tmp_path)
    (tmp_path / "JPEGImages").rename(tmp_path / "cam1")
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "cam1").rename(tmp_path / "JPEGImages/cam1")
    with pytest.raises(DataError, match=r"no images here; 6 images in subfolders are not read: give .*/cam1; expected"):
        load(f"voc:{tmp_path}")
    picture(50, 37).save(tmp_path / "JPEGImages/2007_000000.jpg")
    assert len(sources(f"voc:{tmp_path}")[0]) == 1
    assert "6 images in subfolders are not read: give" in caplog.text


def test_cdata_is_text_and_a_document_type_is_refused(tmp_path: Path) -> None:
    voc(tmp_path, name="<![CDATA[cat & dog]]>")
    assert sources(f"voc:{tmp_path}")[0].class_names == ("cat & dog", "person")
    (tmp_path / "Annotations/2007_000001.xml").write_text("<!DOCTYPE annotation><annotation/>")
    with pytest.raises(
        DataError, match=r"2007_000001\.xml: declares a document type .*delete the <!DOCTYPE \.\.\.> line"
    ):
        load(f"voc:{tmp_path}")


def test_voc_names_all_errors(tmp_path: Path) -> None:
    voc(tmp_path)
    (tmp_path / "Annotations/2007_000001.xml").write_text("<annotation>")
    (tmp_path / "Annotations/2007_000003.xml").write_text("<annotation><object><name>dog</name></object></annotation>")
    nameless = (tmp_path / "Annotations/2007_000002.xml").read_text().replace("<name>", "<name/><was>")
    (tmp_path / "Annotations/2007_000002.xml").write_text(nameless.replace("</name>", "</was>"))
    with pytest.raises(DataError, match="3 errors") as caught:
        load(f"voc:{tmp_path}")
    assert "2007_000002.xml: object 1 has no name" in str(caught.value)
    assert "2007_000001.xml: not readable as XML" in str(caught.value)
    assert "2007_000003.xml: object 1 has no bndbox" in str(caught.value)
    broken = Broken(skip=True)
    assert sum(map(len, load(f"voc:{tmp_path}", broken=broken))) == 3


GT = [(1, 1, 10, 5, 20, 30, 1, 1, 1.0), (1, 2, 40.5, 3, 9, 9, 0, 11, 0.4), (2, 1, 12, 5, 20, 30, 1, 1, 0.9)]


def mot(root: Path, name: str, rows: list[tuple[float, ...]] = GT, labels: str = "", info: str = "") -> Path:
    folder = root / name
    (folder / "img1").mkdir(parents=True)
    (folder / "gt").mkdir()
    for i in (1, 2, 3):
        picture(seed=i).save(folder / f"img1/{i:06d}.jpg")
    (folder / "gt/gt.txt").write_text("".join(",".join(f"{v:g}" for v in row) + "\n" for row in rows))
    (folder / "seqinfo.ini").write_text(
        info or f"[Sequence]\nname={name}\nimDir=img1\nframeRate=30\nseqLength=3\nimWidth=64\nimHeight=48\nimExt=.jpg\n"
    )
    if labels:
        (folder / "gt/labels.txt").write_text(labels)
    return folder


def test_mot(tmp_path: Path) -> None:
    mot(tmp_path / "train", "MOT17-02-FRCNN")
    mot(tmp_path / "train", "MOT17-04-FRCNN")
    found = load(f"mot:{tmp_path}")
    assert [(c.name, len(c), c.class_names) for c in found] == [
        ("MOT17-02-FRCNN", 3, ("pedestrian",)), ("MOT17-04-FRCNN", 3, ("pedestrian",)),
    ]  # fmt: skip
    expected: dict[int, list[list[float]]] = defaultdict(list)
    with (tmp_path / "train/MOT17-02-FRCNN/gt/gt.txt").open() as file:
        for frame, _, x, y, w, h, considered, *_ in csv.reader(file):
            if considered == "1":
                x1, y1 = float(x) - 1, float(y) - 1
                expected[int(frame)].append([x1, y1, x1 + float(w), y1 + float(h)])
    assert [f.boxes.tolist() for f in found[0].frames] == [expected[i] for i in (1, 2, 3)]
    assert [len(c) for c in load(f"mot:{tmp_path}/train/MOT17-04-FRCNN", frames=slice(1, 3))] == [2]


def test_mot_classes_of_labelling_tools(tmp_path: Path) -> None:
    mot(tmp_path, "a", [(1, 1, 10, 5, 20, 30, 1, 2, 1), (1, 2, 10, 5, 20, 30, 1, 1, 1)], labels="car\nbus\n")
    (clip,) = load(f"mot:{tmp_path}/a")
    assert clip.class_names == ("car", "bus")
    assert clip.frames[0].classes.tolist() == [1, 0]
    mot(tmp_path, "b", [(1, 1, 10, 5, 20, 30, 1, 1, 1), (1, 2, 10, 5, 20, 30, 1, 3, 1)], labels="bus\ncar\nvan\n")
    mot(tmp_path, "c", [(1, 1, 10, 5, 20, 30, 1, 1, 1)], labels="van\n\n")
    for name, classes in (("a", ["bus", "car"]), ("b", ["bus", "van"]), ("c", ["van"])):
        (clip,) = load(f"mot:{tmp_path}#{name}")
        assert clip.class_names == ("car", "bus", "van")
        assert [clip.class_names[c] for c in clip.frames[0].classes] == classes
    (tmp_path / "b/gt/labels.txt").unlink()
    with pytest.raises(DataError, match=r"b/gt/labels\.txt: no such file, and other sequences' differ; write one"):
        load(f"mot:{tmp_path}")
    (tmp_path / "c/gt/labels.txt").write_text("car\nbus\n")
    (tmp_path / "b/gt/gt.txt").write_text("1,1,10,5,20,30,1,2,1\n")
    assert load(f"mot:{tmp_path}#b")[0].frames[0].classes.tolist() == [1], "the others agree"
    (tmp_path / "c/gt/labels.txt").write_text("car\n\nbus\n")
    with pytest.raises(DataError, match=r"c/gt/labels\.txt:2: a blank line"):
        load(f"mot:{tmp_path}")


@pytest.mark.parametrize(
    ("names", "boxes"),
    [
        (["frame_000001", "frame_000002", "frame_000004", "frame_000005"], [1, 2, 4, 0]),
        (["frame_0", "frame_1", "frame_3"], [1, 2, 4]),
        (["a-101", "a-102", "a-103", "a-104"], [1, 2, 0, 4]),
        (["a1", "b1", "c", "d"], [1, 2, 0, 4]),
    ],
)
def test_mot_frames_by_the_numbers_of_their_names(names: list[str], boxes: list[int], tmp_path: Path) -> None:
    folder = mot(tmp_path, "a", [(n, 1, 10 + n, 5, 20, 30, 1, 1, 1) for n in (1, 2, 4)])
    (folder / "seqinfo.ini").unlink()
    for path in (folder / "img1").iterdir():
        path.unlink()
    for name in names:
        picture(seed=1).save(folder / f"img1/{name}.jpg")
    frames = load(f"mot:{tmp_path}")[0].frames
    assert [frame.boxes[0][0] - 9 if len(frame.boxes) else 0 for frame in frames] == boxes


@pytest.mark.parametrize(
    ("rows", "info", "text"),
    [
        ([(1, 1, 10, 5)], "", r"gt\.txt:1: '1,1,10,5'; expected frame, id, left, top, width, height"),
        ([(*GT[0],), (9, 1, 1, 1, 5, 5, 1, 1, 1)], "", r"gt\.txt:2: there is no frame 9; they are 1 to 3"),
        (GT, "[Sequence]\nname=a\nimDir=img1\nseqLength=4\n", r"seqinfo\.ini: seqLength=4, but .* holds 3 images"),
        (GT, "[Sequence]\nname=a\nimDir=../../x\nseqLength=3\n", r"seqinfo\.ini: imDir=../../x leads out of"),
        (GT, "name=a\n", r"seqinfo\.ini: expected \[Sequence\] with name"),
        (GT, "[Sequence]\nname=a\nimDir=none\n", "none: no images here"),
    ],
)
def test_mot_errors(rows: list[tuple[float, ...]], info: str, text: str, tmp_path: Path) -> None:
    mot(tmp_path, "a", rows, info=info)
    with pytest.raises(DataError, match=text):
        load(f"mot:{tmp_path}")


DET = "10,5,20,30,1,4,0,0\n0,0,64,10,0,0,0,0\n1,1,9,9,1,11,0,0\n30,8,12,13,1,10,0,1,\n"


def test_visdrone_images(tmp_path: Path) -> None:
    root = tmp_path / "VisDrone2019-DET-train"
    for folder in ("images", "annotations"):
        (root / folder).mkdir(parents=True)
    for i, size in enumerate([(64, 48), (48, 64)]):
        picture(*size, seed=i).save(root / f"images/{i:07d}_d.jpg")
        (root / f"annotations/{i:07d}_d.txt").write_text(DET)
    (source,) = sources(f"visdrone:{root}")
    frame = source.shots[0].frame()[0]
    assert frame.boxes.tolist() == [[10, 5, 30, 35], [30, 8, 42, 21]], "neither ignored regions nor others"
    assert [source.class_names[c] for c in frame.classes] == ["car", "motor"]
    assert not source.is_sequence
    (root / "annotations/0000001_d.txt").write_text("1,2,3\n")
    with pytest.raises(DataError, match=r"0000001_d\.txt:1: '1,2,3' is not 8 numbers: left, top"):
        load(f"visdrone:{root}")
    (root / "annotations/0000001_d.txt").unlink()
    with pytest.raises(DataError, match=r"0000001_d\.txt: no such annotation"):
        load(f"visdrone:{root}")


def test_visdrone_sequences(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    for name in ("uav0000013_00000_v", "uav0000126_00001_v"):
        folder = tmp_path / "sequences" / name
        folder.mkdir(parents=True)
        for i in (1, 2):
            picture(seed=i).save(folder / f"{i:07d}.jpg")
        rows = [(1, 0, 10, 5, 20, 30, 1, 1, 0, 0), (2, 0, 11, 5, 20, 30, 1, 6, 0, 0), (2, 1, 0, 0, 9, 9, 0, 0, 0, 0)]
        (tmp_path / f"annotations/{name}.txt").write_text("".join(",".join(map(str, r)) + "\n" for r in rows))
    clips = load(f"visdrone:{tmp_path}")
    assert [c.name for c in clips] == ["uav0000013_00000_v", "uav0000126_00001_v"]
    assert [f.boxes.tolist() for f in clips[0].frames] == [[[10, 5, 30, 35]], [[11, 5, 31, 35]]]
    assert [clips[0].class_names[f.classes[0]] for f in clips[0].frames] == ["pedestrian", "truck"]
    (tmp_path / "annotations/uav0000013_00000_v.txt").write_text("3,0,1,1,9,9,1,1,0,0\n")
    with pytest.raises(DataError, match=r"there is no frame 3; .*uav0000013_00000_v has 1 to 2"):
        load(f"visdrone:{tmp_path}")
    with pytest.raises(DataError, match="no images here; expected VisDrone-DET"):
        load(f"visdrone:{tmp_path}/sequences")
