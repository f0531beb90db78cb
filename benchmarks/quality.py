"""Residual against direct object encoding at equal bytes, on every clip.

    python benchmarks/quality.py [--data otb100:PATH ...] [--backgrounds rapid_inr,nerv,jpeg]

Without --data: everything under the folder named by RINR_DATA, else the generated sample. Over one fitted background,
object networks of three sizes are fitted to the residual and to the pixels themselves; the difference in object PSNR is
taken where both take the same bytes. Also QRE against RE: 8-bit background and 16-bit objects against float32. Results
are kept clip by clip: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clips import benchmark_clips, default_specs
from machine import describe
from operating_points import OBJECT_SIZES
from rate_records import WIDTH_PX
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from rinr_flower.cli import parse_frames
from rinr_flower.codecs import Codec, Residual, codecs, decode
from rinr_flower.codecs.base import Progress
from rinr_flower.decoding.renderer import Renderer
from rinr_flower.errors import ConfigError, RinrError
from rinr_flower.frames import Clip
from rinr_flower.quality import measure

BACKGROUNDS: Mapping[str, Mapping[str, Any]] = {
    "rapid_inr": {"name": "rapid_inr", "hidden": 25},
    "nerv": {"name": "nerv"},
    "jpeg": {"name": "jpeg", "quality": 10},
}
"""The small backgrounds of the Residual-INR paper; JPEG beside them, as a background that is not a network."""
MODES = ("residual", "direct")
console = Console(width=None if sys.stdout.isatty() else 140)


@dataclass(frozen=True)
class Fitted(Codec):
    """A background that is fitted once and then given out again: its parts stand for the codec's own."""

    name: str  # type: ignore[misc]
    parts: Mapping[str, bytes] = field(default_factory=dict)

    def encode_parts(
        self, clips: Sequence[Clip], *, seed: int, device: torch.device, progress: Progress | None
    ) -> list[Mapping[str, bytes]]:
        return [self.parts for _ in clips]

    @classmethod
    def renderer(cls, device: torch.device) -> Renderer:
        raise NotImplementedError("payloads carry the name of the codec that was fitted")


def fitted(options: Mapping[str, Any], clip: Clip, seed: int) -> Fitted:
    """The background that ``options`` describe, fitted to ``clip``."""
    codec = codecs.create(options)
    return Fitted(codec.name, codec.encode_parts([clip], seed=seed, device=torch.device("cpu"), progress=None)[0])


def at_equal_bytes(a: Sequence[tuple[float, float]], b: Sequence[tuple[float, float]]) -> float | None:
    """Mean difference in dB, a - b, of two curves of (bytes, dB) over the bytes that both cover, logarithmically."""
    (x, y), (u, v) = (np.array(sorted(c)).T for c in (a, b))
    low, high = max(x[0], u[0]), min(x[-1], u[-1])
    if low >= high:
        return None
    grid = np.linspace(math.log(low), math.log(high), 33)
    return float((np.interp(grid, np.log(x), y) - np.interp(grid, np.log(u), v)).mean())


def run_clip(clip: Clip, background: str, steps: int, seed: int) -> dict[str, Any]:
    """Both modes at three object sizes over one background, and RE against QRE."""
    options = BACKGROUNDS[background]
    coarse = fitted(options, clip, seed)
    rows = []
    for mode in MODES:
        for size, sizes in OBJECT_SIZES.items():
            codec = Residual(background=coarse, mode=mode, sizes=sizes, steps=steps)
            rows.append({"mode": mode, "objects": size, **score(codec, clip, seed)})
    curves = [[(r["bytes_per_frame"], r["object_db"]) for r in rows if r["mode"] == mode] for mode in MODES]
    result: dict[str, Any] = {"rows": rows, "residual_minus_direct_db": at_equal_bytes(*curves)}
    if "bits" in type(codecs.create(options)).__dataclass_fields__:
        exact = fitted({**options, "bits": 32}, clip, seed)
        re, qre = (
            score(Residual(background=b, bits=bits, steps=steps), clip, seed) for b, bits in ((exact, 32), (coarse, 16))
        )
        result |= {"RE": re, "QRE": qre, "qre_minus_re_db": qre["object_db"] - re["object_db"]}
    return result


def score(codec: Codec, clip: Clip, seed: int) -> dict[str, float]:
    data = codec.encode(clip, seed=seed)
    quality = measure(clip, decode(data), max_width=WIDTH_PX)
    return {
        "bytes_per_frame": len(data) / len(clip),
        "object_db": round(quality.object_db, 3),
        "frame_db": round(quality.frame_db, 3),
    }


def show(results: Sequence[Mapping[str, Any]]) -> None:
    table = Table("clip", "background", *(f"{m} {s}" for s in OBJECT_SIZES for m in MODES), "gain dB", "QRE - RE")
    for r in results:
        rows = {(row["mode"], row["objects"]): row for row in r["rows"]}
        cells = [rows[m, s] for s in OBJECT_SIZES for m in MODES]
        table.add_row(
            r["clip"], r["background"],
            *(f"{c['object_db']:.1f} dB {c['bytes_per_frame']:,.0f} B" for c in cells),
            *("-" if r.get(k) is None else f"{r[k]:+.2f}" for k in ("residual_minus_direct_db", "qre_minus_re_db")),
        )  # fmt: skip
    console.print(table)


def summary(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Per background: median gain of residual over direct, on how many clips it wins, and what QRE loses."""
    rows = []
    for background in dict.fromkeys(r["background"] for r in results):
        mine = [r for r in results if r["background"] == background]
        gains = [r["residual_minus_direct_db"] for r in mine if r["residual_minus_direct_db"] is not None]
        losses = [r["qre_minus_re_db"] for r in mine if "qre_minus_re_db" in r]
        rows.append(
            {
                "background": background,
                "clips": len(gains),
                "median_gain_db": statistics.median(gains) if gains else None,
                "residual_wins": sum(g > 0 for g in gains),
                "median_qre_minus_re_db": statistics.median(losses) if losses else None,
                "worst_qre_minus_re_db": min(losses) if losses else None,
            }
        )
    return rows


def main() -> int:
    known = ", ".join(BACKGROUNDS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=None, metavar="SPEC", help="data sets, as for flower-simulation")
    parser.add_argument("--clips", nargs="+", default=[], metavar="NAME", help="only clips of these names or patterns")
    parser.add_argument("--backgrounds", default="rapid_inr,nerv", help=f"comma-separated, of: {known}")
    parser.add_argument("--frames", default="0:8", metavar="A:B", help="frames of every clip (default 0:8)")
    parser.add_argument("--steps", type=int, default=1_000, help="steps of the object networks (default 1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "quality.json")
    options = parser.parse_args()
    chosen = options.backgrounds.split(",")
    settings = {"frames": options.frames, "steps": options.steps, "seed": options.seed}
    try:
        unknown = [b for b in chosen if b not in BACKGROUNDS]
        if unknown:
            raise ConfigError(f"--backgrounds {unknown[0]!r} is none of: {known}")
        before = json.loads(options.out.read_text()) if options.out.is_file() else {}
        if before and before["settings"] != settings:
            raise ConfigError(f"{options.out} holds results of {before['settings']}; name another --out")
        results = before.get("results", [])
        done = {(r["clip"], r["background"]) for r in results}
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with Bars(*columns, console=console) as bars:
            for name, clip in benchmark_clips(
                options.data or default_specs(), parse_frames(options.frames), options.clips
            ):
                if not any(len(f.boxes) for f in clip.frames):
                    continue
                bar = bars.add_task(name, total=len(chosen))
                for background in chosen:
                    if (name, background) not in done:
                        result = run_clip(clip, background, options.steps, options.seed)
                        results.append({"clip": name, "background": background, "count": len(clip), **result})
                        report = {"machine": describe(), "settings": settings, "summary": summary(results)}
                        options.out.write_text(json.dumps({**report, "results": results}, indent=1) + "\n")
                    bars.advance(bar)
    except RinrError as error:
        console.print(f"error: {error}", style="red", highlight=False)
        return 2
    show(results)
    for row in summary(results):
        console.print(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
