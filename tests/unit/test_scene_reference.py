"""The product decodes ``scene`` payloads to what a second decoder makes of them that shares no code with it."""

from __future__ import annotations

import numpy as np
import pytest
import reference_scene as reference
from scene_clips import clip_of, code_of, crafted, squares, with_heads

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import Scene, decode
from rinr_flower.decoding import FrameStore
from rinr_flower.frames import Clip, Frame


def still_and_cut() -> Clip:
    return Clip("cut", clip_of(3, pan=0.0, seed=4).frames + clip_of(4, seed=20).frames + clip_of(1, seed=9).frames)


@pytest.mark.parametrize(
    ("clip", "options"),
    [
        (clip_of(6), {"preset": "fast", "quality": 70}),
        (clip_of(5, grey=True), {"quality": 45}),
        (clip_of(4, boxed=False), {"preset": "fast", "quality": 30}),
        (still_and_cut(), {"quality": 60, "object_weight": 200}),
    ],
    ids=["panned", "grey", "no boxes", "cut"],
)
def test_both_decoders_give_the_same_pictures(clip: Clip, options: dict[str, object]) -> None:
    check(Scene(**options).encode(clip))  # type: ignore[arg-type]


@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
def test_both_decoders_add_the_same_heads(grey: bool) -> None:
    plain = Scene(preset="fast", quality=60).encode(clip_of(4, grey=grey))
    data = with_heads(plain, grey=grey)
    check(data)
    assert np.abs(decode(data).images().astype(int) - decode(plain).images()).max() > 3


def test_both_decoders_add_the_heads_that_an_encoder_solved() -> None:
    data = Scene(preset="fast", quality=45).encode(squares(3))
    code = code_of(data)
    assert code.canvas_head is not None
    assert code.object_head is not None
    check_closely(data)


def blank(frames: int, size: tuple[int, int]) -> Clip:
    """No pictures: an object that is always there, one that is hidden once, and one that is a point."""
    made = []
    for t in range(frames):
        boxes = [[10 + 3 * t, 20 + t, 40 + 3 * t, 60 + t]]
        if t != 2:
            boxes.append([80 - 2 * t, 30, 100 - 2 * t, 44])
        if t == 5:
            boxes.append([50, 50, 50, 50])
        image, classes = np.zeros((*size, 3), np.uint8), np.array([0, 1, 1][: len(boxes)], np.int64)
        made.append(Frame(image, np.array(boxes, np.float32), classes))
    return Clip("blank", tuple(made), ("first", "second"))


def test_both_decoders_agree_on_what_no_encoder_makes() -> None:
    """A residual at full size, a working size below the frame size, bends, cut runs, a box without area, heads."""
    check_closely(crafted(blank(7, (96, 130)), (40, 50), [5, 2], seed=37))


def test_both_decoders_agree_on_a_large_grey_picture_whose_bend_has_wavelets() -> None:
    data = crafted(blank(3, (330, 340)), (320, 325), [3], seed=28, canvas=(40, 40), grey=True, residual_scale=8)
    (shot,) = code_of(data).shots
    assert shot.bend_bands is not None
    assert [len(plane) for plane in shot.bend_bands] == [4, 4]
    check_closely(data)


def check_closely(data: bytes) -> None:
    """Compare at the working size, for which no picture is resampled, before anything is rounded to grey levels."""
    payload = Payload.from_bytes(data)
    size = (payload.height, payload.width)
    expected = reference.decode(dict(payload.parts), list(payload.boxes), list(payload.classes), size)
    found = FrameStore([data]).render(range(len(payload)), code_of(data).size).permute(0, 2, 3, 1).numpy() * 255
    assert np.abs(found - expected.clip(0, 255)).max() < 0.01


def check(data: bytes) -> None:
    """Compare the product's pictures of a payload with the reference decoder's."""
    payload = Payload.from_bytes(data)
    size = (payload.height, payload.width)
    expected = reference.decode(dict(payload.parts), list(payload.boxes), list(payload.classes), size)
    difference = np.abs(decode(data).images() - expected.clip(0, 255))
    assert difference.mean() < 0.3  # the product rounds to whole grey levels
    assert difference.max() < 1.6
