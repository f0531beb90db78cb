"""SIREN payloads drawn by one fused kernel instead of a chain of torch operations, where Triton can run it.

The kernel is chosen by itself on CUDA, see :mod:`rinr_flower.rendering.kernels`. Plain torch also draws frames of more
than MAX_OBJECTS objects and, said once in the log, networks wider than MAX_HIDDEN and shapes of network that Triton
fails to compile.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch

from rinr_flower.inr.siren import ResidentBank, SirenShape
from rinr_flower.rendering.kernels import kernel_runs, triton_kernel
from rinr_flower.rendering.renderer import View

MAX_HIDDEN = 64
"""Units up to which a layer's weights and a block's activations fit into shared memory and registers."""

MAX_OBJECTS = 256
"""Of a frame: a pixel is compared with all of them."""

BLOCK_PX = 128
_MODULE = "siren_kernel"
_HALF_BITS = 8  # float16 holds integers of so many bits exactly

logger = logging.getLogger(__name__)
_failed: set[tuple[SirenShape, int]] = set()


@dataclass(frozen=True)
class Item:
    """A network over a window of a picture.

    Attributes
    ----------
    place : the network's bank and its number there.
    picture : row of the batch.
    window : x1, y1, x2, y2 in frame pixels.
    scale : factor of a residual, which is added to the picture; None replaces the picture.
    over : first and end of the windows, numbered through the whole batch, that lie over this one.
    """

    place: tuple[ResidentBank, int]
    picture: int
    window: tuple[int, int, int, int]
    scale: float | None = None
    over: tuple[int, int] = (0, 0)


def kernel_draws(device: torch.device) -> bool:
    """Whether the kernel can run on ``device``; False where plain torch has to draw."""
    return kernel_runs(_MODULE, device)


def draw(out: torch.Tensor, view: View, items: Sequence[Item], *, whole: bool) -> bool:
    """Draw ``items`` into ``out`` float32 (pictures, 3, height, width) of 0..1, seen through ``view``.

    With ``whole``, windows are the frames' sizes, and points outside repeat the border; without, nothing is drawn
    outside a window, nor where another lies over it. False, logged once for each shape, if a shape of network cannot be
    drawn; ``out`` is then half drawn.
    """
    groups: dict[tuple[ResidentBank, bool], list[Item]] = {}
    for item in items:
        groups.setdefault((item.place[0], item.scale is not None), []).append(item)
    if not all(_drawable(bank) for bank, _ in groups):
        return False
    windows = torch.tensor([i.window for i in items], dtype=torch.float32).to(out.device, non_blocking=True)
    for (bank, added), members in groups.items():
        try:
            _launch(out, view, bank, members, windows, whole=whole, added=added)
        except Exception as error:  # whatever a compiler may raise; plain torch draws the same
            _failed.add((bank.shape, bank.bits))
            logger.warning("Triton failed for %s, which plain torch draws from now on: %s", bank.shape, error)
            return False
    return True


def _launch(
    out: torch.Tensor,
    view: View,
    bank: ResidentBank,
    items: Sequence[Item],
    windows: torch.Tensor,
    *,
    whole: bool,
    added: bool,
) -> None:
    values, scales = _packed(bank)
    numbers = torch.tensor([[i.place[1], i.picture, *i.over] for i in items], dtype=torch.int32)
    measures = torch.tensor(
        [
            [x1, y1, x2, y2, 2 / (x2 - x1), 2 / (y2 - y1), 0.5 if i.scale is None else 0.5 * i.scale]
            for i in items
            for x1, y1, x2, y2 in [i.window]
        ],
        dtype=torch.float32,
    )
    # tables go over without waiting for what the device still has to do
    numbers, measures = (t.to(out.device, non_blocking=True) for t in (numbers, measures))
    pixels = view.size[0] * view.size[1]
    blocks = -(-pixels // BLOCK_PX)
    kernel = triton_kernel(_MODULE)
    assert kernel is not None
    with torch.cuda.device_of(out):  # type: ignore[no-untyped-call]
        kernel[(len(items) * blocks,)](
            out, view.matrix.contiguous(), values, scales, numbers, measures, windows,
            pixels, view.size[1], blocks, float(bank.shape.w0),
            HIDDEN=bank.shape.hidden, LAYERS=bank.shape.layers, PARAMETERS=bank.shape.parameters,
            PADDED=max(16, 1 << (bank.shape.hidden - 1).bit_length()), BLOCK=BLOCK_PX, WHOLE=whole, ADDED=added,
            HALF=bank.bits <= _HALF_BITS,
            enable_fp_fusion=False,  # so that a point falls on the same side of a window's edge as in plain torch
        )  # fmt: skip


def _drawable(bank: ResidentBank) -> bool:
    if bank.shape.hidden > MAX_HIDDEN and (bank.shape, bank.bits) not in _failed:
        _failed.add((bank.shape, bank.bits))
        logger.warning("%s is wider than %d units: plain torch draws it", bank.shape, MAX_HIDDEN)
    return (bank.shape, bank.bits) not in _failed


_Packed = tuple[torch.Tensor, torch.Tensor]
_packs: WeakKeyDictionary[ResidentBank, _Packed] = WeakKeyDictionary()


def _packed(bank: ResidentBank) -> _Packed:
    """The bank's networks, one row each, and their scales; packed anew when networks were added."""
    found = _packs.get(bank)
    if found is None or len(found[0]) != len(bank):
        values, scales = ([t.flatten(1) for t in kind] for kind in bank.tensors)
        found = torch.cat(values, dim=1), torch.cat(scales, dim=1)
        _packs[bank] = found
    return found
