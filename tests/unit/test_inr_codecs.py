"""SIREN banks, Rapid-INR and Residual-INR against float64 references and the papers' figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.weights import Quantised, quantise
from rinr_flower.codecs import Jpeg, RapidInr, Residual, codecs, decode
from rinr_flower.codecs.object_sizes import PAPER_SIZES, size_classes
from rinr_flower.decoding import FrameStore
from rinr_flower.errors import ConfigError, PayloadError
from rinr_flower.frames import Clip, Frame, box_mask, box_windows
from rinr_flower.inr.siren import TILE, Banks, SirenShape, evaluate_grouped, forward, initial_bank
from rinr_flower.quality import measure


def textured_clip(frames: int = 2, width: int = 64, height: int = 48, boxes: object = ((20, 10, 44, 30),)) -> Clip:
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    made = []
    for t in range(frames):
        image = np.stack([128 + 80 * np.sin((x + t) / 9 + c) * np.cos(y / 7) for c in range(3)], axis=-1)
        image[10:30, 20:44] += 40 * np.sign(np.sin(x[10:30, 20:44] / 2))[..., None]
        array = np.array(boxes, np.float32).reshape(-1, 4)
        made.append(Frame(image.clip(0, 255).astype(np.uint8), array, np.zeros(len(array), np.int64)))
    return Clip("textured", tuple(made))


def reference_siren(tensors: list[Quantised], network: int, points: np.ndarray, w0: int) -> np.ndarray:
    """One network, layer by layer, in float64."""
    weights = [t.dequantise()[network].astype(np.float64) for t in tensors]
    value = points.astype(np.float64)
    for i in range(0, len(weights) - 2, 2):
        value = np.sin(w0 * (value @ weights[i] + weights[i + 1]))
    return value @ weights[-2] + weights[-1]


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_grouped_evaluation_is_the_float64_forward_pass(bits: int) -> None:
    shapes = [SirenShape(28, 10), SirenShape(10, 3, 15), SirenShape(28, 10)]
    banks, places, tensors = Banks(torch.device("cpu")), [], []
    for seed, shape in enumerate(shapes):
        bank = [quantise(t.numpy(), bits, (0,)) for t in initial_bank(shape, 2, torch.Generator().manual_seed(seed))]
        tensors.append(bank)
        places.append(banks.add(shape, bits, bank))
    generator = np.random.default_rng(0)
    asked = [(0, 1), (1, 0), (2, 1), (0, 0), (1, 1)]
    points = [generator.uniform(-1, 1, (n, 2)).astype(np.float32) for n in (5, TILE + 3, 700, 1, 2 * TILE)]
    results = evaluate_grouped([places[s][n] for s, n in asked], [torch.from_numpy(p) for p in points])
    for (s, n), p, result in zip(asked, points, results, strict=True):
        expected = reference_siren(tensors[s], n, p, shapes[s].w0)
        assert np.abs(result.numpy() - expected).max() < 1e-4


def test_published_size_has_the_published_parameters() -> None:
    # 2 -> 28, nine times 28 -> 28, 28 -> 3
    assert SirenShape(28, 10).parameters == (2 * 28 + 28) + 9 * (28 * 28 + 28) + (28 * 3 + 3)


def test_forward_gradient_reaches_every_tensor() -> None:
    tensors = [t.requires_grad_() for t in initial_bank(SirenShape(8, 3), 2, torch.Generator().manual_seed(0))]
    forward(tensors, torch.rand(2, 50, 2), 30).square().sum().backward()
    assert all(t.grad is not None and t.grad.abs().sum() > 0 for t in tensors)


def test_longer_fits_are_better() -> None:
    clip = textured_clip()
    short, long = (RapidInr(hidden=20, layers=3, steps=s, learning_rate=3e-3) for s in (30, 300))
    assert measure(clip, decode(long.encode(clip))).frame_db > measure(clip, decode(short.encode(clip))).frame_db + 3


def test_eight_bits_lose_less_than_two_decibels() -> None:
    clip = textured_clip()
    raw, eight = (RapidInr(hidden=20, layers=3, steps=300, learning_rate=3e-3, bits=b) for b in (32, 8))
    sizes = [len(codec.encode(clip)) for codec in (raw, eight)]
    decibels = [measure(clip, decode(codec.encode(clip))).frame_db for codec in (raw, eight)]
    assert sizes[1] < 0.35 * sizes[0]
    assert decibels[1] > decibels[0] - 2


def test_pruned_weights_are_zero_and_save_bytes() -> None:
    clip = textured_clip()
    options = {"hidden": 20, "layers": 4, "steps": 60}
    plain, pruned = (RapidInr(**options, prune=p).encode(clip) for p in (0.0, 0.6))  # type: ignore[arg-type]
    assert len(pruned) < 0.8 * len(plain)


@pytest.mark.parametrize("mode", ["residual", "direct"])
def test_objects_raise_the_quality_inside_the_box_only(mode: str) -> None:
    clip = textured_clip()
    coarse = Jpeg(quality=5)
    alone = decode(coarse.encode(clip))
    both = decode(codecs.create("residual", background=coarse, mode=mode, steps=400, candidates=1).encode(clip))
    assert measure(clip, both).object_db > measure(clip, alone).object_db + 2
    mask = box_mask(clip.frames[0].boxes, clip.width, clip.height)
    np.testing.assert_array_equal(both.images()[:, ~mask], alone.images()[:, ~mask])


def test_points_drawn_inside_the_boxes_raise_the_object_at_no_byte() -> None:
    clip = textured_clip()
    options = {"hidden": 12, "layers": 3, "steps": 200, "learning_rate": 3e-3}
    plain, weighted = (RapidInr(**options, object_share=s).encode(clip) for s in (0.0, 0.5))  # type: ignore[arg-type]
    before, after = (measure(clip, decode(data)) for data in (plain, weighted))
    assert after.object_db > before.object_db + 1
    assert after.background_db < before.background_db
    assert len(weighted) < 1.03 * len(plain)


def test_points_in_boxes_do_not_depend_on_other_clips_and_frames_without_boxes_are_drawn_whole() -> None:
    codec = RapidInr(hidden=8, layers=2, steps=20, batch_points=64, object_share=0.5)
    clip, bare = textured_clip(), Clip("bare", (Frame(textured_clip(1).frames[0].image),))
    assert codec.encode_many([bare, clip], seed=4)[1] == codec.encode(clip, seed=4)
    long = RapidInr(hidden=12, layers=3, steps=200, learning_rate=3e-3, object_share=1.0)
    assert measure(bare, decode(long.encode(bare))).frame_db > 18


def test_a_residual_background_sees_boxes_only_to_weight_them() -> None:
    clip = textured_clip(1)
    bare = Clip(clip.name, (Frame(clip.frames[0].image),))
    options = {"hidden": 8, "layers": 2, "steps": 20, "batch_points": 64}
    cpu = torch.device("cpu")
    for share, seen in ((0.0, bare), (0.5, clip)):
        background = RapidInr(**options, object_share=share)  # type: ignore[arg-type]
        parts = Residual(background=background).encode_backgrounds([clip], seed=0, device=cpu)
        assert parts == background.encode_parts([seen], seed=0, device=cpu, progress=None)


def test_objects_over_an_encoded_background_are_what_encode_gives() -> None:
    clip, cpu = textured_clip(), torch.device("cpu")
    codec = Residual(background=Jpeg(quality=10), steps=30, candidates=2)
    backgrounds = codec.encode_backgrounds([clip], seed=2, device=cpu)
    parts = codec.encode_objects([clip], backgrounds, seed=2, device=cpu)[0]
    assert Payload.of_clip("residual", clip, parts).to_bytes() == codec.encode(clip, seed=2)


def test_a_scene_that_does_not_know_the_boxes_is_a_background() -> None:
    clip = textured_clip()
    coarse = codecs.create("scene", preset="fast", quality=20)
    bare = Clip(clip.name, tuple(Frame(f.image) for f in clip.frames))
    alone = decode(coarse.encode(bare)).images()
    both = decode(Residual(background=coarse, steps=300, candidates=1).encode(clip)).images()
    mask = box_mask(clip.frames[0].boxes, clip.width, clip.height)
    np.testing.assert_array_equal(both[:, ~mask], alone[:, ~mask])
    errors = [np.square(images[:, mask].astype(float) - clip.images()[:, mask]).mean() for images in (both, alone)]
    assert errors[0] < 0.6 * errors[1]


def test_a_codec_that_always_codes_objects_is_no_background() -> None:
    with pytest.raises(ConfigError, match="codes objects itself"):
        codecs.create("residual", background="roi_jpeg", steps=1).encode(textured_clip(1))


def test_object_networks_against_the_formula() -> None:
    """A residual payload rendered by hand: background + scale * network(box coordinates), in float64."""
    clip = textured_clip(1)
    payload = Residual(background=Jpeg(quality=10), sizes=((None, 6, 2),), steps=50).encode(clip)
    objects = FrameStore([payload])._renderer._renderers["residual"]._objects[0]  # type: ignore[attr-defined]
    bank, row = objects.places[0]
    weights = [Quantised(v.numpy(), s.numpy()) for v, s in zip(*bank.tensors, strict=True)]
    x1, y1, x2, y2 = objects.windows[0].tolist()
    y, x = np.mgrid[y1:y2, x1:x2] + 0.5
    points = np.stack([(x - x1) / (x2 - x1) * 2 - 1, (y - y1) / (y2 - y1) * 2 - 1], axis=-1).reshape(-1, 2)
    value = reference_siren(weights, row, points, bank.shape.w0).reshape(y2 - y1, x2 - x1, 3)
    base = decode(Jpeg(quality=10).encode(clip)).images()[0, y1:y2, x1:x2] / 255
    expected = (base + value * objects.scales[0] / 2).clip(0, 1) * 255
    assert np.abs(decode(payload).images()[0, y1:y2, x1:x2] - expected).max() <= 0.51


@pytest.mark.parametrize(
    ("boxes", "windows"),
    [
        ([[1.2, 2.9, 4.1, 5.0]], [(1, 2, 5, 5)]),
        ([[-3, -3, 2, 2]], [(0, 0, 2, 2)]),
        ([[60, 40, 90, 90]], [(60, 40, 64, 48)]),
        ([[70, 2, 80, 5]], []),
    ],
)
def test_windows_cover_boxes_and_stay_in_the_frame(boxes: list[list[float]], windows: list[tuple[int, ...]]) -> None:
    assert box_windows(np.array(boxes, np.float32), 64, 48) == windows


def test_published_sizes_by_area() -> None:
    areas = np.array([1000, 1001, 3000, 10_000, 10_001])
    assert [PAPER_SIZES[i][1:] for i in size_classes(areas, PAPER_SIZES)] == [
        (10, 3), (15, 3), (15, 3), (17, 5), (24, 5)]  # fmt: skip


def test_boxes_at_the_border_several_and_none() -> None:
    frames = list(textured_clip(3).frames)
    frames[1] = Frame(frames[1].image)
    frames[2] = Frame(frames[2].image, np.array([[0, 0, 9, 9], [5, 5, 20, 20], [60, 40, 64, 48]], np.float32),
                      np.zeros(3, np.int64))  # fmt: skip
    clip = Clip("mixed", tuple(frames))
    decoded = decode(Residual(background=Jpeg(quality=10), steps=60, candidates=1).encode(clip))
    assert [len(f.boxes) for f in decoded.frames] == [1, 0, 3]


def test_a_residual_over_a_residual_is_refused() -> None:
    with pytest.raises(ConfigError, match="another residual"):
        Residual(background=Residual())
    inner = Payload.from_bytes(Residual(background=Jpeg(), steps=1).encode(textured_clip(1)))
    nested = replace(inner, parts={**inner.parts, "background": b"\x08residual" + inner.parts["background"]})
    with pytest.raises(PayloadError, match="background of another"):
        decode(nested.to_bytes())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 0}, "hidden=0"),
        ({"bits": 1}, "of 1 bits"),
        ({"steps": 0}, "0 steps"),
        ({"prune": 1.0}, "prune"),
        ({"object_share": 1.1}, "object_share 1.1"),
        ({"steps": "many"}, "'many' is not a number"),
        ({"wdith": 3}, "no option 'wdith'; known: batch_points"),
    ],
)
def test_impossible_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        codecs.create("rapid_inr", **options)


def test_unknown_codec_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown codec 'jpg'; known: .*jpeg.*residual"):
        codecs.create("jpg")


def test_the_default_is_one_thing_and_the_sources_trade() -> None:
    """A smaller background with objects takes fewer bytes than one network for everything."""
    assert codecs.create("residual") == Residual()
    quick = codecs.create("residual", steps=1, **{"background.steps": 1})
    assert quick.background == replace(Residual().background, steps=1)
    clip = textured_clip()
    assert len(quick.encode(clip)) < 0.65 * len(RapidInr(steps=1).encode(clip))


def test_background_by_dotted_options() -> None:
    codec = codecs.create("residual", background="jpeg", **{"background.quality": "30"})
    assert codec == Residual(background=Jpeg(quality=30))


def test_all_pixels_of_frame_and_box_are_fitted_as_published() -> None:
    clip = textured_clip(2)
    options = {"hidden": 12, "layers": 3, "steps": 150, "learning_rate": 3e-3, "bits": 16}
    few, every = (RapidInr(**options, batch_points=n) for n in (4, None))  # type: ignore[arg-type]
    assert measure(clip, decode(every.encode(clip))).frame_db > measure(clip, decode(few.encode(clip))).frame_db + 2
    objects = Residual(background=Jpeg(quality=5), steps=300, candidates=1, batch_points=None)
    alone = measure(clip, decode(Jpeg(quality=5).encode(clip))).object_db
    assert measure(clip, decode(objects.encode(clip))).object_db > alone + 2
    with pytest.raises(ConfigError, match="all of them"):
        RapidInr(batch_points=None, object_share=0.1)
