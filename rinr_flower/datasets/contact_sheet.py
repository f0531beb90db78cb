"""A picture of many pictures with their boxes, to see at a glance whether labels fit."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from rinr_flower.datasets.source import Broken, Source
from rinr_flower.frames import Frame

TILE_PX = 240
COLUMNS = 6
TILES = 36


def contact_sheet(sources: Sequence[Source], broken: Broken) -> Image.Image:
    """TILES pictures, evenly spaced over all, each with its boxes and their classes; a broken one stays dark."""
    places = [(source, shot) for source in sources for shot in source.shots]
    chosen = [places[i] for i in np.unique(np.linspace(0, len(places) - 1, TILES).round().astype(int))]
    columns = min(COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    sheet = Image.new("RGB", (columns * TILE_PX, rows * TILE_PX), (32, 32, 32))
    for number, (source, shot) in enumerate(chosen):
        left, top = number % columns * TILE_PX, number // columns * TILE_PX
        with broken.caught(shot):
            tile = _tile(shot.frame()[0], source.class_names)
            sheet.paste(tile, (left + (TILE_PX - tile.width) // 2, top + (TILE_PX - tile.height) // 2))
    return sheet


def _tile(frame: Frame, class_names: Sequence[str]) -> Image.Image:
    scale = (TILE_PX - 4) / max(frame.width, frame.height)
    size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    tile = Image.fromarray(frame.image).resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(tile)
    for (x1, y1, x2, y2), label in zip((frame.boxes * scale).tolist(), frame.classes.tolist(), strict=True):
        colour = _colour(label)
        draw.rectangle((x1, y1, max(x1 + 1, x2 - 1), max(y1 + 1, y2 - 1)), outline=colour, width=2)
        name = class_names[label]
        left, top, right, bottom = draw.textbbox((x1 + 2, max(0, y1 - 11)), name)
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), fill=(0, 0, 0))
        draw.text((x1 + 2, max(0, y1 - 11)), name, fill=colour)
    return tile


def _colour(label: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(label * 0.381966 % 1, 0.7, 1.0)  # golden ratio: neighbours differ
    return round(255 * red), round(255 * green), round(255 * blue)
