"""Load of the fog for ten to a hundred thousand devices, from really encoded clips.

    python benchmarks/scale.py --codec residual --frames 8

Encodes a few clips once, deals their bytes to every device at random (with a seed), and asks the vectorised model what
a single fog node takes for a capture period, which of its parts saturates first, and how many fog nodes keep up.
"""

from __future__ import annotations

import resource
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from lib.clips import benchmark_clips, default_specs
from lib.code_hash import code_of
from lib.results import FOLDER, write_result
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rinr_flower.bandwidth.link import LinkModel
from rinr_flower.bandwidth.scale import Deployment, fog_nodes_needed, load_of
from rinr_flower.codecs import codecs
from rinr_flower.report.units import bytes_text, count_text, seconds_text

DEVICES = (10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
SHARING: tuple[tuple[Literal["all", "nearest", "groups"], int], ...] = (("nearest", 9), ("groups", 9), ("all", 9))


def encode(specs: list[str], frames: int, limit: int, codec_name: str, upload: str, seed: int) -> list[dict[str, Any]]:
    """Bytes and encoding time of up to ``limit`` clips."""
    codec, uplink = codecs.create(codec_name), codecs.create(upload)
    clips = [c for _, c in zip(range(limit), benchmark_clips(specs, slice(0, frames), ()), strict=False)]
    rows = []
    for name, clip in track(clips, description=f"encoding with {codec_name}"):
        start = time.process_time()
        payload = codec.encode(clip, seed=seed)
        seconds = time.process_time() - start
        rows.append(
            {
                "clip": name,
                "frames": len(clip),
                "camera_bytes": clip.file_bytes(),
                "upload_bytes": len(uplink.encode(clip, seed=seed)),
                "payload_bytes": len(payload),
                "encode_cpu_seconds": seconds,
            }
        )
    return rows


def deal(rows: list[dict[str, Any]], devices: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One measured clip for every device, drawn with ``seed``: upload bytes, payload bytes, frames."""
    chosen = np.random.default_rng(seed).integers(len(rows), size=devices)
    columns = (np.array([float(r[key]) for r in rows])[chosen] for key in ("upload_bytes", "payload_bytes", "frames"))
    upload, payload, frames = columns
    return upload, payload, frames


def main(
    data: Annotated[list[str] | None, typer.Option(help="data sets; default: those of RINR_DATA, else sample")] = None,
    codec: Annotated[str, typer.Option(help="what the fog encodes with")] = "rapid_inr",
    upload: Annotated[str, typer.Option(help="what devices upload with")] = "jpeg",
    frames: Annotated[int, typer.Option(help="frames of a capture")] = 8,
    clips: Annotated[int, typer.Option(help="clips to encode")] = 8,
    period: Annotated[float, typer.Option(help="seconds between captures")] = 60.0,
    encoders: Annotated[int, typer.Option(help="encoders at a fog node")] = 1,
    profile: Annotated[str, typer.Option(help="radio of the devices and of the fog")] = "source_2MBps",
    seed: Annotated[int, typer.Option()] = 0,
    out: Annotated[Path, typer.Option(help="JSON to write")] = FOLDER / "scale.json",
) -> None:
    """Measure, model, and write the result."""
    rows = encode(data or default_specs(), frames, clips, codec, upload, seed)
    per_frame = sum(r["encode_cpu_seconds"] for r in rows) / sum(r["frames"] for r in rows)
    radio = LinkModel.of_profile(profile)
    results = []
    started = time.perf_counter()
    for devices in DEVICES:
        uploaded, payload, count = deal(rows, devices, seed)
        for sharing, receivers in SHARING:
            for broadcast in (False, True):
                one = Deployment(
                    uploaded,
                    payload,
                    count,
                    sharing=sharing,
                    receivers=min(receivers, devices - 1),
                    fog_rate_bytes_per_s=radio.rate_bytes_per_s,
                    device_rate_bytes_per_s=radio.rate_bytes_per_s,
                    encode_seconds_per_frame=per_frame,
                    encoders=encoders,
                    broadcast=broadcast,
                    loss=radio.loss,
                    period_s=period,
                )
                start = time.process_time()
                load, needed = load_of(one), fog_nodes_needed(one)
                enough = load_of(replace(one, fog_nodes=needed["all"])) if needed["all"] else None
                results.append(
                    {
                        "devices": devices,
                        "sharing": sharing,
                        "receivers": devices - 1 if sharing == "all" else min(receivers, devices - 1),
                        "broadcast": broadcast,
                        "serverless_bytes": load.serverless_bytes,
                        "fog_bytes": load.uplink_bytes + load.downlink_bytes,
                        "one_fog_node_seconds": load.seconds,
                        "saturated": load.saturated,
                        "bottleneck": load.bottleneck,
                        "fog_nodes_needed": needed,
                        "round_seconds_with_enough": enough.round_seconds if enough else None,
                        "backhaul_bytes_with_enough": enough.backhaul_bytes if enough else None,
                        "saturated_with_enough": enough.saturated if enough else None,
                        "model_cpu_seconds": time.process_time() - start,
                    }
                )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    write_result(
        out,
        command=f"python benchmarks/scale.py --codec {codec} --upload {upload} --frames {frames} --clips {clips}"
        f" --period {period:g} --encoders {encoders} --profile {profile} --seed {seed}",
        code=[*code_of(codecs.create(codec)), *code_of(codecs.create(upload)), "rinr_flower.bandwidth.scale"],
        settings={"period_s": period, "encoders": encoders, "profile": profile},
        rows=results,
        summary={
            "clips": rows,
            "encode_cpu_seconds_per_frame": per_frame,
            "model_wall_seconds": time.perf_counter() - started,
            "peak_memory_gib": peak,
        },
    )
    show(results, period)
    largest = max(r["model_cpu_seconds"] for r in results if r["devices"] == DEVICES[-1])
    Console().print(
        f"{DEVICES[-1]:,} devices: {largest:.2f} s of CPU time for one deployment; peak {peak:.2f} GiB; {out}"
    )


def show(results: list[dict[str, Any]], period: float) -> None:
    """The unicast rows as a table."""
    table = Table(title=f"One fog node, a capture every {period:g} s, unicast")
    for head in ("sharing", "devices", "bytes", "receives", "encodes", "sends", "busiest", "fog nodes"):
        table.add_column(head, justify="left" if head in ("sharing", "busiest") else "right")
    for r in results:
        if r["broadcast"]:
            continue
        seconds = r["one_fog_node_seconds"]
        table.add_row(
            r["sharing"],
            f"{r['devices']:,}",
            bytes_text(r["fog_bytes"]),
            *(seconds_text(seconds[name]) for name in ("fog_receives", "encoder", "fog_sends")),
            r["bottleneck"].replace("_", " ") if r["saturated"] else "keeps up",
            count_text(r["fog_nodes_needed"]["all"]) if r["fog_nodes_needed"]["all"] else "not enough",
        )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
