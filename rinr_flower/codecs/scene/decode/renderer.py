"""Renderer of scene payloads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from rinr_flower.alignment.tracks import Track
from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs.scene.decode.build import build, runs, split_runs
from rinr_flower.codecs.scene.decode.resident import OpenScene
from rinr_flower.codecs.scene.decode.sampling import to_rgb
from rinr_flower.codecs.scene.format.stream import read_parts
from rinr_flower.rendering.opened import OPENED
from rinr_flower.rendering.renderer import Renderer, View, items_by_frame
from rinr_flower.threads import one_blas_thread

MAX_POINTS = 1 << 20  # sampled at once: what bounds the memory of a batch


@one_blas_thread()
def open_scene(payload: Payload, device: torch.device) -> OpenScene:
    """A payload's scene, resident on ``device``. PayloadError if its parts are not what the codec writes."""
    found: list[Track] = []

    def run_lengths(shots: list[int]) -> list[int]:
        found.extend(runs(payload.boxes, payload.classes, shots))
        return [len(run.frames) for run in found]

    code = read_parts(payload.parts, len(payload), (payload.height, payload.width), run_lengths)
    tracks = split_runs(found, code.parts)
    scale = np.array([code.size[1] / payload.width, code.size[0] / payload.height] * 2, np.float32)
    return build(code, tracks, [b * scale for b in payload.boxes], device)


class SceneRenderer(Renderer):
    """Scenes resident as integers, sampled point by point, so that no batch changes a picture."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._frames: list[tuple[OpenScene, int, torch.Tensor]] = []
        self._resident = 0

    def opener(self, payload: Payload) -> Callable[[], OpenScene]:
        return lambda: open_scene(payload, self.device)

    def add(self, payload: Payload) -> None:
        scene = OPENED.get(payload, self.device, self.opener(payload))
        ratio = torch.tensor([scene.size[1] / payload.width, scene.size[0] / payload.height], device=self.device)
        self._resident += scene.resident_bytes
        self._frames += [(scene, i, ratio) for i in range(len(payload))]

    def render(self, frames: torch.Tensor, view: View) -> torch.Tensor:
        height, width = view.size
        out = torch.empty(len(frames), 3, height, width, device=self.device)
        points = view.points()
        at_once = max(1, MAX_POINTS // (height * width))
        for number, items in items_by_frame(frames.tolist()).items():
            scene, frame, ratio = self._frames[number]
            for start in range(0, len(items), at_once):
                rows = items[start : start + at_once]
                picture = scene.at(frame, points[rows].reshape(-1, 2) * ratio)
                rgb = (picture + 128) / 255 if len(picture) == 1 else to_rgb(picture[0], picture[1:])
                out[rows] = rgb.reshape(-1, len(rows), height, width).transpose(0, 1)
        return out

    @property
    def resident_bytes(self) -> int:
        return self._resident
