"""Settings of the codecs that the rate-distortion benchmark runs.

A series has a *curve*, the codec at its defaults but for one quality knob, and may have a *grid* of other settings.
Codecs of two layers keep the difference between the qualities of their layers: the knob moves both.
Rivals are coded at 640 pixels wide at most, as ``scene`` does by default and as quality is measured: video by its own
option, stills of frames that were reduced before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

from rinr_flower.codecs import Codec, codecs
from rinr_flower.codecs.presets import VARIANTS, paper_variants

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Series:
    """Operating points of one codec.

    Attributes
    ----------
    curve : defaults but for one quality knob, four points or more from coarse to fine.
    grid : further settings, for the envelope.
    reduced : whether wider frames are reduced before they are coded, for a codec that has no such option.
    """

    curve: Sequence[Options]
    grid: Sequence[Options] = ()
    reduced: bool = False

    @property
    def points(self) -> list[Options]:
        """All settings once, the curve first."""
        unique: dict[str, Options] = {}
        for point in (*self.curve, *self.grid):
            unique.setdefault(repr(build(point)), point)
        return list(unique.values())


def settings(name: str, fixed: Options | None = None, **values: list[Any]) -> list[Options]:
    """Every combination of ``values``; ``__`` in a key stands for the dot of a nested option."""
    keys = [k.replace("__", ".") for k in values]
    return [{"name": name, **(fixed or {}), **dict(zip(keys, row, strict=True))} for row in product(*values.values())]


def layers(name: str, knobs: str, values: list[tuple[int, int]], fixed: Options | None = None) -> list[Options]:
    """Settings of a codec of two layers, from the names of its two knobs and pairs of their values."""
    return [{"name": name, **(fixed or {}), **dict(zip(knobs.split(), pair, strict=True))} for pair in values]


_640 = {"max_width": 640}
_UNITS = [24, 32, 45, 64]
_SMALL = [[1_000, 8, 2], [3_000, 10, 2], [10_000, 14, 3], [None, 20, 3]]
_ONE_BY_ONE = {
    **{"name": "residual", "bits": 8, "shared": 1, "sizes": _SMALL},
    **{"background.hidden": 28, "background.layers": 10, "background.w0": 20, "background.steps": 1_500},
    **{"background.bits": 8, "background.shared": 1},
}
"""The published shape at 8 bits, a whole network for every frame and box: what shared networks are measured against."""
_WIDTHS = ((2, 6), (4, 10), (8, 16), (16, 32))
SERIES: dict[str, Series] = {
    "camera": Series([{"name": "jpeg"}]),
    "jpeg": Series(settings("jpeg", quality=[5, 10, 20, 35, 50, 65]), reduced=True),
    "webp": Series(settings("webp", quality=[2, 10, 30, 55, 80]), reduced=True),
    "avif": Series(settings("avif", quality=[5, 15, 30, 45, 60]), reduced=True),
    "roi_jpeg": Series(
        layers("roi_jpeg", "quality box_quality", [(5, 60), (10, 65), (20, 75), (30, 85), (40, 95)]),
        [
            *settings("roi_jpeg", box_quality=[10, 25, 40, 60, 85]),
            *settings("roi_jpeg", quality=[10, 30, 60], box_quality=[10, 40, 85], coarse_reduce=[1, 2]),
        ],
        reduced=True,
    ),
    "roi_avif": Series(
        layers("roi_avif", "quality box_quality", [(2, 47), (5, 50), (15, 60), (25, 70), (35, 80)]),
        settings("roi_avif", box_quality=[15, 30, 45, 60]),
        reduced=True,
    ),
    "x264": Series(settings("x264", _640, crf=[18, 23, 28, 33, 38, 43])),
    "av1": Series(settings("av1", _640, crf=[20, 30, 40, 50, 58, 63])),
    "roi_x264": Series(
        layers("roi_x264", "crf box_crf", [(26, 14), (32, 20), (38, 26), (44, 32), (50, 38)], _640),
        settings("roi_x264", _640, crf=[30, 36, 38, 42], box_crf=[20, 26, 32, 38]),
    ),
    "roi_av1": Series(
        layers("roi_av1", "crf box_crf", [(38, 20), (48, 30), (53, 35), (58, 40), (63, 45)], _640),
        settings("roi_av1", _640, crf=[45, 55, 58, 63], box_crf=[25, 35, 45, 55, 63]),
    ),
    "rapid_inr": Series(settings("rapid_inr", hidden=_UNITS), settings("rapid_inr", shared=[1, 2, 4])),
    "nerv": Series([{"name": "nerv", "channels": c, "width": w} for c, w in _WIDTHS]),
    "residual over rapid_inr": Series(
        settings("residual", background__hidden=_UNITS),
        settings("residual", background__hidden=[64], background__shared=[1, 2, 4]),
    ),
    "residual over nerv": Series(
        [
            {"name": "residual", "background": "nerv", "background.channels": c, "background.width": w}
            for c, w in _WIDTHS
        ]
    ),
    "residual of a network a frame": Series([_ONE_BY_ONE]),
    **{f"{b} {v}": Series([{"paper": v, "background": b}]) for b in ("rapid_inr", "nerv") for v in VARIANTS},
    "scene": Series(settings("scene", quality=[20.0, 35.0, 52.0, 65.0, 80.0])),
}


UNASKED = tuple(name for name, series in SERIES.items() if len(series.curve) > 1 or name == "camera")
"""Series that run when none are named. The others have one point each; the published fits take days on a CPU."""


def build(options: Options) -> Codec:
    """The codec of an operating point."""
    if "paper" in options:
        return paper_variants(options["background"])[options["paper"]]
    return codecs.create(options)


@cache
def curve_of(series: str) -> list[Codec]:
    """The codecs of a series' curve."""
    return [build(point) for point in SERIES[series].curve]
