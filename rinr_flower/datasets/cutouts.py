"""The photographs of the generated sample and the objects cut out of them.

Only photographs in scikit-image's wheel that their documentation there gives as public domain or CC0: astronaut and
hubble_deep_field (NASA, public domain), rocket (SpaceX, public domain), camera (CC0, L. Varshney), chelsea (CC0, S. van
der Walt), coffee (CC0, R. Michetti), grass, gravel and brick (CC0). The two JPEG files have no chroma subsampling, so
that every libjpeg(-turbo) decodes them to the same pixels.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from rinr_flower.errors import DataError
from rinr_flower.frames import read_image

log = logging.getLogger(__name__)

MARGIN_PX = 32
"""Empty border of a cut-out, whose sides are multiples of this: after five halvings one empty pixel is left."""


def _ellipse(x: float, y: float, a: float, b: float, sides: int = 32) -> tuple[tuple[float, float], ...]:
    """Corner points of an ellipse by the rational parametrisation, which needs no libm: the same everywhere."""
    quarter = []
    for i in range(sides // 4):
        t = i / (sides // 4)
        quarter.append(((1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)))
    points = []
    for sign, swap in ((1, False), (1, True), (-1, False), (-1, True)):
        for c, s in quarter:
            u, v = (-s, c) if swap else (c, s)
            points.append((x + a * sign * u, y + b * sign * v))
    return tuple(points)


@dataclass(frozen=True)
class Cutout:
    """A part of a photograph: its outline in the photograph's pixels, x to the right, y down."""

    photograph: str
    outline: tuple[tuple[float, float], ...]


# fmt: off
CUP = Cutout("coffee.png", (
    (173, 105), (177, 81), (190, 58), (210, 40), (237, 26), (263, 20), (286, 19), (316, 22), (346, 31), (371, 46),
    (390, 63), (400, 78), (405, 102), (416, 108), (436, 127), (454, 149), (469, 175), (477, 203), (478, 226),
    (473, 252), (460, 286), (439, 314), (419, 334), (391, 355), (357, 372), (323, 383), (286, 387), (248, 384),
    (211, 374), (181, 360), (151, 342), (125, 320), (102, 290), (87, 260), (79, 230), (78, 203), (82, 181),
    (89, 156), (102, 132), (121, 108), (144, 89), (163, 80), (176, 74)))
HELMET = Cutout("astronaut.png", (
    (283, 511), (279, 483), (283, 454), (291, 420), (307, 388), (328, 368), (356, 353), (394, 346), (432, 353),
    (460, 372), (481, 396), (491, 421), (495, 454), (507, 476), (509, 511)))
SHUTTLE = Cutout("astronaut.png", (
    (409, 1), (419, 3), (431, 22), (437, 46), (443, 43), (450, 49), (454, 67), (454, 198), (456, 235), (459, 264),
    (436, 268), (428, 270), (403, 270), (369, 271), (370, 252), (383, 235), (378, 228), (356, 222), (357, 212),
    (366, 196), (378, 181), (380, 126), (382, 56), (388, 44), (393, 50), (395, 42), (399, 22)))
PATCH = Cutout("astronaut.png", _ellipse(170.5, 385.0, 36.0, 36.0))
ROCKET = Cutout("rocket.jpg", (
    (322, 127), (328, 132), (332, 142), (333, 153), (333, 178), (335, 187), (334, 267), (331, 277), (330, 404),
    (314, 404), (314, 277), (311, 270), (311, 197), (310, 187), (312, 178), (312, 153), (313, 142), (317, 132)))
EYE = Cutout("chelsea.png", _ellipse(171.5, 116.0, 38.0, 30.0))
SPOON = Cutout("coffee.png", _ellipse(366.0, 283.0, 37.0, 39.0))
# fmt: on

PIXELS_SHA256 = {
    "astronaut.png": "a8c429c18afa7b0fd5673e598d73a21225d94c864a71bbb3885126fdecb41071",
    "grass.png": "c7ca5c984d6b5a2787506e70a42bcac22b164b00e8e1cf9e06cf76b8110c5734",
    "rocket.jpg": "3d4435cc745752b7f9724df88c6e18817de3ce7e3d2d71c55f85f7831e68f197",
    "chelsea.png": "416b729128bfb2c3d1eb69bf9b1734a796293abc17939267b2dc94f8a5784031",
    "camera.png": "13e2b4aa92cb1649b4aac5a4d48b38a8ea3a18b86e8abdf5a4871abf24c9d038",
    "brick.png": "3501e216fb0968c378803347d3a13e3cc04021eaecc44b64c6528088c7ea0f64",
    "hubble_deep_field.jpg": "9a3ea9548188f81e63435188456e74de45a981ebeb791e265abe79a26d3b528b",
    "gravel.png": "e73bd88250cbfd7f96f232357ecad0d2302252483457337f5cf79d2c5b82227a",
    "coffee.png": "0ce2b51640b9c95f19617f03eabf40c3f0368589cc1ee1190b70966165ac184f",
}
"""SHA-256 of each photograph's RGB pixels."""


@cache
def photograph(file: str) -> NDArray[np.uint8]:
    """RGB pixels, uint8 (height, width, 3), of a photograph in scikit-image's wheel."""
    resource = files("skimage") / "data" / file
    if not resource.is_file():
        raise DataError(f"the installed scikit-image has no data/{file}; the sample needs scikit-image from a wheel")
    image = read_image(resource.read_bytes(), name=f"skimage/data/{file}")
    if hashlib.sha256(image.tobytes()).hexdigest() != PIXELS_SHA256[file]:
        log.warning(
            "the installed scikit-image holds another photograph as %s: the sample works, but its pixels are not the "
            "documented ones; scikit-image 0.24 to 0.26 give those",
            file,
        )
    return image


def inside(outline: tuple[tuple[float, float], ...], width: int, height: int) -> NDArray[np.bool_]:
    """Which pixel centres (height, width) lie inside a polygon, by the even-odd rule; elementwise float64 only."""
    x = np.arange(width)[None, :] + 0.5
    y = np.arange(height)[:, None] + 0.5
    odd = np.zeros((height, width), bool)
    for (x1, y1), (x2, y2) in zip(outline, (*outline[1:], outline[0]), strict=True):
        if y1 != y2:
            crosses = (y1 > y) != (y2 > y)
            odd ^= crosses & (x < (x2 - x1) * ((y - y1) / (y2 - y1)) + x1)
    return odd


@cache
def cut(cutout: Cutout) -> tuple[NDArray[np.uint8], tuple[tuple[float, float], ...]]:
    """A cut-out as straight RGBA, uint8 (height, width, 4), with a soft edge, and its outline in those pixels."""
    image = photograph(cutout.photograph)
    left = int(min(x for x, _ in cutout.outline)) - MARGIN_PX
    top = int(min(y for _, y in cutout.outline)) - MARGIN_PX
    width = (int(max(x for x, _ in cutout.outline)) - left) // MARGIN_PX * MARGIN_PX + 2 * MARGIN_PX
    height = (int(max(y for _, y in cutout.outline)) - top) // MARGIN_PX * MARGIN_PX + 2 * MARGIN_PX
    outline = tuple((x - left, y - top) for x, y in cutout.outline)
    alpha = inside(outline, width, height).astype(np.int64) * 255
    for axis in (0, 1):  # boxes of 3 and 5 px: an edge some 3 px wide, before the cut-out is scaled down
        for reach in (1, 2):
            shifted = [np.roll(alpha, shift, axis) for shift in range(-reach, reach + 1)]
            alpha = np.sum(shifted, axis=0) // (2 * reach + 1)
    rows = np.clip(np.arange(top, top + height), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(left, left + width), 0, image.shape[1] - 1)
    rgb = image[rows][:, columns]
    return np.dstack([rgb, alpha.astype(np.uint8)]), outline
