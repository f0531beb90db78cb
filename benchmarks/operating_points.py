"""Which settings of which codecs the rate-distortion benchmark runs: at least four each, from coarse to fine."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from rinr_flower.codecs import Codec, codecs
from rinr_flower.codecs.presets import VARIANTS, paper_variant

Options = Mapping[str, Any]


def grid(name: str, fixed: Options | None = None, **values: list[Any]) -> list[Options]:
    """Every combination of ``values``; ``__`` in a key stands for the dot of a nested option."""
    keys = [k.replace("__", ".") for k in values]
    return [{"name": name, **(fixed or {}), **dict(zip(keys, row, strict=True))} for row in product(*values.values())]


OBJECT_SIZES = {
    "small": ((1_000, 6, 2), (10_000, 10, 3), (None, 16, 3)),
    "medium": ((1_000, 10, 3), (3_000, 15, 3), (10_000, 17, 5), (None, 24, 5)),
    "large": ((1_000, 16, 3), (3_000, 22, 4), (10_000, 26, 5), (None, 36, 5)),
}
"""Object networks by box area; ``medium`` is the published ladder."""

SERIES: dict[str, list[Options]] = {
    "camera": [{"name": "jpeg"}],
    "jpeg": grid("jpeg", quality=[5, 10, 20, 35, 50, 65]),
    "webp": grid("webp", quality=[2, 10, 30, 55, 80]),
    "avif": grid("avif", quality=[5, 15, 30, 45, 60]),
    "roi_jpeg": grid("roi_jpeg", quality=[10, 30, 60], box_quality=[10, 40, 85], coarse_reduce=[1, 2]),
    "roi_avif": grid("roi_avif", quality=[5, 15, 30], box_quality=[15, 30, 45, 60]),
    "x264": grid("x264", {"max_width": 640}, crf=[18, 23, 28, 33, 38, 43]),
    "av1": grid("av1", {"max_width": 640}, crf=[20, 30, 40, 50, 58, 63]),
    "roi_x264": grid("roi_x264", {"max_width": 640}, crf=[30, 36, 42], box_crf=[20, 26, 32, 38]),
    "roi_av1": grid("roi_av1", {"max_width": 640}, crf=[45, 55, 63], box_crf=[25, 35, 45, 55, 63]),
    "rapid_inr": grid("rapid_inr", {"layers": 5}, hidden=[8, 14, 22, 34]),
    "nerv": [
        {"name": "nerv", "stem": 16, "channels": c, "width": w, "bits": 6, "steps": 1_500}
        for c, w in ((2, 6), (3, 8), (4, 10), (8, 16))
    ],
    "residual over rapid_inr": grid(
        "residual", {"background": "rapid_inr", "background.layers": 5, "bits": 8},
        background__hidden=[8, 14, 22], sizes=[OBJECT_SIZES[s] for s in ("small", "large")],
    ),
    "residual over nerv": [
        {"name": "residual", "background": "nerv", "background.stem": 16, "background.channels": c,
         "background.width": w, "background.bits": 6, "background.steps": 1_500, "bits": 8, "sizes": OBJECT_SIZES[s]}
        for (c, w), s in product(((2, 6), (4, 10)), ("small", "large"))
    ],
    **{f"{b} {v}": [{"paper": v, "background": b}] for b in ("rapid_inr", "nerv") for v in VARIANTS},
    "scene": grid("scene", quality=[20.0, 35.0, 52.0, 65.0, 80.0], object_weight=[12.0, 48.0, 192.0, 768.0]),
    "scene fast": grid("scene", {"preset": "fast"}, quality=[20.0, 35.0, 52.0, 65.0, 80.0]),
}  # fmt: skip
"""Series name to its operating points. Points of a series that differ in one option are interpolated between."""


def build(options: Options) -> Codec:
    """The codec of an operating point."""
    if "paper" in options:
        return paper_variant(options["background"], options["paper"])
    return codecs.create(options)
