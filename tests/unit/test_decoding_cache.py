"""Decoded frames are kept within their budget, and what is kept looks like what was decoded."""

import numpy as np
import pytest
import torch
from skimage import data

from rinr_flower.codecs import codecs
from rinr_flower.codecs.classical import Jpeg
from rinr_flower.decoding import FrameStore
from rinr_flower.decoding.augment import Augmentation, arrange
from rinr_flower.decoding.mosaic import compose
from rinr_flower.frames import Clip, Frame

FRAME_BYTES = 64 * 40 * 3


@pytest.fixture(scope="module")
def payloads() -> list[bytes]:
    picture = data.astronaut()
    frames = [Frame(np.ascontiguousarray(picture[8 * i : 8 * i + 40, 200:264])) for i in range(4)]
    inr = codecs.create({"name": "rapid_inr", "steps": 20}).encode(Clip("inr", tuple(frames)))
    return [inr, Jpeg(quality=90).encode(Clip("jpeg", tuple(frames[:2])))]


def test_kept_frames_are_the_decoded_frames(payloads: list[bytes]) -> None:
    """At the camera's size to half a grey level; at another size they are samples of the decoded picture."""
    plain, cached = FrameStore(payloads), FrameStore(payloads, cache_bytes=10**9)
    order = [5, 0, 3, 4, 1, 0]
    error = (plain.render(order, (40, 64)) - cached.render(order, (40, 64))).abs()
    assert error.max() <= 0.5 / 255 + 1e-5
    assert error[1].max() > 0  # rounded: it really is the kept picture
    small = cached.render([2], (20, 32))
    decoded = torch.nn.functional.interpolate(plain.render([2], (40, 64)), (20, 32), mode="bilinear")
    assert (small - decoded).abs().max() < 1 / 255


def test_the_budget_is_kept(payloads: list[bytes]) -> None:
    """Frames beyond the budget are still rendered; classical frames, decoded anyway, take nothing from it."""
    plain, cached = FrameStore(payloads), FrameStore(payloads, cache_bytes=2 * FRAME_BYTES + 1)
    before = cached.resident_bytes
    assert before == plain.resident_bytes
    cached.render([4, 5, 3], (20, 32))
    assert cached.resident_bytes == before + FRAME_BYTES
    for _ in range(2):
        cached.render(range(6), (20, 32))
        assert cached.resident_bytes == before + 2 * FRAME_BYTES
    # frame 3 was asked for first, then frame 0 had room, and 1 and 2 had none
    torch.testing.assert_close(cached.render([1, 2], (20, 32)), plain.render([1, 2], (20, 32)), rtol=0, atol=0)
    assert not torch.equal(cached.render([0], (40, 64)), plain.render([0], (40, 64)))


def test_augmenting_is_rendering_then_warping(payloads: list[bytes]) -> None:
    """Looking networks up at moved coordinates shows what moving their decoded pictures shows."""
    plain, kept = FrameStore(payloads[:1]), FrameStore(payloads[:1], cache_bytes=10**9)
    augmentation = Augmentation(degrees=10, shear=5)
    generator = np.random.default_rng(0)
    drawn = [augmentation.draw(i, range(4), (64, 64), generator) for i in range(4)]
    pictures = [arrange(d, [plain.frame_size(i) for i in d.frames], (64, 64)) for d in drawn]
    error = compose(plain, pictures, (64, 64)) - compose(kept, pictures, (64, 64))
    assert 10 * torch.log10(1 / error.square().mean()) > 35


def test_a_picture_does_not_depend_on_its_batch(payloads: list[bytes]) -> None:
    cached = FrameStore(payloads, cache_bytes=3 * FRAME_BYTES)
    together = cached.render(range(6), (32, 48))
    for i in range(6):
        assert torch.equal(cached.render([i], (32, 48))[0], together[i])
