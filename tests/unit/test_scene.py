"""The clip codec ``scene`` on small generated clips."""

from __future__ import annotations

import logging
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from scene_clips import SIZE, clip_of, texture

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import Scene, codecs, decode
from rinr_flower.codecs.scene import codec
from rinr_flower.codecs.scene.decode.renderer import open_scene
from rinr_flower.codecs.scene.encode import analysis
from rinr_flower.decoding import FrameStore
from rinr_flower.errors import ConfigError, PayloadError
from rinr_flower.frames import Clip, Frame
from rinr_flower.quality import measure

CLIP = clip_of(10)
CODEC = Scene(preset="fast", quality=70)
PAYLOAD = CODEC.encode(CLIP)


def parts_of(payload: bytes) -> dict[str, int]:
    return Payload.from_bytes(payload).bytes_by_part()


def test_a_panned_scene_and_its_moving_object_are_shared_by_all_frames() -> None:
    quality = measure(CLIP, decode(PAYLOAD))
    assert quality.frame_db > 33
    assert quality.object_db > 33
    alone = np.mean([len(CODEC.encode(CLIP[i : i + 1])) for i in (0, 9)])
    assert len(PAYLOAD) / len(CLIP) < alone / 3  # ten frames cost less than a third of ten pictures


def test_a_standing_camera_costs_no_motion() -> None:
    still = clip_of(6, pan=0.0, boxed=False)
    assert parts_of(CODEC.encode(still))["motion"] == 0


def test_quality_and_object_weight_trade_bytes_for_decibels_where_they_say() -> None:
    def at(**options: float) -> tuple[int, float, float]:
        payload = Scene(preset="fast", **options).encode(CLIP)  # type: ignore[arg-type]
        found = measure(CLIP, decode(payload))
        return len(payload), found.background_db, found.object_db

    low, high = at(quality=45, object_weight=1), at(quality=75, object_weight=1)
    assert low[0] < high[0]
    assert low[1] + 2 < high[1]
    heavy = at(quality=45, object_weight=64)
    assert heavy[2] > low[2] + 3
    assert abs(heavy[1] - low[1]) < 1


@pytest.mark.parametrize("budget", [120, 300])
def test_a_byte_budget_is_met_within_five_percent(budget: int) -> None:
    payload = Scene(preset="fast", bytes_per_frame=budget).encode(CLIP)
    assert abs(len(payload) / len(CLIP) / budget - 1) < 0.05


def test_a_budget_below_the_smallest_payload_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigError, match="the smallest payload of this clip has"):
        Scene(preset="fast", bytes_per_frame=2).encode(CLIP)


@pytest.mark.parametrize(
    "options", [{"quality": 101}, {"object_weight": 0.5}, {"bytes_per_frame": 0}, {"max_width": 8}, {"preset": "slow"}]
)
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=str(next(iter(options.values())))):
        Scene(**options)  # type: ignore[arg-type]


def test_the_same_clip_gives_the_same_bytes() -> None:
    assert CODEC.encode(CLIP) == PAYLOAD
    both = CODEC.encode_many([clip_of(3, seed=4), CLIP])
    assert both[1] == PAYLOAD


def test_frames_do_not_depend_on_batch_order_or_neighbours() -> None:
    store = FrameStore([PAYLOAD, CODEC.encode(clip_of(4, seed=4))])
    matrix = torch.tensor([[1.1, 0.1, 3.0], [-0.05, 0.9, 2.0], [1e-4, 0.0, 1.0]]).expand(14, 3, 3)
    order = torch.randperm(14, generator=torch.Generator().manual_seed(1))
    for views in (None, matrix):
        together = store.render(list(range(14)), (48, 64), matrix=views)
        shuffled = store.render(order, (48, 64), matrix=views)
        assert torch.equal(shuffled, together[order])
        alone = store.render([7], (48, 64), matrix=None if views is None else views[:1])
        assert torch.equal(alone[0], together[7])


def test_a_crop_rendered_by_coordinates_is_the_crop_of_the_whole() -> None:
    store = FrameStore([PAYLOAD])
    whole = store.render([4], SIZE)
    matrix = torch.tensor([[[1.0, 0, 32], [0, 1.0, 16], [0, 0, 1.0]]])
    crop = store.render([4], (40, 50), matrix=matrix)
    torch.testing.assert_close(crop, whole[:, :, 16:56, 32:82], atol=2e-4, rtol=0)


def test_resident_scene_is_integers_smaller_than_its_pictures() -> None:
    store = FrameStore([PAYLOAD])
    assert len(PAYLOAD) < store.resident_bytes < CLIP.images().size


def test_a_cut_starts_a_new_canvas() -> None:
    first, second = clip_of(4), clip_of(4, seed=20)
    cut = Clip("cut", first.frames + second.frames)
    payload = CODEC.encode(cut)
    separate = len(CODEC.encode(first)) + len(CODEC.encode(second))
    assert len(payload) < separate * 1.05
    assert measure(cut, decode(payload)).worst_frame_db > 30


def from_a_train(frames: int, cell: int = 8) -> Clip:
    """Strips of a scene that pass the faster the nearer they are, which no homography describes."""
    height, width = SIZE
    scene, none = (
        texture(height, width + 8 * frames, 0, cell).clip(0, 255).astype(np.uint8),
        np.zeros((0, 4), np.float32),
    )
    made = []
    for t in range(frames):
        rows = [scene[y : y + 12, y // 12 * t : y // 12 * t + width] for y in range(0, height, 12)]
        made.append(Frame(np.concatenate(rows), none, np.zeros(0, np.int64)))
    return Clip("from a train", tuple(made))


def test_a_scene_that_no_canvas_fits_gets_several_where_they_cost_less(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = from_a_train(16)

    def coded() -> tuple[int, bytes]:
        data = codecs.create("scene", quality=40).encode(clip)
        return len(open_scene(Payload.from_bytes(data), torch.device("cpu")).shots), data

    shots, data = coded()
    monkeypatch.setattr(analysis, "_MUST_SAVE", 0.0)
    one, whole = coded()
    assert (one, shots > 1) == (1, True)
    assert len(data) < len(whole)
    assert measure(clip, decode(data)).frame_db > measure(clip, decode(whole)).frame_db
    still = clip_of(16, pan=0.0, boxed=False)
    assert len(open_scene(Payload.from_bytes(CODEC.encode(still)), torch.device("cpu")).shots) == 1


def test_frames_are_no_worse_than_jpeg_files_of_low_quality(monkeypatch: pytest.MonkeyPatch) -> None:
    clip, small = from_a_train(8, cell=4), Scene(max_width=64)
    low = measure(clip, decode(codecs.create("jpeg", quality=10).encode(clip)), max_width=64).frame_db
    assert measure(clip, decode(small.encode(clip)), max_width=64).frame_db > low - 0.05
    monkeypatch.setattr(codec, "_FLOOR", 0.0)
    assert measure(clip, decode(small.encode(clip)), max_width=64).frame_db < low - 0.1


def test_unrelated_frames_cost_no_more_than_one_payload_each() -> None:
    frames = [clip_of(1, seed=s).frames[0] for s in (0, 20, 40)]
    payload = CODEC.encode(Clip("mixed", tuple(frames)))
    separate = sum(len(CODEC.encode(Clip("one", (f,)))) for f in frames)
    assert len(payload) < separate
    assert measure(Clip("mixed", tuple(frames)), decode(payload)).worst_frame_db > 30


def test_an_object_leaves_to_others_what_is_in_their_boxes() -> None:
    image = np.full((*SIZE, 3), 128, np.uint8)
    for x in (40, 62):
        image[40:60, x : x + 20] = np.random.default_rng(x).integers(0, 256, (20, 20, 1))
    boxes = np.array([[40, 40, 60, 60], [62, 40, 82, 60]], np.float32)
    clip = Clip("two", (Frame(image, boxes, np.zeros(2, np.int64)),))
    first, second = open_scene(Payload.from_bytes(Scene().encode(clip)), torch.device("cpu")).layers

    def shown(column: int) -> float:
        """Mean magnitude in the first object's volume of 4 x 4 pixels."""
        x, y = (first.to_layer[0] @ torch.tensor([column, 48.0, 1.0]))[:2].int().tolist()
        return float(first.volume.luma[:, 0, y : y + 4, x : x + 4].float().abs().mean())

    assert shown(50) > 20
    assert shown(63) < 8
    assert second.volume.luma.float().abs().max() > 20


def test_quality_does_not_end_where_the_box_ends() -> None:
    """A detector would take the edge of what is sharp for the object."""
    rng = np.random.default_rng(0)
    box = np.array([[50, 40, 82, 64]], np.float32)
    frames = []
    for _ in range(6):  # water that moves too much to be paid for outside the box
        waves = cv2.GaussianBlur(rng.normal(0, 1, SIZE), (0, 0), 3)
        image = np.repeat(128 + 30 * (waves / waves.std())[:, :, None], 3, axis=2)
        frames.append(Frame(image.clip(0, 255).astype(np.uint8), box, np.zeros(1, np.int64)))
    decoded = decode(Scene(quality=20, object_weight=200).encode(Clip("water", tuple(frames))))
    pairs = zip(frames, decoded.frames, strict=True)
    error = np.mean([np.abs(a.image.astype(float) - b.image).mean(axis=2) for a, b in pairs], axis=0)

    def at(distance: int) -> float:
        """Mean error of the pixels so far outside the box."""
        ring = np.zeros(SIZE, bool)
        ring[40 - distance : 64 + distance, 50 - distance : 82 + distance] = True
        ring[41 - distance : 63 + distance, 51 - distance : 81 + distance] = False
        return float(error[ring].mean())

    assert at(10) > 2 * at(-1)
    steps = np.diff([at(distance) for distance in range(-2, 8)])
    assert steps.max() < 0.3 * (at(10) - at(-1))


def test_grey_clips_carry_no_chroma() -> None:
    grey = clip_of(5, grey=True)
    decoded = decode(CODEC.encode(grey))
    assert all((f.image == f.image[..., :1]).all() for f in decoded.frames)
    assert measure(grey, decoded).frame_db > 33


def test_an_object_that_hides_and_returns_keeps_its_boxes_and_its_pictures() -> None:
    frames = [f if i not in (4, 5) else Frame(f.image) for i, f in enumerate(CLIP.frames)]
    hidden = Clip("hidden", tuple(frames))
    decoded = decode(CODEC.encode(hidden))
    assert [len(f.boxes) for f in decoded.frames] == [1, 1, 1, 1, 0, 0, 1, 1, 1, 1]
    assert measure(hidden, decoded).object_db > 32


def test_several_objects_of_several_classes_some_at_the_border() -> None:
    frames = []
    for f in CLIP.frames:
        boxes = np.concatenate([f.boxes, [[0, 0, 12.5, 9.25], [120, 80, 128, 96], [5, 5, 100, 90]]]).astype(np.float32)
        frames.append(Frame(f.image, boxes, np.array([0, 1, 1, 0])))
    many = Clip("many", tuple(frames), ("thing", "corner"))
    assert measure(many, decode(CODEC.encode(many))).object_db > 33


@pytest.mark.parametrize(("height", "width"), [(16, 16), (1, 7), (33, 50)])
@pytest.mark.parametrize("frames", [1, 3])
def test_tiny_frames(height: int, width: int, frames: int) -> None:
    images = [texture(height, width, s).clip(0, 255).astype(np.uint8) for s in range(frames)]
    boxes = np.array([[0, 0, width / 2, height]], np.float32)
    clip = Clip("tiny", tuple(Frame(i, boxes, np.zeros(1, np.int64)) for i in images))
    decoded = decode(Scene(preset="fast", quality=90).encode(clip))
    assert (decoded.width, decoded.height, len(decoded)) == (width, height, frames)
    assert measure(clip, decoded).frame_db > 28


def test_a_wide_clip_is_coded_at_max_width_and_rendered_at_its_own() -> None:
    big = Clip("big", tuple(Frame(cv2.resize(f.image, (256, 192)), f.boxes * 2, f.classes) for f in CLIP.frames[:4]))
    decoded = decode(Scene(preset="fast", quality=70, max_width=128).encode(big))
    assert (decoded.width, decoded.height) == (256, 192)
    assert measure(big, decoded, max_width=128).frame_db > 31


def test_the_slower_preset_is_no_worse() -> None:
    payload = Scene(preset="balanced", quality=70).encode(CLIP)
    assert len(payload) < len(PAYLOAD) * 1.02
    assert measure(CLIP, decode(payload)).frame_db > measure(CLIP, decode(PAYLOAD)).frame_db - 0.3


def with_part(name: str, change: Callable[[bytes], bytes]) -> bytes:
    payload = Payload.from_bytes(PAYLOAD)
    return Payload(
        payload.codec,
        payload.width,
        payload.height,
        payload.boxes,
        payload.classes,
        payload.class_names,
        {**payload.parts, name: change(payload.parts[name])},
    ).to_bytes()


@pytest.mark.parametrize("part", ["background", "motion", "object"])
def test_truncated_parts_are_refused(part: str) -> None:
    length = len(Payload.from_bytes(PAYLOAD).parts[part])
    for keep in sorted({0, 1, 3, length // 2 | 1, length - 1}):  # whole words that are missing only the checksum finds
        with pytest.raises(PayloadError):
            decode(with_part(part, lambda data, keep=keep: data[:keep]))  # type: ignore[misc]


@pytest.mark.parametrize("part", ["background", "motion", "object"])
def test_altered_parts_are_refused_or_give_finite_pictures(part: str) -> None:
    rng = np.random.default_rng(3)
    for _ in range(25):
        where, value = int(rng.integers(0, 40)), int(rng.integers(0, 256))

        def alter(data: bytes, where: int = where, value: int = value) -> bytes:
            at = where % len(data)
            return data[:at] + bytes([value]) + data[at + 1 :]

        try:
            store = FrameStore([with_part(part, alter)])
        except PayloadError:
            continue
        assert torch.isfinite(store.render([0, len(store) - 1], (24, 32))).all()


def test_a_payload_that_declares_too_much_is_refused_before_memory_is_taken() -> None:
    huge = b"\xff\xff\x3f" * 2  # 1,048,575 x 1,048,575 working pixels
    with pytest.raises(PayloadError, match="at most"):
        decode(with_part("background", lambda data: huge + data[2:]))


def test_no_progress_and_no_logging_noise(caplog: pytest.LogCaptureFixture) -> None:
    done: list[float] = []
    with caplog.at_level(logging.INFO):
        CODEC.encode_many([CLIP[0:2], CLIP[2:4]], progress=done.append)
    assert done == [0.5, 1.0]
    assert not caplog.records
