"""Two layers of stills with key frames: what is sent, and what the other frames borrow from them."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.data import astronaut

from rinr_flower.alignment.detail import borrow_detail
from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import unpack_blobs
from rinr_flower.codecs import codecs, decode
from rinr_flower.errors import ConfigError
from rinr_flower.frames import Clip, Frame, write_jpeg
from rinr_flower.quality import measure, psnr_db

NONE = np.zeros((0, 4), np.float32)
HEIGHT, WIDTH = 160, 200


def view(x: int, y: int = 0) -> np.ndarray:
    """What a camera sees that has moved so far."""
    return np.ascontiguousarray(astronaut()[100 + y : 100 + y + HEIGHT, 100 + x : 100 + x + WIDTH])


def moving_clip(frames: int = 8) -> Clip:
    """A camera that moves by two pixels a frame, and a box with a picture of its own that moves the other way."""
    found = []
    for k in range(frames):
        image, x = view(2 * k, k), 60 - 3 * k
        image[60:100, x : x + 30] = astronaut()[300:340, 20:50]
        found.append(Frame(image, np.array([[x, 60, x + 30, 100]], np.float32), np.zeros(1, np.int64)))
    return Clip("moving", tuple(found))


def files_of(payload: bytes, clip: Clip) -> tuple[list[bytes], list[bytes]]:
    parsed = Payload.from_bytes(payload)
    boxes = sum(len(frame.boxes) for frame in clip.frames)
    return (
        unpack_blobs(parsed.part("background"), len(clip), "files"),
        unpack_blobs(parsed.part("object"), boxes, "crops"),
    )


@pytest.mark.parametrize("name", ["roi_jpeg", "roi_avif"])
def test_other_frames_look_better_for_a_key_frame(name):
    clip = moving_clip()
    plain, keyed = (codecs.create(name, quality=40, coarse_reduce=2, key_every=k).encode(clip) for k in (0, 8))
    before, after = decode(plain), decode(keyed)
    for number in range(len(clip)):
        gain = [
            measure(clip[number : number + 1], decoded[number : number + 1]).background_db
            for decoded in (before, after)
        ]
        assert gain[1] > gain[0] + 2
    assert measure(clip, after).object_db > measure(clip, before).object_db - 0.5


def test_a_key_frame_is_the_file_alone_and_others_are_as_before():
    clip = moving_clip()
    codec = codecs.create("roi_jpeg", box_quality=80, key_every=8)
    (files, crops), (plain, boxes) = (files_of(c.encode(clip), clip) for c in (codec, codecs.create("roi_jpeg")))
    assert files[4] == write_jpeg(clip.frames[4].image, 80)
    assert [bool(crop) for crop in crops] == [k != 4 for k in range(8)]
    assert files[:4] + files[5:] == plain[:4] + plain[5:]
    assert len(boxes) == len(crops)
    keyed = decode(codec.encode(clip))
    alone = decode(codecs.create("jpeg", quality=80).encode(clip))
    assert (keyed.frames[4].image == alone.frames[4].image).all()


def test_scenes_and_long_runs_have_a_key_frame_each_and_short_ones_none():
    still = Frame(view(0), NONE, np.zeros(0, np.int64))
    other = Frame(np.ascontiguousarray(astronaut()[300:460, 250:450]), NONE, np.zeros(0, np.int64))
    for count, cut, keys in ((10, 6, {2, 5, 8}), (9, 5, {2, 7}), (20, 20, {2, 6, 10, 14, 18}), (4, 1, {2})):
        clip = Clip("cut", tuple([still] * cut + [other] * (count - cut)))
        payload = codecs.create("roi_jpeg", key_every=4).encode(clip)
        sizes = [len(file) for file in files_of(payload, clip)[0]]
        coarse = min(sizes)
        found = {k for k, size in enumerate(sizes) if size > 2 * coarse}
        assert found == keys, (count, cut)


def test_nothing_is_borrowed_from_another_scene_or_from_what_has_changed():
    coarse = [view(0), view(0), np.ascontiguousarray(astronaut()[300:460, 250:450])]
    key = view(0)
    coarse[1][40:80, 40:80] = 255 - coarse[1][40:80, 40:80]  # something that the key frame does not show
    found = borrow_detail(coarse, {0: key}, [NONE] * 3)
    assert (found[0] == key).all()
    assert (found[2] == coarse[2]).all()
    inside = (found[1][48:72, 48:72].astype(float) - coarse[1][48:72, 48:72]) ** 2
    assert psnr_db(float(inside.mean())) > 40


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (8, 40), (31, 33)])
def test_small_frames_are_no_error(size):
    images = np.random.default_rng(0).integers(0, 255, (4, *size, 3), np.uint8)
    clip = Clip("small", tuple(Frame(image, NONE, np.zeros(0, np.int64)) for image in images))
    payload = codecs.create("roi_jpeg", key_every=2).encode(clip)
    assert decode(payload).images().shape == images.shape


@pytest.mark.parametrize("options", [{"coarse_reduce": 1}, {"coarse_every": 2}])
def test_key_frames_need_other_frames_that_are_smaller(options):
    with pytest.raises(ConfigError, match="key_every 4 needs a coarse_reduce above 1"):
        codecs.create("roi_jpeg", key_every=4, **options)


def test_every_frame_whole_is_another_codec():
    with pytest.raises(ConfigError, match="take jpeg or avif"):
        codecs.create("roi_avif", key_every=1, coarse_reduce=2)
