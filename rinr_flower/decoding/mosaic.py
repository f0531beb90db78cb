"""Pictures made of one frame or of four: which tile of the output shows which frame, rendered as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.decoding.store import FILL, FrameStore
from rinr_flower.rendering.renderer import View

TILE_PX = 32
TILES_PER_SIDE = 10  # of a large picture: fewer, larger tiles cost less to look after, smaller ones overlap less


@dataclass(frozen=True, eq=False)
class Patch:
    """One frame of a picture.

    Attributes
    ----------
    frame : its number in the store.
    to_frame : float64 (3, 3), output pixels to the frame's pixels.
    shown : x1, y1, x2, y2 of the part of the canvas that shows it.
    """

    frame: int
    to_frame: NDArray[np.float64]
    shown: tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Picture:
    """One output picture: its patches, and ``to_canvas`` (3, 3), output to canvas pixels."""

    patches: tuple[Patch, ...]
    to_canvas: NDArray[np.float64]


def compose(store: FrameStore, pictures: Sequence[Picture], size: tuple[int, int]) -> torch.Tensor:
    """Render ``pictures`` at ``size``: float32 (batch, 3, height, width), RGB 0..1, grey where nothing is.

    A picture of one frame is rendered whole. Of a mosaic, every tile is rendered once for each frame that it may show,
    all tiles of all pictures as one batch, so that four frames cost little more than one.
    """
    whole = [i for i, picture in enumerate(pictures) if len(picture.patches) == 1]
    mosaics = [i for i, picture in enumerate(pictures) if len(picture.patches) > 1]
    if not whole:
        return _mosaics(store, pictures, size)
    out = torch.empty(len(pictures), 3, *size, device=store.device)
    patches = [pictures[i].patches[0] for i in whole]
    matrix = torch.tensor(np.stack([p.to_frame for p in patches]), dtype=torch.float32)
    out[whole] = store.render([p.frame for p in patches], size, matrix=matrix)
    if mosaics:
        out[mosaics] = _mosaics(store, [pictures[i] for i in mosaics], size)
    return out


@dataclass(frozen=True, eq=False)
class _Item:
    """One tile (its number in the batch) of one patch; ``layer`` counts the patches of that tile, and a patch that
    shows on the ``whole`` tile has it for itself."""

    tile: int
    layer: int
    patch: Patch
    whole: bool
    to_frame: NDArray[np.float64]
    to_canvas: NDArray[np.float64]


def _mosaics(store: FrameStore, pictures: Sequence[Picture], size: tuple[int, int]) -> torch.Tensor:
    edge = TILE_PX * max(1, max(size) // (TILE_PX * TILES_PER_SIDE))
    while size[0] % edge or size[1] % edge:
        edge -= TILE_PX
    down, across = size[0] // edge, size[1] // edge
    items = [item for i, p in enumerate(pictures) for item in _items(p, i * down * across, (down, across), edge)]
    tiles = torch.full((len(pictures) * down * across, 3, edge, edge), FILL, device=store.device)
    if items:
        matrix = torch.tensor(np.stack([i.to_frame for i in items]), dtype=torch.float32)
        rendered = store.render([i.patch.frame for i in items], (edge, edge), matrix=matrix)
        whole = [r for r, item in enumerate(items) if item.whole]
        tiles[[items[r].tile for r in whole]] = rendered[whole]
        shared = [r for r, item in enumerate(items) if not item.whole]
        for layer in sorted({items[r].layer for r in shared}):
            rows = [r for r in shared if items[r].layer == layer]
            places = [items[r].tile for r in rows]
            covered = _covered([items[r] for r in rows], edge, store.device)
            tiles[places] = torch.where(covered, rendered[rows], tiles[places])
    grid = tiles.reshape(len(pictures), down, across, 3, edge, edge)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(len(pictures), 3, *size)


def _items(picture: Picture, first: int, tiles: tuple[int, int], edge: int) -> list[_Item]:
    """The tiles (down, across) of a picture, for each patch that they may show."""
    rows, columns = np.divmod(np.arange(tiles[0] * tiles[1]), tiles[1])
    origin = np.stack([columns, rows], axis=1) * edge  # (tiles, 2): x, y
    corners = origin[:, None] + np.array([[0, 0], [edge, 0], [0, edge], [edge, edge]])
    points = np.concatenate([corners, np.ones((*corners.shape[:2], 1))], axis=2) @ picture.to_canvas.T
    depth = points[..., 2]
    flat = points[..., :2] / depth[..., None]
    low, high = flat.min(axis=1), flat.max(axis=1)
    regular = (depth > 0).all(axis=1)  # the horizon does not pass through the tile
    moves = np.tile(np.eye(3), (len(origin), 1, 1))
    moves[:, :2, 2] = origin
    layers = np.zeros(len(origin), np.int64)
    items = []
    for patch in picture.patches:
        x1, y1, x2, y2 = patch.shown
        touched = (low < [x2, y2]).all(axis=1) & (high > [x1, y1]).all(axis=1)
        within = (low >= [x1, y1]).all(axis=1) & (high <= [x2, y2]).all(axis=1) & regular
        chosen = np.flatnonzero(touched | ~regular)
        to_frame, to_canvas = patch.to_frame @ moves[chosen], picture.to_canvas @ moves[chosen]
        items += [
            _Item(first + int(tile), int(layers[tile]), patch, bool(within[tile]), to_frame[i], to_canvas[i])
            for i, tile in enumerate(chosen)
        ]
        layers[chosen] += 1
    return items


def _covered(items: Sequence[_Item], edge: int, device: torch.device) -> torch.Tensor:
    """Which pixels of every item lie on the part of the canvas that shows its patch: (items, 1, edge, edge)."""
    matrix = torch.tensor(np.stack([i.to_canvas for i in items]), dtype=torch.float32, device=device)
    points = View((edge, edge), matrix).points().reshape(len(items), edge, edge, 2)
    shown = torch.tensor([i.patch.shown for i in items], dtype=torch.float32, device=device)[:, None, None]
    return ((points >= shown[..., :2]) & (points < shown[..., 2:])).all(dim=-1)[:, None]
