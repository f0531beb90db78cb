"""Original and decoded frames side by side: whole with the box drawn, and zoomed to the box."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from rinr_flower.errors import RinrError
from rinr_flower.frames import read_image
from rinr_flower.report.html import Html, element
from rinr_flower.report.record import ExampleRecord

FRAME_PX = 480
ZOOM_PX = 240
CONTEXT = 1.6  # side of the zoomed window over the longer side of the box


def example_rows(examples: Sequence[ExampleRecord], folder: Path, missing: list[str]) -> list[Html]:
    """One row of four pictures an example; files that cannot be read are reported in ``missing``."""
    rows = []
    for example in examples:
        try:
            pictures = [_open(folder, name) for name in (example.original, example.decoded)]
        except RinrError as error:
            missing.append(f"example of {example.clip!r}: {error}")
            continue
        box = _inside(example.box, *pictures[0].size)
        cells = []
        for picture, what in zip(pictures, ("camera file", "decoded"), strict=True):
            cells.append(_cell(_framed(picture, box), what, f"{what}, {example.clip}, frame {example.frame}"))
        if box:
            for picture, what in zip(pictures, ("camera file, box", "decoded, box"), strict=True):
                cells.append(_cell(_zoomed(picture, box), what, f"{what}, {example.clip}, zoomed"))
        caption = element("figcaption", f"{example.clip}, frame {example.frame}")
        rows.append(element("figure", element("div", *cells, class_="example"), caption))
    return rows


def _open(folder: Path, name: str) -> Image.Image:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise RinrError(f"{name}: lies outside the run's folder")
    try:
        return Image.fromarray(read_image(path.read_bytes(), name=name))
    except OSError as error:
        raise RinrError(f"{name}: {error.strerror}") from error


def _inside(box: Sequence[float], width: int, height: int) -> tuple[float, ...]:
    """The part of a box that lies in the picture, if any: the boxes of a device may lie anywhere."""
    if len(box) != 4 or not all(map(math.isfinite, box)):
        return ()
    inside = tuple(min(max(v, 0.0), limit) for v, limit in zip(box, (width, height) * 2, strict=True))
    return inside if inside[0] < inside[2] and inside[1] < inside[3] else ()


def _framed(picture: Image.Image, box: Sequence[float]) -> Image.Image:
    scale = min(1.0, FRAME_PX / picture.width)
    scaled = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    if box:
        ImageDraw.Draw(scaled).rectangle([v * scale for v in box], outline=(255, 196, 0), width=2)
    return scaled


def _zoomed(picture: Image.Image, box: Sequence[float]) -> Image.Image:
    """A square window around the box, enlarged without smoothing, so that what the decoder made is what is seen."""
    x1, y1, x2, y2 = box
    side = max(x2 - x1, y2 - y1, 8.0) * CONTEXT
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    left = round(min(max(cx - side / 2, 0), max(picture.width - side, 0)))
    top = round(min(max(cy - side / 2, 0), max(picture.height - side, 0)))
    window = (left, top, left + round(side), top + round(side))
    return picture.crop(window).resize((ZOOM_PX, ZOOM_PX), Image.Resampling.NEAREST)


def _cell(picture: Image.Image, label: str, alternative: str) -> Html:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=92)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return element("div", element("img", src=f"data:image/webp;base64,{data}", alt=alternative), label)
