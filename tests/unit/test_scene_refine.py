"""Refinement of objects and of all parts: gradients against differences, curvature against a formula, what it earns."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from scene_clips import SIZE, clip_of

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import Scene, decode
from rinr_flower.codecs.scene.decode.resident import OpenScene
from rinr_flower.codecs.scene.decode.sampling import centres, sample, to_rgb
from rinr_flower.codecs.scene.encode import refine as module
from rinr_flower.codecs.scene.encode.analysis import Analysis, analyse_clip
from rinr_flower.codecs.scene.encode.effort import PRESETS
from rinr_flower.codecs.scene.encode.encoder import Encoded, encode
from rinr_flower.codecs.scene.encode.quantise import LAMBDA
from rinr_flower.codecs.scene.encode.refine import refine, refine_objects
from rinr_flower.codecs.scene.format.code import SceneCode
from rinr_flower.codecs.scene.format.lattice import Kind
from rinr_flower.codecs.scene.format.stream import to_parts
from rinr_flower.frames import Clip
from rinr_flower.quality import measure

CLIP = clip_of(10)
STILL = clip_of(6, pan=0.0)


def encoded(clip: Clip) -> tuple[Analysis, Encoded]:
    step, finer = 72, 28
    boxes = Payload.from_bytes(Payload.of_clip("scene", clip, {}).to_bytes()).boxes
    found = analyse_clip(clip, boxes, 640, PRESETS["balanced"], step, step - finer)
    return found, encode(found, step, step - finer, PRESETS["balanced"])


def coded(clip: Clip) -> tuple[Analysis, SceneCode]:
    found, done = encoded(clip)
    return found, done.code


def bytes_of(code: SceneCode) -> int:
    return sum(map(len, to_parts(code).values()))


def weights_of(found: Analysis, code: SceneCode, objects: float = 1.35) -> list[torch.Tensor]:
    return module._weights(found, code, module._open(found, code, background=False), objects)


def errors_of(found: Analysis, code: SceneCode, objects: float = 1.35) -> tuple[float, float]:
    return errors_in(module._open(found, code, background=True), found, weights_of(found, code, objects))


def errors_in(scene: OpenScene, found: Analysis, weights: list[torch.Tensor]) -> tuple[float, float]:
    """Squared error of all frames, weighted and plain, in float64 from the planes that a decoder holds."""
    points, weighted, plain = centres(*found.size), 0.0, 0.0
    with torch.no_grad():
        for frame, (image, weight) in enumerate(zip(found.images, weights, strict=True)):
            picture = scene.at(frame, points)
            rgb = (picture + 128).expand(3, -1) if found.grey else to_rgb(picture[0], picture[1:]) * 255
            rgb = np.clip(rgb.double().numpy(), 0, 255)
            squared = ((rgb - image.reshape(-1, 3).T) ** 2).mean(axis=0)
            weighted += float((squared * weight.double().numpy()).sum())
            plain += float(squared.sum())
    return weighted, plain


def test_gradients_are_those_of_the_error() -> None:
    found, code = coded(CLIP)
    weights = weights_of(found, code)
    drawn = module._Drawn(found, code, module._views(found, weights))
    assert drawn.error == pytest.approx(errors_of(found, code)[0], rel=1e-4)
    volume = drawn.scene.layers[0].volume
    canvas = drawn.scene.shots[0].canvas
    assert volume.chroma is not None
    assert canvas.chroma is not None
    middle = tuple(side // 2 for side in volume.luma.shape[2:])
    for tensor, at in (
        (volume.luma, (3, 0, *middle)),
        (volume.chroma, (3, 1, *middle)),
        (canvas.luma, (0, 0, 20, 30)),
        (canvas.chroma, (0, 0, 12, 16)),
    ):
        errors = []
        for change in (0.5, -0.5):
            with torch.no_grad():
                tensor[at] += change
                errors.append(errors_in(drawn.scene, found, weights)[0])
                tensor[at] -= change
        assert tensor.grad is not None
        assert float(tensor.grad[at]) == pytest.approx(errors[0] - errors[1], rel=0.02, abs=0.5)


def test_the_curvature_of_a_canvas_that_stands_still_is_the_weight_of_its_pixels() -> None:
    found, code = coded(clip_of(6, pan=0.0, boxed=False))
    scene = module._open(found, code, background=True)
    (curvature,) = module._curvatures(scene, module._views(found, weights_of(found, code)), Kind.CANVAS)
    np.testing.assert_allclose(curvature, 6.0, rtol=1e-4)


def test_objects_and_what_surrounds_them_weigh_more() -> None:
    found, code = coded(CLIP)
    weights = weights_of(found, code, 1.6)[4].reshape(SIZE).numpy()
    x1, y1, x2, y2 = (int(v) for v in found.boxes[4][0])
    most = 1.6 * (code.step / code.object_step(code.layers[0])) ** 2
    np.testing.assert_allclose(weights[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1], 1 + (most - 1), rtol=1e-5)
    assert weights.min() == 1
    beside = weights[(y1 + y2) // 2, min(x2 + 2, SIZE[1] - 1)]
    assert 1 < beside <= 1 + 0.5 * (most - 1)


def test_objects_alone_have_the_gradients_and_the_curvature_that_they_have_among_all_parts() -> None:
    found, done = encoded(CLIP)
    weights = weights_of(found, done.code)
    every, objects = (module._views(found, weights, scene) for scene in (None, done.scene))
    assert sum(len(v.points) for v in objects) < 0.6 * sum(len(v.points) for v in every)
    whole, part = (module._Drawn(found, done.code, views) for views in (every, objects))
    for layer, same in zip(whole.scene.layers, part.scene.layers, strict=True):
        for a, b in ((layer.volume.luma, same.volume.luma), (layer.volume.chroma, same.volume.chroma)):
            assert a is not None
            assert b is not None
            assert a.grad is not None
            assert b.grad is not None
            # corners of a volume weigh nothing and are left out of the second
            torch.testing.assert_close(b.grad, a.grad, rtol=1e-3, atol=0.02 * float(a.grad.abs().max()))
    drawn = ((whole.scene, every), (part.scene, objects))
    curves = [module._curvatures(scene, views, Kind.OBJECT) for scene, views in drawn]
    for c, d in zip(*curves, strict=True):
        np.testing.assert_allclose(d, c, atol=0.02 * float(c.max()))


def test_refined_objects_save_error_and_bits_and_leave_the_background_alone() -> None:
    found, done = encoded(CLIP)
    code = done.code
    before, (weighted, plain), size = to_parts(code), errors_of(found, code, 1.6), bytes_of(code)
    cost = weighted + LAMBDA * code.step**2 * 8 * size
    refine_objects(found, code, done.scene)
    after, (weighted, plain_after), size = to_parts(code), errors_of(found, code, 1.6), bytes_of(code)
    assert weighted + LAMBDA * code.step**2 * 8 * size < 0.995 * cost
    assert plain_after <= plain
    changed = {name for name in before if after[name] != before[name]}
    assert changed <= {"object", "heads"}
    assert "object" in changed


@pytest.mark.parametrize(
    "clip",
    [clip_of(5, boxed=False), clip_of(5, grey=True), CLIP[:1]],
    ids=["without boxes", "grey", "single"],
)
def test_objects_of_every_kind_of_clip_are_refined(clip: Clip) -> None:
    found, done = encoded(clip)
    _, plain = errors_of(found, done.code)
    refine_objects(found, done.code, done.scene)
    assert errors_of(found, done.code)[1] <= plain


@pytest.mark.parametrize("clip", [CLIP, STILL], ids=["pan", "still"])
def test_error_and_bits_fall_together_and_no_frame_set_gets_worse(clip: Clip) -> None:
    found, code = coded(clip)
    (weighted, plain), size = errors_of(found, code), bytes_of(code)
    before = weighted + LAMBDA * code.step**2 * 8 * size
    refine(found, code)
    (weighted, plain_after), size = errors_of(found, code), bytes_of(code)
    assert weighted + LAMBDA * code.step**2 * 8 * size < 0.98 * before
    assert plain_after <= plain


def test_rounds_that_do_not_help_are_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    found, code = coded(CLIP)
    before = to_parts(code)
    monkeypatch.setattr(module, "_ROUNDS", ((0.02, tuple(module._ALL)),))
    refine(found, code)
    assert to_parts(code) == before


def test_best_takes_fewer_bytes_than_balanced_at_equal_quality_of_frames_and_objects() -> None:
    def at(preset: str, quality: float) -> tuple[int, float, float]:
        payload = Scene(preset=preset, quality=quality).encode(CLIP)
        found = measure(CLIP, decode(payload))
        return len(payload), found.frame_db, found.object_db

    best, balanced, finer = at("best", 60), at("balanced", 60), at("balanced", 66)
    for kind in (1, 2):
        share = (best[kind] - balanced[kind]) / (finer[kind] - balanced[kind])
        equal = balanced[0] * math.exp(share * math.log(finer[0] / balanced[0]))
        assert best[0] < 0.97 * equal


@pytest.mark.parametrize("preset", ["balanced", "best"])
def test_the_same_clip_gives_the_same_bytes_whatever_mode_torch_is_in(preset: Literal["balanced", "best"]) -> None:
    codec = Scene(preset=preset)
    payload = codec.encode(CLIP[:4])
    with torch.inference_mode():
        assert codec.encode(CLIP[:4]) == payload


TURNED = replace(CLIP.frames[9], image=CLIP.frames[9].image[::-1].copy())


@pytest.mark.parametrize(
    "clip",
    [clip_of(5, grey=True), CLIP[:1], clip_of(5, boxed=False), Clip("unrelated", (CLIP.frames[0], TURNED))],
    ids=["grey", "single", "without boxes", "unrelated"],
)
def test_clips_of_every_kind_are_refined(clip: Clip) -> None:
    best, balanced = (measure(clip, decode(Scene(preset=p).encode(clip))) for p in ("best", "balanced"))
    assert best.frame_db >= balanced.frame_db - 0.05


def test_a_byte_budget_is_met() -> None:
    payload = Scene(preset="best", bytes_per_frame=250).encode(CLIP)
    assert abs(len(payload) / len(CLIP) / 250 - 1) < 0.05


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("count", [0, 1, 7, 16, 24, 4096])
def test_points_are_sampled_alike_whatever_their_number(mode: Literal["bilinear", "bicubic"], count: int) -> None:
    """One by one, as pieces and where gradients flow, which takes no pieces: the same bits."""
    random = torch.Generator().manual_seed(0)
    picture = torch.randn(2, 9, 13, generator=random)
    points = torch.rand(count, 2, generator=random) * torch.tensor([15.0, 11.0]) - 1
    found = sample(picture, points, mode)
    assert found.shape == (2, count)
    assert torch.equal(found, sample(picture.clone().requires_grad_(), points, mode).detach())
    for k in range(0, count, 97):
        assert torch.equal(found[:, k : k + 1], sample(picture, points[k : k + 1], mode))
