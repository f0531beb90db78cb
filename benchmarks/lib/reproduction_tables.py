"""Tables of the sources' experiments repeated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rinr_flower.report.experiment import UNPRINTED, UNPRINTED_SETTINGS
from rinr_flower.report.units import bytes_text, number, ratio_text, seconds_text

from .markdown import read, table

REPRODUCTION = "reproduction.json"
SECOND_RUN = "reproduction_avx2.json"
"""The same command on another processor, whose convolutions round otherwise."""


def reproduction_quality(results: Path) -> str:
    """Size, PSNR and time of every codec, means over the clips."""
    rows = [
        (
            r["row"] + (f" ({r['exact_clips']} of {r['clips']} clips exact)" if r["exact_clips"] else ""),
            f"{r['bytes_per_frame']:,.0f}",
            *(_decibel(r[k]) for k in ("object_db", "background_db", "frame_db")),
            *(seconds_text(r[f"{k}_cpu_seconds_per_frame"]) for k in ("encode", "decode")),
        )
        for r in read(results / REPRODUCTION)["summary"]["quality"]
    ]
    head = ("codec", "B/frame", "object dB", "background dB", "frame dB", "encode a frame", "decode a frame")
    return table(head, rows)


def reproduction_networks(results: Path) -> str:
    """One large network against a small one with objects, clip by clip, beside the source's example."""
    rows = [
        (
            r["clip"],
            *(f"{r[f'{k}_bytes']:,.0f} B, {_decibel(r[f'{k}_object_db'])}" for k in ("one", "two")),
            _decibel(r.get("direct_object_db")),
        )
        for r in read(results / REPRODUCTION)["summary"]["networks"]
    ]
    return table(("clip", "BS: one, object dB", "RE: two, object dB", "DE: two, pixels"), rows)


def reproduction_claims(results: Path) -> str:
    """The source's claims as differences in object PSNR, clip by clip."""
    rows = [
        (r["claim"], f"{r['median_db']:+.2f}", f"{r['worst_db']:+.2f}", r["holds"], f"{r['bytes_ratio']:.2f}")
        for r in read(results / REPRODUCTION)["summary"]["claims"]
    ]
    return table(("claim", "median dB", "worst dB", "above 0 on", "bytes over bytes"), rows)


def reproduction_sharing(results: Path) -> str:
    """JPEG against Residual-INR: data, latency and accuracy of ten devices, each cell measured."""
    forms: Mapping[str, Callable[[Any], str]] = {
        "bytes": bytes_text, "gain": ratio_text, "link_seconds": seconds_text, "decode_cpu_seconds": seconds_text,
        "speedup": ratio_text, "map50_95": _points,
    }  # fmt: skip
    rows = [
        (r["row"], *(write(r[key]) if r.get(key) is not None else "-" for key, write in forms.items()))
        for r in read(results / REPRODUCTION)["summary"]["summary"]
    ]
    head = ("way of sharing", "transmitted", "less", "communication", "decoding", "faster", "mAP50-95")
    return table(head, rows)


def reproduction_accuracy(results: Path) -> str:
    """mAP after training on what was decoded, on two processors: mean and range over the seeds."""
    first, second = (read(results / file)["summary"]["scores"] for file in (REPRODUCTION, SECOND_RUN))
    rows = [
        (
            row,
            *(
                f"{_points(r[k])} ({_points(r[f'{k}_least'])}..{_points(r[f'{k}_most'])})"
                for k in ("map50_95", "map50")
                for r in (first[row], second[row])
            ),
        )
        for row in first
    ]
    head = ("trained on", "mAP50-95", "on another processor", "mAP50", "on another processor")
    return table(head, rows)


def reproduction_settings(results: Path) -> str:
    """Settings that differ from the source's."""
    rows = [
        (d["setting"], f"{d['published']}" + (" (ours)" if d["setting"] in UNPRINTED_SETTINGS else ""), f"{d['here']}")
        for d in read(results / REPRODUCTION)["summary"]["deviations"]
    ]
    return table(("setting", "published", "here"), rows)


def reproduction_unprinted(results: Path) -> str:
    """Choices of this project where the source prints nothing."""
    return table(("where the source prints nothing",), [(text,) for text in UNPRINTED])


def _decibel(value: Any) -> str:
    known = number(value) if value is not None else math.nan
    return "-" if math.isnan(known) else "exact" if math.isinf(known) else f"{known:.1f}"


def _points(value: Any) -> str:
    return "-" if value is None or math.isnan(number(value)) else f"{100 * number(value):.1f}"


REPRODUCTION_TABLES: Mapping[str, Any] = {
    f.__name__: f
    for f in (
        reproduction_quality, reproduction_networks, reproduction_claims, reproduction_sharing,
        reproduction_accuracy, reproduction_settings, reproduction_unprinted,
    )
}  # fmt: skip
