"""The codec ``scene``: its options, and the search for a byte budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs.base import Codec, Progress, codecs
from rinr_flower.codecs.scene.decode.fused import FusedScenes
from rinr_flower.codecs.scene.decode.renderer import SceneRenderer
from rinr_flower.codecs.scene.encode.effort import PRESETS
from rinr_flower.codecs.scene.format.code import STEPS_PER_OCTAVE
from rinr_flower.codecs.scene.format.stream import to_parts
from rinr_flower.errors import ConfigError
from rinr_flower.frames import Clip
from rinr_flower.rendering.fused_scene import kernel_draws
from rinr_flower.threads import one_blas_thread

Parts = Mapping[str, bytes]

# What quality and a byte budget mean, set by hand. To try others: benchmarks/scene_rate.py --constant codec:NAME=VALUE.
_OCTAVES = (3.1, 11.1)  # log2 of the quantiser step at quality 100 and at quality 0
_FLOOR = 10 / 52  # quality of the JPEG files that frames are no worse than, over the codec's
_TRIES = 9  # encodings that a search for a byte budget may take
_TOLERANCE = 0.05  # of a byte budget
_CLOSE = 0.015  # is near enough to end the search


@codecs.register("scene")
@dataclass(frozen=True)
class Scene(Codec):
    """One residual implicit neural representation per clip; see docs/scene.md.

    Attributes
    ----------
    preset : ``fast``, ``balanced`` or ``best``: how long the encoder looks for a smaller payload. ``best`` refines the
        code of ``balanced`` by gradients through the decoder.
    quality : 0 to 100, of the whole frame; 12.5 more halve the quantiser step, which is about 4 dB where the payload
        spends bytes.
    object_weight : how many times an error inside a box counts one outside it, 1 to 10,000, for a box of a hundredth
        of the frame; by the square root of the area more for smaller boxes, less for larger ones.
    bytes_per_frame : a budget for the whole payload divided by its frames, exceeded by at most 5 %; ``quality`` is then
        found by search. ConfigError if even the coarsest payload is larger.
    max_width : a wider clip is coded at this width (it is still rendered at any size).
    """

    preset: Literal["fast", "balanced", "best"] = "balanced"
    # quality is set by hand; with object_weight 11, not 12, frame and object gained alike when signs got tables of
    # their own (commit cfb5bd6). To try others: benchmarks/scene_rate.py --settings QUALITY,WEIGHT.
    quality: float = 52.0
    object_weight: float = 11.0
    bytes_per_frame: int | None = None
    max_width: int = 640

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ConfigError(f"scene preset {self.preset!r} is not one of {', '.join(PRESETS)}")
        if not 0 <= self.quality <= 100:
            raise ConfigError(f"scene quality {self.quality} is not in 0..100")
        if not 1 <= self.object_weight <= 10_000:
            raise ConfigError(f"scene object_weight {self.object_weight} is not in 1..10000")
        if self.bytes_per_frame is not None and self.bytes_per_frame < 1:
            raise ConfigError(f"scene bytes_per_frame {self.bytes_per_frame} is not at least 1")
        if not 16 <= self.max_width <= 4096:
            raise ConfigError(f"scene max_width {self.max_width} is not in 16..4096")

    @one_blas_thread()
    def encode_parts(
        self, clips: Sequence[Clip], *, seed: int, device: torch.device, progress: Progress | None
    ) -> list[Parts]:
        out = []
        for number, clip in enumerate(clips):
            out.append(self._one(clip))
            if progress is not None:
                progress((number + 1) / len(clips))
        return out

    def _one(self, clip: Clip) -> Parts:
        # OpenCV finds the motion; a device that only decodes never loads it
        from rinr_flower.codecs.scene.encode.analysis import analyse_clip
        from rinr_flower.codecs.scene.encode.encoder import Encoded, encode
        from rinr_flower.codecs.scene.encode.floor import encode_above_floor
        from rinr_flower.codecs.scene.encode.refine import refine, refine_objects

        # the boxes as the container will hand them back
        boxes = Payload.from_bytes(Payload.of_clip(self.name, clip, {}).to_bytes()).boxes
        effort = PRESETS[self.preset]
        finer = round(math.log2(self.object_weight) / 2 * STEPS_PER_OCTAVE)
        octaves = _OCTAVES[1] + (_OCTAVES[0] - _OCTAVES[1]) * self.quality / 100
        wanted = round(octaves * STEPS_PER_OCTAVE)
        found = analyse_clip(clip, boxes, self.max_width, effort, wanted, max(wanted - finer, 0))

        def parts_of(done: Encoded) -> Parts:
            if effort.refined == "objects":
                refine_objects(found, done.code, done.scene)
            elif effort.refined == "all":
                refine(found, done.code)
            return to_parts(done.code)

        def parts_at(step_code: int, object_step_code: int) -> Parts:
            return parts_of(encode(found, step_code, max(object_step_code, 0), effort))

        if self.bytes_per_frame is None:
            floor = max(round(self.quality * _FLOOR), 1)
            return parts_of(encode_above_floor(clip, found, wanted, max(wanted - finer, 0), effort, floor))
        budget = self.bytes_per_frame

        def excess(parts: Parts) -> float:
            return math.log(len(Payload.of_clip(self.name, clip, parts).to_bytes()) / len(clip) / budget)

        coarsest, finest = (round(o * STEPS_PER_OCTAVE) for o in _OCTAVES[::-1])
        tried = _search(lambda code: parts_at(code, code - finer), excess, finest, coarsest)
        over, parts = min(tried.values(), key=lambda item: abs(item[0]))
        below = [code for code, (e, _) in tried.items() if e < 0]
        if abs(over) > _TOLERANCE and below:  # a part that changes its size at once: the objects take what is left
            code = min(below)
            tried = _search(lambda objects: parts_at(code, objects), excess, finest - finer, code - finer)
            over, parts = min((over, parts), *tried.values(), key=lambda item: abs(item[0]))
        if over > _TOLERANCE:
            size = math.exp(over) * budget
            raise ConfigError(
                f"scene bytes_per_frame {budget}: the smallest payload of this clip has {size:.0f} a frame"
            )
        return parts

    @classmethod
    def renderer(cls, device: torch.device) -> SceneRenderer:
        return FusedScenes(device) if kernel_draws(device) else SceneRenderer(device)


def _search(
    parts_at: Callable[[int], Parts], excess: Callable[[Parts], float], low: int, high: int
) -> dict[int, tuple[float, Parts]]:
    """Parts tried on the way to an ``excess`` of 0, by step code from ``low`` to ``high``, with their excess.

    Sizes fall with the step, nearly along a line in the logarithm: secants through the two best tries, kept between
    those that bracket 0.
    """
    tried: dict[int, tuple[float, Parts]] = {}
    code = round((low + high) / 2)
    for _ in range(_TRIES):
        parts = parts_at(code)
        error = excess(parts)
        tried[code] = error, parts
        low, high = (code + 1, high) if error > 0 else (low, code - 1)
        if abs(error) < _CLOSE or low > high:
            break
        slope = -1 / (1.2 * STEPS_PER_OCTAVE)  # about 2.3 times the bytes for an octave
        nearest, *others = sorted(tried, key=lambda c: abs(tried[c][0]))
        if others:
            slope = min((tried[nearest][0] - tried[others[0]][0]) / (nearest - others[0]), slope / 8)
        code = min(max(round(nearest - tried[nearest][0] / slope), low), high)
    return tried
