"""The product decodes payloads of all codecs but ``scene`` to what a second decoder makes of them that shares no code
with it."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import reference_codecs as reference
from PIL import Image, ImageOps
from reference_coding import Bytes, container
from scene_clips import texture

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import ByteWriter
from rinr_flower.bitstream.weights import quantise
from rinr_flower.codecs import codecs, decode
from rinr_flower.codecs.object_sizes import Sizes, object_groups
from rinr_flower.codecs.roi_video import tracks_of
from rinr_flower.codecs.shared_weights import pack_shared
from rinr_flower.decoding import FrameStore
from rinr_flower.frames import Clip, Frame
from rinr_flower.inr.shared_siren import SharedWeights
from rinr_flower.inr.siren import SirenShape

GOLDEN = Path(__file__).parents[1] / "golden"
KEYED = GOLDEN / "v1-roi_jpeg-keys.rinr"
FILES = [file for file in sorted(GOLDEN.glob("*.rinr")) if "-scene" not in file.stem and file != KEYED]
NETWORKS = ("nerv", "rapid_inr", "residual")
VIDEO = ("av1", "x264", "roi_av1", "roi_x264")
WIDTH, HEIGHT = 91, 67
FIRST, SECOND, SHORT, LONG, EDGE = range(5)
SIZES: Sizes = ((100, 4, 1), (494, 5, 2), (None, 6, 3))  # the second limit is SECOND's size
QUICK_RESIDUAL = {"steps": 8, "candidates": 1, "sizes": SIZES, "background": {"name": "jpeg", "quality": 5}}


def crowd(frames: int = 6, width: int = WIDTH, height: int = HEIGHT) -> Clip:
    """Objects that overlap, change places in the list, miss three or four frames, and leave the frame."""
    scene, made = texture(height, width + 2 * frames, seed=3), []
    for t in range(frames):
        boxes = {
            FIRST: [10.25 + 2 * t, 20.5, 31.75 + 2 * t, 44.875],
            SECOND: [14 + 2 * t, 24, 33 + 2 * t, 50],
            EDGE: [70.5 + 6 * t, 55, 85 + 6 * t, 75.5],  # beyond the lower edge, and past the right one in the end
        }
        if t in (1, 4):
            boxes[SHORT] = [39.8125, 5, 68.25, 30]  # goes on three frames later; at 64/91, whole only in float32
        if t in (0, 4):
            boxes[LONG] = [70, 4, 86, 20]  # begins again four frames later
        if t == 2:
            del boxes[FIRST]
        rows = sorted(boxes, reverse=t == 3)
        image = np.ascontiguousarray(scene[:, 2 * t : 2 * t + width].clip(0, 255).astype(np.uint8))
        made.append(Frame(image, np.array([boxes[k] for k in rows], np.float32), np.array(rows, np.int64)))
    return Clip("crowd", tuple(made), ("first", "second", "short", "long", "edge"))


CLIP = crowd()


def check(data: bytes) -> np.ndarray:
    """Compare the product's pictures of a payload with the reference decoder's, and return them.

    Networks are compared before anything is rounded: float32 against float64. Stills are equal. In video the product
    rounds chroma after it is doubled along each axis: one level at most, which is 1.8 in blue. Then colours are
    rounded, half a level. Lanczos, which has negative weights, makes a little more of that, and rounds twice.
    """
    payload = container(data)
    expected, found = reference.decode(payload), decode(data).images()
    if payload.codec in NETWORKS:
        drawn = FrameStore([data]).render(range(len(found)), found.shape[1:3]).permute(0, 2, 3, 1).numpy() * 255
        assert np.abs(drawn - expected).max() < 0.01
        assert np.abs(found - expected).max() < 0.51  # which follows
    elif payload.codec in VIDEO:
        stretched = reference.coded(payload)[1] < payload.width
        assert np.abs(found - expected).max() <= (4 if stretched else 3)
        assert np.abs(found - expected).mean() < 0.8
    else:
        np.testing.assert_array_equal(found, expected)
    return found


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_golden_payload(file: Path) -> None:
    if container(file.read_bytes()).codec in VIDEO:
        pytest.importorskip("av")
    check(file.read_bytes())


def test_golden_payload_with_key_frames() -> None:
    """The format leaves open what other frames take over from key frames, but not key frames and windows."""
    payload = container(KEYED.read_bytes())
    found, expected = decode(KEYED.read_bytes()).images(), reference.decode(payload)
    files = reference.blobs(Bytes(payload.parts["background"]), len(found))
    keys = [number for number, file in enumerate(files) if Image.open(BytesIO(file)).width == payload.width]
    assert 0 < len(keys) < len(found)
    specified = np.zeros(found.shape[:3], bool)
    specified[keys] = True
    for frame, boxes in enumerate(payload.boxes):
        for box in boxes:
            left, top, right, bottom = reference.window(box, payload.width, payload.height, 2) or (0, 0, 0, 0)
            specified[frame, top:bottom, left:right] = True
    np.testing.assert_array_equal(found[specified], expected[specified])
    assert (found != expected).any()


@pytest.mark.parametrize("shared", [1, 4])
@pytest.mark.parametrize("bits", [5, 8, 12, 32])
def test_networks_of_frames(bits: int, shared: int) -> None:
    clip = crowd(7) if shared == 4 else crowd(2)
    options = {"hidden": 9, "layers": 1 if bits == 5 else 3, "w0": 20, "steps": 8, "bits": bits, "shared": shared}
    data = codecs.create("rapid_inr", **options).encode(clip, seed=1)
    fields = Bytes(container(data).parts["background"])
    assert [fields.varint() for _ in range(4)] == [9, options["layers"], 20, bits]
    assert [fields.varint() for _ in range(2)] == ([3, 4] if shared == 4 else [1, 1])
    check(data)


@pytest.mark.parametrize(("bits", "strides"), [(5, (3, 2, 2)), (8, (4,)), (12, (5, 1, 3, 2)), (32, (4, 2))])
def test_convolutional_network(bits: int, strides: tuple[int, ...]) -> None:
    options = {"steps": 4, "bits": bits, "strides": strides, "stem": 7, "channels": 9, "width": 3, "levels": 6}
    check(codecs.create("nerv", **options).encode(crowd(3), seed=2))


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_first_layers_less_others(mode: int) -> None:
    """By chance: unlike each other, all near the first, or each near the one before. The writer takes the shortest."""
    generator, shape, pictures = np.random.default_rng(mode), SirenShape(7, 2, 5), [3, 1, 4]
    networks = []
    for count in pictures:
        noise = generator.normal(0, 1 if mode == 0 else 0.05, (1, count, 3 * 7))
        noise[:, 0] = generator.normal(0, 1, 3 * 7)
        if mode == 1:
            noise[:, 1:] += noise[:, :1]
        elif mode == 2:
            noise = noise.cumsum(axis=1)
        first = [noise[..., :14].reshape(1, count, 2, 7), noise[..., 14:].reshape(1, count, 1, 7)]
        others = [generator.normal(0, 0.3, size).astype(np.float32) for size in shape.shapes(1)[2:]]
        own, common = ([quantise(t.astype(np.float32), 8, (0,)) for t in ts] for ts in (first, others))
        networks.append(SharedWeights(own, common))
    writer = ByteWriter()
    for value in (7, 2, 5, 8, *pictures):
        writer.varint(value)
    writer.raw(pack_shared(networks, 8))
    none = [np.zeros((0, 4), np.float32)] * 8, [np.zeros(0, np.int64)] * 8
    data = Payload("rapid_inr", 21, 13, *none, (), {"background": writer.getvalue()}).to_bytes()
    check(data)
    fields = Bytes(container(data).parts["background"])
    for _ in range(4 + len(pictures)):
        fields.varint()
    reference.scales(fields, len(pictures) * len(shape.shapes(1)))
    for _ in ("all other layers", "first layers of first pictures"):
        fields.blob()
    assert fields.u8() == mode


@pytest.mark.parametrize("mode", ["residual", "direct"])
@pytest.mark.parametrize(("bits", "shared"), [(5, 1), (8, 4), (12, 4), (32, 4)])
def test_networks_of_boxes(mode: str, bits: int, shared: int) -> None:
    data = codecs.create("residual", **QUICK_RESIDUAL, mode=mode, bits=bits, shared=shared).encode(CLIP, seed=3)
    shapes = [SirenShape(hidden, layers, 15) for _, hidden, layers in SIZES]
    groups = object_groups(Payload.from_bytes(data), SIZES, shapes, shared)
    assert set(groups.kinds) == ({0, 1, 2} if shared == 1 else {1, 2})  # EDGE is below the first limit in the end
    if shared == 4:  # SECOND has 6 windows, FIRST 5, EDGE 4, SHORT 2, LONG twice 1
        assert sorted(groups.counts) == [1, 1, 2, 2, 3, 3, 3, 4]
    plain = decode(codecs.create("jpeg", quality=5).encode(CLIP)).images()
    assert np.abs(check(data).astype(int) - plain).max() > 10


@pytest.mark.parametrize("background", [{"name": "scene", "preset": "fast"}, {"name": "nerv", "steps": 4}])
def test_networks_of_boxes_over_other_backgrounds(background: dict[str, object]) -> None:
    options = {**QUICK_RESIDUAL, "background": background}
    check(codecs.create("residual", **options).encode(crowd(2, 48, 35)))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("webp", {"quality": 20, "method": 0}),
        ("roi_jpeg", {"coarse_reduce": 1}),
        ("roi_jpeg", {"coarse_reduce": 3, "coarse_every": 4}),
        ("roi_avif", {"coarse_reduce": 8, "coarse_every": 2, "speed": 10}),
    ],
)
def test_stills(name: str, options: dict[str, object]) -> None:
    check(codecs.create(name, **options).encode(CLIP))


def test_a_size_that_several_reductions_give_is_the_smallest_of_them() -> None:
    """3 and 4 both make 2 x 2 pixels of 5 x 5."""
    image = CLIP.frames[0].image[:5, :5].copy()
    check(codecs.create("roi_jpeg", coarse_reduce=4).encode(Clip("tiny", (Frame(image),))))


def test_files_of_a_camera_that_was_turned() -> None:
    exif, buffer = Image.Exif(), BytesIO()
    exif[0x0112] = 6  # orientation
    Image.fromarray(CLIP.frames[0].image).save(buffer, "JPEG", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(buffer)))
    assert upright.shape[:2] == (WIDTH, HEIGHT)
    found = check(codecs.create("jpeg").encode(Clip("turned", (Frame(upright, file=buffer.getvalue()),))))
    np.testing.assert_array_equal(found[0], upright)


FAST = {"av1": {"preset": 12}, "x264": {"preset": "veryfast"}}


@pytest.mark.parametrize("max_width", [None, 47, 64])
@pytest.mark.parametrize("name", VIDEO)
def test_video(name: str, max_width: int | None) -> None:
    pytest.importorskip("av")
    check(codecs.create(name, **FAST[name.removeprefix("roi_")], max_width=max_width).encode(CLIP))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 2), (3, 40)])
def test_video_smaller_than_an_encoder_takes(width: int, height: int) -> None:
    pytest.importorskip("av")
    frames = tuple(Frame(frame.image[:height, :width].copy()) for frame in CLIP.frames[:2])
    check(codecs.create("x264", preset="veryfast").encode(Clip("tiny", frames)))


@pytest.mark.parametrize("name", ["roi_av1", "roi_x264"])
def test_objects_that_come_back_in_video(name: str) -> None:
    """Nine frames later an object goes on, ten frames later it begins again; a crop is wider than the frame allows."""
    pytest.importorskip("av")
    kept, lost, wide = [5, 5, 14.5, 16], [30, 8.25, 40, 21], [0, 30, 47, 35]
    shown = {0: [kept, lost], 5: [wide], 9: [kept], 10: [lost, [20, 24, 30, 35]]}
    frames = []
    for t, frame in enumerate(crowd(11, 47, 35).frames):
        boxes = np.array(shown.get(t, np.zeros((0, 4))), np.float32)
        frames.append(Frame(frame.image, boxes, np.zeros(len(boxes), np.int64)))
    data = codecs.create(name, **FAST[name.removeprefix("roi_")]).encode(Clip("back", tuple(frames), ("thing",)))
    tracks = [track.frames for track in tracks_of([frame.boxes for frame in frames], 47, 35)]
    assert tracks == [[0, 9], [0], [5, 10], [10]]
    check(data)
