"""Bytes of ``scene`` at equal frame and at equal object PSNR against an earlier version, or another preset.

    python benchmarks/scene_rate.py --out new.json [--settings 52,12] [--preset fast] [clip patterns]
    python benchmarks/scene_rate.py --out new.json --constant encode.quantise:LAMBDA=0.14 [clip patterns]
    python benchmarks/scene_rate.py --compare new.json --against old.json [--weight 11]

The first form measures every clip (of RINR_DATA, 32 frames) at settings quality,object_weight; run in a checkout of the
earlier version, with more settings around the default, it gives what the last form compares with. A setting's bytes
are compared with those that the other version, interpolated over quality at one object weight, needs for the same PSNR
of the frame, and for the same PSNR inside the boxes; the worse of both counts. A recording that several clips show
counts once in the median and the mean.

The second form measures this version with one of its constants at another value, at the default setting and one beside
it, so that the last form can compare it with a file that has the default alone, such as
benchmarks/results/scene_rate.json: then the new version is interpolated. Single clips vary by some percent at equal
object PSNR; measure all before a constant is changed.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lib.clips import benchmark_clips, default_specs, once
from lib.command import command
from lib.results import Row, read_result, write_result
from lib.scene_constants import constants_set
from rich.console import Console
from rich.table import Table

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import codecs, decode
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.quality import measure

WIDTH_PX = 640  # at which pictures are compared
_DB = ("frame_db", "object_db")


def points(settings: list[tuple[float, float]], options: dict[str, Any], patterns: list[str]) -> list[Row]:
    """One row for each clip and setting."""
    rows = []
    for name, clip in benchmark_clips(default_specs(), slice(0, 32), patterns):
        for quality, weight in settings:
            started = time.process_time()
            data = codecs.create("scene", quality=quality, object_weight=weight, **options).encode(clip)
            work = time.process_time() - started
            found = measure(clip, decode(data), max_width=WIDTH_PX)
            rows.append(
                {
                    "clip": name,
                    "quality": quality,
                    "object_weight": weight,
                    "bytes_per_frame": len(data) / len(clip),
                    "frame_db": found.frame_db,
                    "object_db": found.object_db,
                    "encode_cpu_s_per_frame": work / len(clip),
                    "bytes_by_part": Payload.from_bytes(data).bytes_by_part(),
                }
            )
    return rows


def needed(rows: Sequence[Row], key: str, wanted_db: float) -> float:
    """Bytes a frame at ``wanted_db``, their logarithm interpolated, and continued beyond the ends, over ``rows``."""
    line = sorted((row[key], math.log(row["bytes_per_frame"])) for row in rows)
    at = min(max(sum(db <= wanted_db for db, _ in line), 1), len(line) - 1)
    (low, a), (high, b) = line[at - 1], line[at]
    return math.exp(a + (b - a) * (wanted_db - low) / (high - low))


def compared(new: Sequence[Row], old: Sequence[Row], weight: float | None = None) -> list[Row]:
    """Bytes of ``new`` over those that ``old`` needs for the same quality.

    Parameters
    ----------
    new, old : rows as :func:`points` gives them.
    weight : object weight of the rows that are interpolated; the one that ``old`` has most rows of by default.

    Returns
    -------
    Rows with ``clip``, ``frame`` and ``object``, the ratios at equal PSNR: one for every row of ``new``, or for a clip
    of which ``old`` has a single row, one at the quality of that row, over which ``new`` is interpolated.

    Raises ConfigError if neither can be interpolated.
    """
    if weight is None:
        weight = Counter(r["object_weight"] for r in old).most_common(1)[0][0]
    lines = {r["clip"]: [] for r in new}
    for r in old:
        if r["object_weight"] == weight and r["clip"] in lines:
            lines[r["clip"]].append(r)
    out = []
    for clip, line in lines.items():
        own = [r for r in new if r["clip"] == clip]
        curve = [r for r in own if r["object_weight"] == weight]
        if len(line) > 1:
            pairs = [(r, [r["bytes_per_frame"] / needed(line, key, r[key]) for key in _DB]) for r in own]
        elif len(line) == 1 and len(curve) > 1:
            (r,) = line
            pairs = [(r, [needed(curve, key, r[key]) / r["bytes_per_frame"] for key in _DB])]
        else:
            raise ConfigError(
                f"{clip}: {len(line)} and {len(curve)} settings of object weight {weight:g} cannot be compared; "
                f"measure one version with --settings 52,{weight:g} 55,{weight:g}, or name a --weight that both have"
            )
        out += [{"clip": r["clip"], "frame": frame, "object": inside} for r, (frame, inside) in pairs]
    return out


def show(found: Sequence[Row]) -> None:
    """Print what :func:`compared` found, clip by clip, and over all recordings."""
    table = Table("clip", "at equal frame PSNR", "at equal object PSNR")
    for r in found:
        table.add_row(r["clip"], f"{r['frame'] - 1:+.1%}", f"{r['object'] - 1:+.1%}")
    console = Console(soft_wrap=True)
    console.print(table)
    counted = once(found)
    worse = [(max(r["frame"], r["object"]) - 1, r["clip"]) for r in counted]
    middle, mean = (of([ratio for ratio, _ in worse]) for of in (statistics.median, statistics.mean))
    most, clip = max(worse)
    console.print(f"the worse of both: median {middle:+.1%}, mean {mean:+.1%}, most {most:+.1%} ({clip})")
    repeats = sorted({r["clip"] for r in found} - {r["clip"] for r in counted})
    if repeats:
        console.print(f"not counted, as another clip shows the same frames: {', '.join(repeats)}")


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*")
    parser.add_argument(
        "--settings", nargs="+", metavar="QUALITY,WEIGHT", help="by default 52,11; with --constant 52,11 55,11"
    )
    parser.add_argument("--preset", default="balanced")
    parser.add_argument(
        "--constant",
        action="append",
        default=[],
        metavar="MODULE:NAME=VALUE",
        help="set a constant of a module below rinr_flower.codecs.scene for this run; repeatable. One of the format, "
        "which decoders use too, changes what payloads mean: here for both ends, as they run in one process. What is "
        "computed from a constant when modules are loaded stays as it is",
    )
    parser.add_argument("--out", type=Path, help="the result file")
    parser.add_argument("--compare", type=Path, metavar="NEW")
    parser.add_argument("--against", type=Path, metavar="OLD")
    parser.add_argument(
        "--weight", type=float, help="object weight of OLD's curve; that of most of its rows by default"
    )
    options = parser.parse_args()
    if (options.compare is None) != (options.against is None):
        raise ConfigError("--compare NEW and --against OLD go together: name both result files")
    if options.constant and not options.out:
        raise ConfigError("--constant measures what is not the present code: name its result file with --out")
    if not options.out and not options.compare:
        raise ConfigError("name a result file to write with --out, or two to compare with --compare and --against")
    if options.out:
        written = options.settings or (["52,11", "55,11"] if options.constant else ["52,11"])
        settings = [(float(q), float(w)) for q, w in (s.split(",") for s in written)]
        with torch.no_grad(), constants_set(options.constant) as constants:
            rows = points(settings, {"preset": options.preset}, options.patterns)
        write_result(
            options.out,
            command=" --constant ".join(["python benchmarks/scene_rate.py", *options.constant]),
            code=["rinr_flower.codecs.scene.codec"],
            settings={"preset": options.preset, **({"constants": constants} if constants else {})},
            rows=rows,
        )
    if options.compare:
        new, old = (_rows(file) for file in (options.compare, options.against))
        show(compared(new, old, options.weight))


def _rows(file: Path) -> list[Row]:
    found = read_result(file)
    if found is None:
        raise DataError(f"{file}: there is no such result file; --out writes one")
    return list(found["rows"])


if __name__ == "__main__":
    sys.exit(main())
