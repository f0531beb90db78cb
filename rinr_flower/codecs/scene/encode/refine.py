"""Refinement of a coded scene through its own decoder: of its objects, and with the preset ``best`` of all parts.

The closed form codes part after part, each against what lies below it. Here each part answers for the frames as they
are drawn in the end. A round takes the gradient of the frames' squared error with regard to the planes of one kind,
divides it by their curvature (Landweber's iteration with a diagonal preconditioner), quantises the planes so wanted by
rate and distortion as the closed form does, and solves their head anew. A round that does not lower error and bits
together is taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from rinr_flower.codecs.scene.decode.build import build, canvas_step, fading, residual_step
from rinr_flower.codecs.scene.decode.resident import OpenScene, Planes
from rinr_flower.codecs.scene.decode.sampling import centres, sample, to_rgb, transform
from rinr_flower.codecs.scene.decode.volume import forward, inverse
from rinr_flower.codecs.scene.decode.wavelet import Floats
from rinr_flower.codecs.scene.encode.analysis import Analysis
from rinr_flower.codecs.scene.encode.heads import Coded, solved
from rinr_flower.codecs.scene.encode.quantise import LAMBDA, coded_bytes, quantise
from rinr_flower.codecs.scene.format.code import STEPS_PER_OCTAVE, Head, Pyramids, SceneCode
from rinr_flower.codecs.scene.format.lattice import Kind
from rinr_flower.frames import box_mask

_ALL = (Kind.CANVAS, Kind.RESIDUAL, Kind.OBJECT)
_BIG = (Kind.CANVAS, Kind.OBJECT)
_ROUNDS = ((0.9, _BIG), (0.9, _BIG), (0.9, _BIG), (1.0, _ALL), (1.1, _ALL), (1.3, _ALL))
"""By how much the curvature is multiplied, and what is refined. A step too long gets coefficients over the thresholds
of quantisation where a short one stays; a residual overshoots with it. Chosen on six of the development clips."""
# Set by hand, as a round more takes time; others are tried by a change here and benchmarks/scene_rate.py.
_OBJECT_ROUNDS = ((0.9, (Kind.OBJECT,)), (1.3, (Kind.OBJECT,)))
"""Of objects alone. Where the first is too long a step, the second is taken."""
_HEADS = {Kind.CANVAS: "canvas_head", Kind.OBJECT: "object_head"}
# Weights of objects over what their steps say: without them frames gain more than objects. Set by hand, the first after
# versions with 1.3 and 1.6. Others: benchmarks/scene_rate.py [--preset best] --constant encode.refine:NAME=VALUE.
_AMONG_ALL = 1.35  # where all parts are refined: preset best
_ALONE = 1.6  # where objects alone are refined
_APRON = 0.5  # set by hand: weight of an object's surroundings, where its volume still shows, over that of its box
_FLAT = 0.02  # set by hand: of the greatest curvature: what no frame shows is not divided by 0
_NOTHING = 1e-6  # set by hand: the curvature of a volume that no frame shows, to divide by
_PASSES = 3  # set by hand: of rate-distortion quantisation, as many as balanced has
_CPU = torch.device("cpu")


def refine(found: Analysis, code: SceneCode) -> None:
    """Refine the coefficients and heads of ``code``, which is of ``found``, in place.

    The squared error of all frames together does not grow, so that a floor of quality that was reached stays so.
    """
    with torch.inference_mode(False), torch.enable_grad():
        placed = build(code, found.tracks, found.boxes, _CPU, background=False)
        _run(found, code, _views(found, _weights(found, code, placed, _AMONG_ALL)), _ROUNDS)


def refine_objects(found: Analysis, code: SceneCode, scene: OpenScene) -> None:
    """Refine the volumes of objects and their head alone, in place.

    ``scene`` is that of ``code``: its background is drawn once, and only where objects are, so that a round costs
    little beside one of :func:`refine`.
    """
    if code.layers:
        for frame in range(len(found.images)):
            scene.need(frame)  # here: outside inference mode no tensor of inference mode can be filled in
        with torch.inference_mode(False), torch.enable_grad():
            if views := _views(found, _weights(found, code, scene, _ALONE), scene):
                _run(found, code, views, _OBJECT_ROUNDS)


def _run(
    found: Analysis, code: SceneCode, views: Sequence[_View], rounds: Sequence[tuple[float, tuple[Kind, ...]]]
) -> None:
    """Rounds of refinement; one that does not lower error and bits together, or raises the plain error, is taken
    back."""
    steps = [(damping, kind) for damping, kinds in rounds for kind in kinds if _volumes(code, kind)]
    drawn = _Drawn(found, code, views)
    curvatures = {kind: _curvatures(drawn.scene, views, kind) for kind in {kind for _, kind in steps}}
    bits = {kind: _bits(code, kind) for kind in curvatures}
    most = drawn.plain
    for number, (damping, kind) in enumerate(steps):
        before = _Kept(code, kind)
        _requantise(code, kind, drawn.scene, curvatures[kind], damping)
        now, now_bits = _Drawn(found, code, views, slopes=number + 1 < len(steps)), _bits(code, kind)
        saved = drawn.error - now.error + LAMBDA * code.step**2 * (bits[kind] - now_bits)
        if saved > 0 and now.plain <= most:
            drawn, bits[kind] = now, now_bits
        else:
            before.put_back(code, kind)


@dataclass(frozen=True, eq=False)
class _View:
    """Pixels of one frame, and how much their errors count.

    Attributes
    ----------
    frame : its number.
    points : (n, 2), in working pixels.
    weight : (n,), how much a squared error counts there.
    wanted : (3, n), RGB in grey levels.
    below : (channels, n), the background, where objects alone are refined; None where it is drawn, too.
    """

    frame: int
    points: torch.Tensor
    weight: torch.Tensor
    wanted: torch.Tensor
    below: torch.Tensor | None = None

    def of(self, scene: OpenScene) -> torch.Tensor:
        """Draw the pixels from ``scene``: (channels, n)."""
        if self.below is None:
            return scene.at(self.frame, self.points)
        return scene.over(self.below.clone(), self.frame, self.points)


def _views(found: Analysis, weights: Sequence[torch.Tensor], background: OpenScene | None = None) -> list[_View]:
    """All pixels of all frames; with a ``background`` that stays as it is, those that show objects."""
    points = centres(*found.size)
    views = []
    for frame, (weight, image) in enumerate(zip(weights, found.images, strict=True)):
        wanted = torch.from_numpy(image.reshape(-1, 3).astype(np.float32)).T
        if background is None:
            views.append(_View(frame, points, weight, wanted))
        elif (shown := weight > 1).any():
            with torch.no_grad():
                below = background.background(frame, points[shown])
            views.append(_View(frame, points[shown], weight[shown], wanted[:, shown], below))
    return views


@dataclass(frozen=True, eq=False)
class _Volume:
    """One volume of a code.

    Attributes
    ----------
    bands : coefficients of every plane; the code's own list.
    steps : quantiser step of every plane.
    weight : how often an error counts that its head leaves.
    share : (h, w), how much of it is shown where; None for all.
    """

    bands: Pyramids
    steps: list[float]
    weight: float = 1.0
    share: Floats | None = None


def _volumes(code: SceneCode, kind: Kind) -> list[_Volume]:
    """The volumes of one kind, in the order of :func:`_planes`."""
    if kind == Kind.CANVAS:
        return [
            _Volume(s.canvas_bands, code.canvas_shape(s).steps(canvas_step(code.step, s.frames)), s.frames)
            for s in code.shots
        ]
    if kind == Kind.RESIDUAL:
        step = residual_step(code.step, code.residual_scale)
        return [
            _Volume(s.residual_bands, code.residual_shape(s).steps(step))
            for s in code.shots
            if s.residual_bands is not None
        ]
    return [
        _Volume(layer.bands, code.layer_shape(layer).steps(code.object_step(layer)), 1.0, fading(layer, code.size))
        for layer in code.layers
    ]


def _planes(scene: OpenScene, kind: Kind) -> list[Planes]:
    if kind == Kind.CANVAS:
        return [shot.canvas for shot in scene.shots]
    if kind == Kind.RESIDUAL:
        return [shot.residual for shot in scene.shots if shot.residual is not None]
    return [layer.volume for layer in scene.layers]


def _open(found: Analysis, code: SceneCode, *, background: bool) -> OpenScene:
    """The scene as a decoder opens it, with planes of float32 that gradients reach; its objects alone without
    ``background``."""
    scene = build(code, found.tracks, found.boxes, _CPU, background=background)

    def free(planes: Planes) -> Planes:
        chroma = None if planes.chroma is None else planes.chroma.float().requires_grad_()
        return Planes(planes.luma.float().requires_grad_(), chroma)

    if background:
        for frame in range(len(scene.place)):
            scene.need(frame)
    for shot in scene.shots:
        shot.canvas = free(shot.canvas)
        shot.residual = None if shot.residual is None else free(shot.residual)
    for layer in scene.layers:
        layer.volume = free(layer.volume)
    return scene


class _Drawn:
    """The views of a code, drawn by its decoder, and with ``slopes`` how their error changes with the planes.

    Attributes
    ----------
    scene : its planes hold the gradients of ``error``, with ``slopes``.
    error, plain : squared error over the views' pixels, mean over the channels; with the pixels' weights, and without.
    """

    def __init__(self, found: Analysis, code: SceneCode, views: Sequence[_View], *, slopes: bool = True) -> None:
        self.scene = _open(found, code, background=views[0].below is None)
        self.error = self.plain = 0.0
        for view in views:
            with torch.set_grad_enabled(slopes):
                picture = view.of(self.scene)
                rgb = (picture + 128).expand(3, -1) if found.grey else to_rgb(picture[0], picture[1:]) * 255
                squared = ((rgb.clamp(0, 255) - view.wanted) ** 2).mean(dim=0)
                weighted = (squared * view.weight).sum()
            if weighted.requires_grad:  # false where the volumes lie beside their boxes
                torch.autograd.backward(weighted)
            self.error += float(weighted.detach())
            self.plain += float(squared.detach().sum())


def _weights(found: Analysis, code: SceneCode, scene: OpenScene, objects: float) -> list[torch.Tensor]:
    """How much a squared error counts at each pixel (n,) of each frame: 1, and where objects are, which lie as in
    ``scene``, ``objects`` times what their steps say."""
    height, width = found.size
    points = centres(height, width)
    weights = [torch.ones(height * width) for _ in found.images]
    for layer, built, track in zip(code.layers, scene.layers, found.tracks, strict=True):
        most = objects * (code.step / code.object_step(layer)) ** 2
        share = torch.from_numpy(fading(layer, code.size))[None]
        for k, (frame, row) in enumerate(zip(track.frames, track.rows, strict=True)):
            at = transform(points, built.to_layer[k])
            inside = ((at > 0) & (at < torch.tensor([layer.size[1], layer.size[0]]))).all(dim=1)
            counts = torch.zeros(height * width)
            counts[inside] = _APRON * sample(share, at[inside], "bilinear")[0]
            own = box_mask(found.boxes[frame][row : row + 1], width, height).reshape(-1)
            counts[torch.from_numpy(own)] = 1
            weights[frame] = torch.maximum(weights[frame], 1 + (most - 1) * counts)
    return weights


def _curvatures(scene: OpenScene, views: Sequence[_View], kind: Kind) -> list[Floats]:
    """Half the second derivative of the error in the luma (h, w) of each volume, as the mean over its pictures, taking
    all samples to change together."""
    scene = _lit(scene, kind)
    for view in views:
        unlit = view if view.below is None else replace(view, below=torch.zeros_like(view.below[:1]))
        curved = (0.5 * view.weight * unlit.of(scene)[0] ** 2).sum()
        if curved.requires_grad:
            torch.autograd.backward(curved)
    found_curvatures = (_split(_slope(planes.luma), None)[0].mean(axis=0) for planes in _planes(scene, kind))
    return [np.maximum(curvature, 0) for curvature in found_curvatures]


def _lit(scene: OpenScene, kind: Kind) -> OpenScene:
    """``scene`` in grey: volumes of one kind are 1 everywhere, all others 0."""

    def filled(planes: Planes, own: Kind) -> Planes:
        return Planes(torch.full_like(planes.luma, float(own == kind)).requires_grad_(), None)

    shots = [
        replace(
            shot,
            canvas=filled(shot.canvas, Kind.CANVAS),
            residual=None if shot.residual is None else filled(shot.residual, Kind.RESIDUAL),
        )
        for shot in scene.shots
    ]
    layers = [replace(layer, volume=filled(layer.volume, Kind.OBJECT)) for layer in scene.layers]
    return replace(scene, shots=shots, layers=layers)


def _requantise(code: SceneCode, kind: Kind, scene: OpenScene, curvatures: Sequence[Floats], damping: float) -> None:
    """Move the volumes of one kind against the gradients in ``scene``; then solve their head, if there is one."""
    volumes = _volumes(code, kind)
    pyramids, weights, wanted = [], [], []
    for volume, planes, luma_curvature in zip(volumes, _planes(scene, kind), curvatures, strict=True):
        shown, slopes = _split(planes.luma, planes.chroma), _split(_slope(planes.luma), _slope(planes.chroma))
        curved = [luma_curvature * (damping * luma_curvature.size / plane[0].size) for plane in shown]
        moves = [-s / (2 * _spread(c, s.shape[1:])) for s, c in zip(slopes, curved, strict=True)]
        if volume.share is not None:
            moves = [move * volume.share for move in moves]
        decoded = inverse(volume.bands, volume.steps)
        bands = forward([plane + move for plane, move in zip(decoded, moves, strict=True)])
        pyramids.append(bands)
        weights.append(
            [
                [_spread(c, band.shape[1:])[None] * np.float32((step / code.step) ** 2) for band in plane]
                for c, step, plane in zip(curved, volume.steps, bands, strict=True)
            ]
        )
        wanted.append([plane + move for plane, move in zip(shown, moves, strict=True)])
    chosen = quantise(kind, pyramids, [v.steps for v in volumes], _PASSES, weights)
    for volume, new in zip(volumes, chosen, strict=True):
        volume.bands[:] = new
    if kind in _HEADS and getattr(code, _HEADS[kind]) is not None:
        setattr(code, _HEADS[kind], _head(code, kind, volumes, wanted))


def _head(code: SceneCode, kind: Kind, volumes: Sequence[_Volume], wanted: Sequence[list[Floats]]) -> Head | None:
    """The head of one kind, solved as the closed form does: that of canvases is for luma alone."""
    planes = slice(1) if kind == Kind.CANVAS else slice(None)
    step = code.step if kind == Kind.CANVAS else 2 ** (code.object_step_code / STEPS_PER_OCTAVE)
    coded = [
        Coded(inverse(v.bands[planes], v.steps[planes]), w[planes], v.steps[0], v.share, v.weight)
        for v, w in zip(volumes, wanted, strict=True)
    ]
    return solved(coded, step)


def _spread(curvature: Floats, shape: tuple[int, ...]) -> Floats:
    """``curvature`` at the size ``shape``, more beside samples that count much: basis functions overlap."""
    here = cv2.resize(curvature, shape[::-1], interpolation=cv2.INTER_AREA)
    near, far = (cv2.dilate(here, np.ones((side, side), np.uint8)) for side in (3, 7))
    least = max(_FLAT * float(curvature.max()), _NOTHING)
    # 0.5 and 0.15, set by hand: more makes shorter steps beside what counts much
    return np.asarray(np.maximum.reduce([here, 0.5 * near, 0.15 * far, np.full_like(here, least)]), np.float32)


def _split(luma: torch.Tensor | None, chroma: torch.Tensor | None) -> list[Floats]:
    """Planes (frames, h, w) of resident tensors (frames, channels, h, w)."""
    assert luma is not None
    tensors = [luma[:, 0]] + ([] if chroma is None else [chroma[:, 0], chroma[:, 1]])
    return [np.asarray(t.detach().numpy(), np.float32) for t in tensors]


def _slope(tensor: torch.Tensor | None) -> torch.Tensor | None:
    """The gradient of a leaf; 0 if no frame shows it."""
    return tensor if tensor is None else torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def _bits(code: SceneCode, kind: Kind) -> int:
    return 8 * coded_bytes(kind, [v.bands for v in _volumes(code, kind)])


class _Kept:
    """Coefficients and head of one kind, to be put back."""

    def __init__(self, code: SceneCode, kind: Kind) -> None:
        self._bands = [list(v.bands) for v in _volumes(code, kind)]
        self._head = getattr(code, _HEADS[kind]) if kind in _HEADS else None

    def put_back(self, code: SceneCode, kind: Kind) -> None:
        for volume, bands in zip(_volumes(code, kind), self._bands, strict=True):
            volume.bands[:] = bands
        if kind in _HEADS:
            setattr(code, _HEADS[kind], self._head)
