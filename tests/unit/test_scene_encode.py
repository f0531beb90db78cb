"""Steps of the encoder of ``scene``, judged by what the reference decoder draws or by what was made to be found."""

from __future__ import annotations

import numpy as np
import pytest
import reference_scene as reference
from numpy.typing import NDArray
from scene_clips import squares, texture

from rinr_flower.alignment.tracks import Track
from rinr_flower.bitstream.entropy import encode_ints
from rinr_flower.codecs import codecs, decode
from rinr_flower.codecs.scene.decode.build import bend_of
from rinr_flower.codecs.scene.decode.volume import forward, inverse
from rinr_flower.codecs.scene.decode.wavelet import Floats
from rinr_flower.codecs.scene.encode.analysis import to_ycc
from rinr_flower.codecs.scene.encode.canvas import (
    OBJECT_WEIGHT,
    Fit,
    Placement,
    best_canvas,
    canvas_weights,
    mean_canvas,
    trust_of,
)
from rinr_flower.codecs.scene.encode.effort import PRESETS
from rinr_flower.codecs.scene.encode.heads import Coded, solved
from rinr_flower.codecs.scene.encode.objects import LONGEST, cut_run
from rinr_flower.codecs.scene.encode.quantise import LAMBDA, quantise
from rinr_flower.codecs.scene.format.adaptive import Observer, Tables, Writer, prior_counts
from rinr_flower.codecs.scene.format.code import FEATURES, Head, LayerCode, ShotCode
from rinr_flower.codecs.scene.format.lattice import Kind
from rinr_flower.frames import Clip, Frame
from rinr_flower.quality import measure

NONE = np.zeros((0, 4), np.float32)


def grey(height: int, width: int, cell: int, seed: int = 0) -> Floats:
    return texture(height, width, seed, cell)[..., 0] - 128


def edges(step: float) -> tuple[list[Floats], list[Floats]]:
    """Planes (1, h, w) of a picture with hard edges: as they are decoded, and as they were."""
    wanted = [plane[None] for plane in to_ycc(squares(1).frames[0].image)]
    (bands,) = quantise(Kind.OBJECT, [forward(wanted)], [[step] * 3], rounds=1)
    return inverse(bands, [step] * 3), wanted


def error(decoded: list[Floats], wanted: list[Floats], head: Head | None, step: float) -> float:
    """Squared error once the reference decoder has added what ``head`` makes."""
    planes = [plane.astype(float) for plane in decoded]
    if head is not None:
        reference.synthesised(planes[: len(head)], head, step, 1.0)
    return sum(float(((a - b) ** 2).sum()) for a, b in zip(planes, wanted, strict=True))


def test_a_solved_head_saves_more_error_than_its_bits_are_worth_and_no_other_near_it_saves_much_more() -> None:
    step = 40.0
    decoded, wanted = edges(step)
    head = solved([Coded(decoded, wanted, step)], step)
    assert head is not None
    plain, mended = (error(decoded, wanted, h, step) for h in (None, head))
    assert plain - mended > LAMBDA * step**2 * 8 * len(encode_ints(head))
    for change in np.concatenate([np.eye(head.size, dtype=np.int64), -np.eye(head.size, dtype=np.int64)]):
        other = error(decoded, wanted, head + change.reshape(head.shape), step)
        assert plain - other < 1.05 * (plain - mended)


@pytest.mark.parametrize("planes", [1, 3], ids=["luma", "all planes"])
def test_the_head_that_made_a_difference_is_found_again(planes: int) -> None:
    step = 40.0
    decoded, _ = edges(step)
    made = np.random.default_rng(0).integers(-20, 21, (planes, FEATURES))
    share = np.broadcast_to(np.linspace(0.2, 1, decoded[0].shape[2], dtype=np.float32), decoded[0].shape[1:]).copy()
    wanted = [plane.astype(float) for plane in decoded]
    reference.synthesised(wanted[:planes], made, step, share)
    head = solved([Coded(decoded, [w.astype(np.float32) for w in wanted], step, share)], step)
    assert head is not None
    assert head.shape == made.shape
    np.testing.assert_allclose(head, made, atol=1)


def test_there_is_no_head_where_nothing_is_missing_or_bits_are_dear() -> None:
    step = 20.0
    decoded, wanted = edges(step)
    assert solved([], step) is None
    assert solved([Coded(decoded, decoded, step)], step) is None
    assert solved([Coded(decoded, wanted, step)], 10 * step) is None


PANNED = ShotCode(6, (70, 100), (3, 2), np.stack([np.tile([13 * t, 3 * t], 4) for t in range(6)]))
FRAME = (64, 80)


def drawn(shot: ShotCode, canvas: Floats, size: tuple[int, int], bend: Floats | None = None) -> NDArray[np.float64]:
    """Frames (frames, h, w) that the reference decoder's functions draw from a canvas (h, w)."""
    y, x = (v + 0.5 for v in np.mgrid[0 : size[0], 0 : size[1]].astype(float))
    shift, frames = np.array([[1, 0, shot.origin[0]], [0, 1, shot.origin[1]], [0, 0, 1]]), []
    motion = np.zeros((shot.frames, 8)) if shot.motion is None else shot.motion
    for k, moved in enumerate(motion.reshape(-1, 4, 2) / 8):
        at = reference.mapped(shift @ reference.homography(moved, size[1], size[0]), x, y)
        if bend is not None:
            cell = (x * bend.shape[3] / size[1], y * bend.shape[2] / size[0])
            at = tuple(a + reference.sampled(b, *cell, cubic=False) for a, b in zip(at, bend[k], strict=True))
        frames.append(reference.sampled(canvas.astype(float), *at, cubic=True))
    return np.array(frames)


def test_refinement_gives_back_what_a_mean_of_resampled_frames_blurs() -> None:
    luma = drawn(PANNED, grey(*PANNED.canvas, cell=3), FRAME).astype(np.float32)
    errors = []
    for rounds in ((0,), (0, 1, 3)):
        (canvas,) = best_canvas(PANNED, [luma], [NONE] * 6, FRAME, rounds, step=10.0)
        errors.append(float(((drawn(PANNED, canvas[0], FRAME) - luma) ** 2).mean()))
    assert errors[1] < 0.1 * errors[0]


def test_what_does_not_lie_still_on_the_canvas_is_not_refined() -> None:
    luma = np.random.default_rng(1).normal(0, 20, (6, *FRAME)).astype(np.float32)
    mean, kept, refined = (
        best_canvas(PANNED, [luma], [NONE] * 6, FRAME, rounds, step=40.0)[0] for rounds in ((0,), (0, 1, 3), (3,))
    )
    np.testing.assert_array_equal(kept, mean)
    assert np.abs(refined - mean).max() > 5


def test_coefficients_weigh_as_many_frames_as_show_them() -> None:
    """Against counting, for a camera that moves by whole pixels past an object that moves with it."""
    size, canvas, pan = (40, 48), (44, 68), 4
    shot = ShotCode(5, canvas, (2, 2), np.stack([np.tile([8 * pan * t, 0], 4) for t in range(5)]))
    count = np.zeros(canvas)
    for t in range(5):
        trust = np.ones(size)
        trust[10:24, 12:20] = OBJECT_WEIGHT
        count[2 : 2 + size[0], 2 + pan * t : 2 + pan * t + size[1]] += trust
    box = np.array([[12, 10, 20, 24]], np.float32)
    volume = [[np.zeros((1, 22, 34), np.float32), np.zeros((1, *canvas), np.float32)]]
    ((half, full),) = canvas_weights(shot, [box] * 5, size, volume)
    np.testing.assert_allclose(full[0], count / 5, atol=1e-5)
    np.testing.assert_allclose(half[0], (count / 5).reshape(22, 2, 34, 2).mean(axis=(1, 3)), atol=1e-5)


def test_a_bend_fits_what_no_homography_does() -> None:
    """Frames of a standing camera whose rows sway sideways and whose columns sway up and down."""
    height, width = size = (160, 200)
    scene, shot = grey(*size, cell=8), ShotCode(6, size, (0, 0), None)

    def sway(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Displacements (frames, 2, h, w)."""
        over = 3 * np.sin(2 * np.pi * np.arange(6) / 6)[:, None, None]
        along_x, along_y = np.sin(2 * np.pi * y / height), 0.7 * np.cos(2 * np.pi * x / width)
        return np.stack([over * along_x, over * along_y], axis=1)

    y, x = (v + 0.5 for v in np.mgrid[0:height, 0:width].astype(float))
    luma = np.array([reference.sampled(scene, x + dx, y + dy, cubic=True) for dx, dy in sway(x, y)], np.float32)
    trusts = [trust_of(size, NONE, 1)] * 6
    bent = shot
    for _ in range(2):
        bent = Fit.of_mean(bent, luma, trusts, size, bend=True).bent()
    bend = bend_of(bent, size)
    assert bend is not None
    rows, columns = bend.shape[2:]
    y, x = (np.mgrid[0:rows, 0:columns] + 0.5) * np.array([height / rows, width / columns])[:, None, None]
    true = sway(x, y)
    assert np.abs(bend - true).mean() < 0.3 * np.abs(true).mean()
    costs = [sum(Fit.of_mean(s, luma, trusts, size).cost(10.0)) for s in (shot, bent)]
    assert costs[1] < 0.5 * costs[0]
    canvases = [mean_canvas(Placement(s, size), luma, trusts, size) for s in (shot, bent)]
    straight, fitted = (drawn(shot, c, size, b) for c, b in zip(canvases, (None, bend), strict=True))
    assert ((fitted - luma) ** 2).mean() < 0.2 * ((straight - luma) ** 2).mean()


def passing(frames: int, turns: int | None) -> tuple[Floats, NDArray[np.float64], list[NDArray[np.float32]]]:
    """Luma of an object that passes, and looks different from frame ``turns`` on; its rectangles (frames, 4), and boxes
    that jitter around them."""
    rng, looks = np.random.default_rng(0), [grey(24, 20, 4, seed) for seed in (1, 2)]
    luma = np.repeat(grey(96, 160, 8, seed=7)[None], frames, axis=0)
    t = np.arange(frames)
    true = np.stack([10 + 2 * t, 30 + t // 3, 30 + 2 * t, 54 + t // 3], axis=1)
    for k, (left, top, right, bottom) in enumerate(true):
        luma[k, top:bottom, left:right] = looks[turns is not None and k >= turns]
    return luma, true.astype(float), [(row[None] + rng.uniform(-2, 2, (1, 4))).astype(np.float32) for row in true]


def in_volume(
    layer: LayerCode, pose: NDArray[np.int64], box: NDArray[np.float32], rectangle: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Where the corners (4, 2) of a rectangle of a frame lie in a volume, as docs/format.md says."""
    (height, width), (left, top, right, bottom) = layer.size, layer.margins
    scale = np.array([width - left - right, height - top - bottom]) / (box[2:] - box[:2])
    at = (left, top) + scale * (rectangle[[[0, 1], [2, 1], [0, 3], [2, 3]]] - box[:2])
    (ax, ay), (bx, by), (cx, cy) = pose.reshape(3, 2) / 8
    fix = np.array([[1 + (bx - ax) / width, (cx - ax) / height], [(by - ay) / width, 1 + (cy - ay) / height]])
    return at @ fix.T + (ax, ay)


@pytest.mark.parametrize(
    ("frames", "turns", "preset", "volumes"),
    [(12, None, "balanced", 1), (16, 8, "balanced", 2), (16, 8, "fast", 1), (LONGEST + 8, None, "fast", 2)],
    ids=["one look", "two looks", "two looks, in a hurry", "long"],
)
def test_volumes_cover_all_boxes_and_undo_their_jitter(
    frames: int, turns: int | None, preset: str, volumes: int
) -> None:
    luma, true, boxes = passing(frames, turns)
    run = Track(tuple(range(frames)), (0,) * frames)
    tracks, layers = cut_run(run, luma, boxes, PRESETS[preset], step_code=40)
    assert len(tracks) == len(layers) == volumes
    assert [frame for track in tracks for frame in track.frames] == list(range(frames))
    assert max(len(track.frames) for track in tracks) <= LONGEST
    for track, layer in zip(tracks, layers, strict=True):
        assert len(layer.poses) == len(track.frames)
        apron, shown = layer.apron((96, 160)), []
        for frame, pose in zip(track.frames, layer.poses, strict=True):
            (box,) = boxes[frame]
            found = in_volume(layer, pose, box, box)
            assert found.min() > apron - 0.125  # what poses are rounded to
            assert (found < np.array(layer.size[::-1]) - apron + 0.125).all()
            shown.append(in_volume(layer, pose, box, true[frame]))
        if volumes > 1 or turns is None:  # two looks in one volume have nothing to be aligned by
            assert np.std(shown, axis=0).max() < 0.4  # pixels; that of the boxes is 1.2


def test_objects_keep_colours_far_from_their_backgrounds() -> None:
    """Where the background shows through, a volume's colour is a difference of up to twice the range of a colour."""
    frames = []
    for t in range(8):
        image = np.full((96, 128, 3), (0, 120, 230), np.uint8)
        image[30:60, 20 + 6 * t : 50 + 6 * t] = (230, 20, 20)
        box = np.array([[20 + 6 * t, 30, 50 + 6 * t, 60]], np.float32)
        frames.append(Frame(image, box, np.zeros(1, np.int64)))
    clip = Clip("red on blue", tuple(frames), ("thing",))
    found = decode(codecs.create("scene").encode(clip))
    assert measure(clip, found).object_db > 30


def test_who_only_observes_counts_as_a_writer_does() -> None:
    """Over symbols enough for counts to be halved."""
    rng = np.random.default_rng(0)
    prior = prior_counts(np.array([900, 500, 100]), np.array([300, 500, 800]), 21, 8)
    observed, written = Tables(prior), Tables(prior)
    for _ in range(20):
        contexts, symbols = rng.integers(0, 3, 900), np.minimum(rng.geometric(0.3, 900) - 1, 20)
        for tables, coder in ((observed, Observer()), (written, Writer())):
            np.testing.assert_array_equal(tables.code(coder, contexts.astype(np.int16), symbols), symbols)
    np.testing.assert_array_equal(observed.bits(), written.bits())
