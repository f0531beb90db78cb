"""Video codecs over a clip, alone and in two layers (whole clip, one crop clip per object)."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from skimage.data import astronaut

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import pack_blobs, unpack_blobs
from rinr_flower.codecs import codecs, decode
from rinr_flower.codecs.roi_video import tracks_of
from rinr_flower.errors import ConfigError, PayloadError
from rinr_flower.frames import Clip, Frame
from rinr_flower.quality import measure

av = pytest.importorskip("av")

OPTIONS = {
    "av1": {"crf": 35, "preset": 10},
    "x264": {"crf": 23, "preset": "veryfast"},
    "roi_av1": {"crf": 55, "box_crf": 25, "preset": 4},
    "roi_x264": {"crf": 38, "box_crf": 18, "preset": "veryfast"},
}
BASE = [n for n in OPTIONS if not n.startswith("roi_")]
ROI = [n for n in OPTIONS if n.startswith("roi_")]


def make_clip(width: int = 121, height: int = 89, frames: int = 6) -> Clip:
    """A camera that pans over a photograph, following one object; a second one is in view for two frames."""
    picture = astronaut()
    made = []
    for i in range(frames):
        boxes = [[40 + i, 30.25, 75 + i, 62.5]]
        if 2 <= i < 4:
            boxes.append([0, 0, 11, 13])
        image = np.ascontiguousarray(picture[60 : 60 + height, 90 + 2 * i : 90 + 2 * i + width])
        made.append(Frame(image, np.array(boxes, np.float32), np.zeros(len(boxes), np.int64)))
    return Clip("pan", tuple(made))


@pytest.fixture(scope="module")
def payloads() -> dict[str, bytes]:
    return {name: codecs.create(name, **options).encode(make_clip()) for name, options in OPTIONS.items()}


@pytest.mark.parametrize("name", OPTIONS)
def test_same_bytes_every_time(payloads, name):
    assert codecs.create(name, **OPTIONS[name]).encode(make_clip()) == payloads[name]


@pytest.mark.parametrize("name", BASE)
def test_clip_comes_back_in_order_and_at_its_odd_size(payloads, name):
    clip, decoded = make_clip(), decode(payloads[name])
    assert decoded.images().shape == (6, 89, 121, 3)
    error = [
        [((a.image.astype(float) - b.image.astype(float)) ** 2).mean() for b in clip.frames] for a in decoded.frames
    ]
    assert np.argmin(error, axis=1).tolist() == list(range(6)), "every picture is nearest to its own frame"
    assert measure(clip, decoded).frame_db > 28


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 2), (3, 40)])
@pytest.mark.parametrize("name", BASE)
def test_sizes_smaller_than_an_encoder_takes(name, width, height):
    picture = astronaut()[:height, :width]
    clip = Clip("tiny", tuple(Frame(np.ascontiguousarray(picture)) for _ in range(2)))
    decoded = decode(codecs.create(name, crf=10).encode(clip))
    assert decoded.images().shape == (2, height, width, 3)
    assert measure(clip, decoded).frame_db > 25


def test_colours_survive():
    """Saturated red, green, blue, black and white areas: a wrong matrix or range shifts them by tens of levels."""
    image = np.zeros((32, 160, 3), np.uint8)
    for i, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0), (255, 255, 255)]):
        image[:, 32 * i : 32 * i + 32] = colour
    for name in BASE:
        after = decode(codecs.create(name, crf=5).encode(Clip("bars", (Frame(image),)))).frames[0].image
        inner = np.abs(after.astype(int) - image.astype(int)).reshape(32, 5, 32, 3)[:, :, 8:24]
        assert inner.max() <= 12


@pytest.mark.parametrize("name", BASE)
def test_higher_crf_is_smaller_and_worse(name):
    clip, preset = make_clip(), OPTIONS[name]["preset"]
    fine, coarse = (codecs.create(name, crf=crf, preset=preset).encode(clip) for crf in (20, 48))
    assert len(coarse) < len(fine) / 2
    assert measure(clip, decode(coarse)).frame_db < measure(clip, decode(fine)).frame_db - 2


@pytest.mark.parametrize("name", BASE)
def test_no_container_and_no_banner(payloads, name):
    packets = packets_of(payloads[name])
    assert b"x264" not in b"".join(packets)
    assert not any(p.startswith(b"\x12\x00") for p in packets), "AV1 temporal delimiters are not stored"


def test_boxes_become_tracks():
    boxes = [f.boxes for f in make_clip().frames]
    tracks = tracks_of(boxes, 121, 89)
    assert [t.frames for t in tracks] == [[0, 1, 2, 3, 4, 5], [2, 3]]
    for track in tracks:
        windows = track.windows(121, 89)
        assert len({(x2 - x1, y2 - y1) for x1, y1, x2, y2 in windows}) == 1
        for (x1, y1, x2, y2), (bx1, by1, bx2, by2) in zip(windows, track.boxes, strict=True):
            assert 0 <= x1 <= bx1 < bx2 <= x2 <= 121
            assert 0 <= y1 <= by1 < by2 <= y2 <= 89
            assert (x2 - x1) % 2 == 0
            assert (y2 - y1) % 2 == 0


def test_objects_that_cross_rows_or_leave_for_a_while_keep_their_track():
    a, b = [[10, 10, 30, 30]], [[60, 40, 80, 60]]
    none: list[list[int]] = []
    rows = [a + b, b + a, none, a + b, *[none] * 9, a]
    tracks = tracks_of([np.array(r, np.float32).reshape(-1, 4) for r in rows], 100, 80)
    assert [t.frames for t in tracks] == [[0, 1, 3], [0, 1, 3], [13]]
    assert [t.boxes[0][0] for t in tracks] == [8, 58, 8]


@pytest.mark.parametrize("name", ROI)
def test_objects_are_finer_than_the_frame(payloads, name):
    clip = make_clip()
    coarse = codecs.create(name.removeprefix("roi_"), **{k: v for k, v in OPTIONS[name].items() if k != "box_crf"})
    layered, plain = (measure(clip, decode(data)) for data in (payloads[name], coarse.encode(clip)))
    assert layered.object_db > plain.object_db + 3
    assert layered.background_db == pytest.approx(plain.background_db, abs=0.5)


@pytest.mark.parametrize("name", ROI)
def test_a_clip_without_boxes_is_the_coarse_video_alone(name):
    clip = Clip("empty", tuple(Frame(f.image) for f in make_clip().frames[:2]))
    payload = Payload.from_bytes(codecs.create(name, **OPTIONS[name]).encode(clip))
    assert payload.part("object") == b""
    assert len(decode(payload.to_bytes())) == 2


WIDTH = bytes([121])
"""The coded width as a varint, which the packets follow."""


def packets_of(data: bytes) -> list[bytes]:
    part = Payload.from_bytes(data).part("background")
    assert part[:1] == WIDTH
    return unpack_blobs(part[1:], 6, "packets")


def altered(data: bytes, **changes: object) -> bytes:
    payload = Payload.from_bytes(data)
    fields = {k: changes.get(k, getattr(payload, k)) for k in payload.__dataclass_fields__}
    return Payload(**fields).to_bytes()


@pytest.mark.parametrize("name", OPTIONS)
def test_max_width_codes_smaller_frames_and_gives_them_back_at_full_size(payloads, name):
    clip = make_clip()
    small = codecs.create(name, **OPTIONS[name], max_width=60).encode(clip)
    assert len(small) < 0.7 * len(payloads[name])
    decoded = decode(small)
    assert decoded.images().shape == (6, 89, 121, 3)
    assert measure(clip, decoded, max_width=60).frame_db > measure(clip, decoded).frame_db + 1
    assert codecs.create(name, **OPTIONS[name], max_width=121).encode(clip) == payloads[name]


@pytest.mark.parametrize("name", OPTIONS)
def test_hostile_bytes_are_a_payload_error(payloads, name):
    good = Payload.from_bytes(payloads[name])
    packets = packets_of(payloads[name])
    attacks = [
        b"",
        WIDTH,
        b"\x00" + pack_blobs(packets),
        bytes([122]) + pack_blobs(packets),
        bytes([60]) + pack_blobs(packets),
        WIDTH + pack_blobs([b"\x00" * 40] * 6),
        WIDTH + pack_blobs([*packets[:-1], b""]),
        WIDTH + pack_blobs(packets[:-1]),
        WIDTH + pack_blobs([packets[0][:8]] * 6),
        WIDTH + pack_blobs([p[: len(p) // 2] for p in packets]),
    ]
    for number, attack in enumerate(attacks):
        data = altered(payloads[name], parts={**good.parts, "background": attack})
        try:
            decode(data)
        except PayloadError:
            continue
        assert number == 9, f"attack {number} was decoded"  # FFmpeg may conceal cut packets; their count is right


@pytest.mark.parametrize("name", BASE)
@pytest.mark.parametrize(("width", "height"), [(60, 44), (400, 400)])
def test_a_video_of_another_size_than_declared_is_refused(payloads, name, width, height):
    with pytest.raises(PayloadError, match=r"declared|not a readable"):
        decode(altered(payloads[name], width=width, height=height))


def test_random_damage_never_escapes_as_another_error(payloads):
    rng = np.random.default_rng(5)
    for name in BASE:
        part = Payload.from_bytes(payloads[name]).part("background")
        for _ in range(40):
            damaged = bytearray(part)
            damaged[int(rng.integers(len(part)))] ^= int(rng.integers(1, 256))
            try:
                assert decode(altered(payloads[name], parts={"background": bytes(damaged)})).width == 121
            except PayloadError:
                continue


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("av1", {"crf": 0}),
        ("av1", {"preset": 14}),
        ("x264", {"crf": 52}),
        ("x264", {"preset": "swift"}),
        ("roi_av1", {"box_crf": 64}),
        ("av1", {"max_width": 8}),
        ("roi_x264", {"box_crf": -1}),
    ],
)
def test_options_out_of_range_are_refused(name, options):
    with pytest.raises(ConfigError, match=str(next(iter(options.values())))):
        codecs.create(name, **options)


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.skipif(sys.platform != "linux", reason="schedulers are Linux's")
def test_encoding_leaves_the_scheduler_alone():
    """SVT-AV1 puts a process of root under SCHED_FIFO: neither this thread nor the encoder's may stay there."""
    code = (
        "import os\n"
        "import numpy as np\n"
        "from rinr_flower.codecs import video\n"
        "os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))\n"
        "seen = set()\n"
        "class Watched(list):\n"
        "    def __iter__(self):\n"
        "        for image in super().__iter__():\n"
        "            yield image\n"
        "            seen.update((os.sched_getscheduler(int(t)), t) for t in os.listdir('/proc/self/task'))\n"
        "images = Watched([np.full((64, 64, 3), i * 9, np.uint8) for i in range(20)])\n"
        "video.av1_stream(40, 12).write(images)\n"
        "usual = all(policy in (os.SCHED_OTHER, os.SCHED_BATCH) for policy, _ in seen)\n"
        "print(os.sched_getscheduler(0) == os.SCHED_BATCH, usual, len(seen) > 2)"
    )
    assert run_python(code).split() == ["True", "True", "True"]


def test_pyav_is_optional_and_imported_late():
    code = "import sys, rinr_flower.codecs as c; c.codecs.create('roi_av1'); print('av' in sys.modules)"
    assert run_python(code).strip() == "False"
    missing = (
        "import sys; sys.modules['av'] = None\n"
        "import numpy as np\n"
        "from rinr_flower.codecs import codecs\n"
        "from rinr_flower.frames import Clip, Frame\n"
        "try: codecs.create('x264').encode(Clip('a', (Frame(np.zeros((16, 16, 3), np.uint8)),)))\n"
        "except ValueError as error: print(type(error).__name__, error)"
    )
    assert run_python(missing).startswith("ConfigError video codecs need PyAV: pip install 'rinr_flower[video]'")
