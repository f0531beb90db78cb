"""Networks that serve several pictures: fitting, layer-by-layer rounding, bytes, and which pictures share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.data import astronaut, chelsea

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import ByteReader
from rinr_flower.bitstream.weights import FLOAT_BITS, Quantised, quantise
from rinr_flower.codecs import Jpeg, RapidInr, Residual, decode
from rinr_flower.codecs.frame_groups import frame_groups
from rinr_flower.codecs.object_sizes import SHALLOW_SIZES, object_groups
from rinr_flower.codecs.shared_weights import pack_shared, split_evenly, unpack_shared
from rinr_flower.errors import ConfigError, PayloadError
from rinr_flower.frames import Clip, Frame, box_windows
from rinr_flower.inr.fit import Schedule
from rinr_flower.inr.shared_siren import SharedBank, SharedWeights, fit_and_round, fit_of
from rinr_flower.inr.siren import SirenShape, forward, initial_bank
from rinr_flower.quality import measure

CPU = torch.device("cpu")
STILL = torch.eye(2, 3)


def pan(frames: int = 6, width: int = 96, height: int = 64, step: int = 2) -> Clip:
    """A camera that pans over a photograph; one box stands still in the frame."""
    picture = astronaut()[::2, ::2]
    boxes, classes = np.array([[30, 20, 60, 50]], np.float32), np.zeros(1, np.int64)
    return Clip("pan", tuple(
        Frame(np.ascontiguousarray(picture[20 : 20 + height, 40 + step * i : 40 + step * i + width]), boxes, classes)
        for i in range(frames)
    ))  # fmt: skip


def test_a_motion_is_a_change_of_the_first_layer() -> None:
    shape = SirenShape(9, 3)
    tensors = initial_bank(shape, 2, torch.Generator().manual_seed(1))
    motions = STILL + 0.2 * torch.randn(2, 3, 2, 3, generator=torch.Generator().manual_seed(2))
    points = torch.rand(2, 3, 7, 2, generator=torch.Generator().manual_seed(3)) * 2 - 1
    found = SharedBank(shape, [t.clone() for t in tensors], motions, CPU)(points)
    moved = points @ motions[..., :2].transpose(-1, -2) + motions[..., None, :, 2]
    for picture in range(3):
        torch.testing.assert_close(
            found[:, picture], forward(tensors, moved[:, picture], shape.w0), atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("bits", [3, 5])
def test_rounding_layer_by_layer_loses_less_than_at_the_end(bits: int) -> None:
    shape, points = SirenShape(24, 4), torch.rand(1, 1, 800, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    target = torch.sin(9 * points[..., :1] + torch.cos(8 * points[..., 1:])).expand(-1, -1, -1, 3)

    def error(width: int, then: int) -> float:
        """Mean square error of a network that was fitted for ``width`` bits and then rounded to ``then``."""
        tensors = initial_bank(shape, 1, torch.Generator().manual_seed(0))
        bank = SharedBank(shape, tensors, STILL.expand(1, 1, -1, -1), CPU)

        def losses(step: int) -> list[torch.Tensor]:
            return [(bank(points) - target).square().mean()]

        weights = fit_and_round(bank, losses, Schedule(250, 2e-3), width)
        exact = [torch.from_numpy(t.dequantise()) for t in (*weights.own, *weights.common)]
        if then != width:
            exact = [torch.from_numpy(quantise(t.numpy(), then, (0,)).dequantise()) for t in exact]
        drawn = forward([t.reshape(1, *t.shape[-2:]) for t in exact], points[:, 0], shape.w0)
        return float((drawn - target[:, 0]).square().mean())

    assert error(bits, bits) < 0.5 * error(FLOAT_BITS, bits)


def some_networks(shape: SirenShape, pictures: list[int], bits: int) -> list[SharedWeights]:
    generator = torch.Generator().manual_seed(5)
    made = []
    for count in pictures:
        first, *rest = [t * 0.7 for t in initial_bank(shape, 1, generator)]
        drift = torch.linspace(0, 0.05, count)[:, None, None]
        own = [
            quantise((first + drift)[None].numpy(), bits, (0,)),
            quantise((rest[0] + drift)[None].numpy(), bits, (0,)),
        ]
        made.append(SharedWeights(own, [quantise(t.numpy(), bits, (0,)) for t in rest[1:]]))
    return made


@pytest.mark.parametrize("bits", [4, 6, 8, 11, 16, FLOAT_BITS])
@pytest.mark.parametrize("pictures", [[1, 1, 1], [5], [2, 1, 7]])
def test_weights_come_back_as_one_network_for_each_picture(bits: int, pictures: list[int]) -> None:
    shape = SirenShape(7, 3)
    networks = some_networks(shape, pictures, bits)
    data = pack_shared(networks, bits)
    reader = ByteReader(data)
    found = unpack_shared(reader, shape, pictures, bits, "weights")
    reader.end()
    assert [t.values.shape for t in found] == shape.shapes(sum(pictures))
    at = 0
    for network, count in zip(networks, pictures, strict=True):
        for k in range(count):
            expected = [t.dequantise()[0, k] for t in network.own] + [t.dequantise()[0] for t in network.common]
            for tensor, value in zip(found, expected, strict=True):
                np.testing.assert_array_equal(tensor.dequantise()[at], value)
            at += 1
    for cut in (0, 1, len(data) // 2, len(data) - 1):
        with pytest.raises(PayloadError):
            unpack_shared(ByteReader(data[:cut]), shape, pictures, bits, "weights")


def test_small_differences_between_pictures_cost_little() -> None:
    shape = SirenShape(7, 3)
    one, many = (len(pack_shared(some_networks(shape, [count], 6), 6)) for count in (1, 33))
    assert many - one < 32 * 0.35 * 21  # 21 weights of a first layer in each of 32 more pictures


def test_differences_that_leave_the_range_are_refused() -> None:
    shape, count = SirenShape(2, 1), 4
    own = [
        Quantised(np.full((1, count, *s), 120, np.int32), np.ones((1, 1, 1, 1), np.float32)) for s in ((2, 2), (1, 2))
    ]
    common = [Quantised(np.zeros((1, *s), np.int32), np.ones((1, 1, 1), np.float32)) for s in ((2, 3), (1, 3))]
    for tensor in own:
        tensor.values[:, 1] += 7
        tensor.values[:, 2:] += 1
    data = bytearray(pack_shared([SharedWeights(own, common)], 8))
    shape_of = {"shape": shape, "pictures": [count], "bits": 8, "what": "weights"}
    unpack_shared(ByteReader(bytes(data)), **shape_of)  # type: ignore[arg-type]
    refused = 0
    for at in range(len(data)):
        for value in (1, 2, 3, 200):
            altered = bytes(data[:at] + bytes([value]) + data[at + 1 :])
            try:
                found = unpack_shared(ByteReader(altered), **shape_of)  # type: ignore[arg-type]
            except PayloadError:
                refused += 1
                continue
            assert all(np.abs(t.values).max() <= 127 for t in found)
    assert refused > 10


def test_pictures_are_split_evenly_and_no_picture_takes_longer_than_alone() -> None:
    assert [split_evenly(n, 32) for n in (1, 32, 33, 100)] == [[1], [32], [16, 17], [25, 25, 25, 25]]
    assert split_evenly(0, 4) == []
    for pictures in range(1, 100):
        steps, points = fit_of(pictures, 100, 2048)
        assert steps * points <= 100 * 2048
        assert steps * points * pictures <= 16 * 100 * 2048
    assert fit_of(1, 100, None) == (100, None)


def test_frames_are_grouped_by_shot_and_follow_the_camera() -> None:
    clip = pan(5)
    other = chelsea()[50:114, 50:146]
    cut = Clip("cut", (*clip.frames, *(Frame(np.ascontiguousarray(other)) for _ in range(2))))
    groups = frame_groups(cut, 32)
    assert [group.frames for group in groups] == [range(5), range(5, 7)]
    shifts = groups[0].motions[:, 0, 2] * 96 / 2
    np.testing.assert_allclose(shifts, [-4, -2, 0, 2, 4], atol=0.3)
    assert [len(g.frames) for g in frame_groups(cut, 3)] == [2, 3, 2]
    assert [len(g.frames) for g in frame_groups(cut, 1)] == [1] * 7


def test_sharing_saves_most_bytes_at_nearly_the_same_quality() -> None:
    clip = pan()
    options = {"hidden": 24, "layers": 3, "steps": 250, "batch_points": 768, "learning_rate": 3e-3}
    alone, together = (RapidInr(**options, shared=s).encode(clip) for s in (1, 6))  # type: ignore[arg-type]
    assert len(together) < 0.3 * len(alone)
    assert measure(clip, decode(together)).frame_db > measure(clip, decode(alone)).frame_db - 1.5


@pytest.mark.parametrize("shared", [1, 3, 32])
def test_every_box_inside_its_frame_has_a_network_that_fits_it(shared: int) -> None:
    random = np.random.default_rng(shared)
    shapes = [SirenShape(hidden, layers) for _, hidden, layers in SHALLOW_SIZES]
    seen = unseen = 0
    for _ in range(200):
        width, height = (int(side) for side in random.integers(1, 400, 2))
        counts = random.integers(0, 6, random.integers(1, 6))
        corners = [random.uniform(-60, 260, (n, 2)) for n in counts]
        sizes = [random.choice([0, 1, 5.5, 60, 300], (n, 2)) * random.uniform(0, 1, (n, 2)) for n in counts]
        boxes = tuple(np.hstack([c, c + s]).astype(np.float32) for c, s in zip(corners, sizes, strict=True))
        boxes = tuple(map(np.rint, boxes)) if random.random() < 0.5 else boxes
        labels = tuple(random.integers(0, 2, n) for n in counts)
        payload = Payload("residual", width, height, boxes, labels, ("a", "b"), {})
        groups = object_groups(payload, SHALLOW_SIZES, shapes, shared)
        where, windows = list(map(tuple, groups.places.tolist())), list(map(tuple, groups.windows.tolist()))
        found = {place: [window] for place, window in zip(where, windows, strict=True)}
        places = [(frame, row) for frame, n in enumerate(counts) for row in range(n)]
        expected = {(f, row): box_windows(boxes[f][row : row + 1], width, height) for f, row in places}
        assert found == {place: windows for place, windows in expected.items() if windows}
        end, order = 0, []
        for kind, count in zip(groups.kinds.tolist(), groups.counts.tolist(), strict=True):
            start, end = end, end + count
            largest = max((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in windows[start:end])
            assert kind == next(i for i, (most, *_) in enumerate(SHALLOW_SIZES) if most is None or largest <= most)
            assert 1 <= count <= shared
            assert len({labels[frame][row] for frame, row in where[start:end]}) == 1
            order.append((kind, where[start]))
        assert (end, order) == (len(where), sorted(order))
        seen += len(found)
        unseen += len(places) - len(found)
    assert min(seen, unseen) > 300


def test_an_object_shares_its_network_and_keeps_its_own_first_layers() -> None:
    clip = pan()
    payload = Payload.of_clip("residual", clip, {})
    shapes = [SirenShape(hidden, layers) for _, hidden, layers in SHALLOW_SIZES]
    groups = object_groups(payload, SHALLOW_SIZES, shapes, 32)
    assert groups.counts.tolist() == [6]
    assert groups.places.tolist() == [[f, 0] for f in range(6)]
    assert object_groups(payload, SHALLOW_SIZES, shapes, 4).counts.tolist() == [3, 3]
    assert object_groups(payload, SHALLOW_SIZES, shapes, 1).counts.tolist() == [1] * 6
    options = {"background": Jpeg(quality=5), "steps": 200, "candidates": 1, "sizes": ((None, 16, 3),)}
    alone, together = (Residual(**options, shared=s).encode(clip) for s in (1, 32))  # type: ignore[arg-type]
    coarse = measure(clip, decode(Jpeg(quality=5).encode(clip))).object_db
    objects = [Payload.from_bytes(data).bytes_by_part()["object"] for data in (alone, together)]
    assert objects[1] < 0.4 * objects[0]
    assert measure(clip, decode(together)).object_db > coarse + 1.5


@pytest.mark.parametrize("codec", [RapidInr, Residual])
def test_impossible_shares_are_named(codec: type[RapidInr | Residual]) -> None:
    for shared in (0, 1025):
        with pytest.raises(ConfigError, match=f"shared {shared}"):
            codec(shared=shared)
