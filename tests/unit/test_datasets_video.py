"""Video files: frames as an encoder got them, in any order, with labels by frame."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from image_folders import picture

from rinr_flower.datasets import Broken, deal, load, sources
from rinr_flower.datasets.video import VideoReader
from rinr_flower.errors import ConfigError, DataError

av = pytest.importorskip("av")

FRAMES = 12


def film(path: Path, frames: int = FRAMES, codec: str = "libx264") -> list[np.ndarray]:
    """Write a film whose frames are told apart by their brightness; what went in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [
        np.clip(np.asarray(picture(64, 48, seed=7)) // 2 + 10 * i, 0, 255).astype(np.uint8) for i in range(frames)
    ]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options={"crf": "10", "bf": "2"} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return images


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx")]
)
def test_frames_are_those_that_were_encoded(name: str, codec: str, tmp_path: Path) -> None:
    images = film(tmp_path / name, codec=codec)
    (clip,) = load(f"video:{tmp_path / name}")
    assert (clip.name, len(clip), clip.width, clip.height) == ("a", FRAMES, 64, 48)
    for shown, image in zip(clip.images(), images, strict=True):
        assert np.abs(shown.mean() - image.mean()) < 5
        assert np.abs(shown.astype(int) - image).mean() < 15


def test_any_frame_in_any_order(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4")
    reader = VideoReader(tmp_path / "a.mp4")
    whole = load(str(tmp_path / "a.mp4"))[0].images()
    for index in (7, 3, 4, 11, 0, 11):
        assert np.array_equal(reader.read(index), whole[index])
    assert np.array_equal(load(f"{tmp_path}/a.mp4", frames=slice(4, 6))[0].images(), whole[4:6])
    for kind in ("video:", ""):
        assert np.array_equal(load(f"{kind}{tmp_path}/a.mp4,every=5")[0].images(), whole[::5])
    shares = deal(sources(f"video:{tmp_path}/a.mp4"), 2, frames_per_clip=3, holdout=2)
    assert np.array_equal(shares[1].captures[0][0].images(), whole[6:9])


@pytest.mark.parametrize(
    ("matrix", "size"), [((0, 1, -1, 0), (48, 64)), ((-1, 0, 0, -1), (64, 48)), ((0, -1, 1, 0), (48, 64))]
)
def test_a_film_is_turned_as_opencv_turns_it(matrix: tuple[int, ...], size: tuple[int, int], tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    film(tmp_path / "a.mp4", 3)
    data = (tmp_path / "a.mp4").read_bytes()
    upright, turned = (
        struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
        for a, b, c, d in ((1, 0, 0, 1), matrix)
    )
    at = data.index(upright, data.index(b"tkhd"))
    (tmp_path / "a.mp4").write_bytes(data[:at] + turned + data[at + len(turned) :])
    (clip,) = load(f"{tmp_path}/a.mp4")
    assert (clip.width, clip.height) == size
    shown = cv2.VideoCapture(str(tmp_path / "a.mp4")).read()[1][..., ::-1]
    assert np.abs(clip.images()[0].astype(int) - shown).mean() < 6


def labels_of(spec: str) -> list[list[list[float]]]:
    return [frame.boxes.tolist() for frame in load(spec)[0].frames]


BOX = [16.0, 12.0, 48.0, 36.0]


def test_yolo_labels_by_frame(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a_1.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "labels/a_12.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    (tmp_path / "labels/other_3.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    expected = [[BOX], *[[]] * 10, [BOX]]
    assert labels_of(f"video:{tmp_path}/a.mp4") == expected, "as ultralytics writes them, beside the film"
    assert load(f"{tmp_path}/a.mp4")[0].class_names == ("class 0", "class 1")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert load(f"{tmp_path}/a.mp4")[0].class_names == ("cat", "dog")
    (tmp_path / "obj_train_data").mkdir()
    (tmp_path / "obj_train_data/frame_000000.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "obj_train_data/frame_000011.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    assert labels_of(f"video:{tmp_path}/a.mp4,labels={tmp_path}/obj_train_data") == expected, "as CVAT writes them"
    (tmp_path / "obj_train_data/frame_000012.txt").write_text("")
    with pytest.raises(DataError, match=r"frame_000012\.txt: labels of a frame that .*a\.mp4 does not have; it has 12"):
        load(f"video:{tmp_path}/a.mp4,labels={tmp_path}/obj_train_data")


@pytest.mark.parametrize(("numbers", "warned"), [((3, 5), True), ((3, 12), False), ((1, 5), False), ((0, 5), False)])
def test_a_guess_at_the_first_number_is_told(
    numbers: tuple[int, ...], warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    film(tmp_path / "a.mp4")
    (tmp_path / "a").mkdir()
    for number in numbers:
        (tmp_path / f"a/frame_{number:06d}.txt").write_text("")
    load(f"video:{tmp_path}/a.mp4")
    assert ("no label file has the number 0" in caplog.text) is warned


def test_frames_that_an_edit_list_cuts_off_do_not_count(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as whole, av.open(str(tmp_path / "b.mp4"), "w") as cut:
        stream = whole.streams.video[0]
        copy = cut.add_stream_from_template(stream)
        late = round(5 / stream.average_rate / stream.time_base)
        for packet in whole.demux(stream):
            if packet.dts is not None:
                packet.pts -= late
                packet.dts -= late
                packet.stream = copy
                cut.mux(packet)
    assert len(load(f"video:{tmp_path}/b.mp4")[0]) == FRAMES - 5


def test_labels_of_another_film_are_not_taken(tmp_path: Path) -> None:
    for name in ("a", "b"):
        film(tmp_path / f"{name}.mp4")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a_1.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    with pytest.raises(DataError, match=r"no label files of b\.mp4, expected b_1\.txt"):
        load(f"video:{tmp_path}/b.mp4")


def test_class_names_of_films(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 2)
    assert load(f"{tmp_path}/a.mp4")[0].class_names == ("object",)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/a_1.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "a/classes.txt").write_text("car\n")
    assert load(f"{tmp_path}/a.mp4")[0].class_names == ("car",)
    film(tmp_path / "0.mp4", 2)
    assert [clip.class_names for clip in load(f"video:{tmp_path}")] == [("car",)] * 2, "one of them is without labels"
    (tmp_path / "0").mkdir()
    (tmp_path / "0/0_1.txt").write_text("2 0.5 0.5 0.5 0.5\n")
    assert [clip.class_names for clip in load(f"video:{tmp_path}")] == [("car", "class 1", "class 2")] * 2
    (tmp_path / "0/classes.txt").write_text("car\nbus\nlorry\n")
    assert [clip.class_names for clip in load(f"video:{tmp_path}")] == [("car", "bus", "lorry")] * 2
    (tmp_path / "0/classes.txt").write_text("car\n\nlorry\n")
    with pytest.raises(DataError, match=r"classes\.txt:2: a blank line"):
        load(f"video:{tmp_path}")
    (tmp_path / "0/classes.txt").write_text("bus\ncar\nlorry\n")
    with pytest.raises(DataError, match=r"a\.mp4: its classes are car, and those of the videos before it are bus, car"):
        load(f"video:{tmp_path}")


def test_mot_labels_by_frame(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4")
    (tmp_path / "a.txt").write_text("1,1,17,13,32,24,1,1,1\n12,1,17,13,32,24,1,1,1\n")
    assert labels_of(f"video:{tmp_path}/a.mp4") == [[BOX], *[[]] * 10, [BOX]]
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        load(f"video:{tmp_path}/a.mp4,labels=nowhere")


def test_a_folder_of_films_is_as_many_sequences(tmp_path: Path) -> None:
    for name in ("2.mp4", "10.avi"):
        film(tmp_path / name, 3, "mpeg4")
    assert [(c.name, len(c)) for c in load(f"video:{tmp_path}")] == [("2", 3), ("10", 3)]


@pytest.mark.parametrize(("old", "new"), [(b"avc1", b"zzzz"), (b"Lavf", b"La\xfff")])
def test_a_film_with_altered_bytes_raises_nothing_but_a_data_error(old: bytes, new: bytes, tmp_path: Path) -> None:
    film(tmp_path / "a.mp4")
    data = (tmp_path / "a.mp4").read_bytes()
    assert old in data
    (tmp_path / "a.mp4").write_bytes(data.replace(old, new))
    if old == b"Lavf":
        assert len(load(f"{tmp_path}/a.mp4")[0]) == FRAMES
    else:
        with pytest.raises(DataError, match=r"a\.mp4: a video in a format"):
            load(f"{tmp_path}/a.mp4")


def test_what_is_no_film_is_named(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4")
    whole = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "c.mp4").write_text("no film")
    (tmp_path / "cut").mkdir()
    film(tmp_path / "cut/a.mkv")
    data = (tmp_path / "cut/a.mkv").read_bytes()
    (tmp_path / "cut/a.mkv").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(DataError, match=r"a\.mkv: no frame can be decoded; is it cut off\?"):
        load(f"video:{tmp_path}/cut/a.mkv")
    with pytest.raises(DataError, match="2 errors") as caught:
        load(f"video:{tmp_path}")
    for name in ("b.mp4: not readable as video", "c.mp4: not readable as video"):
        assert name in str(caught.value)
    with pytest.raises(DataError, match="d: no video here; expected a video file"):
        load(f"video:{tmp_path}/d")
    with pytest.raises(ConfigError, match="every=0 must be at least 1"):
        load(f"video:{tmp_path}/a.mp4,every=0")


@pytest.mark.parametrize(("frames", "good"), [(200, 150), (300, 150)])
def test_devices_get_whole_clips_of_a_film_whose_end_is_missing(frames: int, good: int, tmp_path: Path) -> None:
    """As a download that broke off leaves it: the container lists all frames, and the last bytes are zeros."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=10, options={"g": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(frames):
            image = np.full((48, 64, 3), 20 + 10 * (i % 20), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        start = packets[good].pos
    data = path.read_bytes()
    path.write_bytes(data[:start].ljust(len(data), b"\0"))
    assert len(VideoReader(path)) == frames
    broken = Broken(skip=True)
    shares = deal(sources(f"{path}", broken=broken), 3, frames_per_clip=16, holdout=16, rounds=2, broken=broken)
    for share in shares:
        assert [[len(clip) for clip in part] for part in (*share.captures, share.held_back)] == [[16]] * 3
    shown = [f.image.tobytes() for s in shares for part in (*s.captures, s.held_back) for c in part for f in c.frames]
    assert len(shown) == 144
    with pytest.raises(DataError, match="not enough frames"):
        deal(sources(f"{path}"), 4, frames_per_clip=16, holdout=16, rounds=2, broken=Broken(skip=True))
