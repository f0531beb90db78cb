"""Pictures as people's folders hold them: depths, formats, rotations, links, hidden and broken files."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import pytest
from image_folders import picture, write_images
from PIL import Image

from rinr_flower.codecs import codecs, decode
from rinr_flower.datasets import Broken, load, sources
from rinr_flower.errors import DataError
from rinr_flower.frames import read_image

RAMP = np.linspace(0, 0xFFFF, 64 * 48).reshape(48, 64)


def pgm(values: np.ndarray, highest: int) -> bytes:
    return b"P5\n64 48\n%d\n" % highest + values.astype(">u2").tobytes()


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


DEEP = {
    "grey.png": saved(Image.fromarray(RAMP.astype(np.uint16)), "PNG"),
    "grey.tif": saved(Image.fromarray(RAMP.astype(np.uint16)), "TIFF"),
    "big-endian.tif": saved(Image.frombytes("I;16B", (64, 48), RAMP.astype(">u2").tobytes()), "TIFF"),
    "grey.pgm": pgm(RAMP, 0xFFFF),
    "twelve-bit.pgm": pgm(RAMP / 16, 0xFFF),
    "float.tif": saved(Image.fromarray((RAMP / 0xFFFF).astype(np.float32)), "TIFF"),
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_pictures_are_scaled_to_eight_bits(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(DEEP[name])
    (clip,) = load(f"folder:{tmp_path}")
    assert np.abs(clip.images()[0].astype(float) - RAMP[..., None] / 257).max() <= 1.5
    shown = decode(codecs.create("webp", quality=95).encode(clip)).images()[0]
    assert np.abs(shown.astype(float) - RAMP[..., None] / 257).mean() < 3


@pytest.mark.parametrize("name", ["grey.png", "grey.tif", "grey.pgm"])
def test_sixteen_bits_are_cut_as_opencv_cuts_them(name: str, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    (tmp_path / name).write_bytes(DEEP[name])
    ours = read_image(DEEP[name], name=name)
    assert np.array_equal(ours, cv2.imread(str(tmp_path / name), cv2.IMREAD_COLOR)[..., ::-1])


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((RAMP / 100).astype(np.float32), "values from 0 to 655.35, and nothing says which of them is white"),
        ((RAMP - 5).astype(np.float32) / 0xFFFF, "values from -7.6"),
        (np.full((48, 64), np.nan, np.float32), "values from nan to nan"),
        ((RAMP * 100).astype(np.int32), "values from 0 to 6.5535e"),
    ],
)
def test_a_picture_of_unknown_range_is_an_error(values: np.ndarray, text: str, tmp_path: Path) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=rf"a\.tif: {text}"):
        load(f"folder:{tmp_path}")


SUFFIXES = ["jpg", "jpeg", "avif", "png", "webp", "jp2", "tif", "tiff", "bmp", "pgm", "ppm", "mpo", "JPG"]


def test_whatever_pillow_reads_is_read_and_the_rest_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number, suffix in enumerate(SUFFIXES):
        options = {"append_images": [picture(seed=99)], "save_all": True} if suffix == "mpo" else {}
        picture(seed=number).save(tmp_path / f"{number}.{suffix}", **options)
    for name in ("a.heic", "b.heic", "c.gif", "notes.txt", "d.csv"):
        (tmp_path / name).write_bytes(b"?")
    (clip,) = load(f"folder:{tmp_path}")
    assert len(clip) == len(SUFFIXES)
    first = np.asarray(picture(seed=SUFFIXES.index("mpo"))).astype(int)
    assert np.abs(clip.frames[SUFFIXES.index("mpo")].image - first).mean() < 6
    for text in ("files left out: 2 *.heic", "files left out: 1 *.gif"):
        assert text in caplog.text
    assert ".csv" not in caplog.text


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_exif_orientation(orientation: int, suffix: str, tmp_path: Path) -> None:
    """0 and 9 are in no standard: upright, and a JPEG keeps its file."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(64, 48).save(tmp_path / f"a.{suffix}", exif=exif)
    turned = 2 <= orientation <= 8
    (source,) = sources(f"folder:{tmp_path}")
    frame, _ = source.shots[0].frame()
    assert source.shots[0].size == (frame.width, frame.height) == ((48, 64) if orientation in range(5, 9) else (64, 48))
    assert bool(frame.file) == (suffix == "jpg" and not turned)


@pytest.mark.parametrize("place", ["a", "a/images"])
def test_files_that_are_left_out_are_told_once(place: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path / place, ["1.png"])
    (tmp_path / place / "2.gif").touch()
    assert len(load(f"folder:{tmp_path}/a")[0]) == 1
    assert caplog.text.count("files left out: 1 *.gif") == 1


def test_hidden_files_are_no_data(tmp_path: Path) -> None:
    write_images(tmp_path / "Toy/img", ["0001.jpg", "0002.jpg"])
    (tmp_path / "Toy/img/._0001.jpg").write_bytes(b"\0\5\26\7 Mac OS X")
    (tmp_path / "Toy/groundtruth_rect.txt").write_text("5,5,9,9\n5,5,9,9\n")
    (tmp_path / "Toy/._groundtruth_rect.txt").write_bytes(b"\0")
    (tmp_path / "._Toy").write_bytes(b"\0")
    (tmp_path / "__MACOSX").mkdir()
    (clip,) = load(f"otb100:{tmp_path}")
    assert len(clip) == 2
    assert len(load(f"folder:{tmp_path}/Toy/img")[0]) == 2


def test_a_link_that_leads_nowhere_is_a_broken_file(tmp_path: Path) -> None:
    write_images(tmp_path, ["a.jpg"])
    (tmp_path / "b.jpg").symlink_to("gone.jpg")
    with pytest.raises(DataError, match=r"b\.jpg: not a readable image: No such file or directory"):
        load(f"folder:{tmp_path}")
    broken = Broken(skip=True)
    assert len(load(f"folder:{tmp_path}", broken=broken)[0]) == 1
    assert broken.names == {str(tmp_path / "b.jpg")}


def test_a_link_back_to_a_folder_above_is_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path / "images/x", ["a.jpg"])
    (tmp_path / "images/x/up").symlink_to("..")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [a]\n")
    assert [len(clip) for clip in load(f"{tmp_path}/data.yaml")] == [1]
    assert "leads back to a folder above it and is not followed" in caplog.text


def test_all_errors_are_told_at_once_or_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path, [f"{i}.jpg" for i in range(6)])
    whole = (tmp_path / "1.jpg").read_bytes()
    (tmp_path / "1.jpg").write_bytes(whole[:-200])  # found when it is decoded
    (tmp_path / "2.jpg").write_bytes(b"no image")
    (tmp_path / "3.txt").write_text("0 0.5 0.5\n")
    with pytest.raises(DataError, match=r"^2 errors; mend these, or leave them out") as caught:
        load(f"folder:{tmp_path}")
    for name in ("2.jpg: ", "3.txt:1: "):
        assert name in str(caught.value)
    assert "BytesIO" not in str(caught.value)
    broken = Broken(skip=True)
    with caplog.at_level(logging.WARNING):
        assert len(load(f"folder:{tmp_path}", broken=broken)[0]) == 3
    assert len(broken.reasons) == 3
    assert all(reason in caplog.text for reason in broken.reasons)
    for i in range(6):
        (tmp_path / f"{i}.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match="no picture is left"):
        load(f"folder:{tmp_path}", broken=Broken(skip=True))


def test_only_what_is_asked_for_is_decoded(tmp_path: Path) -> None:
    write_images(tmp_path, ["0.jpg", "1.jpg"])
    (tmp_path / "1.jpg").write_bytes((tmp_path / "1.jpg").read_bytes()[:-200])
    assert len(sources(f"folder:{tmp_path}")[0]) == 2, "headers are whole"
    assert len(load(f"folder:{tmp_path}", frames=slice(0, 1))[0]) == 1
