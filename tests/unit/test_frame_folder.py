"""A running camera's folder: what is taken in which round, through broken files, restarts and changes."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import unpack_blobs
from rinr_flower.clients import FrameFolder
from rinr_flower.clients.frame_folder import CameraFrames
from rinr_flower.clients.own_frames import OwnClip
from rinr_flower.codecs import codecs, decode
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.frames import Clip, Frame, read_image, write_jpeg


def put(folder: Path, *numbers: int, size: tuple[int, int] = (24, 32), label: str | None = "0 0.5 0.5 0.5 0.5") -> None:
    """Add frames as a camera would: the label file first, the image by renaming."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        image = np.random.default_rng(number).integers(0, 255, (*size, 3), np.uint8)
        if label is not None:
            (folder / f"{number}.txt").write_text(label)
        (folder / "new").write_bytes(write_jpeg(image, 80))
        os.replace(folder / "new", folder / f"{number}.jpg")


def frames(tmp_path: Path, **options: int) -> CameraFrames:
    """The folder as a process that has just started finds it."""
    return FrameFolder(tmp_path / "yard", "camera-1", **options).in_job(tmp_path / "memory")


def files(clips: list[OwnClip]) -> list[list[bytes]]:
    return [[frame.file for frame in _clip(clip).frames] for clip in clips]


def _clip(own: OwnClip) -> Clip:
    """The clip with the camera's files that the payload carries."""
    payload = Payload.from_bytes(own.data)
    blobs = unpack_blobs(payload.part("background"), len(payload), "clip")
    shown = decode(own.data)
    frames = tuple(Frame(f.image, f.boxes, f.classes, b) for f, b in zip(shown.frames, blobs, strict=True))
    return Clip(own.name, frames, payload.class_names)


def on_disk(tmp_path: Path, *numbers: int) -> list[bytes]:
    return [(tmp_path / "yard" / f"{number}.jpg").read_bytes() for number in numbers]


def test_new_files_are_the_next_rounds_capture(tmp_path: Path) -> None:
    put(tmp_path / "yard", 1, 2, 10)
    assert files(frames(tmp_path).captures(1)) == [on_disk(tmp_path, 1, 2, 10)]
    assert frames(tmp_path).captures(2) == []
    put(tmp_path / "yard", 11, 3)
    clips = frames(tmp_path).captures(3)
    assert files(clips) == [on_disk(tmp_path, 3, 11)], "in natural order, after an empty round"
    assert [clip.name for clip in clips] == ["yard 2"]
    own = _clip(clips[0])
    assert own.class_names == ("object",)
    assert np.array_equal(own.frames[0].boxes, [[8, 6, 24, 18]])
    assert clips[0].camera_bytes == sum(map(len, on_disk(tmp_path, 3, 11)))
    assert files(frames(tmp_path).captured_until(3)) == [on_disk(tmp_path, 1, 2, 10), on_disk(tmp_path, 3, 11)]


def test_a_repeated_question_gets_the_same_answer_whatever_came_since(tmp_path: Path) -> None:
    put(tmp_path / "yard", 1, 2)
    first = [clip.data for clip in frames(tmp_path).captures(1)]
    put(tmp_path / "yard", 0, 3)
    assert [clip.data for clip in frames(tmp_path).captures(1)] == first
    assert files(frames(tmp_path).captures(2)) == [on_disk(tmp_path, 0, 3)]
    put(tmp_path / "yard", 4)
    assert frames(tmp_path).captures(1)[0].data == first[0]
    assert files(frames(tmp_path).captured_until(1)) == [on_disk(tmp_path, 1, 2)], "later rounds do not count"


def test_a_round_that_was_not_attended_takes_nothing_afterwards(tmp_path: Path) -> None:
    put(tmp_path / "yard", 1)
    assert len(frames(tmp_path).captures(2)) == 1
    put(tmp_path / "yard", 2)
    assert frames(tmp_path).captures(1) == []
    assert files(frames(tmp_path).captures(3)) == [on_disk(tmp_path, 2)]


def test_training_without_a_question_for_captures_takes_the_rounds_files(tmp_path: Path) -> None:
    put(tmp_path / "yard", 1)
    assert files(frames(tmp_path).captured_until(1)) == [on_disk(tmp_path, 1)]
    put(tmp_path / "yard", 2)
    assert files(frames(tmp_path).captured_until(2)) == [on_disk(tmp_path, 1), on_disk(tmp_path, 2)]
    assert len(frames(tmp_path).captured_until(2)) == 2


def test_files_that_come_after_an_empty_answer_are_the_next_rounds(tmp_path: Path) -> None:
    """A device uploads every file that it trains on: what its round's answer left out waits."""
    put(tmp_path / "yard")
    assert frames(tmp_path).captures(1) == []
    put(tmp_path / "yard", 1)
    assert frames(tmp_path).captured_until(1) == []
    assert files(frames(tmp_path).captures(2)) == [on_disk(tmp_path, 1)]
    assert files(frames(tmp_path).captured_until(2)) == [on_disk(tmp_path, 1)]


def test_clips_are_bounded_and_the_rest_waits(tmp_path: Path) -> None:
    put(tmp_path / "yard", *range(9))
    assert files(frames(tmp_path, frames_per_clip=4).captures(1)) == [on_disk(tmp_path, 0, 1, 2, 3)]
    clips = frames(tmp_path, frames_per_clip=3, clips_per_round=5).captures(2)
    assert files(clips) == [on_disk(tmp_path, 4, 5, 6), on_disk(tmp_path, 7, 8)]
    assert [clip.name for clip in clips] == ["yard 2", "yard 3"]


def test_frames_of_another_size_are_a_clip_of_their_own(tmp_path: Path) -> None:
    put(tmp_path / "yard", 1, 3, 5, 7)
    put(tmp_path / "yard", 2, 4, size=(40, 48))
    clips = frames(tmp_path, frames_per_clip=4).captures(1)
    assert files(clips) == [on_disk(tmp_path, 1, 3), on_disk(tmp_path, 2, 4)]
    assert [clip.name for clip in clips] == ["yard 1", "yard 2"]
    assert files(frames(tmp_path).captures(2)) == [on_disk(tmp_path, 5, 7)]
    assert files(frames(tmp_path, held_back=3).held_back()) == [on_disk(tmp_path, 1, 3), on_disk(tmp_path, 2)]


def test_each_job_takes_all_files_anew(tmp_path: Path) -> None:
    put(tmp_path / "yard", 1)
    folder = FrameFolder(tmp_path / "yard", "camera-1")
    assert files(folder.in_job(tmp_path / "a").captures(1)) == files(folder.in_job(tmp_path / "b").captures(1))


def test_broken_files_are_skipped_counted_and_named_and_may_be_made_good(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path / "yard", *range(1, 7))
    yard = tmp_path / "yard"
    whole = (yard / "2.jpg").read_bytes()
    (yard / "2.jpg").write_bytes(whole[: len(whole) // 2])
    (yard / "3.jpg").write_bytes(b"")
    (yard / "4.jpg").write_bytes(b"%!PS this is no image")
    (yard / "5.txt").write_text("0 0.5 nan-sense")
    (yard / "6.txt").write_text("7 0.5 0.5 0.5 0.5")
    Image.new("CMYK", (32, 24)).save(yard / "7.jpg")
    Image.new("L", (32, 24)).save(yard / "8.png")
    with caplog.at_level(logging.WARNING, "flwr.rinr_flower"):
        (clip,) = frames(tmp_path).captures(1)
    assert len(Payload.from_bytes(clip.data)) == 3, "the whole one, the CMYK one and the grey one"
    for name in ("2.jpg", "3.jpg", "4.jpg", "5.txt:1", "6.txt:1"):
        assert str(yard / name) in caplog.text
    assert "5 of 8 files are broken" in caplog.text
    (yard / "2.jpg").write_bytes(whole)
    assert files(frames(tmp_path).captures(2)) == [[whole]]


def test_boxes_that_are_no_boxes_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path / "yard", 1, label="0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0 0\n0 0.3 0.5 0.01 0.5")
    with caplog.at_level(logging.WARNING, "flwr.rinr_flower"):
        (clip,) = frames(tmp_path).captures(1)
    assert np.array_equal(_clip(clip).frames[0].boxes, [[8, 6, 24, 18]])
    assert "2 boxes" in caplog.text


def test_frames_that_were_deleted_or_altered_since_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path / "yard", 1, 2, 3, 4)
    frames(tmp_path).captures(1)
    (tmp_path / "yard" / "1.jpg").unlink()
    (tmp_path / "yard" / "2.txt").write_text("0 0.5 0.5 0.25 0.25")
    with caplog.at_level(logging.WARNING, "flwr.rinr_flower"):
        assert files(frames(tmp_path).captures(1)) == [on_disk(tmp_path, 3, 4)]
    assert "2 of the 4 frames of round 1 are not there any more as they were" in caplog.text
    put(tmp_path / "yard", 5)
    assert files(frames(tmp_path).captures(2)) == [on_disk(tmp_path, 5)], "an altered file is not new"


@pytest.mark.parametrize("damage", [b"", b"{}", b"x" * 64 + b"\n[]"])
def test_a_damaged_record_is_named_and_its_frames_count_as_new(
    damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path / "yard", 1)
    frames(tmp_path).captures(1)
    record = tmp_path / "memory" / "000001.json"
    record.write_bytes(damage)
    with caplog.at_level(logging.WARNING, "flwr.rinr_flower"):
        assert frames(tmp_path).captures(1) == []
    assert f"{record} is torn or altered" in caplog.text
    assert files(frames(tmp_path).captures(2)) == [on_disk(tmp_path, 1)]


def test_a_subfolder_is_held_back(tmp_path: Path) -> None:
    put(tmp_path / "yard", 1)
    put(tmp_path / "yard" / "held-back", 2, 3)
    assert files(frames(tmp_path).captures(1)) == [on_disk(tmp_path, 1)]
    (clip,) = frames(tmp_path).held_back()
    assert files([clip]) == [[(tmp_path / "yard" / "held-back" / f"{n}.jpg").read_bytes() for n in (2, 3)]]
    assert len(_clip(clip).frames[0].boxes) == 1


def test_the_first_files_are_held_back_and_stay_so(tmp_path: Path) -> None:
    put(tmp_path / "yard", 1, 2, 3)
    assert files(frames(tmp_path, held_back=2).captures(1)) == [on_disk(tmp_path, 3)]
    put(tmp_path / "yard", 0)
    assert files(frames(tmp_path, held_back=2).held_back()) == [on_disk(tmp_path, 1, 2)]
    assert files(frames(tmp_path, held_back=2).captures(2)) == [on_disk(tmp_path, 0)]


def test_class_names_are_those_of_the_folder(tmp_path: Path) -> None:
    put(tmp_path / "yard", 1, label="1 0.5 0.5 0.5 0.5")
    (tmp_path / "yard" / "classes.txt").write_text("cup\nball\n")
    (clip,) = frames(tmp_path).captures(1)
    own = _clip(clip)
    assert own.class_names == ("cup", "ball")
    assert own.frames[0].classes.tolist() == [1]


def test_frames_held_back_have_the_classes_of_the_folder(tmp_path: Path) -> None:
    put(tmp_path / "yard", 1)
    put(tmp_path / "yard" / "held-back", 2, label="1 0.5 0.5 0.5 0.5")
    (tmp_path / "yard" / "classes.txt").write_text("car\nbus\n")
    own = tmp_path / "yard" / "held-back" / "classes.txt"
    for names in ("bus\ncar\n", "car\nbus\nvan\n"):
        own.write_text(names)
        with pytest.raises(DataError, match=r"held-back lists the classes .*, and .*yard car, bus; .* delete"):
            frames(tmp_path).held_back()
    own.write_text("car\nbus\n")
    (same,) = frames(tmp_path).held_back()
    own.unlink()
    (clip,) = frames(tmp_path).held_back()
    assert _clip(clip).class_names == _clip(same).class_names == ("car", "bus")
    assert _clip(clip).frames[0].classes.tolist() == [1]


def test_labels_may_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    put(tmp_path / "yard", 1)
    (tmp_path / "yard" / "labels").mkdir()
    (tmp_path / "yard" / "1.txt").rename(tmp_path / "yard" / "labels" / "1.txt")
    (clip,) = frames(tmp_path).captures(1)
    assert len(_clip(clip).frames[0].boxes) == 1


def test_all_labels_are_in_one_place(tmp_path: Path) -> None:
    yard, labels = tmp_path / "yard", tmp_path / "yard" / "labels"
    put(yard, 1, 2)
    put(yard, 3, 4, label=None)
    put(yard, 5, size=(40, 48), label=None)
    put(yard / "held-back", 1, 9, label=None)
    labels.mkdir()
    for number in (1, 2, 3, 4, 5, 9):
        (labels / f"{number}.txt").write_text("0 0.1 0.1 0.1 0.1")

    def boxes(clips: list[OwnClip]) -> list[list[int]]:
        return [[len(frame.boxes) for frame in _clip(clip).frames] for clip in clips]

    for _ in range(2):
        assert boxes(frames(tmp_path, frames_per_clip=2).captures(1)) == [[1, 1]]
        assert boxes(frames(tmp_path, frames_per_clip=3).captures(2)) == [[0, 0], [0]], "those of labels/ are others"
        assert boxes(frames(tmp_path).held_back()) == [[0, 0]]
        assert boxes(frames(tmp_path, held_back=3).held_back()) == [[1, 1, 0]]
    for number in (1, 2):
        (yard / f"{number}.txt").unlink()
    assert boxes(frames(tmp_path).held_back()) == [[0, 1]], "labels/ is the place now; number 1 there is the camera's"
    put(yard, 6, label=None)
    (labels / "6.txt").write_text("0 0.1 0.1 0.1 0.1")
    for _ in range(2):
        assert boxes(frames(tmp_path).captures(3)) == [[1]]
        (yard / "6.txt").write_text("0 0.5 0.5 0.5 0.5")  # another place from now on


def test_a_rotated_picture_is_upright(tmp_path: Path) -> None:
    put(tmp_path / "yard", 1)
    path = tmp_path / "yard" / "1.jpg"
    turned = Image.Exif()
    turned[0x0112] = 6
    with Image.open(path) as picture:
        picture.save(path, exif=turned)
    (clip,) = frames(tmp_path).captures(1)
    payload = Payload.from_bytes(clip.data)
    assert (payload.width, payload.height) == (24, 32)
    shown, wanted = decode(clip.data).images()[0], read_image(path.read_bytes(), name="turned")
    assert np.abs(shown.astype(int) - wanted).mean() < 12, "encoded once more, because the file itself lies"


def test_a_folder_without_frames_captures_nothing_and_cannot_be_evaluated_on(tmp_path: Path) -> None:
    (tmp_path / "yard").mkdir()
    assert frames(tmp_path).captures(1) == []
    for held_back in (0, 2):
        with pytest.raises(DataError, match="no frames to evaluate on"):
            frames(tmp_path, held_back=held_back).held_back()


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="yard: no such folder"):
        frames(tmp_path)
    (tmp_path / "yard").mkdir()
    for options in ({"held_back": -1}, {"frames_per_clip": 0}, {"frames_per_clip": 10**6}, {"clips_per_round": 0}):
        with pytest.raises(ConfigError, match=next(iter(options)).replace("held_back", "held back")):
            frames(tmp_path, **options)


def test_a_clip_is_what_the_jpeg_codec_makes_of_the_cameras_files(tmp_path: Path) -> None:
    put(tmp_path / "yard", 1, 2)
    (clip,) = frames(tmp_path).captures(1)
    assert clip.data == codecs.create("jpeg").encode(_clip(clip))
