"""Renderer of scene payloads."""

from __future__ import annotations

import numpy as np
import torch

from rinr_flower.alignment.tracks import Track
from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs.scene.build import build, runs, split_runs
from rinr_flower.codecs.scene.model import Scene
from rinr_flower.codecs.scene.sampling import to_rgb
from rinr_flower.codecs.scene.stream import read_parts
from rinr_flower.decoding.renderer import Renderer, View


class SceneRenderer(Renderer):
    """Scenes resident as integers; each frame is sampled by itself, so that no batch changes it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._frames: list[tuple[Scene, int, torch.Tensor]] = []
        self._resident = 0

    def add(self, payload: Payload) -> None:
        found: list[Track] = []

        def run_lengths(shots: list[int]) -> list[int]:
            found.extend(runs(payload.boxes, payload.classes, shots))
            return [len(run.frames) for run in found]

        code = read_parts(payload.parts, len(payload), (payload.height, payload.width), run_lengths)
        tracks = split_runs(found, code.parts)
        scale = np.array([code.size[1] / payload.width, code.size[0] / payload.height] * 2, np.float32)
        scene = build(code, tracks, [b * scale for b in payload.boxes], self.device)
        ratio = torch.tensor(scale[:2], device=self.device)
        self._resident += scene.resident_bytes
        self._frames += [(scene, i, ratio) for i in range(len(payload))]

    def render(self, frames: torch.Tensor, view: View) -> torch.Tensor:
        points = view.points()
        out = torch.empty(len(frames), 3, *view.size, device=self.device)
        for row, number in enumerate(frames.tolist()):
            scene, frame, ratio = self._frames[number]
            picture = scene.at(frame, points[row] * ratio)
            if len(picture) == 1:
                out[row] = ((picture + 128) / 255).reshape(1, *view.size)
            else:
                out[row] = to_rgb(picture[0], picture[1:]).reshape(3, *view.size)
        return out

    @property
    def resident_bytes(self) -> int:
        return self._resident
