"""Bytes that ten devices save by sharing through the fog, against JPEG to each other, clip by clip.

    RINR_DATA=DIR python benchmarks/sharing.py
    RINR_DATA=DIR python benchmarks/sharing.py --codecs scene --redo stale

Ten devices that each capture the first frames of a clip and all share with each other. Sizes are those of real
payloads; the bytes of a round follow by the closed form (docs/bandwidth.md) with r = 9: D_i are the camera's files
alone, u and alpha are payloads with their boxes and headers. Ways of sharing:

- through the fog, which encodes what was uploaded as ``jpeg`` (the camera's files) with each of ``--codecs``; with the
  first of them also what was uploaded as ``roi_jpeg`` ("layers", also with one key frame in 16, and with the coarse
  layer of every fourth frame alone) or ``roi_x264`` ("video"): G = r / (u + alpha r);
- without a fog, in a codec that the devices run themselves, among them H.264 and AV1: G = 1 / alpha.

A clip that is shorter than the capture is taken whole; clips without camera files are left out. PSNR is against the
decoded camera files, whatever was uploaded; how well detectors learn is measured by benchmarks/accuracy.py. Each row is
in the file as soon as it is there, and is not measured again.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from lib.accuracy_codecs import parse_codec
from lib.clips import benchmark_clips, default_specs, named, once
from lib.code_hash import code_of, digest_of
from lib.command import command
from lib.results import FOLDER, ResultFile, Row
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rinr_flower.bandwidth.model import gain
from rinr_flower.codecs import codecs, decode
from rinr_flower.frames import Clip
from rinr_flower.quality import measure

DEVICES = 10
FRAMES = 32
CODECS = ("scene", "rapid_inr", "residual", "nerv")
UPLOADS = ("roi_jpeg", "roi_jpeg:key_every=16", "roi_jpeg:coarse_every=4", "roi_x264")
WAY = ("way", "upload", "codec")
SERVERLESS = ("roi_jpeg", "avif", "x264", "av1", "roi_x264", "roi_av1")


def ways(names: Sequence[str]) -> list[Row]:
    """Every way of sharing: ``way``, ``upload`` (None without a fog) and ``codec``."""
    fog = [(name, "jpeg") for name in names] + [(names[0], upload) for upload in UPLOADS]
    return [
        *({"way": "fog", "upload": upload, "codec": name} for name, upload in fog),
        *({"way": "serverless", "upload": None, "codec": name} for name in SERVERLESS),
    ]


def measured(clip: Clip, way: Row) -> Row:
    """A way's u, alpha, gain and PSNR on one clip.

    Through the fog: it decodes what was uploaded, encodes that, and sends it to the others. Without one, devices send
    each other what they encode themselves.
    """
    if way["way"] == "serverless":
        payload = codecs.create(way["codec"]).encode(clip)
        alpha = len(payload) / clip.file_bytes()
        return {**way, "u": 0.0, "alpha": alpha, "gain": 1 / alpha, **psnr(clip, payload)}
    uploaded = parse_codec(way["upload"]).encode(clip)
    payload = codecs.create(way["codec"]).encode(decode(uploaded))
    u, alpha = len(uploaded) / clip.file_bytes(), len(payload) / clip.file_bytes()
    return {**way, "u": u, "alpha": alpha, "gain": float(gain(DEVICES - 1, alpha=alpha, u=u)), **psnr(clip, payload)}


def forget(file: ResultFile, redo: str, names: Sequence[str], clips: Sequence[str]) -> None:
    """Drop the rows of all ways with ``names`` on ``clips`` (patterns; all without any), or those of other code."""
    asked = [tuple(way[k] for k in WAY) for way in ways(names)]

    def again(row: Row) -> bool:
        mine = tuple(row[k] for k in WAY) in asked and (not clips or named(row["clip"], clips))
        return mine and (redo == "all" or row.get("code") != digest_of(code_behind(row)))

    if redo:
        file.keep(lambda row: not again(row))


def code_behind(way: Row) -> list[str]:
    """Modules that a way's bytes depend on."""
    specs = [way["codec"], *([way["upload"]] if way["upload"] else [])]
    return [*dict.fromkeys(module for spec in specs for module in code_of(parse_codec(spec)))]


def psnr(clip: Clip, payload: bytes) -> dict[str, float]:
    quality = measure(clip, decode(payload), max_width=640)
    return {"frame_db": round(quality.frame_db, 2), "object_db": round(quality.object_db, 2)}


def summary(rows: Sequence[Row]) -> list[Row]:
    """Median, best and worst clip of every way, those through the fog first."""
    result = []
    for way in sorted(dict.fromkeys(tuple(r[k] for k in WAY) for r in rows), key=lambda way: way[0] != "fog"):
        mine = once([r for r in rows if tuple(r[k] for k in WAY) == way])
        mine.sort(key=lambda r: float(r["gain"]))
        row: Row = {**dict(zip(WAY, way, strict=True)), "clips": len(mine)}
        row |= {"median": statistics.median(r["gain"] for r in mine)}
        row |= {"best": mine[-1]["gain"], "best_clip": mine[-1]["clip"]}
        row |= {"worst": mine[0]["gain"], "worst_clip": mine[0]["clip"]}
        row |= {f"median_{k}": statistics.median(r[k] for r in mine) for k in ("frame_db", "object_db")}
        result.append(row)
    return result


def show(rows: Sequence[Row]) -> None:
    table = Table("way", "upload", "codec", "median", "best", "worst", "frame dB", "object dB")
    for r in rows:
        gains = [f"{r['median']:.1f}", f"{r['best']:.1f} {r['best_clip']}", f"{r['worst']:.1f} {r['worst_clip']}"]
        table.add_row(
            r["way"], r["upload"] or "-", r["codec"], *gains,
            *(f"{r[f'median_{k}']:.1f}" for k in ("frame_db", "object_db")),
        )  # fmt: skip
    Console().print(table)


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=None, metavar="SPEC", help="data sets; default: RINR_DATA, sample")
    parser.add_argument("--clips", nargs="+", default=[], metavar="NAME", help="only clips of these names or patterns")
    parser.add_argument("--codecs", default=",".join(CODECS), help="what the fog encodes with, comma-separated")
    parser.add_argument(
        "--redo",
        choices=["", "stale", "all"],
        default="",
        help="drop rows of --codecs and --clips first: of other code, or all",
    )
    parser.add_argument("--out", type=Path, default=FOLDER / "sharing.json")
    options = parser.parse_args()
    file = ResultFile(
        options.out,
        command="RINR_DATA=DIR python benchmarks/sharing.py",
        settings={"devices": DEVICES, "frames": FRAMES},
    )
    names = options.codecs.split(",")
    for name in names:
        parse_codec(name)
    forget(file, options.redo, names, options.clips)
    for name, clip in benchmark_clips(options.data or default_specs(), slice(0, FRAMES), options.clips):
        if not all(f.file for f in clip.frames):
            continue
        done = [tuple(r[k] for k in WAY) for r in file.rows if r["clip"] == name]
        missing = [way for way in ways(names) if tuple(way[k] for k in WAY) not in done]
        for way in track(missing, description=name):
            row = {"clip": name, "taken": len(clip), "camera_bytes": clip.file_bytes(), **measured(clip, way)}
            file.add(row, code_behind(way), key=("clip", *WAY))
    file.write(summary(file.rows))
    show(summary(file.rows))


if __name__ == "__main__":
    sys.exit(main())
