"""A decoded scene: one function of frame number and coordinates, held as small integers.

A frame is its shot's canvas, looked up where the camera's motion says, plus a coarse residual that varies over time;
over that lie the objects, each a small volume in its own frame of reference that replaces the background to the
degree its mask says. Everything is sampled at continuous points, so that any size, crop or warp is rendered directly.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from rinr_flower.codecs.scene.decode.sampling import sample, transform
from rinr_flower.codecs.scene.format.code import BEND_UNIT_PX

EDGE_PX = 1.0  # an object fades out over the last pixel of its volume


@dataclass(eq=False)
class Planes:
    """Luma less 128 (n, 1, h, w) and, unless the clip is grey, blue and red differences (n, 2, h', w') at half that
    size, in grey levels."""

    luma: torch.Tensor
    chroma: torch.Tensor | None

    @property
    def resident_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in (self.luma, self.chroma) if t is not None)

    def need(self, k: int) -> None:
        """Make sure that picture ``k`` is there."""


@dataclass(eq=False)
class Background:
    """Frames seen by one camera take, against one canvas.

    Attributes
    ----------
    canvas : Planes int8 with n = 1.
    to_canvas : float32 (frames, 3, 3) on the CPU, working pixels to canvas pixels.
    bend : int8 (frames, 2, h, w), displacement on the canvas in BEND_UNIT_PX, stretched over the frame; or None.
    residual : Planes int8 with n = frames, stretched over the frame; or None.
    """

    canvas: Planes
    to_canvas: torch.Tensor
    bend: torch.Tensor | None = None
    residual: Planes | None = None


@dataclass(eq=False)
class ObjectVolume:
    """One object.

    Attributes
    ----------
    to_layer : float32 (appearances, 3, 3) on the CPU, working pixels to pixels of the volume.
    mask : float32 (1, h, w) in 0..1, stretched over the volume: how far the volume replaces what is below it.
    volume : Planes int16 with n = appearances, added on top.
    """

    to_layer: torch.Tensor
    mask: torch.Tensor
    volume: Planes


@dataclass(eq=False)
class OpenScene:
    """All shots and objects of a payload. ``size`` = (height, width) of the working picture in pixels.

    ``place[i]`` is (shot, index within it) of frame i, ``layers_of[i]`` the (layer, appearance) pairs seen in it,
    bottom first.
    """

    size: tuple[int, int]
    shots: list[Background] = field(default_factory=list)
    place: list[tuple[int, int]] = field(default_factory=list)
    layers: list[ObjectVolume] = field(default_factory=list)
    layers_of: list[list[tuple[int, int]]] = field(default_factory=list)

    @property
    def resident_bytes(self) -> int:
        """Bytes that all parts take in memory."""
        planes = [s.canvas for s in self.shots] + [s.residual for s in self.shots if s.residual is not None]
        planes += [layer.volume for layer in self.layers]
        loose = [s.to_canvas for s in self.shots] + [s.bend for s in self.shots if s.bend is not None]
        loose += [t for layer in self.layers for t in (layer.to_layer, layer.mask)]
        return sum(p.resident_bytes for p in planes) + sum(t.numel() * t.element_size() for t in loose)

    def need(self, frame: int) -> None:
        """Make sure that all that ``frame`` is drawn from is there."""
        number, k = self.place[frame]
        if (residual := self.shots[number].residual) is not None:
            residual.need(k)

    def background(self, frame: int, points: torch.Tensor) -> torch.Tensor:
        """Luma and chroma (3, n), or luma (1, n) if grey, at working-pixel ``points`` (n, 2), objects left out."""
        self.need(frame)
        number, k = self.place[frame]
        shot = self.shots[number]
        height, width = self.size
        at = transform(points, shot.to_canvas[k])
        if shot.bend is not None:
            bend = shot.bend[k].float().mul_(BEND_UNIT_PX)
            cells = torch.tensor([bend.shape[2] / width, bend.shape[1] / height], device=points.device)
            at = at + sample(bend, points * cells, "bilinear").T
        parts = [sample(shot.canvas.luma[0].float(), at, "bicubic")]
        residual = shot.residual
        if residual is not None:
            parts[0] += _stretched(residual.luma[k], points, self.size)
        if shot.canvas.chroma is not None:
            chroma = shot.canvas.chroma[0].float()
            full = shot.canvas.luma.shape
            ratio = torch.tensor([chroma.shape[2] / full[3], chroma.shape[1] / full[2]], device=points.device)
            parts.append(sample(chroma, at * ratio, "bilinear"))
            if residual is not None and residual.chroma is not None:
                parts[1] += _stretched(residual.chroma[k], points, self.size)
        return torch.cat(parts)

    def at(self, frame: int, points: torch.Tensor, *, layers: int | None = None) -> torch.Tensor:
        """As :meth:`background`, with the lowest ``layers`` objects (all by default)."""
        return self.over(self.background(frame, points), frame, points, layers=layers)

    def over(
        self, picture: torch.Tensor, frame: int, points: torch.Tensor, *, layers: int | None = None
    ) -> torch.Tensor:
        """``picture``, the background at ``points``, with the lowest ``layers`` objects drawn into it."""
        for number, k in self.layers_of[frame][:layers]:
            layer = self.layers[number]
            where = transform(points, layer.to_layer[k])
            height, width = layer.volume.luma.shape[2:]
            x, y = where[:, 0], where[:, 1]
            inside = torch.nonzero((x > 0) & (x < width) & (y > 0) & (y < height))[:, 0]
            if len(inside):
                picture[:, inside] = layer_over(layer, k, where[inside], picture[:, inside])
        return picture


def layer_over(layer: ObjectVolume, k: int, where: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    """What is seen (channels, n) at points ``where`` (n, 2) of appearance ``k`` of a layer that lies over ``below``."""
    height, width = layer.volume.luma.shape[2:]
    limit = torch.tensor([width, height], dtype=torch.float32, device=where.device)
    edge = torch.minimum(where, limit - where).amin(dim=1).div_(EDGE_PX).clamp_(0, 1)
    parts = [sample(layer.volume.luma[k].float(), where, "bicubic")]
    if layer.volume.chroma is not None:
        chroma = layer.volume.chroma[k].float()
        ratio = torch.tensor([chroma.shape[2] / width, chroma.shape[1] / height], device=where.device)
        parts.append(sample(chroma, where * ratio, "bicubic"))
    cells = torch.tensor([layer.mask.shape[2] / width, layer.mask.shape[1] / height], device=where.device)
    mask = sample(layer.mask, where * cells, "bilinear")
    return below + edge * (torch.cat(parts) - mask * below)


def _stretched(plane: torch.Tensor, points: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    ratio = torch.tensor([plane.shape[2] / size[1], plane.shape[1] / size[0]], device=points.device)
    return sample(plane.float(), points * ratio, "bilinear")
