"""Scenes drawn by one fused kernel: any number of frames of any number of scenes are one launch.

The kernel reads planes where they lie. A table of their addresses stays on the device, so that drawing a batch sends
only its frame numbers and matrices there.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rinr_flower.rendering.kernels import kernel_runs, triton_kernel
from rinr_flower.rendering.renderer import View

BLOCK_PX = 128
_MODULE = "scene_kernel"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Plane:
    """A picture that is resident on the device.

    Attributes
    ----------
    values : contiguous (channels, height, width), of the type that the kernel reads it as.
    scale : factors (x, y) from the coordinates that it is looked up with to its pixels.
    """

    values: torch.Tensor
    scale: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def stretched(cls, values: torch.Tensor, size: tuple[int, int]) -> Plane:
        """Return a plane that covers coordinates 0 to width and 0 to height of ``size`` = (height, width)."""
        height, width = values.shape[-2:]
        return cls(values, (width / size[1], height / size[0]))

    def address(self) -> list[int]:
        """Return address, height and width."""
        if not self.values.is_contiguous():
            raise ValueError("a plane is not contiguous in memory")
        return [self.values.data_ptr(), *self.values.shape[-2:]]


_NONE = ([0, 0, 0], (0.0, 0.0))


@dataclass(frozen=True, eq=False)
class LayerEntry:
    """An object in a frame: ``pose`` (3, 3), working pixels to the volume's; luma and chroma int16, mask float32."""

    pose: torch.Tensor
    luma: Plane
    chroma: Plane | None
    mask: Plane


@dataclass(frozen=True, eq=False)
class FrameEntry:
    """What a frame is drawn from; all planes but those of layers are int8.

    Attributes
    ----------
    to_canvas : (3, 3), working pixels to canvas pixels.
    to_working : factors (x, y) from the frame's pixels to working pixels.
    canvas, chroma : looked up at canvas coordinates, cubic and linear.
    residual, residual_chroma, bend : looked up at working coordinates.
    layers : bottom first.
    """

    to_canvas: torch.Tensor
    to_working: tuple[float, float]
    canvas: Plane
    chroma: Plane | None
    residual: Plane | None
    residual_chroma: Plane | None
    bend: Plane | None
    layers: Sequence[LayerEntry]


def kernel_draws(device: torch.device) -> bool:
    """Whether the kernel can run on ``device``; False where plain torch has to draw."""
    return kernel_runs(_MODULE, device)


class FrameTable:
    """All frames of a renderer, as the kernel reads them.

    Parameters
    ----------
    device : where the planes lie.
    bend_unit : canvas pixels of one unit of a bend.
    edge : pixels of a volume over which it fades at its border.
    """

    def __init__(self, device: torch.device, *, bend_unit: float, edge: float) -> None:
        self._device, self._bend_unit, self._edge = device, bend_unit, edge
        self._frames: list[list[int]] = []
        self._factors: list[list[float]] = []
        self._layers: list[list[int]] = []
        self._poses: list[list[float]] = []
        self._resident: tuple[torch.Tensor, ...] = ()
        self._failed = False

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, entry: FrameEntry) -> None:
        """Append a frame. Its planes must live as long as the table."""
        first = len(self._layers)
        for layer in entry.layers:
            addresses, scales = _planes(layer.luma, layer.chroma, layer.mask)
            self._layers.append(addresses)
            self._poses.append([*layer.pose.reshape(-1).tolist(), *scales])
        planes = (entry.canvas, entry.chroma, entry.residual, entry.residual_chroma, entry.bend)
        addresses, scales = _planes(*planes)
        self._frames.append([*addresses, first, len(self._layers)])
        self._factors.append([*entry.to_canvas.reshape(-1).tolist(), *entry.to_working, *scales])
        self._resident = ()

    def draw(self, frames: Sequence[int], view: View) -> torch.Tensor | None:
        """Draw ``frames`` through ``view``: float32 (batch, 3, height, width), RGB in 0..1.

        None, logged once, if Triton fails to compile or to start the kernel; plain torch has to draw then.
        """
        if self._failed:
            return None
        out = torch.empty(len(frames), 3, *view.size, device=self._device)
        try:
            self._launch(out, torch.tensor(frames, dtype=torch.int32), view)
        except Exception as error:  # whatever a compiler may raise; plain torch draws the same
            self._failed = True
            logger.warning("Triton failed for scenes, which plain torch draws from now on: %s", error)
            return None
        return out

    def _launch(self, out: torch.Tensor, frames: torch.Tensor, view: View) -> None:
        if not self._resident:
            self._resident = (
                _table(self._frames, torch.int64, self._device), _table(self._factors, torch.float32, self._device),
                _table(self._layers, torch.int64, self._device), _table(self._poses, torch.float32, self._device),
            )  # fmt: skip
        pixels = view.size[0] * view.size[1]
        blocks = -(-pixels // BLOCK_PX)
        kernel = triton_kernel(_MODULE)
        shown = frames.to(self._device, non_blocking=True)
        with torch.cuda.device_of(out):  # type: ignore[no-untyped-call]
            kernel[(len(frames) * blocks,)](
                out, view.matrix.contiguous(), shown, *self._resident, pixels, view.size[1], blocks,
                self._bend_unit, self._edge, BLOCK=BLOCK_PX,
                enable_fp_fusion=False,  # so that a point falls on the same side of a volume's edge as in plain torch
            )  # fmt: skip


def _planes(*planes: Plane | None) -> tuple[list[int], list[float]]:
    """Addresses and factors of planes, zeros for one that is not there."""
    found = [_NONE if plane is None else (plane.address(), plane.scale) for plane in planes]
    return [n for address, _ in found for n in address], [f for _, scale in found for f in scale]


def _table(rows: list[list[int]] | list[list[float]], kind: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.tensor(rows or [[0]], dtype=kind).to(device)
