"""NeRV: the network against its published size, the loss against scikit-image, the codec end to end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.data import astronaut
from skimage.metrics import structural_similarity

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import ByteWriter
from rinr_flower.codecs import codecs, decode
from rinr_flower.codecs.nerv import Nerv, NervRenderer, _unpack
from rinr_flower.errors import ConfigError, PayloadError
from rinr_flower.frames import Clip, Frame
from rinr_flower.inr.fusion_loss import fusion_loss, ssim
from rinr_flower.inr.nerv import NervShape, embed, forward, initial_tensors
from rinr_flower.quality import measure
from rinr_flower.rendering.renderer import View

SMALL = {"stem": 8, "channels": 4, "width": 6, "strides": (3, 2), "levels": 6, "steps": 240, "learning_rate": 6e-3}


def make_clip(width: int = 43, height: int = 31, frames: int = 3) -> Clip:
    """A photograph that pans; 43x31 is divisible by none of the strides."""
    picture = astronaut()[::4, ::4]
    return Clip("pan", tuple(Frame(np.ascontiguousarray(picture[10 : 10 + height, 30 + 3 * i : 30 + 3 * i + width]))
                             for i in range(frames)))  # fmt: skip


def unpacked(data: bytes):
    """Shape, tensors and bit width of the network."""
    payload = Payload.from_bytes(data)
    return _unpack(payload.part("background"), payload.width, payload.height)


@pytest.fixture(scope="module")
def payload() -> bytes:
    return codecs.create("nerv", **SMALL).encode(make_clip(), seed=3)


def test_published_configuration_has_the_published_size():
    shape = codecs.create("nerv", preset="published").shape(640, 360)
    assert shape.parameters == 1_391_155
    assert shape.grid == (9, 16)
    assert shape.size == (360, 640)
    assert sum(t.numel() for t in initial_tensors(shape, torch.Generator())) == 1_391_155


def test_options_change_a_preset():
    codec = codecs.create("nerv", preset="published", width=48, strides="5,2,2")
    assert codec == Nerv(stem=256, channels=16, width=48, strides=(5, 2, 2), steps=9_600, learning_rate=5e-4)


@pytest.mark.parametrize(("width", "height"), [(320, 180), (360, 240), (576, 432), (640, 360), (1280, 720), (7, 5)])
def test_automatic_strides_keep_the_grid_small_and_cover_the_frame(width, height):
    shape = Nerv().shape(width, height)
    assert shape.grid[0] * shape.grid[1] <= 256
    assert shape.size[0] >= height
    assert shape.size[1] >= width


def test_embedding_is_the_papers():
    """Equation 2: sin and cos of b^i pi t with b = 1.25."""
    rows = embed(torch.tensor([0.0, 0.3]), 40)
    assert rows.shape == (2, 80)
    assert rows[1, 2 * 7].item() == pytest.approx(np.sin(1.25**7 * np.pi * 0.3), abs=1e-5)
    assert rows[1, 2 * 7 + 1].item() == pytest.approx(np.cos(1.25**7 * np.pi * 0.3), abs=1e-5)
    assert rows[0].tolist() == [0.0, 1.0] * 40


def test_forward_matches_torch_modules():
    shape = NervShape((2, 3), 5, 4, 3, (3, 2), 6)
    tensors = initial_tensors(shape, torch.Generator().manual_seed(1))
    nn = torch.nn
    model = nn.Sequential(
        nn.Linear(12, 5), nn.GELU(), nn.Linear(5, 24), nn.GELU(), nn.Unflatten(1, (4, 2, 3)),
        nn.Conv2d(4, 36, 3, padding=1), nn.PixelShuffle(3), nn.GELU(),
        nn.Conv2d(4, 12, 3, padding=1), nn.PixelShuffle(2), nn.GELU(),
        nn.Conv2d(3, 3, 1), nn.Tanh(),
    )  # fmt: skip
    assert [tuple(p.shape) for p in model.parameters()] == shape.shapes()
    for parameter, tensor in zip(model.parameters(), tensors, strict=True):
        parameter.data = tensor
    times = torch.tensor([0.0, 0.4])
    expected = (model(embed(times, 6)) + 1) / 2
    assert expected.shape == (2, 3, 12, 18)
    torch.testing.assert_close(forward(tensors, shape, times), expected)


def test_ssim_is_scikit_images():
    rng = np.random.default_rng(2)
    a = astronaut()[:40, :52].astype(np.float64) / 255
    b = np.clip(a + rng.normal(0, 0.1, a.shape), 0, 1)
    _, full = structural_similarity(
        a, b, channel_axis=2, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    ours = ssim(*(torch.from_numpy(x).permute(2, 0, 1)[None] for x in (a, b)))
    assert ours.item() == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-9)


def test_fusion_loss_mixes_the_two_and_takes_small_pictures():
    a, b = torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(0)).split(1)
    expected = 0.7 * (a - b).abs().mean() + 0.3 * (1 - ssim(a, b))
    assert fusion_loss(a, b).item() == pytest.approx(expected.item(), abs=1e-6)
    assert fusion_loss(a, a).item() == pytest.approx(0, abs=1e-6)
    assert fusion_loss(a[..., :5], b[..., :5]).item() == pytest.approx((a - b)[..., :5].abs().mean().item())


def test_clip_comes_back(payload):
    clip, decoded = make_clip(), decode(payload)
    assert decoded.images().shape == (3, 31, 43, 3)
    quality = measure(clip, decoded)
    still = Clip("mean", tuple(Frame(clip.images().mean(axis=0).astype(np.uint8)) for _ in clip.frames))
    assert quality.worst_frame_db > measure(clip, still).frame_db + 2, "it must follow the motion"


def test_same_seed_same_bytes_whatever_comes_along(payload):
    codec = codecs.create("nerv", **{**SMALL, "steps": 9})
    clips = [make_clip(20, 17, 2), make_clip()]
    together = codec.encode_many(clips, seed=3)
    assert together == [codec.encode(c, seed=3) for c in clips]
    assert codec.encode(clips[1], seed=4) != together[1]


def test_rendering_does_not_depend_on_the_batch(payload):
    renderer = NervRenderer(torch.device("cpu"))
    renderer.add(Payload.from_bytes(payload))
    renderer.add(Payload.from_bytes(payload))
    chosen = torch.tensor([5, 0, 2, 3])
    view = View.resize([(43, 31)] * 4, (24, 40), device=torch.device("cpu"))
    batch = renderer.render(chosen, view)
    for row in range(4):
        assert (renderer.render(chosen[row : row + 1], view.select(torch.tensor([row])))[0] == batch[row]).all()
    assert (renderer.render(torch.tensor([0]), view.select(torch.tensor([0])))[0] == batch[3]).all()
    shape, tensors, _ = unpacked(payload)
    assert renderer.resident_bytes == 2 * (shape.parameters + 4 * len(tensors)), "8-bit weights stay 8 bit"


def test_a_flipped_view_is_the_flipped_frame(payload):
    renderer = NervRenderer(torch.device("cpu"))
    renderer.add(Payload.from_bytes(payload))
    plain = renderer.render(torch.tensor([1]), View.resize([(43, 31)], (31, 43), device=torch.device("cpu")))
    matrix = torch.tensor([[[-1.0, 0, 43], [0, 1, 0], [0, 0, 1]]])
    torch.testing.assert_close(
        renderer.render(torch.tensor([1]), View((31, 43), matrix)), plain.flip(-1), atol=1e-4, rtol=0
    )


def test_weight_on_the_boxes_raises_the_object_at_the_background_s_cost():
    boxes, classes = np.array([[12, 8, 24, 20]], np.float32), np.zeros(1, np.int64)
    clip = Clip("pan", tuple(Frame(f.image, boxes, classes) for f in make_clip().frames))
    plain, weighted = (codecs.create("nerv", **SMALL, object_share=share).encode(clip, seed=3) for share in (0, 0.7))
    before, after = (measure(clip, decode(data)) for data in (plain, weighted))
    assert after.object_db > before.object_db + 1
    assert after.background_db < before.background_db
    bare = codecs.create("nerv", **{**SMALL, "steps": 9}, object_share=0.7).encode(make_clip(), seed=3)
    assert decode(bare).images().shape == (3, 31, 43, 3), "frames without a box are weighted alike everywhere"


def test_pruning_leaves_that_share_of_weights_and_saves_bytes(payload):
    pruned = codecs.create("nerv", **SMALL, prune=0.6).encode(make_clip(), seed=3)
    _, tensors, _ = unpacked(pruned)
    weights = np.concatenate([t.values.reshape(-1) for t in tensors if t.values.ndim > 1])
    assert (weights == 0).mean() >= 0.59
    _, dense, _ = unpacked(payload)
    assert (np.concatenate([t.values.reshape(-1) for t in dense if t.values.ndim > 1]) == 0).mean() < 0.2
    assert len(pruned) < 0.7 * len(payload)
    assert measure(make_clip(), decode(pruned)).frame_db > 14


def test_fewer_bits_cost_fewer_bytes():
    clip = make_clip()
    sizes = [len(codecs.create("nerv", **{**SMALL, "steps": 9}, bits=bits).encode(clip)) for bits in (4, 8, 16, 32)]
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.65 * sizes[1]
    assert sizes[3] > 3.5 * sizes[1]


@pytest.mark.parametrize(
    "options",
    [
        {"stem": 0},
        {"prune": 1.0},
        {"object_share": -0.1},
        {"strides": "5,x"},
        {"strides": (0, 2)},
        {"bits": 1},
        {"steps": 0},
        {"preset": "large"},
        {"learning_rate": 2.0},
    ],
)
def test_bad_options_are_a_config_error(options):
    with pytest.raises(ConfigError):
        codecs.create("nerv", **options)


def test_a_network_that_is_too_large_is_refused():
    with pytest.raises(ConfigError, match="take larger strides"):
        Nerv(stem=4096, channels=512, strides=(2,)).shape(640, 360)


def altered(payload: bytes, background: bytes) -> bytes:
    parsed = Payload.from_bytes(payload)
    return Payload(
        parsed.codec, parsed.width, parsed.height, parsed.boxes, parsed.classes, parsed.class_names,
        {"background": background},
    ).to_bytes()  # fmt: skip


def test_hostile_bytes_are_a_payload_error(payload):
    good = Payload.from_bytes(payload).part("background")
    huge = ByteWriter()
    for value in (4096, 4096, 4096, 128, 8, 1, 1):
        huge.varint(value)
    zero = ByteWriter()
    for value in (0, 4, 6, 6, 8, 1, 2):
        zero.varint(value)
    for bad in (b"", good[:-1], good + b"\x00", good[: len(good) // 2], huge.getvalue(), zero.getvalue()):
        with pytest.raises(PayloadError):
            decode(altered(payload, bad))


def test_damage_is_a_payload_error_or_decodes(payload):
    good = Payload.from_bytes(payload).part("background")
    rng = np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(good)
        damaged[int(rng.integers(min(200, len(good))))] ^= int(rng.integers(1, 256))
        try:
            assert decode(altered(payload, bytes(damaged))).width == 43
        except PayloadError:
            continue


def test_best_weights_are_what_is_stored(payload):
    """The stored integers draw the clip as well as the fit said: nothing is lost between fitting and the payload."""
    shape, tensors, bits = unpacked(payload)
    assert bits == 8
    weights = [torch.from_numpy(t.dequantise()) for t in tensors]
    drawn = forward(weights, shape, torch.arange(3) / 3)[:, :, :31, :43].permute(0, 2, 3, 1).numpy()
    error = (drawn * 255 - decode(payload).images()) ** 2
    assert np.sqrt(error.max()) <= 0.51
