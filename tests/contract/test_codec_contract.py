"""What every registered codec must do, whoever wrote it. A codec takes part by being registered."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import Codec, codecs, decode
from rinr_flower.codecs.part_names import PART_NAMES, part_name
from rinr_flower.decoding import FrameStore
from rinr_flower.errors import RinrError
from rinr_flower.frames import Clip, Frame

# only what keeps a fit short; everything else is the codec's default
QUICK: dict[str, dict[str, object]] = {
    "rapid_inr": {"hidden": 16, "layers": 3, "steps": 150, "batch_points": 512, "learning_rate": 2e-3},
    "residual": {"background": "jpeg", "background.quality": 20, "steps": 80, "candidates": 2, "batch_points": 128},
    "nerv": {"steps": 200},
    "scene": {"preset": "fast"},
}
NAMES = codecs.names()


def moving_clip(frames: int = 5, width: int = 72, height: int = 56) -> Clip:
    """A smooth picture that drifts, with a textured square moving over it; two boxes, then one, then none."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    made = []
    for t in range(frames):
        image = np.stack([128 + 90 * np.sin((x + 2 * t) / 11 + c) * np.cos(y / (9 + c)) for c in range(3)], axis=-1)
        left = 10 + 3 * t
        image[20:36, left : left + 16] = 255 * ((np.add.outer(np.arange(16), np.arange(16)) // 4) % 2)[..., None]
        boxes = np.array([[left, 20, left + 16, 36], [0, 0, 12.5, 9.25]], np.float32)[: max(0, min(2, 4 - t))]
        made.append(Frame(image.clip(0, 255).astype(np.uint8), boxes, np.arange(len(boxes), dtype=np.int64)))
    return Clip("moving", tuple(made), ("square", "corner"))


CLIP = moving_clip()
_payloads: dict[str, bytes] = {}


def codec(name: str) -> Codec:
    return codecs.create(name, **QUICK.get(name, {}))


def payload(name: str) -> bytes:
    if name not in _payloads:
        _payloads[name] = codec(name).encode(CLIP, seed=3)
    return _payloads[name]


@pytest.mark.parametrize("name", NAMES)
def test_decoded_clip_has_the_frames_sizes_boxes_and_classes(name: str) -> None:
    decoded = decode(payload(name))
    assert decoded.class_names == CLIP.class_names
    assert decoded.images().shape == CLIP.images().shape
    for before, after in zip(CLIP.frames, decoded.frames, strict=True):
        np.testing.assert_array_equal(before.boxes, after.boxes)
        np.testing.assert_array_equal(before.classes, after.classes)


@pytest.mark.parametrize("name", NAMES)
def test_picture_is_closer_than_the_mean_colour(name: str) -> None:
    original = CLIP.images().astype(np.float64)
    error = ((decode(payload(name)).images() - original) ** 2).mean()
    assert error < 0.5 * original.var(axis=(0, 1, 2)).mean()


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_gives_the_same_bytes(name: str) -> None:
    assert codec(name).encode(CLIP, seed=3) == payload(name)


@pytest.mark.parametrize("name", NAMES)
def test_bytes_do_not_depend_on_the_other_clips(name: str) -> None:
    other = Clip("other", moving_clip(3).frames[::-1], CLIP.class_names)
    assert codec(name).encode_many([other, CLIP], seed=3)[1] == payload(name)


@pytest.mark.parametrize("name", NAMES)
def test_rendering_does_not_depend_on_batch_order_or_neighbours(name: str) -> None:
    store = FrameStore([payload(name), payload("jpeg"), payload(name)])
    size = (40, 48)
    batch = store.render([11, 0, 3, 7, 0, 12], size)
    for row, index in enumerate([11, 0, 3, 7, 0, 12]):
        assert torch.equal(batch[row], store.render([index], size)[0])
    assert torch.equal(batch[1], batch[4])


@pytest.mark.parametrize("name", NAMES)
def test_render_at_the_camera_size_is_decode(name: str) -> None:
    store = FrameStore([payload(name)])
    pictures = (store.render(range(len(CLIP)), (CLIP.height, CLIP.width)) * 255 + 0.5).to(torch.uint8)
    np.testing.assert_array_equal(pictures.permute(0, 2, 3, 1).numpy(), decode(payload(name)).images())


@pytest.mark.parametrize("name", NAMES)
def test_a_flip_of_the_coordinates_flips_the_picture(name: str) -> None:
    store = FrameStore([payload(name)])
    size = (CLIP.height, CLIP.width)
    flip = torch.tensor([[[-1.0, 0, CLIP.width], [0, 1, 0], [0, 0, 1]]])
    flipped = store.render([2], size, matrix=flip)[0]
    assert (flipped.flip(-1) - store.render([2], size)[0]).abs().max() < 1.5 / 255


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_process_decodes_the_same_pictures(name: str, tmp_path: Path) -> None:
    file = tmp_path / "clip.rinr"
    file.write_bytes(payload(name))
    program = (
        "import sys, hashlib; from rinr_flower.codecs import decode\n"
        "print(hashlib.sha256(decode(open(sys.argv[1], 'rb').read()).images().tobytes()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(decode(payload(name)).images().tobytes()).hexdigest()


@pytest.mark.parametrize("name", NAMES)
def test_frames_without_boxes_and_single_frames(name: str) -> None:
    bare = Clip("bare", tuple(Frame(f.image) for f in CLIP.frames[:1]))
    decoded = decode(codec(name).encode(bare))
    assert len(decoded) == 1
    assert decoded.frames[0].boxes.shape == (0, 4)


@pytest.mark.parametrize("name", NAMES)
def test_parts_add_up_and_bytes_round_trip(name: str) -> None:
    parsed = Payload.from_bytes(payload(name))
    assert sum(parsed.bytes_by_part().values()) == len(payload(name))
    assert parsed.to_bytes() == payload(name)


@pytest.mark.parametrize("name", sorted(PART_NAMES))
def test_parts_that_have_a_name_are_in_the_payload(name: str) -> None:
    parts = Payload.from_bytes(payload(name)).bytes_by_part()
    assert set(PART_NAMES[name]) <= set(parts)
    assert all(part_name(name, part).startswith(f"{part} (") for part in PART_NAMES[name])


@pytest.mark.parametrize("name", NAMES)
def test_altered_parts_are_refused_or_decode_to_pictures(name: str) -> None:
    """Behind a valid checksum, whatever the bytes: a RinrError or frames of the declared size, nothing else."""
    parsed = Payload.from_bytes(payload(name))
    generator = np.random.default_rng(5)
    for part in [p for p, data in parsed.parts.items() if data]:
        for trial in range(12):
            data = bytearray(parsed.parts[part])
            if trial < 4:
                del data[len(data) * trial // 4 :]
            else:
                for at in generator.integers(0, min(len(data), 200), 3):
                    data[at] = generator.integers(256)
            altered = replace(parsed, parts={**parsed.parts, part: bytes(data)}).to_bytes()
            try:
                images = decode(altered).images()
            except RinrError:
                continue
            assert images.shape == CLIP.images().shape


@pytest.mark.parametrize("name", NAMES)
def test_resident_memory_is_reported(name: str) -> None:
    assert 0 < FrameStore([payload(name)]).resident_bytes < 10_000_000


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("name", NAMES)
def test_cuda_decodes_within_one_level_of_the_cpu(name: str) -> None:
    on_gpu = decode(payload(name), device="cuda").images().astype(int)
    assert np.abs(on_gpu - decode(payload(name)).images().astype(int)).max() <= 1
