"""Scenes drawn by the fused kernel."""

from __future__ import annotations

import torch

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs.scene.decode.renderer import SceneRenderer
from rinr_flower.codecs.scene.decode.resident import EDGE_PX, ObjectVolume, OpenScene
from rinr_flower.codecs.scene.format.code import BEND_UNIT_PX
from rinr_flower.rendering.fused_scene import FrameEntry, FrameTable, LayerEntry, Plane
from rinr_flower.rendering.renderer import View


class FusedScenes(SceneRenderer):
    """Scenes resident as integers, all frames of a batch drawn in one launch."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self._table = FrameTable(device, bend_unit=BEND_UNIT_PX, edge=EDGE_PX)

    def add(self, payload: Payload) -> None:
        super().add(payload)
        for scene, frame, _ in self._frames[len(self._table) :]:
            self._table.add(frame_entry(scene, frame, (payload.height, payload.width)))

    def render(self, frames: torch.Tensor, view: View) -> torch.Tensor:
        for scene, frame, _ in (self._frames[number] for number in dict.fromkeys(frames.tolist())):
            scene.need(frame)
        drawn = self._table.draw(frames.tolist(), view)
        return super().render(frames, view) if drawn is None else drawn


def frame_entry(scene: OpenScene, frame: int, picture: tuple[int, int]) -> FrameEntry:
    """Describe one frame of a scene to the kernel; ``picture`` is the frame's (height, width) in the camera."""
    number, k = scene.place[frame]
    shot = scene.shots[number]
    luma, chroma = shot.canvas.luma[0], shot.canvas.chroma
    canvas_size = (luma.shape[1], luma.shape[2])
    residual = shot.residual
    return FrameEntry(
        to_canvas=shot.to_canvas[k],
        to_working=(scene.size[1] / picture[1], scene.size[0] / picture[0]),
        canvas=Plane(luma),
        chroma=None if chroma is None else Plane.stretched(chroma[0], canvas_size),
        residual=None if residual is None else Plane.stretched(residual.luma[k], scene.size),
        residual_chroma=None
        if residual is None or residual.chroma is None
        else Plane.stretched(residual.chroma[k], scene.size),
        bend=None if shot.bend is None else Plane.stretched(shot.bend[k], scene.size),
        layers=[layer_entry(scene.layers[number], k) for number, k in scene.layers_of[frame]],
    )


def layer_entry(layer: ObjectVolume, k: int) -> LayerEntry:
    """Describe appearance ``k`` of an object to the kernel."""
    luma, chroma = layer.volume.luma[k], layer.volume.chroma
    size = (luma.shape[1], luma.shape[2])
    return LayerEntry(
        pose=layer.to_layer[k],
        luma=Plane(luma),
        chroma=None if chroma is None else Plane.stretched(chroma[k], size),
        mask=Plane.stretched(layer.mask, size),
    )
