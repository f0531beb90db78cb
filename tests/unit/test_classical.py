"""Still-image codecs, alone and in two layers (coarse frame, fine crops)."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import pack_blobs, unpack_blobs
from rinr_flower.codecs import codecs, decode
from rinr_flower.codecs.roi import MARGIN_PX, still_windows
from rinr_flower.errors import ConfigError, PayloadError
from rinr_flower.frames import Clip, Frame, box_mask, write_jpeg
from rinr_flower.quality import measure

BOXES = [
    [[40.0, 30.0, 61.5, 55.25], [0.0, 0.0, 9.0, 12.0]],  # inside, and in the corner
    [[80.03, 70.0, 101.0, 81.0]],  # cut by the frame's far corner; an edge that the container rounds
    [],
    [[20.0, 20.0, 50.0, 50.0], [35.0, 35.0, 60.0, 60.0]],  # overlapping
]


def picture(width: int, height: int, x: int = 0) -> np.ndarray:
    return np.ascontiguousarray(astronaut()[100 : 100 + height, 100 + x : 100 + x + width])


def make_clip(width: int = 101, height: int = 81) -> Clip:
    frames = []
    for index, rows in enumerate(BOXES):
        boxes = np.array(rows, np.float32).reshape(-1, 4)
        frames.append(Frame(picture(width, height, index), boxes, np.zeros(len(boxes), np.int64)))
    return Clip("stills", tuple(frames))


@pytest.mark.parametrize(
    ("name", "options", "kind", "pillow"),
    [
        ("jpeg", {"quality": 30}, "JPEG", {"quality": 30, "optimize": True}),
        ("webp", {"quality": 30, "method": 4}, "WEBP", {"quality": 30, "method": 4}),
        ("avif", {"quality": 30, "speed": 8}, "AVIF", {"quality": 30, "speed": 8, "max_threads": 1}),
    ],
)
def test_payload_holds_the_files_that_pillow_writes(name, options, kind, pillow):
    clip = make_clip()
    payload = Payload.from_bytes(codecs.create(name, **options).encode(clip))
    files = unpack_blobs(payload.part("background"), len(clip), "files")
    decoded = decode(payload.to_bytes())
    for frame, file, after in zip(clip.frames, files, decoded.frames, strict=True):
        buffer = io.BytesIO()
        Image.fromarray(frame.image).save(buffer, kind, **pillow)
        assert file == buffer.getvalue()
        assert (after.image == np.asarray(Image.open(buffer).convert("RGB"))).all()


@pytest.mark.parametrize(("name", "low", "high"), [("webp", 10, 90), ("avif", 10, 90), ("jpeg", 10, 90)])
def test_more_quality_costs_bytes_and_gains_psnr(name, low, high):
    clip = make_clip()
    coarse, fine = (codecs.create(name, quality=q).encode(clip) for q in (low, high))
    assert len(fine) > 1.5 * len(coarse)
    assert measure(clip, decode(fine)).frame_db > measure(clip, decode(coarse)).frame_db + 4


def test_windows_cover_their_boxes_with_a_margin_and_stay_inside():
    windows = still_windows([np.array(r, np.float32).reshape(-1, 4) for r in BOXES], 101, 81)
    assert windows == [
        [(38, 28, 64, 58), (0, 0, 11, 14)],
        [(78, 68, 101, 81)],
        [],
        [(18, 18, 52, 52), (33, 33, 62, 62)],
    ]
    outside = np.array([[200, 10, 220, 30], [-50, -50, -20, -20]], np.float32)
    assert still_windows([outside], 101, 81) == [[]]
    assert MARGIN_PX == 2, "the margin is part of the format"


@pytest.mark.parametrize("reduction", [1, 2, 3, 8])
def test_crops_are_pasted_exactly_over_the_coarse_frame(reduction):
    clip = make_clip()
    codec = codecs.create("roi_jpeg", quality=10, box_quality=90, coarse_reduce=reduction)
    decoded = decode(codec.encode(clip))
    windows = still_windows([f.boxes for f in clip.frames], clip.width, clip.height)
    for frame, here, after in zip(clip.frames, windows, decoded.frames, strict=True):
        coarse = write_jpeg(np.asarray(Image.fromarray(frame.image).reduce(reduction)), 10)
        box = (0, 0, clip.width / reduction, clip.height / reduction)
        whole = Image.open(io.BytesIO(coarse)).convert("RGB").resize((clip.width, clip.height), box=box)
        expected = np.array(whole)
        for x1, y1, x2, y2 in here:
            crop = write_jpeg(np.ascontiguousarray(frame.image[y1:y2, x1:x2]), 90)
            expected[y1:y2, x1:x2] = np.asarray(Image.open(io.BytesIO(crop)).convert("RGB"))
        assert (after.image == expected).all()


def test_two_avif_layers_give_the_object_more_than_its_share():
    clip = make_clip()
    quality = measure(clip, decode(codecs.create("roi_avif", quality=10, box_quality=80).encode(clip)))
    assert quality.object_db > quality.background_db + 6


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("webp", {"quality": 101}),
        ("webp", {"method": 7}),
        ("avif", {"quality": -1}),
        ("avif", {"speed": 11}),
        ("roi_jpeg", {"box_quality": 0}),
        ("roi_jpeg", {"quality": 96}),
        ("roi_avif", {"coarse_every": 0}),
        ("roi_jpeg", {"coarse_reduce": 9}),
        ("roi_avif", {"coarse_reduce": 0}),
        ("roi_avif", {"speed": 11}),
        ("roi_avif", {"colour": 1}),
    ],
)
def test_options_out_of_range_are_refused_by_name(name, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        codecs.create(name, **options)


def altered(payload: bytes, part: str, data: bytes) -> bytes:
    parsed = Payload.from_bytes(payload)
    parts = {**parsed.parts, part: data}
    return Payload(
        parsed.codec, parsed.width, parsed.height, parsed.boxes, parsed.classes, parsed.class_names, parts
    ).to_bytes()


@pytest.mark.parametrize("name", ["webp", "avif", "roi_jpeg", "roi_avif"])
def test_bad_files_are_a_payload_error(name):
    clip = make_clip()
    good = codecs.create(name).encode(clip)
    big = write_jpeg(picture(clip.width + 1, clip.height), 50)
    lying = write_jpeg(picture(clip.height, clip.width), 50)
    for data in (b"", *(pack_blobs([file] * 4) for file in (b"nonsense", big, lying)), pack_blobs([big] * 3)):
        with pytest.raises(PayloadError, match=r"frame|payload|crop"):
            decode(altered(good, "background", data))


@pytest.mark.parametrize("name", ["roi_jpeg", "roi_avif"])
def test_frames_without_a_coarse_file_repeat_the_one_before(name):
    clip = make_clip()
    every, third = (codecs.create(name, coarse_every=k).encode(clip) for k in (1, 3))
    files = unpack_blobs(Payload.from_bytes(third).part("background"), len(clip), "files")
    assert [bool(file) for file in files] == [k % 3 == 0 for k in range(len(clip))]
    assert files[0] == unpack_blobs(Payload.from_bytes(every).part("background"), len(clip), "files")[0]
    whole, sparse = (decode(payload) for payload in (every, third))
    for number, (frame, repeated) in enumerate(zip(whole.frames, sparse.frames, strict=True)):
        inside = box_mask(frame.boxes, clip.width, clip.height)
        assert np.array_equal(repeated.image[inside], frame.image[inside])
        near = np.concatenate([f.boxes for f in clip.frames]) + np.array([-4, -4, 4, 4], np.float32)
        far = ~box_mask(near.clip(0, None), clip.width, clip.height)
        assert np.array_equal(repeated.image[far], whole.frames[number // 3 * 3].image[far])
    with pytest.raises(PayloadError, match="frame 0"):
        decode(altered(third, "background", pack_blobs([b"", *files[1:]])))


def test_a_crop_of_another_size_is_a_payload_error():
    good = codecs.create("roi_jpeg").encode(make_clip())
    crops = unpack_blobs(Payload.from_bytes(good).part("object"), 5, "crops")
    with pytest.raises(PayloadError, match="its box asks for 26x30"):
        decode(altered(good, "object", pack_blobs([crops[1], *crops[1:]])))
    with pytest.raises(PayloadError):
        decode(altered(good, "object", pack_blobs(crops[:-1])))
