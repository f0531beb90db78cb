"""Residual against direct object encoding at equal bytes, on every clip.

    python benchmarks/quality.py [--data otb100:PATH ...] [--cases rapid_inr,scene,...] [--redo stale]

Without --data: everything under the folder named by RINR_DATA, else the generated sample. Over one fitted background,
object networks of four sizes, up to the published ones, are fitted to the residual and to the pixels themselves. Both
modes have the same background, byte for byte; the difference in object PSNR is the mean where both take the same bytes.
Cases with ``+share`` have a background that draws a tenth of its points inside the boxes, ``rapid_inr-smaller`` is the
control for what that costs: a plain background of fewer bytes, for direct objects to spend them. ``QRE`` cases compare
8-bit backgrounds and 16-bit objects with float32. Each result is in the file as soon as it is there: a run that was
stopped goes on where it was. ``--redo stale`` runs again what was measured with other code, of the cases and clips that
are asked for.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lib.clips import benchmark_clips, default_specs, named
from lib.code_hash import code_of, digest_of
from lib.command import command
from lib.results import FOLDER, ResultFile
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import Residual, codecs, decode
from rinr_flower.codecs.object_sizes import PAPER_SIZES
from rinr_flower.errors import ConfigError
from rinr_flower.frames import Clip, Frame
from rinr_flower.quality import measure

Result = dict[str, Any]

OBJECT_SIZES = {
    "tiny": ((1_000, 4, 2), (3_000, 5, 2), (10_000, 7, 2), (None, 10, 2)),
    "small": ((1_000, 6, 2), (3_000, 8, 2), (10_000, 10, 3), (None, 14, 3)),
    "medium": ((1_000, 8, 2), (3_000, 10, 3), (10_000, 14, 3), (None, 18, 4)),
    "published": PAPER_SIZES,
}
KEY = ("clip", "case")
CPU = torch.device("cpu")
_CLIPS_AT_ONCE = 6  # are fitted as one batched product, and kept
console = Console(width=None if sys.stdout.isatty() else 160)


@dataclass(frozen=True)
class Case:
    """A background, and on which frames it is tried; ``frames`` from a clip's first, scaled to ``width_px`` if wider.

    ``quantised`` asks for QRE against RE instead of residual against direct.
    """

    background: Mapping[str, Any]
    frames: int = 1
    width_px: int = 640
    quantised: bool = False


_SIREN = {"name": "rapid_inr", "hidden": 25}
_NERV = {"name": "nerv", "stem": 16, "channels": 4, "width": 10, "steps": 400}
CASES = {
    "rapid_inr": Case(_SIREN),
    "jpeg": Case({"name": "jpeg", "quality": 10}),
    "scene": Case({"name": "scene", "quality": 40.0}, frames=2),
    "rapid_inr+share": Case({**_SIREN, "object_share": 0.1}),
    "nerv": Case(_NERV, frames=2, width_px=320),
    "nerv+share": Case({**_NERV, "object_share": 0.1}, frames=2, width_px=320),
    "rapid_inr-smaller": Case({**_SIREN, "hidden": 22}),
    "QRE rapid_inr": Case(_SIREN, quantised=True),
    "QRE nerv": Case(_NERV, frames=2, width_px=320, quantised=True),
}
"""A frame codec is tried on one frame of each clip, a clip codec on two. NeRV's own time grows with the pixels."""


def code_behind(case: str) -> list[str]:
    """Modules that the rows of a case depend on; direct objects are fitted over a JPEG."""
    used = (codecs.create(CASES[case].background), codecs.create("jpeg"))
    return [*dict.fromkeys(module for codec in used for module in code_of(Residual(codec)))]


def prepared(clip: Clip, case: Case) -> Clip:
    """The frames that ``case`` is tried on, at most ``width_px`` wide (area means)."""
    scale = min(1.0, case.width_px / clip.width)
    return replace(clip, frames=tuple(_scaled(f, scale) for f in clip.frames[: case.frames]))


def _scaled(frame: Frame, scale: float) -> Frame:
    if scale == 1.0:
        return frame
    size = (round(frame.width * scale), round(frame.height * scale))
    image = np.asarray(Image.fromarray(frame.image).resize(size, Image.Resampling.BOX))
    return Frame(image, frame.boxes * np.float32(scale), frame.classes)


def at_equal_bytes(a: Sequence[tuple[float, float]], b: Sequence[tuple[float, float]]) -> float | None:
    """Mean difference in dB, a - b, of two curves of (bytes, dB) over the bytes that both cover, logarithmically."""
    (x, y), (u, v) = (np.array(sorted(c)).T for c in (a, b))
    low, high = max(x[0], u[0]), min(x[-1], u[-1])
    if low >= high:
        return None
    grid = np.linspace(math.log(low), math.log(high), 33)
    return float((np.interp(grid, np.log(x), y) - np.interp(grid, np.log(u), v)).mean())


Parts = Mapping[str, bytes]


class Direct:
    """Object parts of direct mode. They do not depend on the background, so that each is fitted once for all cases."""

    def __init__(self, steps: int, seed: int) -> None:
        self._steps, self._seed = steps, seed
        self._known: dict[tuple[str, int, int, str], bytes] = {}

    def parts(self, clips: Mapping[str, Clip], size: str) -> list[bytes]:
        keys = {name: (name, len(clip), clip.width, size) for name, clip in clips.items()}
        missing = [name for name, key in keys.items() if key not in self._known]
        plain = Residual(
            background=codecs.create("jpeg", quality=10), mode="direct", sizes=OBJECT_SIZES[size], steps=self._steps
        )
        found = plain.encode_parts([clips[n] for n in missing], seed=self._seed, device=CPU, progress=None)
        self._known |= {keys[name]: parts["object"] for name, parts in zip(missing, found, strict=True)}
        return [self._known[key] for key in keys.values()]


def run_modes(clips: Mapping[str, Clip], case: Case, direct: Direct, steps: int, seed: int) -> list[Result]:
    """Both modes at every object size over one background, for each clip."""
    background, given = codecs.create(case.background), list(clips.values())
    fitted = Residual(background=background).encode_backgrounds(given, seed=seed, device=CPU)
    rows: list[list[Result]] = [[] for _ in given]
    for size, sizes in OBJECT_SIZES.items():
        codec = Residual(background=background, sizes=sizes, steps=steps)
        residual = codec.encode_objects(given, fitted, seed=seed, device=CPU)
        for mine, clip, parts, pixels in zip(rows, given, residual, direct.parts(clips, size), strict=True):
            mine.append({"mode": "residual", "objects": size, **score(clip, parts)})
            mine.append({"mode": "direct", "objects": size, **score(clip, {**parts, "object": pixels})})
    return [{"rows": mine, "residual_minus_direct_db": at_equal_bytes(*map(curve, (mine[::2], mine[1::2])))}
            for mine in rows]  # fmt: skip


def curve(rows: Sequence[Result]) -> list[tuple[float, float]]:
    """(bytes, object PSNR) of each row."""
    return [(r["bytes_per_frame"], r["object_db"]) for r in rows]


def run_quantised(clips: Mapping[str, Clip], case: Case, steps: int, seed: int) -> list[Result]:
    """RE, all in float32, against QRE: 8-bit background, 16-bit objects. For each clip."""
    given, results = list(clips.values()), [Result() for _ in clips]
    for variant, background_bits, object_bits in (("RE", 32, 32), ("QRE", 8, 16)):
        background = codecs.create({**case.background, "bits": background_bits})
        codec = Residual(background=background, bits=object_bits, sizes=PAPER_SIZES, steps=steps)
        found = codec.encode_parts(given, seed=seed, device=CPU, progress=None)
        for result, clip, parts in zip(results, given, found, strict=True):
            result[variant] = score(clip, parts)
    for result in results:
        result["qre_minus_re_db"] = round(result["QRE"]["object_db"] - result["RE"]["object_db"], 3)
    return results


def score(clip: Clip, parts: Parts) -> dict[str, float]:
    """Size of the whole payload, and PSNR of what it decodes to."""
    data = Payload.of_clip("residual", clip, parts).to_bytes()
    quality = measure(clip, decode(data))
    return {
        "bytes_per_frame": len(data) / len(clip),
        "object_db": round(quality.object_db, 3),
        "background_db": round(quality.background_db, 3),
        "frame_db": round(quality.frame_db, 3),
    }


def summary(results: Sequence[Result]) -> list[Result]:
    """Per case: median gain of residual over direct, on how many clips it wins, the worst clip; or what QRE loses.

    ``background_db_against_plain`` is what a ``+share`` case pays for it, clip by clip against the plain case.
    """
    rows = []
    for case in [c for c in CASES if any(r["case"] == c for r in results)]:
        mine = [r for r in results if r["case"] == case]
        measured = "qre_minus_re_db" if CASES[case].quantised else "residual_minus_direct_db"
        values = {r["clip"]: r[measured] for r in mine if r[measured] is not None}
        row: Result = {"case": case, "clips": len(values)}
        if values:
            worst = min(values, key=lambda c: values[c])
            row |= {f"median_{measured}": round(statistics.median(values.values()), 3), "worst_clip": worst}
            row |= {f"worst_{measured}": round(values[worst], 3), "clips_won": sum(v > 0 for v in values.values())}
        plain = {r["clip"]: r for r in results if r["case"] == case.removesuffix("+share") != case}
        paid = [
            r["rows"][0]["background_db"] - plain[r["clip"]]["rows"][0]["background_db"]
            for r in mine
            if r["clip"] in plain
        ]
        if paid:
            row["median_background_db_against_plain"] = round(statistics.median(paid), 3)
        rows.append(row)
    return rows


def show(results: Sequence[Result]) -> None:
    table = Table("clip", "case", *(f"{m} {s}" for s in OBJECT_SIZES for m in ("residual", "direct")), "gain dB")
    for r in results:
        if "rows" not in r:
            continue
        cells = [f"{c['object_db']:.1f} dB {c['bytes_per_frame']:,.0f} B" for c in r["rows"]]
        gain = r["residual_minus_direct_db"]
        table.add_row(r["clip"], r["case"], *cells, "-" if gain is None else f"{gain:+.2f}")
    console.print(table)
    for row in summary(results):
        console.print(row, highlight=False)


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=None, metavar="SPEC", help="data sets, as for flower-simulation")
    parser.add_argument("--clips", nargs="+", default=["*"], metavar="NAME", help="only clips of these names, patterns")
    parser.add_argument("--cases", default=",".join(CASES), help=f"comma-separated, of: {', '.join(CASES)}")
    parser.add_argument("--steps", type=int, default=1_000, help="steps of the object networks (default 1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--redo",
        choices=["", "stale", "all"],
        default="",
        help="drop rows of --cases and --clips first: of other code, or all",
    )
    parser.add_argument("--out", type=Path, default=FOLDER / "quality.json")
    options = parser.parse_args()
    settings = {"steps": options.steps, "seed": options.seed}
    chosen = options.cases.split(",")
    if unknown := [c for c in chosen if c not in CASES]:
        raise ConfigError(f"--cases {unknown[0]!r} is none of: {', '.join(CASES)}")
    file = ResultFile(options.out, command="RINR_DATA=DIR python benchmarks/quality.py", settings=settings)
    if options.redo:
        file.keep(lambda row: not again(row, options, chosen))
    run(options, chosen, file)


def again(row: Result, options: argparse.Namespace, chosen: Sequence[str]) -> bool:
    """Whether ``--redo`` asks for a row anew."""
    if row["case"] not in chosen or not named(row["clip"], options.clips):
        return False
    return options.redo == "all" or row.get("code") != digest_of(code_behind(row["case"]))


def run(options: argparse.Namespace, chosen: Sequence[str], file: ResultFile) -> None:
    """Every case over all clips before the next case, so that a run that is stopped has whole columns."""
    longest = max(case.frames for case in CASES.values())
    every = benchmark_clips(options.data or default_specs(), slice(0, longest), options.clips)
    clips = {name: clip for name, clip in every if len(clip.frames[0].boxes)}
    direct = Direct(options.steps, options.seed)
    done = {(r["clip"], r["case"]) for r in file.rows}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=console) as bars:
        for case_name in chosen:
            case = CASES[case_name]
            bar = bars.add_task(case_name, total=len(clips))
            todo = [name for name in clips if (name, case_name) not in done]
            bars.advance(bar, len(clips) - len(todo))
            for at in range(0, len(todo), _CLIPS_AT_ONCE):
                some = {name: prepared(clips[name], case) for name in todo[at : at + _CLIPS_AT_ONCE]}
                if case.quantised:
                    found = run_quantised(some, case, options.steps, options.seed)
                else:
                    found = run_modes(some, case, direct, options.steps, options.seed)
                for (name, clip), result in zip(some.items(), found, strict=True):
                    row = {"clip": name, "case": case_name, "count": len(clip), **result}
                    file.add(row, code_behind(case_name), key=KEY)
                bars.advance(bar, len(some))
    file.write(summary(file.rows))
    show(file.rows)


if __name__ == "__main__":
    sys.exit(main())
