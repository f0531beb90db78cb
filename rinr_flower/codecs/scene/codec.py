"""The codec ``scene``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs.base import Codec, Progress, codecs
from rinr_flower.codecs.scene.analysis import analyse_clip
from rinr_flower.codecs.scene.encoder import encode
from rinr_flower.codecs.scene.renderer import SceneRenderer
from rinr_flower.codecs.scene.stream import STEPS_PER_OCTAVE
from rinr_flower.frames import Clip


@codecs.register("scene")
@dataclass(frozen=True)
class Scene(Codec):
    """One representation per clip."""

    preset: Literal["fast", "balanced", "best"] = "balanced"
    quality: float = 50.0
    object_weight: float = 4.0
    bytes_per_frame: int | None = None
    max_width: int = 640

    def encode_parts(
        self, clips: Sequence[Clip], *, seed: int, device: torch.device, progress: Progress | None
    ) -> list[Mapping[str, bytes]]:
        return [self._one(clip) for clip in clips]

    def _one(self, clip: Clip) -> Mapping[str, bytes]:
        stored = Payload.from_bytes(Payload.of_clip(self.name, clip, {}).to_bytes())
        found = analyse_clip(clip, stored.boxes, self.max_width, 3)
        octaves = 3.0 + (100 - self.quality) / 12.5
        step = round(octaves * STEPS_PER_OCTAVE)
        object_step = round((octaves - np.log2(self.object_weight) / 2) * STEPS_PER_OCTAVE)
        return encode(found, step, object_step, 2).to_parts()

    @classmethod
    def renderer(cls, device: torch.device) -> SceneRenderer:
        return SceneRenderer(device)
