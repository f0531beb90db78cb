"""The product decodes ``scene`` payloads to what a second decoder makes of them that shares no code with it."""

from __future__ import annotations

import numpy as np
import pytest
import reference_scene as reference
from scene_clips import clip_of, with_heads

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import Scene, decode
from rinr_flower.frames import Clip


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


def check(data: bytes) -> None:
    """Compare the product's pictures of a payload with the reference decoder's."""
    payload = Payload.from_bytes(data)
    size = (payload.height, payload.width)
    expected = reference.decode(dict(payload.parts), list(payload.boxes), list(payload.classes), size)
    difference = np.abs(decode(data).images() - expected.clip(0, 255))
    assert difference.mean() < 0.3  # the product rounds to whole grey levels
    assert difference.max() < 1.6
